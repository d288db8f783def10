/** Whether the products of a block take their activations rounded to int8. */
import { activationGroup, mostDotTokens } from "../../compiler/compile.js";
import type { Shape } from "../../compiler/formats/format.js";
import { shapeOf } from "../../compiler/formats/registry.js";
import type { Target } from "../../compiler/target.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { TensorForm } from "../run/run.js";
import { formatOf } from "./call.js";
import { LlamaError } from "./error.js";
import type { BlockWeights } from "./weights.js";

/**
 * What products take their activations in. `auto`: as the model says, and where it says nothing int8 for a few tokens (`mostDotTokens`), on a device that multiplies integers, where all
 * weights of a block are integers on a grid; `int8`: that for any number of tokens; `f16`: always as they are kept, f16 or f32.
 */
export type ActivationChoice = "auto" | "int8" | "f16";

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
  const wanted = choice === "int8" || (choice === "auto" && counted <= mostDotTokens(formsOf(weights), target));
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

function groupOf(weights: Pick<BlockWeights, "linears">, target: Target): number | null {
  const known = groups.get(weights.linears);
  if (known !== undefined) return known;
  const group = activationGroup(formsOf(weights), target);
  groups.set(weights.linears, group);
  return group;
}

function formsOf({ linears }: Pick<BlockWeights, "linears">): readonly { spec: FormatSpec; shape: Shape }[] {
  return Object.values(linears).map((tensor: TensorForm) => ({
    spec: formatOf(tensor),
    shape: shapeOf(tensor.shape),
  }));
}
