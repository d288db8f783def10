/** The containers of other tools that a model is exported to, each with its config. */
import { counted } from "../../../compiler/words.js";
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import { awqWriter } from "../interchange/containers/awq.js";
import { gptqWriter } from "../interchange/containers/gptq.js";
import { intQuantizedWriter } from "../interchange/containers/int-quantized.js";
import { marlin24Writer } from "../interchange/containers/marlin-24.js";
import { writtenScale } from "../interchange/input-scales.js";
import { packQuantizedWriter } from "../interchange/containers/pack-quantized.js";
import type { GridFacts } from "../interchange/grid-values.js";
import type { JsonObject } from "../files.js";
import { headName } from "../layout.js";
import type { Model } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { layersOf, planLayers, type Layers, type PackedLayer } from "./layers.js";
import {
  isRefused,
  plainConfig,
  type DirectoryExport,
  type PlannedTensor,
  type PlanOptions,
  type Refusal,
} from "./plan.js";

const head = headName.replace(/\.weight$/, "");

type Plan = DirectoryExport<TensorLayout> | Refusal;

/** Module names that a config leaves out: layers that are dense, and the head, which tools look for though it is tied. */
export function ignored({ dense, packed }: Layers): readonly string[] {
  return packed.some(({ module }) => module.name === head) ? dense : [...new Set([...dense, head])];
}

/** `pack-quantized` of compressed-tensors: integers; what is zero in 2:4 is a code like any other. */
export function planCompressedTensors(model: Model, options: PlanOptions): Plan {
  const layers = layersOf(model);
  const isW8A8 =
    layers.packed.length > 0 &&
    layers.packed.every(
      ({ module, facts }) =>
        facts.bits === 8 && facts.symmetric && !facts.isOrdered && model.activations.has(module.name),
    );
  const writer = isW8A8 ? intQuantizedWriter : packQuantizedWriter;
  // a group without `weights` rounds what dense layers receive
  const bare = layers.dense.filter((name) => model.activations.has(name));
  const target = { writer, holds: `\`${writer.name}\` holds integers on a grid` };
  const tensors = planLayers(model, layers, target, options);
  if (isRefused(tensors)) return tensors;
  return {
    tensors: tensors.map((tensor) => withScale(model, tensor)),
    config: withQuantization(model, {
      ...compressedTensors(
        writer.name,
        layers.packed,
        ignored(layers).filter((name) => !bare.includes(name)),
        { formats: model.activations, bare },
      ),
      sparsity_config: {},
      transform_config: {},
    }),
    texts: new Map(),
    notes: [
      ...(layers.packed.some(({ facts }) => facts.isSparse)
        ? ["2:4 is kept as zeros among the codes: tools that read pack-quantized have no sparse kernels for it"]
        : []),
      ...(layers.packed.some(({ facts }) => facts.isOrdered)
        ? [
            "groups by activation (`actorder: group`) are refused by compressed-tensors from 0.19 on: GPTQ has them, too",
          ]
        : []),
      ...(bare.length > 0
        ? [
            `${counted(bare.length, "layer")} (\`${bare[0]}\`${bare.length === 1 ? "" : " the first"}) ${bare.length === 1 ? "is" : "are"} dense, and what ${bare.length === 1 ? "it receives" : "they receive"} is rounded: vLLM leaves it as it is`,
          ]
        : []),
    ],
  };
}

/** A layer with the scale of what it receives beside it, where one is stored. */
function withScale(model: Model, tensor: PlannedTensor<TensorLayout>): PlannedTensor<TensorLayout> {
  const module = tensor.source.replace(/\.weight$/, "");
  const scale = writtenScale(model.activations.get(module));
  if (scale === null) return tensor;
  const layout: TensorLayout = { name: `${module}.${scale.part}`, dtype: scale.dtype, shape: scale.shape };
  return {
    ...tensor,
    parts: [...tensor.parts, layout],
    async write(append) {
      const loss = await tensor.write(append);
      await append(layout, scale.bytes);
      return loss;
    },
  };
}

