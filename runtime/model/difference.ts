/** In what two models differ: tensors, their formats and values, and what their configs say. */
import { isDeepStrictEqual } from "node:util";
import { printFormat } from "../../compiler/formats/registry.js";
import { printActivations } from "../../compiler/types/activation-format.js";
import type { Model, ModelTensor } from "./model.js";
import { denseFormat, printPattern } from "./packed.js";
import { lossMeter, rowsOf } from "./export/values.js";

/** A tensor that both models have, in the same shape. */
export interface TensorDifference {
  readonly name: string;
  readonly shape: readonly number[];
  /** As they are written in the language. */
  readonly formats: readonly [string, string];
  readonly patterns: readonly [string, string];
  /** The largest difference of two values; 0 where all are the same. */
  readonly largest: number;
  /** The root mean square of the differences, and the same over that of the first's values. */
  readonly rms: number;
  readonly relative: number;
  /** How many values differ. */
  readonly count: number;
}

/** What `espalier diff` says. */
export interface ModelDifference {
  readonly same: boolean;
  readonly tensors: readonly TensorDifference[];
  readonly onlyFirst: readonly string[];
  readonly onlySecond: readonly string[];
  /** Tensors of different shapes. */
  readonly shapes: readonly {
    readonly name: string;
    readonly first: readonly number[];
    readonly second: readonly number[];
  }[];
  /** What of the configs differs that a model computes by. */
  readonly config: readonly { readonly field: string; readonly first: unknown; readonly second: unknown }[];
  /** Linear layers that take what they multiply in other formats; null: as it comes. */
  readonly activations: readonly {
    readonly layer: string;
    readonly first: string | null;
    readonly second: string | null;
  }[];
}

/** Fields of a config that change what comes out. */
const fields = [
  "hiddenSize",
  "intermediateSize",
  "layers",
  "heads",
  "keyValueHeads",
  "headDim",
  "vocabSize",
  "normEpsilon",
  "rope",
  "tiedEmbeddings",
] as const;

/**
 * Compares two models, a tensor at a time. -0 counts as 0. `progress` receives the tensors that are done, and all.
 * @throws ModelError M100 to M115, M136 of either's files
 */
export async function differenceOf(
  first: Model,
  second: Model,
  progress?: (done: number, all: number, name: string) => void,
): Promise<ModelDifference> {
  const others = new Map(second.tensors.map((tensor) => [tensor.name, tensor]));
  const tensors: TensorDifference[] = [];
  const onlyFirst: string[] = [];
  const shapes: { name: string; first: readonly number[]; second: readonly number[] }[] = [];
  for (const [at, tensor] of first.tensors.entries()) {
    const other = others.get(tensor.name);
    others.delete(tensor.name);
    if (other === undefined) onlyFirst.push(tensor.name);
    else if (!isDeepStrictEqual(tensor.shape, other.shape))
      shapes.push({ name: tensor.name, first: tensor.shape, second: other.shape });
    else tensors.push(await tensorDifference([first, tensor], [second, other]));
    progress?.(at + 1, first.tensors.length, tensor.name);
  }
  const config = fields
    .map((field) => ({ field, first: first.config[field] as unknown, second: second.config[field] as unknown }))
    .filter((each) => !isDeepStrictEqual(each.first, each.second));
  const onlySecond = [...others.keys()];
  const activations = activationDifferences(first, second);
  return {
    same:
      onlyFirst.length + onlySecond.length + shapes.length + config.length + activations.length === 0 &&
      tensors.every(({ count }) => count === 0),
    tensors,
    onlyFirst,
    onlySecond,
    shapes,
    config,
    activations,
  };
}

function activationDifferences(first: Model, second: Model): ModelDifference["activations"] {
  const said = ({ activations }: Model, layer: string): string | null => {
    const format = activations.get(layer);
    if (format === undefined) return null;
    return format.group === "tensor"
      ? `${printActivations(format)} with scale ${format.scale}`
      : printActivations(format);
  };
  return [...new Set([...first.activations.keys(), ...second.activations.keys()])]
    .map((layer) => ({ layer, first: said(first, layer), second: said(second, layer) }))
    .filter((each) => each.first !== each.second);
}

async function tensorDifference(
  first: readonly [Model, ModelTensor],
  second: readonly [Model, ModelTensor],
): Promise<TensorDifference> {
  const [, tensor] = first;
  const [, other] = second;
  const meter = lossMeter();
  for await (const [before, after] of together(rowsOf(...first), rowsOf(...second))) meter.add(before, after);
  const { largest, rms, relative, count } = meter.sums();
  const pair = <T>(of: (each: ModelTensor) => T): readonly [T, T] => [of(tensor), of(other)];
  return {
    name: tensor.name,
    shape: tensor.shape,
    formats: pair(({ format, dtype }) => {
      const spec = format ?? denseFormat(dtype);
      return spec === null ? dtype.toLowerCase() : printFormat(spec, "short");
    }),
    patterns: pair(({ pattern }) => printPattern(pattern)),
    largest,
    rms,
    relative,
    count,
  };
}

/** Two runs of as many values, piece by piece of equal lengths. */
async function* together(
  first: AsyncGenerator<Float32Array>,
  second: AsyncGenerator<Float32Array>,
): AsyncGenerator<readonly [Float32Array, Float32Array]> {
  let [a, b] = [new Float32Array(0), new Float32Array(0)];
  for (;;) {
    if (a.length === 0) a = ((await first.next()).value as Float32Array<ArrayBuffer> | undefined) ?? a;
    if (b.length === 0) b = ((await second.next()).value as Float32Array<ArrayBuffer> | undefined) ?? b;
    const length = Math.min(a.length, b.length);
    if (length === 0) return;
    yield [a.subarray(0, length), b.subarray(0, length)];
    [a, b] = [a.subarray(length), b.subarray(length)];
  }
}
