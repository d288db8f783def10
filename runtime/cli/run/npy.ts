/**
 * Arrays in NumPy's file format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Numbers and
 * booleans, little-endian, of any rank; what else there is is refused by name.
 */
import { f16Bits, f16FromBits } from "../../../compiler/float.js";
import type { Dtype } from "../../../compiler/types/dtype.js";
import { elementCount } from "../../../compiler/types/shape.js";

/** An array as a file has it: row-major, whatever the file's order. */
export interface Npy {
  /** NumPy's name, `float32`. */
  readonly dtype: NpyDtype;
  readonly shape: readonly number[];
  /** 64-bit integers that no number holds exactly are refused when they are read. */
  readonly values: ArrayLike<number>;
}

/** How the elements of a dtype are read. */
const readers = {
  float16: (view: DataView, at: number) => f16FromBits(view.getUint16(at, true)),
  float32: (view: DataView, at: number) => view.getFloat32(at, true),
  float64: (view: DataView, at: number) => view.getFloat64(at, true),
  int8: (view: DataView, at: number) => view.getInt8(at),
  int16: (view: DataView, at: number) => view.getInt16(at, true),
  int32: (view: DataView, at: number) => view.getInt32(at, true),
  int64: (view: DataView, at: number) => Number(view.getBigInt64(at, true)),
  uint8: (view: DataView, at: number) => view.getUint8(at),
  uint16: (view: DataView, at: number) => view.getUint16(at, true),
  uint32: (view: DataView, at: number) => view.getUint32(at, true),
  uint64: (view: DataView, at: number) => Number(view.getBigUint64(at, true)),
  bool: (view: DataView, at: number) => (view.getUint8(at) === 0 ? 0 : 1),
} as const;

export type NpyDtype = keyof typeof readers;

/** Type codes of the header, without the order of bytes. */
const codes: Readonly<Record<string, NpyDtype>> = {
  f2: "float16",
  f4: "float32",
  f8: "float64",
  i1: "int8",
  i2: "int16",
  i4: "int32",
  i8: "int64",
  u1: "uint8",
  u2: "uint16",
  u4: "uint32",
  u8: "uint64",
  b1: "bool",
};

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const longestHeader = 65536;
const mostAxes = 32;

/** Reads a file; a string says what is wrong with it, in words to be put behind its name. */
export function readNpy(bytes: Uint8Array): Npy | string {
  if (bytes.length < 10 || magic.some((byte, at) => bytes[at] !== byte)) return "is no .npy file";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6] ?? 0;
  if (version < 1 || version > 3) return `is a .npy file of version ${version}; versions 1 to 3 are read`;
  const start = version === 1 ? 10 : 12;
  if (bytes.length < start) return "ends within its header";
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > longestHeader) return `has a header of ${length} bytes; at most ${longestHeader} are read`;
  if (bytes.length < start + length) return "ends within its header";
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const [, descr = ""] = /'descr'\s*:\s*'([^']*)'/.exec(header) ?? [];
  const [, order = ""] = /'fortran_order'\s*:\s*(True|False)/.exec(header) ?? [];
  const [, axes = null] = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(header) ?? [];
  if (order === "" || axes === null) return `has a header that cannot be read: ${header.slice(0, 80).trim()}`;
  const dtype = codes[descr.slice(1)];
  if (dtype === undefined || !"<|=".includes(descr[0] ?? "?"))
    return `holds elements of the type "${descr}"; numbers of 8 to 64 bits and booleans, little-endian, are read`;
  const shape = axes
    .split(",")
    .map((axis) => axis.trim())
    .filter((axis) => axis !== "")
    .map((axis) => Number(axis.replace(/L$/, "")));
  const size = Number(/\d$/.exec(descr)?.[0] ?? 1);
  const count = elementCount(shape);
  if (
    shape.length > mostAxes ||
    shape.some((axis) => !Number.isSafeInteger(axis)) ||
    !Number.isSafeInteger(count * size)
  )
    return `has the shape (${axes}), which is too large`;
  const found = bytes.length - start - length;
  if (found !== count * size)
    return `has ${found} bytes of elements, where ${dtype} of the shape [${shape.join(", ")}] takes ${count * size}`;
  const values = new Float64Array(count);
  for (let at = 0; at < count; at += 1) values[at] = readers[dtype](view, start + length + at * size);
  if (/64$/.test(dtype) && dtype !== "float64" && values.some((value) => !Number.isSafeInteger(value)))
    return `holds an ${dtype} that takes more than 53 bits`;
  return { dtype, shape, values: order === "True" ? rowMajor(values, shape) : values };
}

/** Elements whose first axis runs fastest, with the last running fastest. */
function rowMajor(values: Float64Array, shape: readonly number[]): Float64Array {
  const result = new Float64Array(values.length);
  const at = shape.map(() => 0);
  for (let to = 0; to < values.length; to += 1) {
    const from = at.reduceRight((sum, index, axis) => sum * (shape[axis] ?? 1) + index, 0);
    result[to] = values[from] ?? 0;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      at[axis] = (at[axis] ?? 0) + 1;
      if ((at[axis] ?? 0) < (shape[axis] ?? 0)) break;
      at[axis] = 0;
    }
  }
  return result;
}

/** How the elements of a dtype are written. */
const writers: {
  readonly [D in Dtype]: {
    readonly descr: string;
    readonly bytes: number;
    readonly write: (view: DataView, at: number, value: number) => void;
  };
} = {
  f32: { descr: "<f4", bytes: 4, write: (view, at, value) => view.setFloat32(at, value, true) },
  f16: { descr: "<f2", bytes: 2, write: (view, at, value) => view.setUint16(at, f16Bits(value), true) },
  i32: { descr: "<i4", bytes: 4, write: (view, at, value) => view.setInt32(at, value, true) },
  u32: { descr: "<u4", bytes: 4, write: (view, at, value) => view.setUint32(at, value, true) },
  bool: { descr: "|b1", bytes: 1, write: (view, at, value) => view.setUint8(at, value === 0 ? 0 : 1) },
};

/** A file of version 1 with these elements, row-major. */
export function writeNpy(dtype: Dtype, shape: readonly number[], values: ArrayLike<number>): Uint8Array {
  const { descr, bytes, write } = writers[dtype];
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const written = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  // elements begin at a multiple of 64 bytes
  const header = `${written}${" ".repeat(63 - ((10 + written.length) % 64))}\n`;
  const file = new Uint8Array(10 + header.length + values.length * bytes);
  file.set([...magic, 1, 0, header.length & 255, header.length >> 8]);
  file.set(new TextEncoder().encode(header), 10);
  const view = new DataView(file.buffer, 10 + header.length);
  for (let at = 0; at < values.length; at += 1) write(view, at * bytes, values[at] ?? 0);
  return file;
}
