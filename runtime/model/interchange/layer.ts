/** Linear layers as other tools store them, and what they are in a format of ours. */
import type { FormatSpec } from "../../../compiler/types/type.js";
import { isFloatType, toFloats } from "../elements.js";
import { ModelError, quoted } from "../error.js";
import type { StoredPattern } from "../packed.js";

/** A linear layer by its module's name; its weight is `[outputs, inputs]`. */
export interface Module {
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
}

/** A tensor of a layer. */
export interface LayerTensor {
  /** The whole name: the module's and the part's. */
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Its bytes, at the start of a buffer of their own. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
}

/** The tensors of a layer by the last part of their names: `weight_packed`. */
export type LayerTensors = ReadonlyMap<string, LayerTensor>;

/** A layer in a format of ours. */
export interface Layer {
  readonly format: FormatSpec;
  readonly pattern: StoredPattern;
  /**
   * Its words, made anew from the files at each call. @throws ModelError M136 where the values cannot be what the
   * container holds
   */
  words(): Promise<Uint32Array<ArrayBuffer>>;
}

/** A way to store a linear layer. */
export interface Container {
  /** As its makers call it: `pack-quantized`. */
  readonly name: string;
  /** What the layers are, in words: `int4, groups of 128, symmetric`. */
  readonly what: string;
  /** The tensors that a layer has. */
  readonly needed: readonly string[];
  /** Those that it may have besides. */
  readonly possible: readonly string[];
  /**
   * A layer whose tensors are those that are needed and possible. Only what is small is read: scales, zero points,
   * orders.
   * @throws ModelError M133 (not supported), M135 (tensors that contradict each other or the config), M136 (values)
   */
  open(module: Module, tensors: LayerTensors): Promise<Layer>;
}

/** An error of one layer: M133 not supported, M135 its tensors are not those of the config, M136 its values. */
export function layerError(code: "M133" | "M135" | "M136", module: Module, problem: string): ModelError {
  return new ModelError(code, `The layer ${quoted(module.name)}: ${problem}.`);
}

/**
 * A tensor of the layer that has one of these types, and this shape. @throws ModelError M135
 */
export function tensorOf(
  module: Module,
  tensors: LayerTensors,
  part: string,
  dtypes: readonly string[],
  shapes: readonly (readonly number[])[],
): LayerTensor {
  const tensor = tensors.get(part);
  if (tensor === undefined) throw layerError("M135", module, `it has no ${quoted(part)}`);
  if (!dtypes.includes(tensor.dtype))
    throw layerError(
      "M135",
      module,
      `${quoted(part)} should be of ${dtypes.join(", ")}, found ${quoted(tensor.dtype)}`,
    );
  const same = (shape: readonly number[]): boolean =>
    shape.length === tensor.shape.length && shape.every((size, axis) => size === tensor.shape[axis]);
  if (!shapes.some(same))
    throw layerError(
      "M135",
      module,
      `${quoted(part)} should have the shape ${shapes.map(printShape).join(" or ")} by the config, found ${printShape(tensor.shape)}`,
    );
  return tensor;
}

function printShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/** The types that scales have. */
export const scaleTypes = ["BF16", "F16", "F32"] as const;

/** The 32-bit words of a tensor. */
export async function readWords(tensor: LayerTensor): Promise<Uint32Array<ArrayBuffer>> {
  const { buffer, byteLength } = await tensor.read();
  return new Uint32Array(buffer, 0, byteLength / 4);
}

/** Its values as f32, of a type for which that is exact. */
export async function readFloats({ dtype, read }: LayerTensor): Promise<Float32Array<ArrayBuffer>> {
  if (!isFloatType(dtype)) throw new RangeError(`${dtype} has no values in f32`);
  return toFloats(dtype, await read());
}

/** Whole numbers of a small tensor of I32 or I64. */
export async function readIntegers({ dtype, read }: LayerTensor): Promise<readonly number[]> {
  const { buffer, byteLength } = await read();
  return dtype === "I64"
    ? Array.from(new BigInt64Array(buffer, 0, byteLength / 8), Number)
    : Array.from(new Int32Array(buffer, 0, byteLength / 4));
}

/**
 * Holds a tensor that repeats the dense shape to it, where there is one.
 * @throws ModelError M135 (its own shape or type), M136 (what it says)
 */
export async function checkShapeTensor(
  module: Module,
  tensors: LayerTensors,
  part: string,
  shapes: readonly (readonly number[])[],
): Promise<void> {
  const [outputs, inputs] = await readIntegers(tensorOf(module, tensors, part, ["I64", "I32"], shapes));
  if (outputs !== module.outputs || inputs !== module.inputs)
    throw layerError(
      "M136",
      module,
      `${quoted(part)} says [${outputs}, ${inputs}], but the config [${module.outputs}, ${module.inputs}]`,
    );
}
