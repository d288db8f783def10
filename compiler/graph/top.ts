/** What `top` does, plainly. */
import { elementCount } from "../types/shape.js";

/**
 * 1 where an element is among the n largest of its group of m neighbours along the axis; of equals the lower index; NaN
 * the smallest.
 */
export function evaluateTop(
  { shape, data }: { readonly shape: readonly number[]; readonly data: ArrayLike<number> },
  { n, m, axis }: { readonly n: number; readonly m: number; readonly axis: number },
): Uint8Array {
  const extent = shape[axis] ?? 1;
  const stride = elementCount(shape.slice(axis + 1));
  const keep = new Uint8Array(data.length);
  for (let start = 0; start < keep.length; start += 1) {
    const position = Math.floor(start / stride) % extent;
    if (position % m !== 0) continue;
    const group = Array.from({ length: Math.min(m, extent - position) }, (_, k) => start + k * stride);
    const rank = (at: number): number => {
      const value = data[at] ?? 0;
      return Number.isNaN(value) ? -Infinity : value;
    };
    const isNaNAt = (at: number): number => (Number.isNaN(data[at]) ? 1 : 0);
    // sort is stable: equals stay in order of index; -Infinity stands before NaN
    const order = [...group].sort((a, b) => (rank(a) === rank(b) ? isNaNAt(a) - isNaNAt(b) : rank(b) - rank(a)));
    for (const at of order.slice(0, n)) keep[at] = 1;
  }
  return keep;
}
