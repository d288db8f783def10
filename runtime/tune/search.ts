/** Looking for the cuts with which something is fastest, one choice after the other. */
import { written, type Cut, type ScheduleChoices, type Tunable } from "../../compiler/compile.js";
import { InternalError } from "../../compiler/diagnostic.js";

/** What became of a trial. */
export type Measured =
  | { readonly kind: "time"; readonly ms: number }
  /** Given up after its first run: so much slower than the best. */
  | { readonly kind: "slow"; readonly ms: number }
  /** Its results are not those of the plain schedules; `error` of them, over their root mean square. */
  | { readonly kind: "wrong"; readonly error: number }
  /** The device does not take it. */
  | { readonly kind: "refused"; readonly reason: string };

/** Measures by a table; a first run that takes more than `most` ms ends the trial. */
export type Measure = (choices: ScheduleChoices, most: number) => Promise<Measured>;

/** A cut, or one of several keys at once, that was tried. */
export interface Trial {
  readonly keys: readonly string[];
  readonly cut: Cut;
  readonly outcome: Measured;
}

export interface Found {
  /** What was begun with, each choice that made it faster, and the usual one of other keys whose candidates are all tried. */
  readonly choices: ScheduleChoices;
  /** With what was begun with, and with all: measured one after the other, at the end. */
  readonly msBefore: number;
  readonly msAfter: number;
  readonly trials: readonly Trial[];
}

/** The share by which a trial has to be faster, twice, to be taken: less is noise. */
const leastGain = 0.01;

/** A first run that takes so many times the best ends a trial. */
const mostTimes = 3;

/**
 * Tries the candidates of each key, and where keys are of one family first those that all of them have in one place:
 * they may become one dispatch only if they are cut alike. What is faster is kept while the others are tried. `time`
 * says whether there is time for another trial.
 *
 * @throws InternalError where what is taken by itself is wrong or refused
 */
export async function search(
  tunables: readonly Tunable[],
  begin: ScheduleChoices,
  measure: Measure,
  time: () => boolean = () => true,
): Promise<Found> {
  const first = await measure(begin, Infinity);
  if (first.kind !== "time")
    throw new InternalError(
      `the schedules that are taken without any choice cannot be measured: ${printMeasured(first)}`,
    );
  const trials: Trial[] = [];
  let choices = begin;
  let best = first.ms;
  const moves = movesOf(tunables);
  for (const move of moves) {
    if (!time()) break;
    const wanted = { ...choices, ...Object.fromEntries(move.map(({ key, cut }) => [key, written(cut)])) };
    let outcome = await measure(wanted, mostTimes * best);
    if (outcome.kind === "time" && outcome.ms < (1 - leastGain) * best) {
      // clocks go up and down: both again, one after the other
      const before = await measure(choices, Infinity);
      const again = await measure(wanted, Infinity);
      if (before.kind === "time" && again.kind === "time") {
        best = Math.min(best, before.ms);
        outcome = { kind: "time", ms: Math.max(outcome.ms, again.ms) };
        if (outcome.ms < (1 - leastGain) * best) [choices, best] = [wanted, outcome.ms];
      }
    }
    trials.push({ keys: move.map(({ key }) => key), cut: move[0]!.cut, outcome });
  }
  const left = new Set(moves.slice(trials.length).flatMap((move) => move.map(({ key }) => key)));
  const usual = Object.fromEntries(
    tunables.filter(({ key }) => !left.has(key.text)).map(({ key, cuts }) => [key.text, written(cuts[0]!)]),
  );
  const asBefore = (ms: number): Found => ({ choices: { ...usual, ...begin }, msBefore: ms, msAfter: ms, trials });
  if (choices === begin) return asBefore(best);
  const [before, after] = [await measure(begin, Infinity), await measure(choices, Infinity)];
  if (before.kind !== "time" || after.kind !== "time")
    throw new InternalError("what was measured before could not be measured again");
  // gains that were noise, all of them
  if (after.ms >= before.ms) return asBefore(before.ms);
  return { choices: { ...usual, ...choices }, msBefore: before.ms, msAfter: after.ms, trials };
}

/** The cuts that are set at once in a trial. */
type Move = readonly { readonly key: string; readonly cut: Cut }[];

function movesOf(tunables: readonly Tunable[]): readonly Move[] {
  const families = new Map<string, Tunable[]>();
  for (const each of tunables) families.set(each.key.family, [...(families.get(each.key.family) ?? []), each]);
  return [...families.values()].flatMap((members): readonly Move[] => {
    const most = Math.max(...members.map(({ cuts }) => cuts.length));
    const places = Array.from({ length: most - 1 }, (_, at) => at + 1);
    const at = (some: readonly Tunable[], place: number): Move =>
      some.flatMap(({ key, cuts }) => (cuts[place] === undefined ? [] : [{ key: key.text, cut: cuts[place] }]));
    const together = members.length > 1 ? places.map((place) => at(members, place)) : [];
    return [...together, ...members.flatMap((one) => places.map((place) => at([one], place)))].filter(
      (move) => move.length > 0,
    );
  });
}

/** In words. */
export function printMeasured(measured: Measured): string {
  switch (measured.kind) {
    case "time":
      return `${measured.ms.toFixed(3)} ms`;
    case "slow":
      return `given up after ${measured.ms.toFixed(3)} ms`;
    case "wrong":
      return `off by ${measured.error.toPrecision(2)}`;
    case "refused":
      return measured.reason;
    default:
      return measured satisfies never;
  }
}
