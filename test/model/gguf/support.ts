/** GGUF files made for tests, byte by byte: right ones, and ones that are wrong in a chosen place. */
import { writeFile } from "node:fs/promises";
import { projectFile } from "../../support/project.js";

/** A value of the metadata with its type; `raw` bytes are written as they are, type included. */
export type Value =
  | { readonly type: "u8" | "u32" | "i32" | "f32" | "u64"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "i32s" | "f32s"; readonly value: readonly number[] }
  | { readonly type: "raw"; readonly value: Uint8Array };

/**
 * A tensor; the shape is the outermost axis first. What is not said follows from the rest: offsets one after the other,
 * zeros as data.
 */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Number of the type; F32 where not said. */
  readonly type?: number;
  readonly bytes?: number;
  readonly data?: Uint8Array;
  readonly offset?: number;
}

export interface GgufParts {
  readonly magic?: string;
  readonly version?: number;
  readonly metadata: readonly (readonly [string, Value])[];
  readonly tensors: readonly Tensor[];
  readonly tensorCount?: number;
  readonly entryCount?: number;
  readonly alignment?: number;
}

const numbers = { u8: 0, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, u64: 10, strings: 8, i32s: 5, f32s: 6 } as const;

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

export function text(value: string): Buffer {
  return Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
}

function i32(value: number): Buffer {
  return u32(value >>> 0);
}

function valueBytes(value: Value): Buffer {
  switch (value.type) {
    case "raw":
      return Buffer.from(value.value);
    case "u8":
      return Buffer.concat([u32(0), Buffer.from([value.value])]);
    case "bool":
      return Buffer.concat([u32(7), Buffer.from([value.value ? 1 : 0])]);
    case "u32":
      return Buffer.concat([u32(4), u32(value.value)]);
    case "i32":
      return Buffer.concat([u32(5), i32(value.value)]);
    case "f32":
      return Buffer.concat([u32(6), f32(value.value)]);
    case "u64":
      return Buffer.concat([u32(10), u64(value.value)]);
    case "string":
      return Buffer.concat([u32(8), text(value.value)]);
    case "strings":
      return Buffer.concat([u32(9), u32(numbers[value.type]), u64(value.value.length), ...value.value.map(text)]);
    case "i32s":
      return Buffer.concat([u32(9), u32(numbers[value.type]), u64(value.value.length), ...value.value.map(i32)]);
    case "f32s":
      return Buffer.concat([u32(9), u32(numbers[value.type]), u64(value.value.length), ...value.value.map(f32)]);
    default:
      return value satisfies never;
  }
}

/** The bytes of a file. */
export function ggufBytes(parts: GgufParts): Buffer {
  const alignment = parts.alignment ?? 32;
  const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;
  let next = 0;
  const placed = parts.tensors.map((tensor) => {
    const bytes = tensor.data?.length ?? tensor.bytes ?? tensor.shape.reduce((product, size) => product * size, 4);
    const offset = tensor.offset ?? next;
    next = padded(offset + bytes);
    return { ...tensor, bytes, offset };
  });
  const head = Buffer.concat([
    Buffer.from(parts.magic ?? "GGUF", "latin1"),
    u32(parts.version ?? 3),
    u64(parts.tensorCount ?? placed.length),
    u64(parts.entryCount ?? parts.metadata.length),
    ...parts.metadata.flatMap(([key, value]) => [text(key), valueBytes(value)]),
    ...placed.flatMap(({ name, shape, type, offset }) => [
      text(name),
      u32(shape.length),
      ...[...shape].reverse().map(u64),
      u32(type ?? 0),
      u64(offset),
    ]),
  ]);
  const file = Buffer.alloc(
    padded(head.length) +
      placed.reduce((end, { offset, bytes }) => (offset < 1e9 ? Math.max(end, offset + bytes) : end), 0),
  );
  head.copy(file);
  for (const { data, offset } of placed) if (data !== undefined) file.set(data, padded(head.length) + offset);
  return file;
}

/** A vocabulary of bytes in the manner of GPT-2, with two control tokens before and three merges. */
const letters = [..."abcdefghijklmnopqrstuvwxyzĠ"];
export const smallTokens = ["<s>", "</s>", ...letters, "he", "Ġt", "Ġthe"];

