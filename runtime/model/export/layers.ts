/** Models whose linear layers are packed in a container of another tool. */
import { counted } from "../../../compiler/words.js";
import { gridValues, isDense, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { stripsOf } from "../../../compiler/formats/strips.js";
import { roundF16 } from "../../../compiler/float.js";
import { gridFacts, gridLayerOf, valuesOfGrid, type GridFacts } from "../interchange/grid-values.js";
import type { Module } from "../interchange/layer.js";
import type { GridWriter, WrittenLayer } from "../interchange/written.js";
import { embeddingName, headName } from "../layout.js";
import type { Model, ModelTensor } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { lossError, type Loss, type PlannedTensor, type PlanOptions, type Refusal } from "./plan.js";
import { lossMeter, plannedDense, wordsOf } from "./values.js";

/** A linear layer that is packed. */
export interface PackedLayer {
  readonly module: Module;
  readonly tensor: ModelTensor;
  readonly facts: GridFacts;
}

/** The linear layers of a model, by how they are stored. */
export interface Layers {
  readonly packed: readonly PackedLayer[];
  /** Packed in a format that is no grid of integers. */
  readonly others: readonly { readonly module: Module; readonly tensor: ModelTensor }[];
  /** The names of modules that are dense; the head is among them where it is one. */
  readonly dense: readonly string[];
}

/** The linear layers, the head included where it is not the embedding. */
export function layersOf(model: Model): Layers {
  const [packed, others, dense]: [PackedLayer[], { module: Module; tensor: ModelTensor }[], string[]] = [[], [], []];
  const head = model.tensors.find(({ name }) => name === headName);
  const modules: readonly Module[] = [
    ...model.linears,
    ...(head === undefined
      ? []
      : [{ name: headName.replace(/\.weight$/, ""), outputs: head.shape[0]!, inputs: head.shape[1]! }]),
  ];
  for (const module of modules) {
    const tensor = model.tensor(`${module.name}.weight`);
    const facts = tensor.format === null ? null : gridFacts(tensor.format);
    if (tensor.format === null || isDense(tensor.format)) dense.push(module.name);
    else if (facts === null) others.push({ module, tensor });
    else packed.push({ module, tensor, facts });
  }
  return { packed, others, dense };
}

/** That layers are stored as the container does not have it, a line a format. */
export function formatProblems(layers: Layers["others"], holds: string): readonly string[] {
  const byFormat = new Map<string, string[]>();
  for (const { module, tensor } of layers) {
    const format = printFormat(tensor.format!);
    byFormat.set(format, [...(byFormat.get(format) ?? []), module.name]);
  }
  return [...byFormat].map(
    ([format, names]) => `${namesOf(names)} ${names.length === 1 ? "is" : "are"} stored as ${format}; ${holds}`,
  );
}

/** Layers by the first of their names: `14 layers (\`model.layers.0.mlp.up_proj\` the first)`. */
function namesOf(names: readonly string[]): string {
  return names.length === 1
    ? `the layer \`${names[0]}\``
    : `${counted(names.length, "layer")} (\`${names[0]}\` the first)`;
}

/** A container, what it holds, and what is wrong with the model besides. */
export interface LayerTarget {
  readonly writer: GridWriter;
  readonly holds: string;
  readonly problems?: readonly string[];
}

/** That no layer is packed at all. */
const nothingPacked =
  "no linear layer is packed as integers: compress the model first, by a recipe that packs as int4, say";

/**
 * The tensors of a model, its packed layers by the writer, all else as it is; `holds` says in words what it writes,
 * `problems` what is wrong already.
 */
export function planLayers(
  model: Model,
  { packed, others }: Layers,
  { writer, holds, problems: known = [] }: LayerTarget,
  options: PlanOptions,
): readonly PlannedTensor<TensorLayout>[] | Refusal {
  if (packed.length + others.length === 0) return { problems: [nothingPacked] };
  const problems = new Map<string, string[]>();
  const planned = new Map<string, PlannedTensor<TensorLayout>>();
  for (const layer of packed) {
    const written = writer.layer(layer.module, layer.facts);
    if (typeof written === "string") problems.set(written, [...(problems.get(written) ?? []), layer.module.name]);
    else planned.set(layer.tensor.name, plannedLayer(model, layer, writer.name, written, options));
  }
  const all = [
    ...formatProblems(others, holds),
    ...known,
    ...[...problems].map(([problem, names]) => `${namesOf(names)}: ${problem}`),
  ];
  if (all.length > 0) return { problems: all };
  return model.tensors.map((tensor) => planned.get(tensor.name) ?? plannedAsIs(model, tensor, options));
}

/**
 * A tensor that stays dense. What only Espalier and GGUF pack, embedding and head, becomes f32, which holds its values.
 */
export function plannedAsIs(model: Model, tensor: ModelTensor, options: PlanOptions): PlannedTensor<TensorLayout> {
  const isPacked = tensor.format !== null && !isDense(tensor.format);
  if (isPacked && tensor.name !== embeddingName && tensor.name !== headName)
    throw new RangeError(`${tensor.name} is packed`);
  const name = tensor.format?.name.toUpperCase() ?? tensor.dtype;
  return plannedDense(model, tensor, name === "BF16" || name === "F16" ? name : "F32", options);
}

function plannedLayer(
  model: Model,
  { module, tensor, facts }: PackedLayer,
  stored: string,
  { parts, byRows, bytes }: WrittenLayer,
  { requantize }: PlanOptions,
): PlannedTensor<TensorLayout> {
  const layouts = parts.map(
    ({ part, dtype, shape }): TensorLayout => ({ name: `${module.name}.${part}`, dtype, shape }),
  );
  const isHalf = parts.some(({ part, dtype }) => /scale/.test(part) && dtype === "F16");
  const format = tensor.format!;
  const shape = shapeOf(tensor.shape);
  return {
    source: tensor.name,
    parts: layouts,
    stored,
    async write(append) {
      const words = await wordsOf(model, tensor.name);
      const loss = isHalf ? halfLoss(tensor, module, facts, words) : null;
      if (loss !== null && !requantize) throw lossError(tensor.name, `${stored}, whose scales are f16`, loss);
      for (const strip of byRows ? stripsOf(format, shape, words) : [{ first: 0, shape, words }]) {
        const layer = gridLayerOf(format, facts, { ...module, outputs: strip.shape.rows }, strip.words);
        const pieces = bytes(loss === null ? layer : { ...layer, scales: layer.scales.map(roundF16) });
        for (const [at, { once }] of parts.entries())
          if (once === undefined || strip.first === 0) await append(layouts[at]!, pieces[at]!);
      }
      return loss;
    },
  };
}

/** What rounding scales to f16 costs. */
function halfLoss(
  { format, shape }: ModelTensor,
  module: Module,
  facts: GridFacts,
  words: Uint32Array<ArrayBuffer>,
): Loss | null {
  const scales = gridValues(format!, shapeOf(shape), words)?.scale;
  if (scales === undefined || scales.every((scale) => roundF16(scale) === scale)) return null;
  const meter = lossMeter();
  for (const strip of stripsOf(format!, shapeOf(shape), words)) {
    const rows = { ...module, outputs: strip.shape.rows };
    const layer = gridLayerOf(format!, facts, rows, strip.words);
    meter.add(valuesOfGrid(rows, layer), valuesOfGrid(rows, { ...layer, scales: layer.scales.map(roundF16) }));
  }
  return meter.loss();
}
