/** The types that values and tensors of a GGUF file have: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
import type { FormatSpec } from "../../../compiler/types/type.js";
import type { FloatType } from "../elements.js";

/** A type of tensor that Espalier reads. `columns` neighbours of a row take `bytes` bytes. */
export interface TensorType {
  readonly name: string;
  readonly columns: number;
  readonly bytes: number;
  /** The dense type, or the format whose words the bytes are. */
  readonly stored:
    | { readonly kind: "dense"; readonly dtype: FloatType }
    | { readonly kind: "format"; readonly format: FormatSpec };
}

function dense(name: FloatType, bytes: number): TensorType {
  return { name, columns: 1, bytes, stored: { kind: "dense", dtype: name } };
}

function packed(name: string, columns: number, bytes: number): TensorType {
  return { name, columns, bytes, stored: { kind: "format", format: { name: name.toLowerCase(), args: {}, of: null } } };
}

/** The types that are read, by their numbers in a file. */
export const tensorTypes: { readonly [id: number]: TensorType | undefined } = {
  0: dense("F32", 4),
  1: dense("F16", 2),
  30: dense("BF16", 2),
  2: packed("Q4_0", 32, 18),
  3: packed("Q4_1", 32, 20),
  8: packed("Q8_0", 32, 34),
  14: packed("Q6_K", 256, 210),
  6: packed("Q5_0", 32, 22),
  7: packed("Q5_1", 32, 24),
  10: packed("Q2_K", 256, 84),
  11: packed("Q3_K", 256, 110),
  12: packed("Q4_K", 256, 144),
  13: packed("Q5_K", 256, 176),
  20: packed("IQ4_NL", 32, 18),
};

/** The number of a type in a file, by its name. */
export function tensorTypeNumber(name: string): number {
  const found = Object.entries(tensorTypes).find(([, type]) => type?.name === name);
  if (found === undefined) throw new RangeError(`there is no type ${name}`);
  return Number(found[0]);
}

/** The names of those that are not. */
const otherTypes: { readonly [id: number]: string | undefined } = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/** The name of any type, for a message. */
export function tensorTypeName(id: number): string {
  return tensorTypes[id]?.name ?? otherTypes[id] ?? `number ${id}`;
}

/** Names of the types that are read, for a message. */
export const tensorTypeNames = Object.values(tensorTypes)
  .map((type) => type?.name)
  .join(", ");

/** A value of the metadata. */
export type MetadataValue = number | bigint | boolean | string | MetadataList;

/** A list of values of one type. 64-bit integers are bigints, truth values the numbers 0 and 1. */
export type MetadataList =
  | { readonly kind: "strings"; readonly items: readonly string[] }
  | { readonly kind: "numbers"; readonly items: ArrayLike<number> }
  | { readonly kind: "bigints"; readonly items: ArrayLike<bigint> };

/** A number of fixed width: its bytes, one value, and a list of them (bytes copied, so that they are aligned). */
interface NumberType {
  readonly bytes: number;
  one(view: DataView): number | bigint | boolean;
  list(bytes: ArrayBuffer): MetadataList;
}

/** The types of numbers by their numbers in a file; 8 is a string, 9 a list. */
export const numberTypes: { readonly [id: number]: NumberType | undefined } = {
  0: {
    bytes: 1,
    one: (view) => view.getUint8(0),
    list: (bytes) => ({ kind: "numbers", items: new Uint8Array(bytes) }),
  },
  1: { bytes: 1, one: (view) => view.getInt8(0), list: (bytes) => ({ kind: "numbers", items: new Int8Array(bytes) }) },
  2: {
    bytes: 2,
    one: (view) => view.getUint16(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Uint16Array(bytes) }),
  },
  3: {
    bytes: 2,
    one: (view) => view.getInt16(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Int16Array(bytes) }),
  },
  4: {
    bytes: 4,
    one: (view) => view.getUint32(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Uint32Array(bytes) }),
  },
  5: {
    bytes: 4,
    one: (view) => view.getInt32(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Int32Array(bytes) }),
  },
  6: {
    bytes: 4,
    one: (view) => view.getFloat32(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Float32Array(bytes) }),
  },
  7: {
    bytes: 1,
    one: (view) => view.getUint8(0) !== 0,
    list: (bytes) => ({ kind: "numbers", items: new Uint8Array(bytes) }),
  },
  10: {
    bytes: 8,
    one: (view) => narrowed(view.getBigUint64(0, true)),
    list: (bytes) => ({ kind: "bigints", items: new BigUint64Array(bytes) }),
  },
  11: {
    bytes: 8,
    one: (view) => narrowed(view.getBigInt64(0, true)),
    list: (bytes) => ({ kind: "bigints", items: new BigInt64Array(bytes) }),
  },
  12: {
    bytes: 8,
    one: (view) => view.getFloat64(0, true),
    list: (bytes) => ({ kind: "numbers", items: new Float64Array(bytes) }),
  },
};

/** As a number where that is exact. */
function narrowed(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