/** `marlin-24`, which vLLM reads up to 0.14. */
export function planMarlin24(model: Model, options: PlanOptions): Plan {
  const layers = layersOf(model);
  const target = { writer: marlin24Writer, holds: "`marlin-24` holds 2:4 of integers" };
  const tensors = planLayers(model, layers, target, options);
  if (isRefused(tensors)) return tensors;
  const ignore = ignored(layers);
  const narrow = layers.packed.filter(({ module: { outputs, inputs } }) => outputs % 256 !== 0 || inputs % 128 !== 0);
  return {
    tensors,
    config: withQuantization(model, {
      ...compressedTensors("marlin-24", layers.packed, ignore),
      sparsity_config: sparsity("dense", ignore),
      transform_config: {},
    }),
    texts: new Map(),
    notes:
      narrow.length === 0
        ? []
        : [
            `the kernels of marlin-24 take multiples of [256, 128]; ${counted(narrow.length, "layer")} (\`${narrow[0]!.module.name}\`) ${narrow.length === 1 ? "is" : "are"} of other shapes: leave them dense for those kernels`,
          ],
  };
}

/** GPTQ: all layers of one grid; those that are dense are left out by name. */
export function planGptq(model: Model, options: PlanOptions): Plan {
  const layers = layersOf(model);
  const one = oneGrid(layers.packed, "GPTQ");
  const symmetric = layers.packed.every(({ facts }) => facts.symmetric);
  const format = symmetric ? "gptq" : "gptq_v2";
  const target = { writer: gptqWriter(format), holds: "GPTQ holds integers on a grid", problems: one.problems };
  const tensors = planLayers(model, layers, target, options);
  if (isRefused(tensors)) return tensors;
  const left = layers.dense.filter((name) => name !== head);
  const settings = {
    bits: one.facts!.bits,
    group_size: one.facts!.group === "channel" ? -1 : one.facts!.group,
    desc_act: layers.packed.some(({ facts }) => facts.isOrdered),
    sym: symmetric,
    lm_head: layers.packed.some(({ module }) => module.name === head),
    method: "gptq",
    quant_method: "gptq",
    format,
    checkpoint_format: format,
    pack_dtype: "int32",
    meta: { quantizer: ["espalier"] },
    ...(left.length === 0
      ? {}
      : { dynamic: Object.fromEntries(left.map((name) => [`-:^${name.replaceAll(".", "\\.")}$`, {}])) }),
  };
  return {
    tensors,
    config: withQuantization(model, settings),
    texts: new Map([["quantize_config.json", `${JSON.stringify(settings, null, 2)}\n`]]),
    notes: [
      ...(symmetric ? [] : ["zero points are stored as they are (`gptq_v2`): older readers of GPTQ take only `gptq`"]),
      ...(settings.lm_head
        ? ["the head is packed (`lm_head: true`): GPTQModel and vLLM read that, the loader of transformers does not"]
        : []),
    ],
  };
}

/** AWQ in the order of `gemm`. */
export function planAwq(model: Model, options: PlanOptions): Plan {
  // readers of AWQ never look for a packed head, and would leave it as it was made up
  const layers = withDenseHead(layersOf(model));
  const one = oneGrid(layers.packed, "AWQ");
  const target = { writer: awqWriter, holds: "AWQ holds integers of 4 bits", problems: one.problems };
  const tensors = planLayers(model, layers, target, options);
  if (isRefused(tensors)) return tensors;
  return {
    tensors,
    config: withQuantization(model, {
      quant_method: "awq",
      bits: 4,
      group_size: one.facts!.group === "channel" ? -1 : one.facts!.group,
      zero_point: true,
      version: "gemm",
      format: "gemm",
      ...(layers.dense.length === 0 ? {} : { modules_to_not_convert: layers.dense }),
    }),
    texts: new Map(),
    notes: [],
  };
}

