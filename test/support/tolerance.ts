/**
 * How far results may differ, by kind of test: the only place with such numbers. `spec/numerics.md` has the same table
 * with its reasons.
 */

/** An element may differ by `relative` of itself and `ofPeak` of the largest magnitude expected in its tensor. */
export interface Tolerance {
  readonly relative: number;
  readonly ofPeak: number;
}

export const tolerances = {
  /**
   * The same bits, but for the sign of zero: integers, masks, copies, packing, sums of small integers, passes of the
   * compiler.
   */
  exact: { relative: 0, ofPeak: 0 },
  /** One equation of f32 without a reduction, transcendental functions included. */
  pointwise: { relative: 2e-5, ofPeak: 2e-6 },
  /** One f32 reduction, in any order. */
  reduction: { relative: 1e-5, ofPeak: 2e-5 },
  /** Several equations of f32 after one another. */
  chain: { relative: 1e-4, ofPeak: 1e-4 },
  /** A scan in blocks of columns, or a factorisation, against one column after another. */
  scan: { relative: 1e-3, ofPeak: 5e-4 },
  /** A method against another implementation of its paper, from the same inputs: also of the norm of the whole. */
  reference: { relative: 1e-3, ofPeak: 1e-5 },
  /** sin and cos, of which WGSL asks for no more. */
  trigonometric: { relative: 0, ofPeak: 2 ** -10 },
  /** Values held or computed in f16. */
  half: { relative: 4e-3, ofPeak: 4e-3 },
  /** Logits of a whole model, f32. */
  model: { relative: 1e-3, ofPeak: 1e-3 },
  /** Logits of a whole model with f16 activations. */
  modelHalf: { relative: 2e-2, ofPeak: 2e-2 },
} as const satisfies Record<string, Tolerance>;

/**
 * Against another implementation: the share of a mask's groups, and of a tensor's elements, that may be decided
 * otherwise.
 */
export const otherwise = 1e-3;

export type ToleranceKind = keyof typeof tolerances;

/**
 * The first element that differs by more than its kind may, in words; null where all are close. NaN is close to NaN
 * only.
 */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>, kind: ToleranceKind): string | null {
  if (actual.length !== expected.length) return `${actual.length} elements, expected ${expected.length}`;
  const { relative, ofPeak } = tolerances[kind];
  let peak = 0;
  for (let at = 0; at < expected.length; at += 1)
    if (Number.isFinite(expected[at])) peak = Math.max(peak, Math.abs(expected[at] ?? 0));
  for (let at = 0; at < expected.length; at += 1) {
    const [a, e] = [actual[at] ?? NaN, expected[at] ?? NaN];
    if (a === e || (Number.isNaN(a) && Number.isNaN(e))) continue;
    if (!Number.isFinite(a) || !Number.isFinite(e) || !(Math.abs(a - e) <= relative * Math.abs(e) + ofPeak * peak))
      return `element ${at} is ${a}, expected ${e} (tolerance "${kind}", peak ${peak})`;
  }
  return null;
}

/** Throws where an element differs by more than its kind may; `what` names the tensor in the message. */
export function close(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  kind: ToleranceKind,
  what = "result",
): void {
  const found = difference(actual, expected, kind);
  if (found !== null) throw new Error(`${what}: ${found}`);
}
