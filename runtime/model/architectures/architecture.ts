/**
 * What an architecture is: which configs it takes, the names of its tensors in the files of Hugging Face and in GGUF, and
 * what they are called in the function of the language that is a block of it. One file of this folder each.
 */
import type { Fields, NumberRule } from "../fields.js";
import { describe } from "../json.js";
import type { LlamaConfig, Particulars } from "../llama-config.js";

/** A tensor of a block, by all of its names. */
export interface BlockTensor {
  /** After the name of the block: `self_attn.q_proj.weight`. */
  readonly name: string;
  /** After that of the block in a GGUF file: `attn_q.weight`. */
  readonly gguf: string;
  /** The parameter of the block's function. */
  readonly parameter: string;
  /** `[outputs, inputs]` of a linear layer, `[elements]` of a gain or a bias. */
  readonly shape: readonly number[];
  /** Whether a GGUF file has the two halves of each head interleaved. */
  readonly interleaved?: boolean;
}

/** A block as it is run. */
export interface BlockLayout {
  /** The function of the standard library. */
  readonly function: string;
  readonly tensors: readonly BlockTensor[];
  /** Vectors that the function takes and this model has not: zeros. */
  readonly zeros?: readonly Pick<BlockTensor, "parameter" | "shape">[];
  /** Its size parameters that no tensor shows. */
  readonly sizes: { readonly [name: string]: number };
  /** Its numbers. */
  readonly scalars: { readonly [name: string]: number };
}

export interface Architecture {
  /** For messages: `Llama`. */
  readonly title: string;
  /** `model_type` and the class in `architectures`. */
  readonly modelType: string;
  readonly className: string;
  /** `general.architecture` of GGUF files; null where none are read or written. */
  readonly gguf: string | null;
  /** What files have too little of every gain: 1, where a norm multiplies by 1 and the weight. */
  readonly gainOffset?: number;
  /** The fields that say the rotary embedding, where it is not those of the config itself. */
  readonly rope?: (fields: Fields) => Fields;
  /** What a config means by a field that is absent, where it is not what it is for a Llama. */
  readonly defaults?: {
    readonly headDim?: number;
    readonly keyValueHeads?: number;
    readonly tiedEmbeddings?: boolean;
    readonly normEpsilon?: number;
  };
  /** Reads what only this architecture has; `unsupported` receives what is not supported, a sentence each. */
  particulars(fields: Fields, layers: number, unsupported: string[]): Particulars;
  block(config: LlamaConfig, index: number): BlockLayout;
}

/** Every token sees all before it. */
export function noWindows(layers: number): readonly null[] {
  return new Array<null>(layers).fill(null);
}

/** The same window for each block; none where the field is absent. */
export function windowOf(fields: Fields, layers: number): Particulars["windows"] {
  const windows = fields.has("sliding_window") ? fields.number("sliding_window", windowRule) : null;
  return new Array<number | null>(layers).fill(windows);
}

export const windowRule: NumberRule = { integer: true, min: 1, max: 2 ** 27 };

/** Windows of those blocks that a list of kinds, or else the number of the first such block, says. */
export function windowsByLayer(fields: Fields, layers: number, unsupported: string[]): Particulars["windows"] {
  if (!fields.boolean("use_sliding_window", false) || !fields.has("sliding_window")) {
    const kinds = layerKinds(fields, layers, unsupported);
    if (kinds?.includes("sliding_attention") === true)
      fields.problem("layer_types", '"full_attention" for each block, as no window is in use', "sliding_attention");
    return noWindows(layers);
  }
  const window = fields.number("sliding_window", windowRule);
  const first = fields.number("max_window_layers", { integer: true, min: 0, max: 2 ** 20 }, 28);
  const kinds = layerKinds(fields, layers, unsupported);
  return Array.from({ length: layers }, (_, at) =>
    (kinds === null ? at >= first : kinds[at] === "sliding_attention") ? window : null,
  );
}

