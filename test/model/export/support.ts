/** Small models in any format, and their values. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { parseConfig } from "../../../runtime/model/config.js";
import { fromFloats, rowsOf } from "../../../runtime/model/export/values.js";
import { blocksOf, expectedTensors, type Linear } from "../../../runtime/model/layout.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { storedLayout, type PackedTensor, type StoredPattern } from "../../../runtime/model/packed.js";
import { createSafetensors } from "../../../runtime/model/safetensors-writer.js";
import { numbers, packed } from "../../support/packed.js";
import { smallConfig, writeJson } from "../support.js";

/** The sizes of a model; what is not said is that of `smallConfig`, with a vocabulary of 9. */
export interface Sizes {
  readonly hidden_size?: number;
  readonly intermediate_size?: number;
  readonly num_hidden_layers?: number;
  readonly num_attention_heads?: number;
  readonly num_key_value_heads?: number;
  readonly head_dim?: number;
  readonly vocab_size?: number;
  readonly torch_dtype?: string;
}

/**
 * Writes a model whose linear layers are in the formats that `formatFor` gives, the others dense in bf16. `dtype`: of
 * all that is dense.
 */
export async function writePacked(
  directory: string,
  sizes: Sizes,
  formatFor: (linear: Linear, at: number) => string | null,
  options: {
    readonly seed?: number;
    readonly dtype?: "BF16" | "F16" | "F32";
    readonly extra?: object;
    readonly activations?: { readonly [layer: string]: ActivationFormat };
  } = {},
): Promise<void> {
  const dtype = options.dtype ?? "BF16";
  const raw = { ...smallConfig, vocab_size: 9, bos_token_id: 0, eos_token_id: 1, ...sizes };
  const config = parseConfig("config.json", raw);
  const linears = blocksOf(config).flatMap((block) => block.linears);
  const tensors: { [name: string]: PackedTensor } = {};
  const bytes = new Map<string, Uint8Array>();
  const layouts = [...expectedTensors(config)].map(([name, shape], index) => {
    const at = linears.findIndex(({ weight }) => weight === name);
    const format = at < 0 ? null : formatFor(linears[at]!, at);
    const seed = (options.seed ?? 1) + index;
    const { rows, columns } = shapeOf(shape);
    if (format === null) {
      bytes.set(name, fromFloats(dtype, numbers(rows * columns, seed)));
      return { name, dtype, shape };
    }
    const { spec, words } = packed(format, rows, columns, seed);
    const found = formatOfSpec(spec).pattern(spec);
    const pattern: StoredPattern =
      found?.kind === "nm" ? { ...found, axis: 1 } : found === null ? { kind: "full" } : found;
    tensors[name] = { format: spec, pattern, shape, dtype };
    bytes.set(name, new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    return storedLayout(name, spec, shape);
  });
  await writeJson(join(directory, "config.json"), {
    ...raw,
    ...options.extra,
    espalier: {
      version: options.activations === undefined ? 1 : 3,
      tensors,
      recipe: null,
      history: [],
      ...(options.activations === undefined ? {} : { activations: options.activations }),
    },
  });
  await writeJson(join(directory, "tokenizer.json"), tokenizerFor(config.vocabSize));
  const writer = await createSafetensors(join(directory, "model.safetensors"), layouts);
  for (const { name } of layouts) await writer.append(name, bytes.get(name)!);
  await writer.finish();
}

/** A byte-level tokenizer of so many tokens. */
function tokenizerFor(size: number): object {
  const tokens = Array.from({ length: size }, (_, id) =>
    id < 2 ? ["<s>", "</s>"][id]! : String.fromCharCode(95 + id),
  );
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    normalizer: null,
    post_processor: null,
    decoder: null,
    added_tokens: [0, 1].map((id) => ({
      id,
      content: tokens[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: [] },
  };
}

/** The values of all tensors, as digests; -0 counts as 0. */
export async function digests(model: Model): Promise<{ readonly [name: string]: string }> {
  const found: [string, string][] = [];
  for (const tensor of model.tensors) {
    const hash = createHash("sha256").update(JSON.stringify(tensor.shape));
    for await (const values of rowsOf(model, tensor))
      hash.update(new Uint8Array(values.map((value) => value + 0).buffer));
    found.push([tensor.name, hash.digest("hex")]);
  }
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Those of a path. */
export async function digestsAt(path: string): Promise<{ readonly [name: string]: string }> {
  const model = await openModel(path);
  try {
    return await digests(model);
  } finally {
    await model.close();
  }
}
