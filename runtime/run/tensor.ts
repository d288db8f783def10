/** Tensors in device memory, and the bytes that dense ones have on the host. */
import { f16Bits, f16FromBits } from "../../compiler/float.js";
import type { RowOrder } from "../../compiler/types/row-order.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { DeviceError } from "../device/error.js";

/** What is known of a tensor's elements. */
export interface TensorForm {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** null: dense, elements of the dtype. */
  readonly format: FormatSpec | null;
}

/**
 * A tensor in device memory: bytes `[offset, offset + bytes)` of the buffer; `bytes` is a multiple of 16, padding
 * included.
 */
export interface DeviceTensor extends TensorForm {
  readonly buffer: GPUBuffer;
  /** A multiple of the device's minStorageBufferOffsetAlignment. */
  readonly offset: number;
  readonly bytes: number;
  /** How the rows of a packed tensor lie side by side; one after another where it is left out. */
  readonly order?: RowOrder;
}

/** Whether something is a tensor in device memory, as far as it shows. */
export function isTensor(value: unknown): value is DeviceTensor {
  if (typeof value !== "object" || value === null) return false;
  const { dtype, shape, format, buffer, offset, bytes } = value as { readonly [Key in keyof DeviceTensor]?: unknown };
  return (
    isDtype(dtype) &&
    typeof format === "object" &&
    Array.isArray(shape) &&
    typeof buffer === "object" &&
    buffer !== null &&
    "size" in buffer &&
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(bytes)
  );
}

/**
 * Values of a dense tensor on the host: f32 and f16 as Float32Array, i32 as Int32Array, u32 and bool (0 or 1) as
 * Uint32Array.
 */
export type HostValues = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Bytes of an element of a dense tensor in device memory; bool is a word of 0 or 1. */
const elementBytes: { readonly [D in Dtype]: number } = { f32: 4, f16: 2, i32: 4, u32: 4, bool: 4 };

/** Whether something is the name of a dtype. */
export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(elementBytes, name);
}

/**
 * Checks the form of a tensor that is to be made.
 * @throws DeviceError validation
 */
export function checkForm({ dtype, shape }: TensorForm, label: string): void {
  const refuse = (what: string): never => {
    throw new DeviceError("validation", `${label}: ${what}.`);
  };
  if (!isDtype(dtype))
    return refuse(`a dtype is one of ${Object.keys(elementBytes).join(", ")}, found ${describe(dtype)}`);
  if (!Array.isArray(shape)) return refuse(`a shape is a list of sizes, found ${describe(shape)}`);
  const wrong = (shape as readonly unknown[]).find((size) => !Number.isSafeInteger(size) || (size as number) < 0);
  if (wrong !== undefined) return refuse(`a size is a whole number of 0 or more, found ${describe(wrong)}`);
  if (!Number.isSafeInteger(4 * elementCount(shape))) return refuse(`[${shape.join(", ")}] has too many elements`);
}

/** What a value is, for messages: `3`, `"f64"`, `an array`, `nothing`. */
export function describe(value: unknown): string {
  switch (typeof value) {
    case "undefined":
      return "nothing";
    case "number":
      return `the number ${value}`;
    case "string":
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
    case "object":
      if (value === null) return "null";
      if (Array.isArray(value) || ArrayBuffer.isView(value)) return "an array";
      return isTensor(value) ? `a tensor ${printForm(value)}` : "an object that is no tensor";
    default:
      return `a ${typeof value}`;
  }
}

/** Bytes rounded up as device memory is: a multiple of 16, at least 16. */
export function paddedBytes(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** Bytes of a dense tensor in device memory, padding included: f16 takes 2 an element, the rest 4. */
export function denseBytes(dtype: Dtype, shape: readonly number[]): number {
  return paddedBytes(elementCount(shape) * elementBytes[dtype]);
}

/**
 * The elements as they lie in device memory, without padding: f16 rounded to nearest, halves to even; bool as a word of
 * 0 or 1.
 */
export function denseWords(dtype: Dtype, numbers: ArrayLike<number>): ArrayBufferView<ArrayBuffer> {
  switch (dtype) {
    case "f32":
      return Float32Array.from(numbers);
    case "i32":
      return Int32Array.from(numbers);
    case "u32":
      return Uint32Array.from(numbers);
    case "bool":
      return Uint32Array.from(numbers, (value) => (value !== 0 ? 1 : 0));
    case "f16":
      return Uint16Array.from(numbers, f16Bits);
    default:
      return dtype satisfies never;
  }
}

/** The first `count` elements that lie in these bytes. */
export function denseValues(dtype: Dtype, count: number, bytes: Uint8Array<ArrayBuffer>): HostValues {
  const { buffer, byteOffset } = bytes;
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer, byteOffset, count);
    case "i32":
      return new Int32Array(buffer, byteOffset, count);
    case "u32":
    case "bool":
      return new Uint32Array(buffer, byteOffset, count);
    case "f16":
      return Float32Array.from(new Uint16Array(buffer, byteOffset, count), f16FromBits);
    default:
      return dtype satisfies never;
  }
}

/**
 * Whether a tensor of one form can stand where the other is expected. A dense format named as its dtype is the same as
 * none.
 */
export function sameForm(a: TensorForm, b: TensorForm): boolean {
  return (
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, axis) => size === b.shape[axis]) &&
    sameFormat(a, b)
  );
}

function sameFormat(a: TensorForm, b: TensorForm): boolean {
  const plain = ({ dtype, format }: TensorForm): FormatSpec | null =>
    format !== null && format.name === dtype && format.of === null ? null : format;
  return sameSpec(plain(a), plain(b));
}

function sameSpec(a: FormatSpec | null, b: FormatSpec | null): boolean {
  if (a === b) return true;
  if (a === null || b === null || a.name !== b.name || !sameSpec(a.of, b.of)) return false;
  const names = Object.keys(a.args);
  return names.length === Object.keys(b.args).length && names.every((name) => a.args[name] === b.args[name]);
}

/** The form for people: `f32[4, 8] as int4(...)`. */
export function printForm({ dtype, shape, format }: TensorForm): string {
  const spec = (f: FormatSpec): string => {
    const args = Object.entries(f.args)
      .map(([name, value]) => `${name}: ${value}`)
      .join(", ");
    return `${f.name}${args === "" ? "" : `(${args})`}${f.of === null ? "" : ` of ${spec(f.of)}`}`;
  };
  return `${dtype}[${shape.join(", ")}]${format === null ? "" : ` as ${spec(format)}`}`;
}
