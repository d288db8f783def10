import { open } from "node:fs/promises";
import type { Companion } from "../companions.js";
import { parseGeneration } from "../generation.js";
import type { ModelParts } from "../parts.js";
import { makeTokenizer, type Tokenizer } from "../tokenizer/tokenizer.js";
import { configOf, generationOf } from "./metadata.js";
import { openParts } from "./split.js";
import { readFrequencyFactors, weightsOf } from "./tensors.js";
import { guessesOf, tokenizerOf, type TokenizerFiles } from "./tokenizer.js";

/** Whether a file starts as a GGUF file does. A file that cannot be read does not. */
export async function isGguf(path: string): Promise<boolean> {
  const handle = await open(path, "r").catch(() => null);
  if (handle === null) return false;
  try {
    const start = new Uint8Array(4);
    const { bytesRead } = await handle.read(start, 0, 4, 0);
    return bytesRead === 4 && new TextDecoder("latin1").decode(start) === "GGUF";
  } catch {
    return false;
  } finally {
    await handle.close();
  }
}

/**
 * Opens a GGUF file as a model: config, tokenizer and generation settings from its metadata, as the files of a Hugging
 * Face directory would have them. Of a model in several parts it is the first.
 * @throws ModelError M100, M101, M120, M122, M130 to M132, M135, M160 to M164
 */
export async function openGguf(path: string): Promise<ModelParts> {
  const file = await openParts(path);
  try {
    const config = configOf(file, await readFrequencyFactors(file));
    const generationFile = generationOf(file);
    const generation = parseGeneration(path, generationFile, config);
    const { weights, packed } = weightsOf(file, config);
    const { vocabSize, bosToken, eosTokens } = config;
    let known: Promise<TokenizerFiles & { readonly tokenizer: Tokenizer }> | null = null;
    const make = async (): Promise<TokenizerFiles & { readonly tokenizer: Tokenizer }> => {
      const { json, settings } = tokenizerOf(file);
      const tokenizer = await makeTokenizer(path, json, settings, { vocabSize, bosToken, eosTokens });
      return { json, settings, tokenizer };
    };
    const made = (): ReturnType<typeof make> => (known ??= make());
    return {
      path,
      config,
      packed,
      activations: new Map(),
      weights,
      generation,
      section: null,
      warnings: [...config.warnings, ...generation.warnings, ...weights.warnings, ...guessesOf(file)],
      tokenizer: async () => (await made()).tokenizer,
      async companions() {
        const { json, settings } = await made();
        return [
          jsonFile("generation_config.json", generationFile),
          jsonFile("tokenizer.json", json),
          jsonFile("tokenizer_config.json", settings),
        ];
      },
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function jsonFile(name: string, value: object): Companion {
  return { name, read: async () => Buffer.from(`${JSON.stringify(value, null, 2)}\n`) };
}
