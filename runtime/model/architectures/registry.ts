/** The architectures that there are. */
import type { LlamaConfig } from "../llama-config.js";
import type { Architecture } from "./architecture.js";
import { gemma3 } from "./gemma3.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

export const architectures: readonly Architecture[] = [llama, mistral, qwen2, qwen3, phi3, gemma3];

/** That of a config. */
export function architectureOf({ modelType }: Pick<LlamaConfig, "modelType">): Architecture {
  const found = architectures.find((each) => each.modelType === modelType);
  if (found === undefined) throw new RangeError(`there is no architecture ${modelType}`);
  return found;
}
