/**
 * Weights that a recipe has packed, with their scales stored so that they fit: chosen by the values, which only a run
 * has.
 */
import { fitsScales } from "../../../compiler/formats/fit.js";
import { completeFormat, formatOfSpec, repacked, roundedGrid, shapeOf } from "../../../compiler/formats/registry.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { magnitudes } from "../measure.js";

/**
 * A weight packed on `scales` [rows, groups], f32, in a format that holds them. That is the weight itself nearly
 * always: two numbers a row are read to know. Else it is the weight anew, with the same codes. The arena owns all
 * three, and releases what is not needed.
 */
export async function fitTensor(
  arena: Arena,
  caller: Caller,
  tensor: DeviceTensor,
  scales: DeviceTensor,
  label: string,
): Promise<DeviceTensor> {
  const { executor } = caller;
  const spec = tensor.format;
  const grid = spec === null ? null : formatOfSpec(spec).grid(spec);
  const holds = spec === null || grid === null || fitsScales(grid, await magnitudes(caller, scales));
  const values = holds ? null : Float32Array.from(await executor.values(scales));
  arena.release(scales);
  if (holds || values === null) return tensor;
  const shape = shapeOf(tensor.shape);
  const { scale } = roundedGrid(spec, shape, { scale: values, zero: null });
  const format = completeFormat(spec, shape, new Float32Array(0), { scale, zero: null });
  if (format === spec) return tensor;
  const bytes = await executor.read(tensor);
  const packed = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  const words = repacked(spec, format, shape, packed, scale);
  const fitted = arena.own(await executor.upload({ dtype: tensor.dtype, shape: tensor.shape, format }, words, label));
  arena.release(tensor);
  return fitted;
}
