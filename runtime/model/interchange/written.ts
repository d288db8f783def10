/** Linear layers as other tools store them, to be written. */
import { f16Bits } from "../../../compiler/float.js";
import type { ElementType } from "../elements.js";
import type { GridFacts, GridLayer } from "./grid-values.js";
import type { Module } from "./layer.js";

/** A tensor that a container has for a layer. */
export interface WrittenPart {
  /** The last part of its name: `weight_packed`. */
  readonly part: string;
  readonly dtype: ElementType;
  readonly shape: readonly number[];
  /** Whether it has no rows of the layer: it comes once, with the first strip. */
  readonly once?: true;
}

/** A layer in a container: the tensors it has, known before a weight is read, and how they are made. */
export interface WrittenLayer {
  readonly parts: readonly WrittenPart[];
  /** Whether rows lie one after the other: then `bytes` takes a multiple of 32 of them at a time, in order. */
  readonly byRows: boolean;
  /** The bytes of each part. Scales are numbers that the parts' type has. */
  bytes(layer: GridLayer): readonly Uint8Array[];
}

/** A way to store layers of integers on a grid. */
export interface GridWriter {
  /** As its makers call it: `pack-quantized`. */
  readonly name: string;
  /** The layer, or why it cannot be stored so: `its 100 columns are no multiple of 8`. */
  layer(module: Module, facts: GridFacts): WrittenLayer | string;
}

/** The bytes of items, little-endian. */
export function bytesOf(items: Uint32Array | Int32Array | Uint16Array | Float32Array | BigInt64Array): Uint8Array {
  return new Uint8Array(items.buffer, items.byteOffset, items.byteLength);
}

/** Scales as bytes of their type. */
export function scaleBytes(scales: Float32Array, dtype: "F16" | "F32"): Uint8Array {
  return bytesOf(dtype === "F32" ? scales : Uint16Array.from(scales, f16Bits));
}

/** The dense shape as compressed-tensors writes it. */
export function shapeBytes({ outputs, inputs }: Module): Uint8Array {
  return bytesOf(BigInt64Array.of(BigInt(outputs), BigInt(inputs)));
}
