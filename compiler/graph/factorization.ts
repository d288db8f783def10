/**
 * What the functions of whole square matrices do: computed in f64 in the order of the rows, each element rounded once.
 */
import { eigenvectors } from "./eigenvectors.js";
import type { FactorizationOp } from "./ops.js";

/** The functions by name: from a matrix [n, n], row-major, to its factor or inverse. */
export const evaluateFactorization: {
  readonly [K in FactorizationOp]: (source: ArrayLike<number>, n: number) => Float32Array<ArrayBuffer>;
} = {
  cholesky: (source, n) => Float32Array.from(cholesky(source, n)),
  inverse_lower: (source, n) => Float32Array.from(inverseLower(source, n)),
  eigenvectors: (source, n) => Float32Array.from(eigenvectors(source, n)),
};

/**
 * The lower triangular l with l l^T = a, of which the lower triangle is read. Where a pivot is not positive, a is not
 * positive definite: then the diagonal has that pivot instead of its root, and the rest of the column is zero.
 */
function cholesky(a: ArrayLike<number>, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let j = 0; j < n; j += 1) {
    let pivot = a[j * n + j] ?? 0;
    for (let k = 0; k < j; k += 1) pivot -= (l[j * n + k] ?? 0) ** 2;
    const positive = pivot > 0;
    const root = positive ? Math.sqrt(pivot) : pivot;
    l[j * n + j] = root;
    if (!positive) continue;
    for (let i = j + 1; i < n; i += 1) {
      let rest = a[i * n + j] ?? 0;
      for (let k = 0; k < j; k += 1) rest -= (l[i * n + k] ?? 0) * (l[j * n + k] ?? 0);
      l[i * n + j] = rest / root;
    }
  }
  return l;
}

/** The inverse of a lower triangular matrix, of which the lower triangle is read: lower triangular. */
function inverseLower(l: ArrayLike<number>, n: number): Float64Array {
  const x = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    const pivot = l[i * n + i] ?? 0;
    for (let j = 0; j <= i; j += 1) {
      let rest = i === j ? 1 : 0;
      for (let k = j; k < i; k += 1) rest -= (l[i * n + k] ?? 0) * (x[k * n + j] ?? 0);
      x[i * n + j] = rest / pivot;
    }
  }
  return x;
}
