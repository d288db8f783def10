import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { FormatSpec } from "../../compiler/types/type.js";
import { companionsOf, type Companion } from "./companions.js";
import { readConfig, type LlamaConfig } from "./config.js";
import { elementBits, isFloatType, toFloats, type ElementType } from "./elements.js";
import { problemsError, quoted } from "./error.js";
import { readGeneration, type GenerationConfig } from "./generation.js";
import { openGguf } from "./gguf/open.js";
import { parseSection, storedLayout, type PackedSection, type PackedTensor, type StoredPattern } from "./packed.js";
import { readTokenizer, type Tokenizer } from "./tokenizer.js";
import { openWeights, type WeightEntry, type Weights } from "./weights.js";

/** A tensor of a model. Its `bytes` bytes lie from byte `offset` of `file` on. */
export interface ModelTensor {
  readonly name: string;
  /** The dense shape, whatever the format. */
  readonly shape: readonly number[];
  /** The element type, of a packed tensor the one it had before. */
  readonly dtype: ElementType;
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  /**
   * As written by `compress`: the format whose words the bytes are. Null for a tensor as it came: `denseFormat(dtype)`.
   */
  readonly format: FormatSpec | null;
  readonly pattern: StoredPattern;
}

/** A linear layer: its weight is `[outputs, inputs]`. */
export interface Linear {
  /** The module's name: `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** The tensor's name: the module's and `.weight`. */
  readonly weight: string;
  readonly block: number;
  readonly outputs: number;
  readonly inputs: number;
}

/** A transformer block (a layer in the words of `config.json`). */
export interface Block {
  readonly index: number;
  /** `model.layers.0`. */
  readonly name: string;
  /** q, k, v, o, gate, up, down. */
  readonly linears: readonly Linear[];
}

/** An open model: config read and checked, weights on disk until they are read. */
export interface Model {
  /** The model directory, or the GGUF file. */
  readonly directory: string;
  readonly config: LlamaConfig;
  readonly generation: GenerationConfig;
  /** What `compress` recorded, null for a model it did not write. */
  readonly packed: PackedSection | null;
  /** The tensors that the model consists of, in the order of the files. Others in the files are left out. */
  readonly tensors: readonly ModelTensor[];
  readonly blocks: readonly Block[];
  /** The linear layers of all blocks, in order. */
  readonly linears: readonly Linear[];

  /** The tensor of that name; an unknown name is a RangeError. */
  tensor(name: string): ModelTensor;
  /** Bytes `begin` to `end` of a tensor, all where not said. */
  read(name: string, range?: { readonly begin: number; readonly end: number }): Promise<Uint8Array<ArrayBuffer>>;
  /** Fills `target` with a tensor's bytes from `begin` on. */
  readInto(name: string, target: Uint8Array, begin?: number): Promise<void>;
  /** A tensor's bytes in pieces of at most `size` bytes (a multiple of 16; 16 MiB where not said). */
  chunks(
    name: string,
    size?: number,
  ): AsyncGenerator<{ readonly begin: number; readonly bytes: Uint8Array<ArrayBuffer> }>;
  /** Elements `first` to `first + count` of a dense tensor (row-major) as f32, all where not said. */
  floats(name: string, first?: number, count?: number): Promise<Float32Array<ArrayBuffer>>;
  /** The tokenizer, loaded at the first call. */
  tokenizer(): Promise<Tokenizer>;
  /**
   * The files that make a model whole beside config and weights, by name. What cannot be read is found at the first
   * call,
   * so that it is told before a long work is done. @throws ModelError M100, M102
   */
  companions(): Promise<readonly Companion[]>;
  close(): Promise<void>;
}

/** What a model is made of, whatever files it comes from. */
export interface ModelParts {
  readonly path: string;
  readonly config: LlamaConfig;
  readonly generation: GenerationConfig;
  /** The section `espalier` of the config. */
  readonly section: PackedSection | null;
  /** What tensors of words stand for. */
  readonly packed: ReadonlyMap<string, PackedTensor>;
  readonly weights: Weights;
  tokenizer(): Promise<Tokenizer>;
  companions(): Promise<readonly Companion[]>;
}

/**
 * Opens a model directory or a GGUF file and checks everything but the values: config, the presence, shape and type of
 * each tensor, offsets. Nothing of the weights is read.
 * @throws ModelError any of M100 to M135, M160 to M164
 */
