/**
 * Attention as five equations of the scores as a tensor: products with heads for a batch, several axes of tokens, and
 * sums that end where a token's range does.
 */
export const fiveEquations = `fn main(q: f16[B, T, A, H], keys: f16[B, C, G, H], values: f16[B, C, G, H], positions: i32[B]) -> f16[B, T, A * H] where A % G == 0 {
  let score[b, t, a, c] = select(c <= positions[b] + t, (sum[h] f32(q[b, t, a, h]) * f32(keys[b, c, a / (A / G), h])) * rsqrt(f32(H)), 0.0)
  let highest[b, t, a] = max[c in 0 .. positions[b] + t + 1] score[b, t, a, c]
  let weight[b, t, a, c] = select(c <= positions[b] + t, f16(exp(score[b, t, a, c] - highest[b, t, a])), 0.0)
  let total[b, t, a] = sum[c in 0 .. positions[b] + t + 1] f32(weight[b, t, a, c])
  let mixed[b, t, a, h] = (sum[c in 0 .. positions[b] + t + 1] f32(weight[b, t, a, c]) * f32(values[b, c, a / (A / G), h])) / total[b, t, a]
  return y where y[b, t, n] = f16(mixed[b, t, n / H, n % H]) for n in 0 .. A * H
}
`;
