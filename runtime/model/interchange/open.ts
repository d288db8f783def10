/** Checkpoints that other tools have quantised or made sparse, as models in formats of ours. */
import { formatBytes, shapeOf } from "../../../compiler/formats/registry.js";
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import type { ElementType } from "../elements.js";
import { ModelError, problemsError, quoted } from "../error.js";
import type { PackedTensor } from "../packed.js";
import type { StoredTensor } from "../safetensors.js";
import type { TensorFile, WeightEntry, Weights } from "../weights.js";
import { layerError, type Container, type Layer, type LayerTensor, type Module } from "./layer.js";
import { inputParts, withInputScale } from "./input-scales.js";
import type { Quantization } from "./scope.js";

/** The weights of such a checkpoint. */
export interface Interchange {
  /** With a tensor of words in place of the tensors of each packed layer: made as they are read, a layer at a time. */
  readonly weights: Weights;
  readonly packed: ReadonlyMap<string, PackedTensor>;
  /** In what layers take what they multiply, by their names. */
  readonly activations: ReadonlyMap<string, ActivationFormat>;
  readonly findings: Findings;
}

/** What was found: for people, and in JSON. */
export interface Findings {
  readonly method: string;
  /** Layers by how they are stored. */
  readonly layers: readonly { readonly container: string; readonly what: string; readonly count: number }[];
  /** Linear layers that are stored as they are. */
  readonly dense: readonly string[];
}

/** Parts of names that packed layers have: a dense layer has none of them. */
const packedParts = [
  "weight_packed",
  "weight_scale",
  "weight_zero_point",
  "weight_shape",
  "weight_g_idx",
  "compressed",
  "bitmask",
  "row_offsets",
  "shape",
  "scale_packed",
  "meta",
  "qweight",
  "qzeros",
  "scales",
  "g_idx",
  "weight.absmax",
  "weight.quant_map",
  "weight.nested_absmax",
  "weight.nested_quant_map",
  "weight.quant_state.bitsandbytes__nf4",
  "weight.quant_state.bitsandbytes__fp4",
  "SCB",
  "weight_format",
] as const;

/**
 * Puts what the layers are in place of how they are stored. `modules` are all linear layers, `dtype` the type that
 * they had before.
 * @throws ModelError M133 (not supported), M135 (tensors that are not those of the config), M136 (values)
 */
export async function openInterchange(
  path: string,
  quantization: Quantization,
  modules: readonly Module[],
  weights: Weights,
  dtype: ElementType,
): Promise<Interchange> {
  const partsOf = partsByModule(weights, modules);
  const packed = new Map<string, PackedTensor>();
  const replaced = new Map<string, WeightEntry>();
  const used = new Set<string>();
  const dense: string[] = [];
  const activations = new Map<string, ActivationFormat>();
  const counts = new Map<string, { container: string; what: string; count: number }>();
  const problems: ModelError[] = [];
  for (const module of modules) {
    const entries = partsOf.get(module.name) ?? new Map<string, WeightEntry>();
    const tensors = new Map([...entries].map(([part, entry]) => [part, layerTensor(entry)]));
    try {
      const container = containerOf(quantization, module, entries);
      const asked = entries.size === 0 ? null : (quantization.activations?.(module.name) ?? null);
      if (asked !== null) {
        activations.set(module.name, await withInputScale(module, asked, tensors));
        if (asked.group === "tensor") for (const part of inputParts) used.add(`${module.name}.${part}`);
      }
      if (container === null) {
        if (entries.has("weight")) dense.push(module.name);
        continue;
      }
      const layer = await container.open(module, tensors);
      const name = `${module.name}.weight`;
      const main = entries.get(container.needed[0]!)!;
      packed.set(name, {
        format: layer.format,
        pattern: layer.pattern,
        shape: [module.outputs, module.inputs],
        dtype,
      });
      replaced.set(main.stored.name, layerEntry(name, layer, main, module));
      for (const part of [...container.needed, ...container.possible]) used.add(`${module.name}.${part}`);
      const key = `${container.name} ${container.what}`;
      const before = counts.get(key) ?? { container: container.name, what: container.what, count: 0 };
      counts.set(key, { ...before, count: before.count + 1 });
    } catch (error) {
      if (!(error instanceof ModelError) || !["M133", "M135", "M136"].includes(error.code)) throw error;
      problems.push(error);
    }
  }
  const [first] = problems;
  if (first !== undefined)
    throw problems.length === 1
      ? first
      : problemsError(
          first.code,
          `The weights in ${quoted(path)} cannot be read`,
          problems.map(({ message }) => message),
          first.help,
        );
  const tensors = [...weights.tensors].flatMap(([name, entry]): readonly (readonly [string, WeightEntry])[] => {
    const layer = replaced.get(name);
    if (layer !== undefined) return [[layer.stored.name, layer]];
    return used.has(name) ? [] : [[name, entry]];
  });
  return {
    packed,
    activations,
    weights: { ...weights, tensors: new Map(tensors) },
    findings: { method: quantization.method, layers: [...counts.values()], dense },
  };
}