/** `layer_types`, null where there is none. */
export function layerKinds(fields: Fields, layers: number, unsupported: string[]): readonly unknown[] | null {
  const kinds = fields.raw("layer_types");
  if (kinds === undefined) return null;
  if (!Array.isArray(kinds) || kinds.length !== layers) {
    fields.problem("layer_types", `a list of num_hidden_layers = ${layers} kinds of attention`, kinds);
    return null;
  }
  const other: unknown = kinds.find((kind) => kind !== "full_attention" && kind !== "sliding_attention");
  if (other !== undefined)
    unsupported.push(`\`layer_types\` should hold "full_attention" and "sliding_attention", found ${describe(other)}`);
  return kinds;
}

/** Fields that are true where this architecture has no such part in Espalier. */
export function refuseTrue(fields: Fields, names: readonly string[], unsupported: string[]): void {
  for (const name of names)
    if (fields.boolean(name, false))
      unsupported.push(`\`${name}\` is true: linear layers with these biases are not supported`);
}

/** A bias of a linear layer. */
export function bias(name: string, gguf: string, parameter: string, size: number, interleaved = false): BlockTensor {
  return {
    name: `${name}.bias`,
    gguf: `${gguf}.bias`,
    parameter,
    shape: [size],
    ...(interleaved ? { interleaved } : {}),
  };
}

/** Biases of queries, keys and values. */
export function qkvBiases(config: LlamaConfig, interleaved: boolean): readonly BlockTensor[] {
  const [queries, keys] = [config.heads * config.headDim, config.keyValueHeads * config.headDim];
  return [
    bias("self_attn.q_proj", "attn_q", "q_bias", queries, interleaved),
    bias("self_attn.k_proj", "attn_k", "k_bias", keys, interleaved),
    bias("self_attn.v_proj", "attn_v", "v_bias", keys),
  ];
}

export const noBiases: Particulars["biases"] = { qkv: false, o: false, mlp: false };

/** The norms and linear layers that a Llama block and its kin have. `interleaved`: see there, of q and k. */
export function plainTensors(config: LlamaConfig, interleaved: boolean): readonly BlockTensor[] {
  const { hiddenSize, intermediateSize } = config;
  const queries = config.heads * config.headDim;
  const keys = config.keyValueHeads * config.headDim;
  const linear = (name: string, gguf: string, parameter: string, outputs: number, inputs: number): BlockTensor => ({
    name: `${name}.weight`,
    gguf: `${gguf}.weight`,
    parameter,
    shape: [outputs, inputs],
  });
  const halves = (tensor: BlockTensor): BlockTensor => (interleaved ? { ...tensor, interleaved } : tensor);
  return [
    gain("input_layernorm", "attn_norm", "attention_gain", hiddenSize),
    gain("post_attention_layernorm", "ffn_norm", "mlp_gain", hiddenSize),
    halves(linear("self_attn.q_proj", "attn_q", "wq", queries, hiddenSize)),
    halves(linear("self_attn.k_proj", "attn_k", "wk", keys, hiddenSize)),
    linear("self_attn.v_proj", "attn_v", "wv", keys, hiddenSize),
    linear("self_attn.o_proj", "attn_output", "wo", hiddenSize, queries),
    linear("mlp.gate_proj", "ffn_gate", "gate", intermediateSize, hiddenSize),
    linear("mlp.up_proj", "ffn_up", "up", intermediateSize, hiddenSize),
    linear("mlp.down_proj", "ffn_down", "down", hiddenSize, intermediateSize),
  ];
}

/** What is added to a tensor of a model's files to have what a norm multiplies by. */
export function gainOffset({ gainOffset: offset = 0 }: Pick<Architecture, "gainOffset">, name: string): number {
  return name.endsWith("norm.weight") ? offset : 0;
}

/** A norm's gain. */
export function gain(name: string, gguf: string, parameter: string, size: number): BlockTensor {
  return { name: `${name}.weight`, gguf: `${gguf}.weight`, parameter, shape: [size] };
}

/** What every block takes beside its tensors; a block with a window takes that. */
export function plainLayout(config: LlamaConfig, index: number): Pick<BlockLayout, "sizes" | "scalars"> {
  const window = config.windows[index] ?? null;
  return {
    sizes: { heads: config.heads, groups: config.keyValueHeads, head: config.headDim },
    scalars: { eps: config.normEpsilon, ...(window === null ? {} : { window }) },
  };
}
