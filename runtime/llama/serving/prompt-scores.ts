/** What a model gives the tokens of a prompt. */
import { withArena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Session } from "../inference/session.js";
import type { PromptToken } from "./requests.js";
import { first } from "../results.js";
import { powerFor } from "./rows.js";
import { scoreToken } from "./scores.js";

/** Bytes of the logits that are there at once. */
const roomForLogits = 2 ** 26;

/** Tokens of a prompt, `count` from `from` on, whose activations are in the rows from `row` on. */
export interface Scored {
  readonly from: number;
  readonly count: number;
  readonly row: number;
}

/**
 * The tokens of a prompt that follow those whose activations are there, in rows of x [N, 1, D], and the first of all
 * where they begin with it.
 */
export async function scorePrompt(
  session: Session,
  x: DeviceTensor,
  prompt: ArrayLike<number>,
  { from, count, row }: Scored,
  top: number,
): Promise<readonly PromptToken[]> {
  const { config, caller } = session;
  const { executor } = caller;
  const scores: PromptToken[] = from === 0 ? [{ id: prompt[0] ?? 0, logprob: null, top: [] }] : [];
  const fit = 2 ** Math.floor(Math.log2(Math.max(1, roomForLogits / (4 * config.vocabSize))));
  const step = Math.min(fit, powerFor(count));
  for (let start = 0; start < count; start += step) {
    const values = await withArena(executor, async (arena) => {
      const whole = Int32Array.from({ length: step }, (_, at) => row + Math.min(start + at, count - 1));
      const rows = arena.own(await executor.fill("i32", [step], whole));
      const some = arena.own(first(await caller.call("take_rows", { x, rows })));
      const pick = arena.own(await executor.fill("i32", [step], new Int32Array(step)));
      return executor.values(arena.own(await session.logits(some, pick)));
    });
    for (let at = 0; at < step && start + at < count && from + start + at + 1 < prompt.length; at++) {
      const id = prompt[from + start + at + 1] ?? 0;
      scores.push({ id, ...scoreToken(values, at * config.vocabSize, config.vocabSize, id, top) });
    }
  }
  return scores;
}