/** The module that a tensor belongs to, one of these, and the rest of its name: `weight_packed`, `weight.absmax`. */
export function partOf(name: string, modules: { has(module: string): boolean }): readonly [string, string] | null {
  for (let at = name.lastIndexOf("."); at > 0; at = name.lastIndexOf(".", at - 1)) {
    const module = name.slice(0, at);
    if (modules.has(module)) return [module, name.slice(at + 1)];
  }
  return null;
}

/** The tensors of each module, by the rest of their names. */
function partsByModule(
  weights: Weights,
  modules: readonly Module[],
): ReadonlyMap<string, ReadonlyMap<string, WeightEntry>> {
  const parts = new Map(modules.map(({ name }) => [name, new Map<string, WeightEntry>()]));
  for (const [name, entry] of weights.tensors) {
    const [module, part] = partOf(name, parts) ?? [];
    if (module !== undefined && part !== undefined) parts.get(module)?.set(part, entry);
  }
  return parts;
}

/**
 * How a module is stored; null for a dense one. @throws ModelError M135 where the tensors are not those that the
 * config says
 */
function containerOf(
  quantization: Quantization,
  module: Module,
  entries: ReadonlyMap<string, WeightEntry>,
): Container | null {
  const said = quantization.container(module.name);
  const others = packedParts.filter((part) => entries.has(part));
  const container = said === undefined && others.length > 0 ? quantization.found : (said ?? null);
  if (container === null) {
    if (others.length > 0)
      throw layerError(
        "M135",
        module,
        `by the config it is stored as it is, but it has ${others.map(quoted).join(", ")}`,
      );
    return null;
  }
  // a head that is the embedding is not there, and nobody lists it
  if (entries.size === 0) return null;
  const lacking = container.needed.filter((part) => !entries.has(part));
  const known = [...container.needed, ...container.possible];
  const foreign = [...others, ...(entries.has("weight") ? ["weight"] : [])].filter((part) => !known.includes(part));
  const problems = [
    ...(lacking.length > 0 ? [`has no ${lacking.map(quoted).join(", ")}`] : []),
    ...(foreign.length > 0 ? [`has ${foreign.map(quoted).join(", ")}`] : []),
  ];
  if (problems.length > 0)
    throw layerError(
      "M135",
      module,
      `by the config it is stored as ${quoted(container.name)}, but ${problems.join(", and ")}`,
    );
  return container;
}

function layerTensor({ file, stored }: WeightEntry): LayerTensor {
  return {
    name: stored.name,
    dtype: stored.dtype,
    shape: stored.shape,
    async read() {
      const bytes = new Uint8Array(stored.end - stored.begin);
      await file.read(stored, bytes);
      return bytes;
    },
  };
}

/**
 * The words of a layer as a tensor of a file. They are made when the first of their bytes is asked for, and kept until
 * the last is read: a layer is read from its beginning to its end, in pieces.
 */
function layerEntry(name: string, layer: Layer, main: WeightEntry, module: Module): WeightEntry {
  const bytes = formatBytes(layer.format, shapeOf([module.outputs, module.inputs]));
  const { begin } = main.stored;
  const stored: StoredTensor = { name, dtype: "U32", shape: [bytes / 4], begin, end: begin + bytes };
  let made: Promise<Uint32Array<ArrayBuffer>> | null = null;
  const file: TensorFile = {
    path: main.file.path,
    dataStart: main.file.dataStart,
    tensors: [stored],
    async read(_stored, target, from = 0) {
      if (!(from >= 0 && from + target.length <= bytes))
        throw new RangeError(`bytes ${from} to ${from + target.length} are outside of tensor ${name}`);
      made ??= layer.words();
      try {
        const { buffer } = await made;
        target.set(new Uint8Array(buffer, from, target.length));
      } finally {
        // what is read last is not asked for again soon
        if (from + target.length === bytes) made = null;
      }
    },
    close: async () => undefined,
  };
  return { file, stored };
}
