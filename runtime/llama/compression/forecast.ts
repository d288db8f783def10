/**
 * How far work of several kinds has come, and how long the rest will take: from the work that each kind holds and the
 * time that it took so far.
 */

/** Work by kind, in a unit that is the same for all: an estimate of operations. */
export type Work<Kind extends string> = { readonly [K in Kind]: number };

export interface Forecast<Kind extends string> {
  /** Work of a kind that was done since the last call, or since the start; more than was announced is harmless. */
  done(kind: Kind, work: number): void;
  /**
   * The share of the whole time that is over, 0 to 1, never falling; and the seconds left, null until enough was done
   * to tell.
   */
  now(): { readonly share: number; readonly secondsLeft: number | null };
  /** Seconds that each kind of work took so far. */
  spent(): Work<Kind>;
}

/** The share of the work below which its pace means nothing: what comes first is compiled first. */
const early = 0.01;

/**
 * A forecast of work to be done. A kind of which nothing was done yet is taken to be as fast as all that was. `clock`
 * gives
 * milliseconds.
 */
export function createForecast<Kind extends string>(
  total: Work<Kind>,
  clock: () => number = () => performance.now(),
): Forecast<Kind> {
  const kinds = Object.keys(total) as Kind[];
  const started = clock();
  const finished = new Map<Kind, { work: number; milliseconds: number }>(
    kinds.map((kind) => [kind, { work: 0, milliseconds: 0 }]),
  );
  const whole = kinds.reduce((sum, kind) => sum + total[kind], 0);
  let last = started;
  let share = 0;
  return {
    done(kind, work) {
      const now = clock();
      const entry = finished.get(kind);
      if (entry !== undefined) {
        entry.work += work;
        entry.milliseconds += now - last;
      }
      last = now;
    },
    now() {
      const all = [...finished.values()];
      const work = all.reduce((sum, entry) => sum + entry.work, 0);
      if (work < early * whole) return { share, secondsLeft: null };
      const usual = all.reduce((sum, entry) => sum + entry.milliseconds, 0) / work;
      const left = kinds.reduce((sum, kind) => {
        const entry = finished.get(kind) ?? { work: 0, milliseconds: 0 };
        const pace = entry.work > 0 ? entry.milliseconds / entry.work : usual;
        return sum + Math.max(0, total[kind] - entry.work) * pace;
      }, 0);
      const over = clock() - started;
      share = Math.max(share, left === 0 ? 1 : Math.min(0.999, over / (over + left)));
      return { share, secondsLeft: left / 1000 };
    },
    spent: () =>
      Object.fromEntries(kinds.map((kind) => [kind, (finished.get(kind)?.milliseconds ?? 0) / 1000])) as Work<Kind>,
  };
}