/** The layers, the head among those that are dense. */
function withDenseHead({ packed, others, dense }: Layers): Layers {
  const isHead = ({ module }: { readonly module: { readonly name: string } }): boolean => module.name === head;
  return [...packed, ...others].some(isHead)
    ? {
        packed: packed.filter((each) => !isHead(each)),
        others: others.filter((each) => !isHead(each)),
        dense: [...dense, head],
      }
    : { packed, others, dense };
}

/** The grid that all layers have, where they have one. */
function oneGrid(
  layers: readonly PackedLayer[],
  tool: string,
): { readonly facts: GridFacts | null; readonly problems: readonly string[] } {
  const kinds = new Map<string, PackedLayer[]>();
  for (const layer of layers) {
    const { bits, group } = layer.facts;
    const kind = `${bits} bits in ${group === "channel" ? "rows" : `groups of ${group}`}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), layer]);
  }
  const listed = [...kinds].map(([kind, { length, 0: first }]) => `${length} of ${kind} (\`${first!.module.name}\`)`);
  return {
    facts: layers[0]?.facts ?? null,
    problems:
      kinds.size > 1 ? [`${tool} has one number of bits and one group for all layers; found ${listed.join(", ")}`] : [],
  };
}

/** The config of the model with what it says of its quantisation. */
export function withQuantization(model: Model, quantization: JsonObject): JsonObject {
  return { ...plainConfig(model), quantization_config: quantization };
}

/** What compressed-tensors says of sparsity; `zeros` is the part of the weights that are none. */
export function sparsity(
  format: string,
  ignore: readonly string[],
  zeros = 0.5,
  structure: "2:4" | "unstructured" = "2:4",
): JsonObject {
  return {
    format,
    global_sparsity: zeros,
    ignore,
    registry_requires_subclass: false,
    sparsity_structure: structure,
    targets: ["Linear"],
  };
}

/**
 * The groups of a config: layers of one grid together, by their class where there is one grid only. `bare`: dense layers
 * of whose activations something is said.
 */
function compressedTensors(
  format: string,
  layers: readonly PackedLayer[],
  ignore: readonly string[],
  { formats, bare }: { readonly formats: Model["activations"]; readonly bare: readonly string[] } = {
    formats: new Map(),
    bare: [],
  },
): JsonObject {
  const groups = new Map<
    string,
    { readonly weights: JsonObject | null; readonly activations: JsonObject | null; readonly targets: string[] }
  >();
  const add = (name: string, weights: JsonObject | null): void => {
    const own = activationsOf(formats.get(name));
    const key = JSON.stringify([weights, own]);
    const group = groups.get(key) ?? { weights, activations: own, targets: [] };
    group.targets.push(name);
    groups.set(key, group);
  };
  for (const { module, facts } of layers) add(module.name, weightsOf(facts));
  for (const name of bare) add(name, null);
  const only = groups.size === 1;
  return {
    config_groups: Object.fromEntries(
      [...groups.values()].map((group, at) => [
        `group_${at}`,
        {
          format: group.weights === null ? "dense" : format,
          input_activations: group.activations,
          output_activations: null,
          targets: only ? ["Linear"] : group.targets,
          weights: group.weights,
        },
      ]),
    ),
    format,
    global_compression_ratio: null,
    ignore,
    kv_cache_scheme: null,
    quant_method: "compressed-tensors",
    quantization_status: "compressed",
  };
}

/** In what is received; the scale of `tensor` is a tensor of the layer. */
function activationsOf(format: ActivationFormat | undefined): JsonObject | null {
  if (format === undefined) return null;
  const { group } = format;
  return {
    dynamic: group !== "tensor",
    group_size: typeof group === "number" ? group : null,
    num_bits: 8,
    strategy: typeof group === "number" ? "group" : group,
    symmetric: true,
    type: "int",
  };
}

function weightsOf({ bits, group, symmetric, isOrdered }: GridFacts): JsonObject {
  return {
    dynamic: false,
    group_size: group === "channel" ? null : group,
    num_bits: bits,
    strategy: group === "channel" ? "channel" : "group",
    symmetric,
    type: "int",
    ...(isOrdered ? { actorder: "group" } : {}),
  };
}