export async function openModel(path: string): Promise<Model> {
  const found = await stat(path).catch(() => null);
  const parts = await (found === null || found.isDirectory() ? openDirectory(path) : openGguf(path));
  try {
    checkWeights(parts);
    return makeModel(parts);
  } catch (error) {
    await parts.weights.close();
    throw error;
  }
}

async function openDirectory(path: string): Promise<ModelParts> {
  const config = await readConfig(path);
  const generation = await readGeneration(path, config);
  const section = parseSection(join(path, "config.json"), config.raw);
  return {
    path,
    config,
    generation,
    section,
    packed: section?.tensors ?? new Map<string, PackedTensor>(),
    weights: await openWeights(path),
    tokenizer: () =>
      readTokenizer(path, { vocabSize: config.vocabSize, bosToken: config.bosToken, eosTokens: generation.eosTokens }),
    companions: () => companionsOf(path),
  };
}

/** The files of the weights. */
export function filesOf(model: Model): readonly string[] {
  return [...new Set(model.tensors.map(({ file }) => file))];
}

/** Names and shapes of the tensors that a Llama of this config consists of. */
export function expectedTensors(config: LlamaConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize, vocabSize } = config;
  const tensors = new Map<string, readonly number[]>([["model.embed_tokens.weight", [vocabSize, hiddenSize]]]);
  for (const block of blocksOf(config)) {
    tensors.set(`${block.name}.input_layernorm.weight`, [hiddenSize]);
    tensors.set(`${block.name}.post_attention_layernorm.weight`, [hiddenSize]);
    for (const linear of block.linears) tensors.set(linear.weight, [linear.outputs, linear.inputs]);
  }
  tensors.set("model.norm.weight", [hiddenSize]);
  if (!config.tiedEmbeddings) tensors.set("lm_head.weight", [vocabSize, hiddenSize]);
  return tensors;
}

/** The blocks and their linear layers. */
export function blocksOf(config: LlamaConfig): readonly Block[] {
  const { hiddenSize, intermediateSize } = config;
  const queries = config.heads * config.headDim;
  const keys = config.keyValueHeads * config.headDim;
  const shapes = [
    ["self_attn.q_proj", queries, hiddenSize],
    ["self_attn.k_proj", keys, hiddenSize],
    ["self_attn.v_proj", keys, hiddenSize],
    ["self_attn.o_proj", hiddenSize, queries],
    ["mlp.gate_proj", intermediateSize, hiddenSize],
    ["mlp.up_proj", intermediateSize, hiddenSize],
    ["mlp.down_proj", hiddenSize, intermediateSize],
  ] as const;
  return Array.from({ length: config.layers }, (_, index) => {
    const name = `model.layers.${index}`;
    return {
      index,
      name,
      linears: shapes.map(([part, outputs, inputs]) => ({
        name: `${name}.${part}`,
        weight: `${name}.${part}.weight`,
        block: index,
        outputs,
        inputs,
      })),
    };
  });
}

function makeModel({
  path: directory,
  config,
  generation,
  section,
  packed,
  weights,
  tokenizer: openTokenizer,
  companions: findCompanions,
}: ModelParts): Model {
  const expected = expectedTensors(config);
  const entries = new Map([...weights.tensors].filter(([name]) => expected.has(name)));
  const tensors = new Map([...entries].map(([name, entry]) => [name, modelTensor(entry, packed.get(name))]));
  const blocks = blocksOf(config);
  let tokenizer: Promise<Tokenizer> | null = null;
  let beside: Promise<readonly Companion[]> | null = null;

  function entry(name: string): WeightEntry {
    return entries.get(name) ?? unknown(name);
  }
  function tensor(name: string): ModelTensor {
    return tensors.get(name) ?? unknown(name);
  }
  function unknown(name: string): never {
    throw new RangeError(`the model in ${directory} has no tensor ${name}`);
  }
  async function readInto(name: string, target: Uint8Array, begin = 0): Promise<void> {
    const { file, stored } = entry(name);
    await file.read(stored, target, begin);
  }
  async function read(name: string, range = { begin: 0, end: tensor(name).bytes }): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(checkedLength(name, range, tensor(name).bytes));
    await readInto(name, bytes, range.begin);
    return bytes;
  }
  return {
    directory,
    config,
    generation,
    blocks,
    tensor,
    read,
    readInto,
    packed: section,
    tensors: [...tensors.values()],
    linears: blocks.flatMap((block) => block.linears),
    async *chunks(name, size = 16 * 1024 * 1024) {
      const { bytes } = tensor(name);
      for (let begin = 0; begin < bytes; begin += size) {
        yield { begin, bytes: await read(name, { begin, end: Math.min(bytes, begin + size) }) };
      }
    },
    async floats(name, first = 0, count) {
      const { stored } = entry(name);
      if (!isFloatType(stored.dtype)) throw new RangeError(`${name} is packed, not dense`);
      const width = elementBits[stored.dtype] / 8;
      const end = count === undefined ? tensor(name).bytes : (first + count) * width;
      return toFloats(stored.dtype, await read(name, { begin: first * width, end }));
    },
    tokenizer() {
      tokenizer ??= openTokenizer();
      return tokenizer;
    },
    companions() {
      beside ??= findCompanions();
      return beside;
    },
    close: () => weights.close(),
  };
}

