/** GGUF files, version 3, written: what `container.ts` reads. */
import { elementCount } from "../../../compiler/types/shape.js";
import { createTensorFile, type SafetensorsWriter } from "../safetensors-writer.js";
import { tensorTypeNumber, tensorTypes } from "./types.js";

/** A value of the metadata with its type. */
export type WrittenValue =
  | { readonly type: "u32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "i32s" | "f32s"; readonly value: readonly number[] };

/** Entries of the metadata, in order. */
export type Metadata = readonly (readonly [key: string, value: WrittenValue])[];

/** A tensor that a file will hold. */
export interface GgufLayout {
  /** Its name in the file. */
  readonly name: string;
  /** The name of its type: `Q4_0`. */
  readonly type: string;
  /** The outermost axis first. */
  readonly shape: readonly number[];
}

/** The bytes of a tensor. */
export function layoutBytes({ type, shape }: GgufLayout): number {
  const { columns, bytes } = tensorTypes[tensorTypeNumber(type)]!;
  return (elementCount(shape) / columns) * bytes;
}

/** Tensors begin at multiples of it. */
const alignment = 32;

/**
 * Starts a file beside `path`, which it takes when it is complete.
 * @throws ModelError M151, M153, M154
 */
export async function createGguf(
  path: string,
  metadata: Metadata,
  tensors: readonly GgufLayout[],
): Promise<SafetensorsWriter> {
  let end = 0;
  const placed = tensors.map((layout) => {
    const begin = padded(end);
    end = begin + layoutBytes(layout);
    return { name: layout.name, begin, end };
  });
  const out = byteWriter();
  out.text("GGUF");
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.length);
  for (const [key, value] of metadata) {
    out.string(key);
    writeValue(out, value);
  }
  for (const [at, { name, type, shape }] of tensors.entries()) {
    out.string(name);
    out.u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(tensorTypeNumber(type));
    out.u64(placed[at]!.begin);
  }
  const head = out.bytes();
  return createTensorFile(path, { head, tensors: placed, bytes: head.length + padded(end) });
}

function padded(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

const numbers = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, list: 9 } as const;

function writeValue(out: ByteWriter, value: WrittenValue): void {
  switch (value.type) {
    case "u32":
      out.u32(numbers.u32);
      return out.u32(value.value);
    case "f32":
      out.u32(numbers.f32);
      return out.f32(value.value);
    case "bool":
      out.u32(numbers.bool);
      return out.u8(value.value ? 1 : 0);
    case "string":
      out.u32(numbers.string);
      return out.string(value.value);
    case "strings":
      out.list(numbers.string, value.value.length);
      return value.value.forEach(out.string);
    case "i32s":
      out.list(numbers.i32, value.value.length);
      return value.value.forEach((item) => out.u32(item >>> 0));
    case "f32s":
      out.list(numbers.f32, value.value.length);
      return value.value.forEach(out.f32);
    default:
      return value satisfies never;
  }
}

type ByteWriter = ReturnType<typeof byteWriter>;

/** Little-endian bytes one after the other. */
function byteWriter() {
  let buffer = Buffer.alloc(2 ** 16);
  let at = 0;
  /** Room for so many more bytes; where they begin. */
  const take = (count: number): number => {
    if (at + count > buffer.length) {
      const larger = Buffer.alloc(2 * (at + count));
      buffer.copy(larger, 0, 0, at);
      buffer = larger;
    }
    at += count;
    return at - count;
  };
  const u32 = (value: number): void => void buffer.writeUInt32LE(value, take(4));
  const u64 = (value: number): void => void buffer.writeBigUInt64LE(BigInt(value), take(8));
  const text = (value: string): void => {
    const bytes = Buffer.from(value);
    const start = take(bytes.length);
    bytes.copy(buffer, start);
  };
  return {
    u32,
    u64,
    text,
    u8: (value: number): void => void buffer.writeUInt8(value, take(1)),
    f32: (value: number): void => void buffer.writeFloatLE(value, take(4)),
    string(value: string): void {
      u64(Buffer.byteLength(value));
      text(value);
    },
    list(type: number, count: number): void {
      u32(numbers.list);
      u32(type);
      u64(count);
    },
    /** All of them, to where the data begin. */
    bytes(): Uint8Array {
      take(padded(at) - at);
      return buffer.subarray(0, at);
    },
  };
}
