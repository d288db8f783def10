/** Models whose linear layers are sparse floats, as compressed-tensors stored them up to 0.14. */
import { shapeOf } from "../../../compiler/formats/registry.js";
import { stripsOf, type Strip } from "../../../compiler/formats/strips.js";
import { sparse24Bytes, sparse24Parts } from "../interchange/containers/sparse-24-bitmask.js";
import { nonzerosIn, sparseBitmaskBytes, sparseBitmaskParts } from "../interchange/containers/sparse-bitmask.js";
import type { JsonObject } from "../files.js";
import type { WrittenPart } from "../interchange/written.js";
import type { Model, ModelTensor } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { ignored, sparsity, withQuantization } from "./containers.js";
import { formatProblems, layersOf, plannedAsIs, type Layers } from "./layers.js";
import type { DirectoryExport, PlannedTensor, PlanOptions, Refusal } from "./plan.js";
import { wordsOf } from "./values.js";

type Plan = DirectoryExport<TensorLayout> | Refusal;
type Layer = Layers["others"][number];
type FloatName = "F32" | "F16" | "BF16";

/** A container of sparse floats. */
interface SparseTarget {
  readonly name: string;
  readonly holds: string;
  /** That no layer is stored so. */
  readonly none: string;
  isHeld(tensor: ModelTensor): boolean;
  parts(layer: Layer, dtype: FloatName): readonly WrittenPart[];
  /** Those of some rows, of a multiple of 32 of them. */
  bytes(layer: Layer, rows: Strip): readonly Uint8Array[];
  config(ignore: readonly string[]): JsonObject;
}

/** `sparse-24-bitmask`: 2:4 of floats. */
export function planSparse24(model: Model, options: PlanOptions): Plan {
  return planSparse(model, options, {
    name: "sparse-24-bitmask",
    holds: "2:4 of f16, bf16 or f32",
    none: "no linear layer is packed as 2:4: compress the model first",
    isHeld({ format, shape }) {
      const { n, m, positions } = format!.args;
      return format!.name === "nm" && n === 2 && m === 4 && positions === undefined && shape[1]! % 4 === 0;
    },
    parts: ({ module }, dtype) => sparse24Parts(module, dtype),
    bytes: ({ module, tensor }, rows) => sparse24Bytes(module, tensor.format!, rows),
    config: (ignore) => sparsity("sparse-24-bitmask", ignore),
  });
}

/**
 * `sparse-bitmask`: a bit for each weight, and the values whose bit is set. `counts`: how many those are by the name of
 * the tensor, of `countNonzeros`; a plan that only tells what is possible has none.
 */
export function planSparseBitmask(model: Model, options: PlanOptions, counts: ReadonlyMap<string, number>): Plan {
  const countOf = ({ name }: ModelTensor): number => counts.get(name) ?? 0;
  return planSparse(model, options, {
    name: "sparse-bitmask",
    holds: "unstructured zeros among f16, bf16 or f32",
    none: "no linear layer is packed as a bitmask: compress the model first",
    isHeld: ({ format }) => format!.name === "bitmask",
    parts: ({ module, tensor }, dtype) => sparseBitmaskParts(module, dtype, countOf(tensor)),
    bytes: ({ module, tensor }, { words }) => sparseBitmaskBytes(module, tensor.format!, words, countOf(tensor)),
    config(ignore) {
      const elements = model.linears.reduce((sum, { outputs, inputs, weight }) => {
        return counts.has(weight) ? sum + outputs * inputs : sum;
      }, 0);
      const kept = [...counts.values()].reduce((sum, count) => sum + count, 0);
      return sparsity("sparse-bitmask", ignore, 1 - kept / Math.max(1, elements), "unstructured");
    },
  });
}

/** How many values each bitmask of a model holds: read from the bits, since room may be for more. */
export async function countNonzeros(model: Model): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const { module, tensor } of layersOf(model).others)
    if (tensor.format?.name === "bitmask")
      counts.set(tensor.name, nonzerosIn(module, tensor.format, await wordsOf(model, tensor.name)));
  return counts;
}

function planSparse(model: Model, options: PlanOptions, target: SparseTarget): Plan {
  const layers = layersOf(model);
  const held = layers.others.filter(({ tensor }) => {
    const values = tensor.format!.of?.name ?? "";
    return ["f32", "f16", "bf16"].includes(values) && target.isHeld(tensor);
  });
  const problems = formatProblems(
    [...layers.packed, ...layers.others.filter((layer) => !held.includes(layer))],
    `\`${target.name}\` holds ${target.holds}`,
  );
  if (problems.length > 0) return { problems };
  if (held.length === 0) return { problems: [target.none] };
  const byName = new Map(held.map((layer) => [layer.tensor.name, layer]));
  return {
    tensors: model.tensors.map((tensor) => {
      const layer = byName.get(tensor.name);
      return layer === undefined ? plannedAsIs(model, tensor, options) : plannedSparse(model, layer, target);
    }),
    config: withQuantization(model, {
      quant_method: "compressed-tensors",
      sparsity_config: target.config(ignored(layers)),
    }),
    texts: new Map(),
    notes: [],
  };
}

function plannedSparse(model: Model, layer: Layer, target: SparseTarget): PlannedTensor<TensorLayout> {
  const { module, tensor } = layer;
  const written = target.parts(layer, tensor.format!.of!.name.toUpperCase() as FloatName);
  const parts = written.map(
    ({ part, dtype, shape }): TensorLayout => ({ name: `${module.name}.${part}`, dtype, shape }),
  );
  return {
    source: tensor.name,
    parts,
    stored: target.name,
    async write(append) {
      const words = await wordsOf(model, tensor.name);
      for (const strip of stripsOf(tensor.format!, shapeOf(tensor.shape), words)) {
        const bytes = target.bytes(layer, strip);
        for (const [at, { once }] of written.entries())
          if (once === undefined || strip.first === 0) await append(parts[at]!, bytes[at]!);
      }
      return null;
    },
  };
}
