/** Where tensors lie in a safetensors file that is to be written. */
import { byteCount, type ElementType } from "./elements.js";
import { headerLimit, printHeader } from "./header.js";

/** A tensor that a file will hold. */
export interface TensorLayout {
  readonly name: string;
  readonly dtype: ElementType;
  readonly shape: readonly number[];
}

/** The beginning of such a file, and the places of its tensors. */
export interface FileLayout {
  /** All that comes before the data: the header and, before it, its length. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Bytes of `header`. */
  readonly dataStart: number;
  /** Where tensors lie in the data, in bytes. */
  readonly places: ReadonlyMap<string, { readonly begin: number; readonly end: number }>;
  /** Size of the whole file. */
  readonly bytes: number;
}

/** Lays tensors out in their order. What a file cannot hold is a RangeError. */
export function layoutFile(tensors: readonly TensorLayout[], metadata: ReadonlyMap<string, string>): FileLayout {
  const places = new Map<string, { readonly begin: number; readonly end: number }>();
  let end = 0;
  const stored = tensors.map(({ name, dtype, shape }) => {
    const size = byteCount(dtype, shape);
    if (size === null)
      throw new RangeError(`tensor ${name} of ${dtype} [${shape.join(", ")}] has no whole number of bytes`);
    if (places.has(name)) throw new RangeError(`tensor ${name} stands twice`);
    const begin = end;
    end += size;
    places.set(name, { begin, end });
    return { name, dtype, shape, begin, end };
  });
  const text = new TextEncoder().encode(printHeader({ tensors: stored, metadata }));
  if (text.length > headerLimit)
    throw new RangeError(`a header of ${text.length} bytes is beyond the limit of the format`);
  const header = new Uint8Array(8 + text.length);
  new DataView(header.buffer).setBigUint64(0, BigInt(text.length), true);
  header.set(text, 8);
  return { header, dataStart: header.length, places, bytes: header.length + end };
}
