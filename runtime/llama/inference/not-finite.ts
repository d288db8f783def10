/** Where a model's numbers stop being numbers, worded for people. */
import { mostHalf } from "../../../compiler/formats/fit.js";
import { plainType, printFormat } from "../../../compiler/formats/registry.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import type { Linear } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { isFinite, largest } from "../measure.js";
import type { Session } from "./session.js";
import { kindOf } from "../kind.js";

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
  for (const [index, { layout, vectors, linears }] of blocks.entries())
    for (const { name, parameter } of layout.tensors) {
      const [vector, linear] = [vectors[parameter], linears[parameter]];
      const isFine =
        vector !== undefined ? await finite(vector) : linear === undefined || (await isFinite(caller, linear));
      if (!isFine) return `${kindOf(name)} of block ${index}`;
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

/** The largest f32 whose square is one, nearly. */
const mostSquared = 2 ** 63;

/**
 * The error of a recipe that gave a layer a weight, stored in `format`, that is not finite; `given` is the one before.
 */
export async function notFiniteWeight(
  caller: Caller,
  linear: Linear,
  given: DeviceTensor,
  format: FormatSpec,
): Promise<LlamaError> {
  const name = linear.weight;
  if (!(await isFinite(caller, given)))
    return new LlamaError("not-finite", `The weight ${name} of the model holds values that are NaN or infinite.`);
  const most = await largest(caller, given);
  const size = `The weight ${name} of the model has values up to ${Number(most.toPrecision(3))}`;
  if (most > mostSquared)
    return new LlamaError(
      "not-finite",
      `${size}, whose squares are beyond f32: 3.4e38. Nothing can be measured on it.`,
    );
  if (plainType(format) === "f16" && most > mostHalf)
    return new LlamaError(
      "not-finite",
      `${size}, and the recipe stores it as ${printFormat(format)}: f16 holds no more than ${mostHalf}. Formats of bf16 or f32 hold it, and those of integers, which have scales of any size.`,
    );
  return new LlamaError(
    "not-finite",
    `The recipe gave ${linear.name} a weight that is not finite: something in it divides by zero, or takes a root or a logarithm of what has none. Where the recipe inverts a matrix, more dampening may help.`,
  );
}
