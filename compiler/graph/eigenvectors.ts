/** Eigenvectors of symmetric matrices, by cyclic Jacobi rotations in f64. */

/** After so many sweeps nothing changes any more, whatever the matrix; without an end one with a NaN would go on. */
const mostSweeps = 60;

/**
 * The orthogonal v [n, n] with a v = v d, d diagonal, of the symmetric a, of which the lower triangle is read. Columns
 * stand by descending eigenvalue, and the element of a column with the largest magnitude, the first of equals, is
 * positive (Golub & Van Loan, Matrix Computations, section 8.5).
 */
export function eigenvectors(source: ArrayLike<number>, n: number): Float64Array {
  const a = Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return source[Math.max(i, j) * n + Math.min(i, j)] ?? 0;
  });
  const v = Float64Array.from({ length: n * n }, (_, at) => (at % (n + 1) === 0 ? 1 : 0));
  const get = (m: Float64Array, i: number, j: number): number => m[i * n + j] ?? 0;
  for (let sweep = 0, rotated = true; rotated && sweep < mostSweeps; sweep += 1) {
    rotated = false;
    for (let p = 0; p < n; p += 1)
      for (let q = p + 1; q < n; q += 1) {
        const [pp, qq, pq] = [get(a, p, p), get(a, q, q), get(a, p, q)];
        if (Math.abs(pq) <= 1e-17 * Math.sqrt(Math.abs(pp * qq)) || pq === 0) continue;
        rotated = true;
        const tau = (qq - pp) / (2 * pq);
        const t = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.hypot(1, tau));
        const c = 1 / Math.hypot(1, t);
        const s = t * c;
        for (let k = 0; k < n; k += 1) {
          const [kp, kq] = [get(a, k, p), get(a, k, q)];
          a[k * n + p] = c * kp - s * kq;
          a[k * n + q] = s * kp + c * kq;
        }
        for (let k = 0; k < n; k += 1) {
          const [pk, qk, vp, vq] = [get(a, p, k), get(a, q, k), get(v, k, p), get(v, k, q)];
          a[p * n + k] = c * pk - s * qk;
          a[q * n + k] = s * pk + c * qk;
          v[k * n + p] = c * vp - s * vq;
          v[k * n + q] = s * vp + c * vq;
        }
        a[p * n + q] = 0;
        a[q * n + p] = 0;
      }
  }
  const order = Array.from({ length: n }, (_, k) => k).sort((x, y) => get(a, y, y) - get(a, x, x) || x - y);
  const sorted = new Float64Array(n * n);
  for (const [at, k] of order.entries()) {
    let peak = 0;
    for (let i = 0; i < n; i += 1) if (Math.abs(get(v, i, k)) > Math.abs(peak)) peak = get(v, i, k);
    for (let i = 0; i < n; i += 1) sorted[i * n + at] = peak < 0 ? -get(v, i, k) : get(v, i, k);
  }
  return sorted;
}
