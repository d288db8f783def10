/** Shapes that are numbers. */

/** Elements of a shape: 1 for rank 0. Infinity or a rounded value where it does not fit a number exactly. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** 0, 1, ..., count - 1. */
export function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}

/** Whether n is 1, 2, 4, ... */
export function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(n) && n > 0 && 2 ** Math.round(Math.log2(n)) === n;
}

/** The least power of two that is n or more, 1 or more. */
export function powerOfTwoFrom(n: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, n)));
}
