/** The config of a model whose weights have lost rows or columns. */
import type { LlamaConfig } from "./config.js";
import { expectedTensors } from "./layout.js";

/** What of a config may become smaller, and what it is called in `config.json`. */
const fields = [
  { key: "intermediateSize", name: "intermediate_size" },
  { key: "heads", name: "num_attention_heads" },
  { key: "keyValueHeads", name: "num_key_value_heads" },
] as const;

/**
 * The config that differs from `config` in sizes of which `kept` of every `of` are left, such that its tensors have the
 * shapes that `fits` takes; null where there is none. Sizes are found by trying: by what they do, not by what they are
 * called.
 */
export function narrowedConfig(
  config: LlamaConfig,
  { kept, of }: { readonly kept: number; readonly of: number },
  fits: (shapes: ReadonlyMap<string, readonly number[]>) => boolean,
): LlamaConfig | null {
  for (let chosen = 1; chosen < 2 ** fields.length; chosen++) {
    const smaller = fields.filter((_, at) => (chosen >> at) % 2 === 1);
    if (smaller.some(({ key }) => (config[key] * kept) % of !== 0)) continue;
    const sizes = Object.fromEntries(smaller.map(({ key }) => [key, (config[key] * kept) / of]));
    const next: LlamaConfig = { ...config, ...sizes };
    if (next.heads % next.keyValueHeads !== 0 || !fits(expectedTensors(next))) continue;
    // what was left to be derived of other sizes is said
    const derived =
      next.heads === config.heads ? {} : { num_key_value_heads: next.keyValueHeads, head_dim: next.headDim };
    const raw = { ...config.raw, ...derived };
    return { ...next, raw: { ...raw, ...Object.fromEntries(smaller.map(({ key, name }) => [name, next[key]])) } };
  }
  return null;
}
