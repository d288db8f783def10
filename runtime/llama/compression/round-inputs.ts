/** `round w as int8(token)`: what layers multiply is rounded from here on. */
import type { RoundStep } from "../../../compiler/recipe/recipe.js";
import { inputsOf } from "./pairs.js";
import type { Run } from "./run.js";

/** Notes for the layers that read the inputs of a block that a step selects in what they take them. */
export function roundInputs({ caller, model, working }: Run, step: RoundStep, index: number): void {
  for (const { layers } of inputsOf(caller.functions, model.blocks[index]!, step))
    for (const { name } of layers) working.activations.set(name, step.activations);
}
