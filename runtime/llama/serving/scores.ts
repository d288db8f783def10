/** Log-probabilities of tokens from logits, on the host, for those who ask for them. */
import type { TokenScore } from "./requests.js";

/** A token's log-probability by logits [from, from + count), and the `top` likeliest of them. */
export function scoreToken(
  logits: ArrayLike<number>,
  from: number,
  count: number,
  id: number,
  top: number,
): { readonly logprob: number; readonly top: readonly TokenScore[] } {
  let highest = -Infinity;
  for (let at = 0; at < count; at++) highest = Math.max(highest, logits[from + at]!);
  let total = 0;
  for (let at = 0; at < count; at++) total += Math.exp(logits[from + at]! - highest);
  const whole = highest + Math.log(total);
  /** The likeliest so far, the first of equals before the others. */
  const best: number[] = [];
  for (let at = 0; top > 0 && at < count; at++) {
    if (best.length === top && !(logits[from + at]! > logits[from + best[top - 1]!]!)) continue;
    let place = best.length;
    while (place > 0 && logits[from + at]! > logits[from + best[place - 1]!]!) place--;
    best.splice(place, 0, at);
    if (best.length > top) best.pop();
  }
  return {
    logprob: logits[from + id]! - whole,
    top: best.map((at) => ({ id: at, logprob: logits[from + at]! - whole })),
  };
}