function checkedLength(
  name: string,
  { begin, end }: { readonly begin: number; readonly end: number },
  bytes: number,
): number {
  if (!(begin >= 0 && end >= begin && end <= bytes))
    throw new RangeError(`bytes ${begin} to ${end} are outside of tensor ${name} of ${bytes} bytes`);
  return end - begin;
}

function modelTensor({ file, stored }: WeightEntry, packed: PackedTensor | undefined): ModelTensor {
  return {
    name: stored.name,
    shape: packed?.shape ?? stored.shape,
    dtype: packed?.dtype ?? stored.dtype,
    file: file.path,
    offset: file.dataStart + stored.begin,
    bytes: stored.end - stored.begin,
    format: packed?.format ?? null,
    pattern: packed?.pattern ?? { kind: "full" },
  };
}

/**
 * Checks that the weights are those of the config: their names, shapes and types.
 * @throws ModelError M135, with all that is wrong
 */
export function checkWeights({ path, config, packed, weights }: ModelParts): void {
  const problems = findProblems(config, expectedTensors(config), packed, weights);
  if (problems.length > 0)
    throw problemsError("M135", `The weights in ${quoted(path)} are not those of its config`, problems);
}

/** What of the weights contradicts the config. */
function findProblems(
  config: LlamaConfig,
  expected: ReadonlyMap<string, readonly number[]>,
  packed: ReadonlyMap<string, PackedTensor>,
  weights: Weights,
): readonly string[] {
  const problems: string[] = [];
  for (const [name, shape] of expected) {
    const stored = weights.tensors.get(name)?.stored;
    const record = packed.get(name);
    if (stored === undefined) problems.push(`the tensor ${quoted(name)} is missing`);
    else problems.push(...tensorProblems(name, shape, record, stored));
  }
  for (const name of packed.keys())
    if (!weights.tensors.has(name) && !expected.has(name))
      problems.push(`the packed tensor ${quoted(name)} is missing`);
  for (const name of weights.tensors.keys()) {
    if (expected.has(name) || isHarmless(config, name)) continue;
    problems.push(`the tensor ${quoted(name)} has no place in a Llama with ${config.layers} blocks`);
  }
  return problems;
}

function tensorProblems(
  name: string,
  shape: readonly number[],
  record: PackedTensor | undefined,
  stored: WeightEntry["stored"],
): readonly string[] {
  const dense = record?.shape ?? stored.shape;
  if (!sameShape(dense, shape))
    return [`the tensor ${quoted(name)} has the shape [${dense.join(", ")}]; expected [${shape.join(", ")}]`];
  if (record === undefined)
    return isFloatType(stored.dtype)
      ? []
      : [`the tensor ${quoted(name)} has the dtype ${stored.dtype}; expected BF16, F16 or F32`];
  const layout = storedLayout(name, record.format, shape);
  if (stored.dtype === layout.dtype && sameShape(stored.shape, layout.shape)) return [];
  return [
    `the tensor ${quoted(name)}, packed, should be stored as ${layout.dtype} [${layout.shape.join(", ")}], found ${stored.dtype} [${stored.shape.join(", ")}]`,
  ];
}

/**
 * Tensors that change nothing: old files hold the rotary frequencies; a tied head is the embedding again; other parts
 * of the file have other owners.
 */
function isHarmless(config: LlamaConfig, name: string): boolean {
  if (name.endsWith(".rotary_emb.inv_freq")) return true;
  if (name === "lm_head.weight") return config.tiedEmbeddings;
  return !name.startsWith("model.") && !name.startsWith("lm_head.");
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
