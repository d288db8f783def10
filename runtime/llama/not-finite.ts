/** Where a model's numbers stop being numbers, told for people. */
import { LlamaError } from "./error.js";
import { isFinite } from "./measure.js";
import type { Session } from "./session.js";
import { linearNames } from "./weights.js";

/** The error of a pass over `what` whose results are not finite: names a weight that is not, or the activations. */
export async function notFinite(session: Session, what: string): Promise<LlamaError> {
  const where = await firstNotFinite(session);
  const why =
    where !== null
      ? `${where} holds values that are NaN or infinite`
      : session.dtype === "f16"
        ? "no weight is, so the activations are too large for f16: --dtype f32 may help"
        : "no weight is, so the activations are too large for f32; weights that are far too large do that, as a damaged or badly compressed model has them";
  return new LlamaError("not-finite", `What the model computes on ${what} is NaN or infinite: ${why}.`);
}

/** The first weight of the blocks, or gain, that holds such a value. */
async function firstNotFinite({ caller, blocks, frame }: Session): Promise<string | null> {
  const finite = async (vector: (typeof frame)["gain"]): Promise<boolean> =>
    (await caller.executor.values(vector)).every(Number.isFinite);
  for (const [index, { attentionGain, mlpGain, linears }] of blocks.entries()) {
    if (!(await finite(attentionGain))) return `input_layernorm of block ${index}`;
    if (!(await finite(mlpGain))) return `post_attention_layernorm of block ${index}`;
    for (const name of linearNames) if (!(await isFinite(caller, linears[name]))) return `${name} of block ${index}`;
  }
  if (!(await finite(frame.gain))) return "the last norm";
  for (const [name, { parts }] of [
    ["the embedding", frame.embedding],
    ["the head", frame.head],
  ] as const) {
    for (const { tensor } of parts) if (!(await isFinite(caller, tensor))) return name;
  }
  return null;
}
