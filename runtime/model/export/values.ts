/** Values of a model's tensors, some rows at a time, and what becomes of them. */
import { bf16Bits, f16Bits } from "../../../compiler/float.js";
import { formatOfSpec, isDense, plainType as plainTypeOf, shapeOf } from "../../../compiler/formats/registry.js";
import { stripsOf } from "../../../compiler/formats/strips.js";
import { isFloatType, toFloats, type FloatType } from "../elements.js";
import type { Model, ModelTensor } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { lossError, type Loss, type PlannedTensor, type PlanOptions } from "./plan.js";

/** Elements that are converted at once. */
const piece = 2 ** 20;

/** The words of a packed tensor. */
export async function wordsOf(model: Model, name: string): Promise<Uint32Array<ArrayBuffer>> {
  const words = new Uint32Array(model.tensor(name).bytes / 4);
  await model.readInto(name, new Uint8Array(words.buffer));
  return words;
}

/** The values of a tensor in order, whole rows at a time. */
export async function* rowsOf(model: Model, tensor: ModelTensor): AsyncGenerator<Float32Array<ArrayBuffer>> {
  const { name, format, dtype, bytes } = tensor;
  const shape = shapeOf(tensor.shape);
  if (format !== null && !isPlain(tensor)) {
    for (const strip of stripsOf(format, shape, await wordsOf(model, name)))
      yield formatOfSpec(format).decode(format, strip.shape, strip.words);
    return;
  }
  const type = plainType(tensor);
  if (type === null) throw new RangeError(`${name} of ${dtype} has no values in f32`);
  const rows = Math.max(1, Math.floor(piece / Math.max(1, shape.columns)));
  const rowBytes = bytes / Math.max(1, shape.rows);
  for (let row = 0; row < shape.rows; row += rows) {
    const end = Math.min(shape.rows, row + rows);
    yield toFloats(type, await model.read(name, { begin: row * rowBytes, end: end * rowBytes }));
  }
}

/** Whether the file holds the elements one after the other. */
function isPlain({ format }: ModelTensor): boolean {
  return format === null || isDense(format);
}

/** The type of the elements of a dense tensor; null for a packed one. */
export function plainType(tensor: ModelTensor): FloatType | null {
  const { format, dtype } = tensor;
  if (!isPlain(tensor)) return null;
  const name = format === null ? dtype : format.name.toUpperCase();
  return isFloatType(name) ? name : null;
}

/** The smallest type that holds every value of a tensor. */
export function exactType(tensor: ModelTensor): FloatType {
  const plain = plainType(tensor);
  if (plain !== null) return plain;
  const { format } = tensor;
  const hasPattern = format !== null && formatOfSpec(format).pattern(format) !== null;
  const name = (hasPattern ? (plainTypeOf(format) ?? "") : "").toUpperCase();
  return isFloatType(name) ? name : "F32";
}

/** Values as bytes of a type, each to the nearest. */
export function fromFloats(type: FloatType, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (type === "F32") return new Uint8Array(values.slice().buffer);
  const round = type === "F16" ? f16Bits : bf16Bits;
  const bits = new Uint16Array(values.length);
  for (let at = 0; at < bits.length; at += 1) bits[at] = round(values[at]!);
  return new Uint8Array(bits.buffer);
}

/** What was summed up. */
export interface Sums extends Loss {
  /** The root mean square of the differences. */
  readonly rms: number;
  /** How many values differ. */
  readonly count: number;
}

/** Sums up how far values lie from those they were. */
export function lossMeter(): {
  add(before: Float32Array, after: Float32Array): void;
  sums(): Sums;
  /** Null where they are the same. */
  loss(): Loss | null;
} {
  let [largest, differences, squares, count, all] = [0, 0, 0, 0, 0];
  const sums = (): Sums => ({
    largest,
    count,
    rms: all === 0 ? 0 : Math.sqrt(differences / all),
    relative: count === 0 ? 0 : Math.sqrt(differences / squares),
  });
  return {
    add(before, after) {
      all += before.length;
      for (let at = 0; at < before.length; at += 1) {
        const [value, other] = [before[at]!, after[at]!];
        squares += value * value;
        if (value === other || (Number.isNaN(value) && Number.isNaN(other))) continue;
        const difference = Math.abs(value - other);
        if (!(difference <= largest)) largest = difference;
        differences += difference * difference;
        count += 1;
      }
    },
    sums,
    loss() {
      const { relative } = sums();
      return count === 0 ? null : { largest, relative };
    },
  };
}

/** A tensor as its elements in a type. */
export function plannedDense(
  model: Model,
  tensor: ModelTensor,
  type: FloatType,
  { requantize }: PlanOptions,
): PlannedTensor<TensorLayout> {
  const { name, shape } = tensor;
  const layout: TensorLayout = { name, dtype: type, shape };
  return {
    source: name,
    parts: [layout],
    stored: type.toLowerCase(),
    async write(append) {
      if (plainType(tensor) === type) {
        for await (const { bytes } of model.chunks(name)) await append(layout, bytes);
        return null;
      }
      const meter = lossMeter();
      for await (const values of rowsOf(model, tensor)) {
        const bytes = fromFloats(type, values);
        meter.add(values, toFloats(type, bytes));
        const loss = meter.loss();
        if (loss !== null && !requantize) throw lossError(name, type.toLowerCase(), loss);
        await append(layout, bytes);
      }
      return meter.loss();
    },
  };
}