/** A Llama of one block: hidden 32, two heads of 16, vocabulary as above. */
export const smallMetadata: GgufParts["metadata"] = [
  ["general.architecture", { type: "string", value: "llama" }],
  ["llama.block_count", { type: "u32", value: 1 }],
  ["llama.context_length", { type: "u32", value: 64 }],
  ["llama.embedding_length", { type: "u32", value: 32 }],
  ["llama.feed_forward_length", { type: "u32", value: 32 }],
  ["llama.attention.head_count", { type: "u32", value: 2 }],
  ["llama.attention.head_count_kv", { type: "u32", value: 1 }],
  ["llama.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
  ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
  ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
  ["tokenizer.ggml.tokens", { type: "strings", value: smallTokens }],
  ["tokenizer.ggml.token_type", { type: "i32s", value: smallTokens.map((_, id) => (id < 2 ? 3 : 1)) }],
  ["tokenizer.ggml.merges", { type: "strings", value: ["h e", "Ġ t", "Ġt he"] }],
  ["tokenizer.ggml.bos_token_id", { type: "u32", value: 0 }],
  ["tokenizer.ggml.eos_token_id", { type: "u32", value: 1 }],
];

export const smallTensors: readonly Tensor[] = [
  { name: "output_norm.weight", shape: [32] },
  { name: "token_embd.weight", shape: [smallTokens.length, 32] },
  { name: "blk.0.attn_norm.weight", shape: [32] },
  { name: "blk.0.attn_q.weight", shape: [32, 32], type: 2, bytes: 32 * 18 },
  { name: "blk.0.attn_k.weight", shape: [16, 32], type: 8, bytes: 16 * 34 },
  { name: "blk.0.attn_v.weight", shape: [16, 32], type: 1, bytes: 16 * 64 },
  { name: "blk.0.attn_output.weight", shape: [32, 32], type: 30, bytes: 32 * 64 },
  { name: "blk.0.ffn_norm.weight", shape: [32] },
  { name: "blk.0.ffn_gate.weight", shape: [32, 32], type: 3, bytes: 32 * 20 },
  { name: "blk.0.ffn_up.weight", shape: [32, 32], type: 8, bytes: 32 * 34 },
  { name: "blk.0.ffn_down.weight", shape: [32, 32], type: 2, bytes: 32 * 18 },
];

/** The parts of that model, with entries replaced, added, or (null) left out. */
export function small(
  changes: Readonly<Record<string, Value | null>> = {},
  tensors: readonly Tensor[] = smallTensors,
): GgufParts {
  const kept = smallMetadata.filter(([key]) => !Object.hasOwn(changes, key));
  const added = Object.entries(changes).flatMap(([key, value]) => (value === null ? [] : [[key, value] as const]));
  return { metadata: [...kept, ...added], tensors };
}

/** The tensors of that model, one of them changed. */
export function withTensor(name: string, change: Partial<Tensor>): readonly Tensor[] {
  return smallTensors.map((tensor) => (tensor.name === name ? { ...tensor, ...change } : tensor));
}

export async function writeGguf(path: string, parts: GgufParts): Promise<string> {
  await writeFile(path, ggufBytes(parts));
  return path;
}

/** What is expected of a file of `test/data/gguf`. */
export interface Expected {
  readonly perplexity: number;
  readonly greedy_ids: readonly number[];
  readonly greedy_smallest_top2_gap: number;
  readonly types: { readonly [tensor: string]: string };
  readonly tensors: {
    readonly [name: string]: {
      readonly shape: readonly number[];
      readonly zeros: number;
      readonly first8: readonly number[];
      readonly sha256_f32le: string;
    };
  };
}

/** The files that llama.cpp's converter and quantiser wrote. */
export const fixtures = [
  "classics-1l-f16",
  "classics-2l-q4_1-pure",
  "classics-2l-q6_k",
  "classics-2l-q8_0",
  "classics-4l-q4_0",
] as const;

export function fixture(name: (typeof fixtures)[number]): { readonly model: string; readonly expected: string } {
  return {
    model: projectFile(`test/data/gguf/${name}.gguf`),
    expected: projectFile(`test/data/gguf/expected-${name}.json`),
  };
}
