/** `round w as int8(token)`: what layers multiply is rounded from here on. */
import type { RoundStep } from "../../../compiler/recipe/recipe.js";
import { isActivationScale, type ActivationFormat } from "../../../compiler/types/activation-format.js";
import { LlamaError } from "../error.js";
import { inputsOf, type LayerInput } from "./pairs.js";
import type { Run } from "./run.js";
import { valuesOfInput } from "./scaling.js";
import type { Seen } from "./treat.js";

/**
 * Notes for the layers that read the inputs of a block that a step selects in what they take them.
 * @throws LlamaError not-finite for a scale that cannot be one
 */
export async function roundInputs(run: Run, step: RoundStep, index: number, seen: Seen | null): Promise<void> {
  const { caller, working } = run;
  const block = run.model.blocks[index]!;
  const formatFor = async (input: LayerInput): Promise<ActivationFormat> => {
    const { activations } = step;
    if (activations.group !== "tensor") return activations;
    const [scale] = await valuesOfInput({ caller, working, seen }, activations.scale, block, input);
    if (!isActivationScale(scale))
      throw new LlamaError(
        "not-finite",
        `The scale of what ${input.layers.map(({ name }) => name).join(", ")} ${input.layers.length === 1 ? "receives" : "receive"} is ${scale}: it is divided by, and must be at least 2^-126 and finite. Bound it from below, \`max(s, 1e-8)\`.`,
      );
    return { ...activations, scale };
  };
  for (const input of inputsOf(caller.functions, block, step)) {
    const format = await formatFor(input);
    for (const { name } of input.layers) working.activations.set(name, format);
  }
}
