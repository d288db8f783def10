/** Which windows of a text each step is made of: all in turn, in an order drawn anew for each pass over them. */

/** Windows that are trained on, and those that are only watched. */
export interface Split {
  readonly train: readonly number[];
  readonly held: readonly number[];
}

/**
 * Holds out the part `share` of some windows, evenly spread, but no more than `most`. At least one stays to be trained
 * on, and where a part is asked for and there are two, one is held out.
 */
export function holdOut(windows: readonly number[], share: number, most: number): Split {
  const count = windows.length;
  const wanted = share > 0 ? Math.max(1, Math.round(count * share)) : 0;
  const held = Math.max(0, Math.min(wanted, most, count - 1));
  const chosen = new Set(Array.from({ length: held }, (_, at) => Math.floor(((at + 0.5) * count) / held)));
  return { train: windows.filter((_, at) => !chosen.has(at)), held: windows.filter((_, at) => chosen.has(at)) };
}

/**
 * The windows of a step of `batch`, the first step being 0. It depends on the arguments alone, so that a run that goes on
 * draws what it would have drawn.
 */
export function createDraw(
  windows: readonly number[],
  batch: number,
  seed: number,
): (step: number) => readonly number[] {
  let shuffled: { readonly pass: number; readonly order: readonly number[] } | null = null;
  const at = (place: number): number => {
    const pass = Math.floor(place / windows.length);
    if (shuffled?.pass !== pass) shuffled = { pass, order: shuffle(windows, seed, pass) };
    return shuffled.order[place % windows.length] ?? 0;
  };
  return (step) => Array.from({ length: batch }, (_, place) => at(step * batch + place));
}

/** A random order (Fisher & Yates) of a seed and a number. */
function shuffle(items: readonly number[], seed: number, pass: number): readonly number[] {
  const next = generator(seed, pass);
  const order = [...items];
  for (let left = order.length; left > 1; left--) {
    const other = Math.floor(next() * left);
    const last = left - 1;
    [order[last], order[other]] = [order[other] ?? 0, order[last] ?? 0];
  }
  return order;
}

/** Numbers in 0 .. 1 (mulberry32 by Tommy Ettinger), the first few left out, for seeds that are near each other. */
function generator(seed: number, pass: number): () => number {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(pass + 1, 0x85ebca6b)) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let skipped = 0; skipped < 4; skipped++) next();
  return next;
}
