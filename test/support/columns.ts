/**
 * The methods that walk the columns as their papers write them, in loops over plain numbers: what the standard library
 * is held to. Weights are rows of numbers; a Hessian is a square of them. Everything is in double precision.
 */

/** Numbers in -peak .. peak, the same for a seed. */
export function pseudorandomValues(count: number, seed: number, peak: number): number[] {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0;
    return ((((state ^ (state >>> 13)) >>> 0) / 2 ** 32) * 2 - 1) * peak;
  });
}

type Matrix = number[][];

/** Rows of a flat matrix. */
export function rowsOf(flat: ArrayLike<number>, columns: number): Matrix {
  return Array.from({ length: flat.length / columns }, (_, row) =>
    Array.from({ length: columns }, (_, column) => flat[row * columns + column] ?? NaN),
  );
}

/** (2 / windows) X^T X, with 1 on the diagonal for features never seen, and the diagonal raised by damp of its mean. */
export function dampedHessian(x2: Matrix, windows: number, damp: number): Matrix {
  const h = x2.map((row) => row.map((value) => (2 * value) / windows));
  const diagonal = h.map((row, k) => (row[k] === 0 ? 1 : row[k]!));
  const more = damp * (diagonal.reduce((sum, value) => sum + value, 0) / h.length);
  return h.map((row, i) => row.map((value, j) => (i === j ? diagonal[i]! + more : value)));
}

/** The inverse by Gauss and Jordan, with pivoting by rows. */
export function inverse(a: Matrix): Matrix {
  const n = a.length;
  const work = a.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let k = 0; k < n; k += 1) {
    let best = k;
    for (let i = k; i < n; i += 1) if (Math.abs(work[i]![k]!) > Math.abs(work[best]![k]!)) best = i;
    [work[k], work[best]] = [work[best]!, work[k]!];
    const pivot = work[k]![k]!;
    work[k] = work[k]!.map((value) => value / pivot);
    for (let i = 0; i < n; i += 1) {
      const factor = work[i]![k]!;
      if (i !== k) work[i] = work[i]!.map((value, j) => value - factor * work[k]![j]!);
    }
  }
  return work.map((row) => row.slice(n));
}

/** The upper triangular u with u^T u = a, as `torch.linalg.cholesky(a, upper=True)`. */
export function upperFactor(a: Matrix): Matrix {
  const n = a.length;
  const u: Matrix = a.map((row) => row.map(() => 0));
  for (let i = 0; i < n; i += 1) {
    for (let j = i; j < n; j += 1) {
      let rest = a[i]![j]!;
      for (let k = 0; k < i; k += 1) rest -= u[k]![i]! * u[k]![j]!;
      u[i]![j] = i === j ? Math.sqrt(rest) : rest / u[i]![i]!;
    }
  }
  return u;
}

/** What a walk does with a column: the new value of a weight, given its row as it is. */
export type Choice = (row: number, column: number, w: Matrix) => number;

/** The loop of GPTQ and SparseGPT: a column gets its values, and the columns after it take over the error. */
export function walkColumns(w0: Matrix, u: Matrix, choose: Choice): Matrix {
  const w = w0.map((row) => [...row]);
  const columns = u.length;
  for (let k = 0; k < columns; k += 1) {
    // every row decides before any is changed: a choice may look at the columns to come
    const chosen = w.map((_, n) => choose(n, k, w));
    w.forEach((row, n) => {
      const error = (row[k]! - chosen[n]!) / u[k]![k]!;
      for (let j = k; j < columns; j += 1) row[j] = row[j]! - error * u[k]![j]!;
      row[k] = chosen[n]!;
    });
  }
  return w;
}

/** The nearest value of a symmetric grid; halves to even. */
export function nearestOnGrid(x: number, scale: number, low: number, high: number): number {
  const t = x / scale;
  const below = Math.floor(t);
  const code = t - below === 0.5 ? below + (below % 2 === 0 ? 0 : 1) : Math.round(t);
  return Math.min(Math.max(code, low), high) * scale;
}

/** Which of some weights to keep: those with the largest w^2 / u_kk^2, of equals the first. */
export function keptOf(row: readonly number[], u: Matrix, from: number, to: number, kept: number): Set<number> {
  const order = Array.from({ length: to - from }, (_, at) => from + at);
  const score = (k: number): number => (row[k]! / u[k]![k]!) ** 2;
  return new Set([...order].sort((a, b) => score(b) - score(a) || a - b).slice(0, kept));
}

/**
 * The scale of least squared error over some weights, among 24 that shrink by 2 percent each; `stored` rounds a scale
 * as it is stored.
 */
export function searchedScale(
  weights: readonly number[],
  low: number,
  high: number,
  stored: (scale: number) => number,
): number {
  const step = Math.max(...weights.map(Math.abs)) / ((high - low) / 2);
  let best = { scale: NaN, loss: Infinity };
  for (let c = 0; c < 24; c += 1) {
    const scale = stored(step * (1 - 0.02 * c));
    const loss = weights.reduce((sum, value) => sum + (value - nearestOnGrid(value, scale, low, high)) ** 2, 0);
    if (loss < best.loss) best = { scale, loss };
  }
  return best.scale;
}

/** tr((w - w0) h (w - w0)^T): what a layer's output changes by. */
export function outputError(w: Matrix, w0: Matrix, h: Matrix): number {
  return w.reduce((sum, row, n) => {
    const change = row.map((value, k) => value - w0[n]![k]!);
    return sum + change.reduce((inner, a, i) => inner + a * change.reduce((s, b, j) => s + b * h[i]![j]!, 0), 0);
  }, 0);
}
