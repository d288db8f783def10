/** What a model gives the tokens of a prompt. */
import { withArena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Session } from "../inference/session.js";
import type { PromptToken } from "./requests.js";
import type { Piece } from "./rows.js";
import { scoreToken } from "./scores.js";

/** Bytes of the logits that are there at once. */
const roomForLogits = 2 ** 26;

/**
 * The tokens of a prompt whose scores a piece has, by its activations [1, padded, D]: those after each of its tokens,
 * and the first of all.
 */
export async function scorePrompt(
  session: Session,
  x: DeviceTensor,
  prompt: ArrayLike<number>,
  { from, count, padded }: Piece,
  top: number,
): Promise<readonly PromptToken[]> {
  const { config, caller } = session;
  const { executor } = caller;
  const scores: PromptToken[] = from === 0 ? [{ id: prompt[0] ?? 0, logprob: null, top: [] }] : [];
  const fit = 2 ** Math.floor(Math.log2(Math.max(1, roomForLogits / (4 * config.vocabSize))));
  const step = Math.min(fit, padded);
  const bytes = x.bytes / padded;
  for (let start = 0; start < count; start += step) {
    const values = await withArena(executor, async (arena) => {
      // the tokens of the piece as sequences of one each
      const some: DeviceTensor = {
        ...x,
        shape: [step, 1, config.hiddenSize],
        offset: x.offset + start * bytes,
        bytes: step * bytes,
      };
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
