/** The parts of a weight with a correction of low rank, on the device. */
import { correctedSpec, isCorrected, rankOf } from "../../../compiler/formats/lowrank/meaning.js";
import { sectionOf } from "../../../compiler/formats/layout.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { sliceSpec } from "../../../compiler/formats/slice/meaning.js";
import type { Linear } from "../../model/model.js";
import type { Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { first } from "../results.js";

/** What is corrected, in its own format: a view of the same memory. A weight without a correction as it is. */
export function packedOf(weight: DeviceTensor): DeviceTensor {
  const { format } = weight;
  return format !== null && isCorrected(format) ? { ...weight, format: correctedSpec(format) } : weight;
}

/**
 * The factors of a weight's correction, f32 [N + K, rank]: a[N, rank], and below it b[rank, K] transposed. The arena owns
 * them.
 * @throws LlamaError recipe where the weight has none
 */
export async function factorsOf(
  caller: Caller,
  { name }: Pick<Linear, "name">,
  weight: DeviceTensor,
  arena: Arena,
): Promise<DeviceTensor> {
  const { format, shape } = weight;
  if (format === null || !isCorrected(format))
    throw new LlamaError(
      "recipe",
      `The recipe asks for the factors of ${name}'s low-rank correction, and the layer has none by then: store it before as \`... plus lowrank(a, b)\`.`,
    );
  const rank = rankOf(format);
  const layout = formatOfSpec(format).sections(format, shapeOf(shape));
  const [rows = 1, columns = 1] = shape;
  const part = (side: "left" | "right", own: readonly number[]): DeviceTensor => ({
    ...weight,
    shape: own,
    format: sliceSpec(sectionOf(layout, side).offset),
  });
  const factors = { left: part("left", [rows, rank]), right: part("right", [rank, columns]) };
  return arena.own(first(await caller.call("stacked_factors", factors)));
}
