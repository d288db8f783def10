/** Two models' answers to the same questions: recovery with an interval, and whether they differ by more than chance. */

/** Whether each of two models is right about a question. */
export type Pair = readonly [one: boolean, other: boolean];

/** A share and where it lies with a probability of 95%. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** What of the first model's accuracy the second one has, as a share of 1; NaN where the first has none. */
export interface Recovery {
  readonly value: number;
  readonly interval: Interval;
}

/** How many questions each is right about that the other is not, and the probability of so much by chance. */
export interface Discordance {
  readonly onlyOne: number;
  readonly onlyOther: number;
  /** McNemar's exact test, two-sided. */
  readonly probability: number;
}

/** Resamples of a bootstrap: by chance an end of an interval is off by a hundredth of the interval's width. */
const resamples = 5000;

/**
 * Recoveries of each task and of the mean over all, with intervals by the paired bootstrap (Efron 1979; percentiles):
 * questions of each task are drawn with replacement, both models' answers to one stay together. The same answers give
 * the same intervals.
 */
export function recoveries(
  tasks: readonly (readonly Pair[])[],
  { seed = 1, times = resamples }: { readonly seed?: number; readonly times?: number } = {},
): { readonly tasks: readonly Recovery[]; readonly mean: Recovery } {
  const random = randomNumbers(seed);
  const drawn = tasks.map(() => new Float64Array(times));
  const ofMean = new Float64Array(times);
  // 1: the first model is right, 2: the second
  const codes = tasks.map((pairs) => Uint8Array.from(pairs, ([one, other]) => Number(one) + 2 * Number(other)));
  for (let time = 0; time < times; time++) {
    let [meanOfOne, meanOfOther] = [0, 0];
    for (const [task, own] of codes.entries()) {
      const counts = [0, 0, 0, 0];
      for (let at = 0; at < own.length; at++) counts[own[Math.floor(random() * own.length)]!]!++;
      const [, one = 0, other = 0, both = 0] = counts;
      drawn[task]![time] = ratio(other + both, one + both);
      meanOfOne += (one + both) / own.length;
      meanOfOther += (other + both) / own.length;
    }
    ofMean[time] = ratio(meanOfOther, meanOfOne);
  }
  const shares = tasks.map((pairs) => [share(pairs, 0), share(pairs, 1)] as const);
  const [one, other] = [0, 1].map((model) => shares.reduce((sum, each) => sum + (each[model] ?? 0), 0));
  return {
    tasks: shares.map(([a, b], at) => ({ value: ratio(b, a), interval: middle(drawn[at]!) })),
    mean: { value: ratio(other ?? 0, one ?? 0), interval: middle(ofMean) },
  };
}

/** McNemar's exact test (1947): of the questions that only one of both gets right, half would be each one's by chance. */
export function discordance(pairs: readonly Pair[]): Discordance {
  const onlyOne = pairs.filter(([one, other]) => one && !other).length;
  const onlyOther = pairs.filter(([one, other]) => !one && other).length;
  return { onlyOne, onlyOther, probability: exactProbability(onlyOne, onlyOther) };
}

/**
 * Twice the probability of at most min(a, b) heads in a + b throws of a fair coin, 1 at most: in logarithms, as powers
 * of two leave f64 early.
 */
export function exactProbability(a: number, b: number): number {
  const throws = a + b;
  let logarithm = -throws * Math.LN2; // of C(n, 0) / 2^n
  let sum = 0;
  for (let heads = 0; heads <= Math.min(a, b); heads++) {
    sum += Math.exp(logarithm);
    logarithm += Math.log(throws - heads) - Math.log(heads + 1);
  }
  return Math.min(1, 2 * sum);
}

/** What of nothing is recovered is no number; resamples of that kind say nothing. */
function ratio(part: number, whole: number): number {
  return whole === 0 ? NaN : part / whole;
}

function share(pairs: readonly Pair[], model: 0 | 1): number {
  return pairs.filter((pair) => pair[model]).length / pairs.length;
}

/** Between the values that 2.5% are below and 2.5% above, of those that are numbers; NaN where none is. */
function middle(values: Float64Array): Interval {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort();
  return {
    low: sorted[Math.floor(0.025 * sorted.length)] ?? NaN,
    high: sorted[Math.ceil(0.975 * sorted.length) - 1] ?? NaN,
  };
}

/** Numbers from 0 up to 1 (Steele, Lea & Flood 2014: SplitMix, with 32 bits as in mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}
