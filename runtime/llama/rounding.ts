/** Whether the products of a block take their activations rounded to int8. */
import { activationGroup } from "../../compiler/compile.js";
import { shapeOf } from "../../compiler/formats/registry.js";
import type { Target } from "../../compiler/target.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { TensorForm } from "../run/run.js";
import { formatOf } from "./call.js";
import { LlamaError } from "./error.js";
import type { BlockWeights } from "./weights.js";

/**
 * What products take their activations in. `auto`: as the model says, and where it says nothing int8 for a few tokens (8 at most), on a device that multiplies integers, where all
 * weights of a block are integers on a grid; `int8`: that for any number of tokens; `f16`: always as they are kept, f16 or f32.
 */
export type ActivationChoice = "auto" | "int8" | "f16";

/**
 * The most tokens for which products of integers are the faster ones: where subgroups multiply matrices of f16, a tile of
 * 16 tokens is faster than sums for each of a few, which 2:4 makes dearer (bench/h100.md).
 */
const fewTokens = { sums: 8, matrices: 2, sparseMatrices: 1 } as const;

/** The same of a block with fewer weights than so many: tiles are dispatches more, which those do not repay. */
const fewOfSmall = { weights: 2 ** 25, matrices: 7, sparseMatrices: 4 } as const;

function fewTokensOf(weights: Pick<BlockWeights, "linears">, target: Target): number {
  if (!target.matrices || !target.f16) return fewTokens.sums;
  const tensors: readonly TensorForm[] = Object.values(weights.linears);
  const count = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const { matrices, sparseMatrices } = count < fewOfSmall.weights ? fewOfSmall : fewTokens;
  return tensors.some((tensor) => formatOf(tensor).of !== null) ? sparseMatrices : matrices;
}

/**
 * How the activations of a block are rounded: as the model says, by a scale for so many columns of all, or null, not at
 * all.
 */
export type RoundingChoice = "stored" | number | null;

/**
 * How the activations that products of these weights take are rounded, for so many tokens in all; for a target that has
 * tokens alike, as for one.
 */
export function roundingFor(
  choice: ActivationChoice,
  weights: Pick<BlockWeights, "linears" | "activations">,
  target: Target,
  tokens: number,
): RoundingChoice {
  if (choice !== "f16" && weights.activations !== undefined) return "stored";
  const counted = target.alike === true ? 1 : tokens;
  const wanted = choice === "int8" || (choice === "auto" && counted <= fewTokensOf(weights, target));
  return wanted ? groupOf(weights, target) : null;
}

/**
 * Throws where int8 is asked for, and no block can have it.
 * @throws LlamaError bad-option
 */
export function checkActivations(choice: ActivationChoice, blocks: readonly BlockWeights[], target: Target): void {
  if (choice !== "int8") return;
  if (blocks.some((weights) => weights.activations !== undefined || groupOf(weights, target) !== null)) return;
  throw new LlamaError(
    "bad-option",
    `Activations in int8 need blocks whose linear layers are all integers on a grid (int4, int8, 2:4 of those, q4_0, q8_0) and a device with subgroups of one size; found none on ${target.name}. Leave it out, or take f16.`,
  );
}

const groups = new WeakMap<object, number | null>();

function groupOf({ linears }: Pick<BlockWeights, "linears">, target: Target): number | null {
  const known = groups.get(linears);
  if (known !== undefined) return known;
  const weights = Object.values(linears).map((tensor: TensorForm) => ({
    spec: formatOf(tensor),
    shape: shapeOf(tensor.shape),
  }));
  const group = activationGroup(weights, target);
  groups.set(linears, group);
  return group;
}
