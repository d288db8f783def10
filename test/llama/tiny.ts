/** A Llama of a few thousand weights: what does not depend on a real model is tested with it. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseConfig } from "../../runtime/model/config.js";
import { expectedTensors } from "../../runtime/model/layout.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { smallConfig, writeJson, writeTensors } from "../model/support.js";

/** Its config; tests may change it. */
export const tinyConfig = {
  ...smallConfig,
  num_hidden_layers: 1,
  vocab_size: 64,
  tie_word_embeddings: false,
};

/** Writes it with random weights, some of them replaced: `change` gives the words of bf16 of a tensor, or null. */
export async function tinyModel(
  directory: string,
  change: (name: string, words: Uint16Array) => void = () => {},
  more: Partial<typeof tinyConfig> = {},
): Promise<Model> {
  await mkdir(directory, { recursive: true });
  const config = { ...tinyConfig, ...more };
  await writeJson(join(directory, "config.json"), config);
  const tensors = [...expectedTensors(parseConfig("c", config))].map(
    ([name, shape]) => ({ name, dtype: "BF16", shape }) as const,
  );
  let state = 1;
  await writeTensors(join(directory, "model.safetensors"), tensors, (name, bytes) => {
    const words = new Uint16Array(bytes / 2);
    const values = Float32Array.from(words, () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5);
    new Uint32Array(values.buffer).forEach((bits, at) => (words[at] = bits >>> 16));
    change(name, words);
    return new Uint8Array(words.buffer);
  });
  return openModel(directory);
}
