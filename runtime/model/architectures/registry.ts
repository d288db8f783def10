/** The architectures that there are. */
import type { LlamaConfig } from "../llama-config.js";
import type { Architecture } from "./architecture.js";
import { llama } from "./llama.js";

export const architectures: readonly Architecture[] = [llama];

/** That of a config. */
export function architectureOf({ modelType }: Pick<LlamaConfig, "modelType">): Architecture {
  const found = architectures.find((each) => each.modelType === modelType);
  if (found === undefined) throw new RangeError(`there is no architecture ${modelType}`);
  return found;
}
