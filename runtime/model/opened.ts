import type { FormatSpec } from "../../compiler/types/type.js";
import type { ActivationFormat } from "../../compiler/types/activation-format.js";
import { companionsOf, type Companion } from "./companions.js";
import { readConfig, type LlamaConfig } from "./config.js";
import type { Directory } from "./directory.js";
import { elementBits, isElementType, isFloatType, toFloats, type ElementType } from "./elements.js";
import { readGeneration, type GenerationConfig } from "./generation.js";
import { openCheckpoint } from "./interchange/checkpoint.js";
import { blocksOf, expectedTensors, type Block, type Linear } from "./layout.js";
import { parseSection, type PackedSection, type PackedTensor, type StoredPattern } from "./packed.js";
import {
  checkActivations,
  checkWeights,
  unknownWarning,
  unusedTensors,
  withHead,
  type ModelParts,
  type UnusedTensor,
} from "./parts.js";
import {
  checkTokenizer,
  tokenizerFile,
  tokenizerIn,
  type Tokenizer,
  type TokenizerLibrary,
} from "./tokenizer/from-json.js";
import type { WeightEntry } from "./weights.js";

/**
 * A tensor of a model. Its `bytes` bytes lie from byte `offset` of `file` on; where another tool has packed it, what they
 * are made from begins there.
 */
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
   * Of a packed tensor: the format whose words the bytes are. Null for a dense one: `denseFormat(dtype)`.
   */
  readonly format: FormatSpec | null;
  readonly pattern: StoredPattern;
}

export type { Block, Linear } from "./layout.js";

/** An open model: config read and checked, weights on disk until they are read. */
export interface Model {
  /** The model directory, or the GGUF file. */
  readonly directory: string;
  readonly config: LlamaConfig;
  readonly generation: GenerationConfig;
  /** What `compress` recorded, null for a model it did not write. */
  readonly packed: PackedSection | null;
  /** In what linear layers take what they multiply, by their names; as it is where there is none. */
  readonly activations: ReadonlyMap<string, ActivationFormat>;
  /** The tensors that the model consists of, in the order of the files. Others in the files are left out. */
  readonly tensors: readonly ModelTensor[];
  readonly blocks: readonly Block[];
  /** The linear layers of all blocks, in order. */
  readonly linears: readonly Linear[];
  /** What lies in the files and is no part of the model. */
  readonly unused: readonly UnusedTensor[];
  /**
   * What the user should know of the files: where they contradict themselves and what is not used, a sentence each,
   * without a full stop.
   */
  readonly warnings: readonly string[];

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
   * The files that make a model whole beside config and weights, by name. What cannot be read, or is no tokenizer of
   * the model, is found at the first call, so that it is reported before a long work is done.
   * @throws ModelError M100, M102, M104, M141, M142
   */
  companions(): Promise<readonly Companion[]>;
  close(): Promise<void>;
}

/**
 * A model of these parts, checked in everything but its values. They are closed where it fails.
 * @throws ModelError M135 and what reading the head throws
 */
export async function modelOf(opened: ModelParts): Promise<Model> {
  try {
    const parts = await withHead(opened);
    checkWeights(parts);
    checkActivations(parts);
    return makeModel(parts);
  } catch (error) {
    await opened.weights.close();
    throw error;
  }
}

/**
 * Opens a model directory, wherever it is, and checks everything but the values: config, the presence, shape and type
 * of each tensor, offsets. Nothing of the weights is read.
 * @throws ModelError any of M100 to M136
 */
export async function openModelIn(directory: Directory, tokenizers: TokenizerLibrary): Promise<Model> {
  return modelOf(await partsIn(directory, tokenizers));
}

async function partsIn(directory: Directory, tokenizers: TokenizerLibrary): Promise<ModelParts> {
  const given = await readConfig(directory);
  const generation = await readGeneration(directory, given);
  const section = parseSection(directory.pathOf("config.json"), given.raw);
  const { config, weights, packed, activations, warnings } = await openCheckpoint(
    directory,
    given,
    section?.tensors ?? new Map<string, PackedTensor>(),
  );

  const { vocabSize, bosToken } = config;
  const expected = { vocabSize, bosToken, eosTokens: generation.eosTokens };
  return {
    path: directory.path,
    config,
    generation,
    section,
    packed,
    activations: section?.activations ?? activations,
    weights,
    warnings: [...config.warnings, ...generation.warnings, ...weights.warnings, ...warnings],
    tokenizer: () => tokenizerIn(directory, expected, tokenizers),
    async companions() {
      const found = await companionsOf(directory);
      if (found.some(({ name }) => name === tokenizerFile)) await checkTokenizer(directory, expected);
      return found;
    },
  };
}

/** The files of the weights. */
export function filesOf(model: Model): readonly string[] {
  return [...new Set(model.tensors.map(({ file }) => file))];
}

function makeModel(parts: ModelParts): Model {
  const { path: directory, config, generation, section, packed, weights } = parts;
  const unused = unusedTensors(parts);
  const unknowns = unknownWarning(config, unused);
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
    unused,
    warnings: unknowns === null ? parts.warnings : [...parts.warnings, unknowns],
    tensor,
    read,
    readInto,
    packed: section,
    activations: parts.activations,
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
      tokenizer ??= parts.tokenizer();
      return tokenizer;
    },
    companions() {
      beside ??= parts.companions();
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
  const dtype = packed?.dtype ?? stored.dtype;
  if (!isElementType(dtype))
    throw new RangeError(`${stored.name} has elements of the type ${dtype}, which is not known`);
  return {
    name: stored.name,
    shape: packed?.shape ?? stored.shape,
    dtype,
    file: file.path,
    offset: file.dataStart + stored.begin,
    bytes: stored.end - stored.begin,
    format: packed?.format ?? null,
    pattern: packed?.pattern ?? { kind: "full" },
  };
}
