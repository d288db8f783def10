/** Products as gradients have them, by hand: weights read across, sums over several axes, heads that share a key. */
export interface GradientProduct {
  readonly source: string;
  readonly sizes: Readonly<Record<string, number>>;
}

/** All of f16 with sums in f32; at awkward sizes, but for the axes that matrices need in runs of eight. */
export const gradientProducts: Readonly<Record<string, GradientProduct>> = {
  "of a product by its input: a weight read across": {
    source:
      "fn main(dy: f16[B, T, N], w: f16[N, K]) -> f16[B, T, K] {\n  return dx where dx[b, t, k] = f16(sum[n] f32(dy[b, t, n]) * f32(w[n, k]))\n}",
    sizes: { B: 3, T: 7, N: 40, K: 24 },
  },
  "of a product by its weight: a sum over sequences and tokens": {
    source: `fn main(dy: f16[B, T, N], x: f16[B, T, K]) -> f32[N, K] {
  let start[n, k] = 0.0 for n in 0 .. N, k in 0 .. K
  var dw = start
  dw[n, k] += f32(dy[b, t, n]) * f32(x[b, t, k]) for b in 0 .. B, t in 0 .. T, n in 0 .. N, k in 0 .. K
  return dw
}`,
    sizes: { B: 3, T: 19, N: 24, K: 40 },
  },
  "of two products by the input that they share, beside a gradient that is there": {
    source: `fn main(r: f16[T, K], dy: f16[T, N], w: f16[N, K], dz: f16[T, M], u: f16[M, K]) -> f16[T, K] {
  return dx where dx[t, k] = f16(f32(r[t, k]) + (sum[n] f32(dy[t, n]) * f32(w[n, k])) + (sum[m] f32(dz[t, m]) * f32(u[m, k])))
}`,
    sizes: { T: 21, K: 40, N: 24, M: 56 },
  },
  "of attention by its weights": {
    source: `fn main(dy: f16[B, T, A * H], v: f16[B, C, G, H], A: size) -> f32[B, T, A, C] where A % G == 0 {
  return dp where dp[b, t, a, c] = sum[i in 0 .. H] f32(dy[b, t, a * H + i]) * f32(v[b, c, a / (A / G), i]) for a in 0 .. A
}`,
    sizes: { B: 2, T: 9, A: 4, H: 16, C: 24, G: 2 },
  },
  "of attention by its values: heads that share them": {
    source: `fn main(p: f16[B, T, A, C], dy: f16[B, T, A, H], G: size) -> f16[B, C, G, H] where A % G == 0 {
  let start[b, c, g, i] = 0.0 for b in 0 .. B, c in 0 .. C, g in 0 .. G, i in 0 .. H
  var dv = start
  dv[b, c, a / (A / G), i] += f32(p[b, t, a, c]) * f32(dy[b, t, a, i]) for b in 0 .. B, t in 0 .. T, a in 0 .. A, c in 0 .. C, i in 0 .. H
  return out where out[b, c, g, i] = f16(dv[b, c, g, i])
}`,
    sizes: { B: 2, T: 18, A: 6, H: 16, C: 24, G: 2 },
  },
  "of attention by its queries": {
    source: `fn main(ds: f16[B, T, A, C], k: f16[B, C, G, H]) -> f16[B, T, A, H] where A % G == 0 {
  return dq where dq[b, t, a, i] = f16(sum[c] f32(ds[b, t, a, c]) * f32(k[b, c, a / (A / G), i]))
}`,
    sizes: { B: 2, T: 9, A: 4, H: 16, C: 24, G: 2 },
  },
};
