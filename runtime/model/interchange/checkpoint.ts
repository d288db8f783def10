/** A directory of weights, in formats of ours whoever has packed it. */
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import type { LlamaConfig } from "../config.js";
import type { Directory } from "../directory.js";
import { blocksOf, expectedTensors, headName } from "../layout.js";
import type { PackedTensor } from "../packed.js";
import { openWeights, type Weights } from "../weights.js";
import { openInterchange, partOf, type Findings } from "./open.js";
import type { Module } from "./layer.js";
import { parseQuantization } from "./quantization.js";

/** Such a directory, open. */
export interface Checkpoint {
  /** Without what it says of how the weights were stored. */
  readonly config: LlamaConfig;
  readonly weights: Weights;
  readonly packed: ReadonlyMap<string, PackedTensor>;
  /** In what layers take what they multiply, by their names. */
  readonly activations: ReadonlyMap<string, ActivationFormat>;
  /** What was found; null where no other tool has packed anything. */
  readonly findings: Findings | null;
  /** What the config asks for and is not done, a sentence each, without a full stop. */
  readonly warnings: readonly string[];
}

/** Whether the weights of a config are stored as another tool does it. */
export function isForeign({ raw }: Pick<LlamaConfig, "raw">): boolean {
  return (raw["quantization_config"] ?? null) !== null && (raw["espalier"] ?? null) === null;
}

/**
 * Opens the weights of a model directory; `packed` is what its config says of tensors that Espalier has packed.
 * @throws ModelError M100 to M122 (the files), M131, M133, M135, M136 (layers that other tools have packed)
 */
export async function openCheckpoint(
  directory: Directory,
  config: LlamaConfig,
  packed: ReadonlyMap<string, PackedTensor>,
): Promise<Checkpoint> {
  const expected = expectedTensors(config);
  if (!isForeign(config)) {
    const weights = await openWeights(directory, (name) => expected.has(name) || packed.has(name));
    return { config, weights, packed, activations: new Map(), findings: null, warnings: [] };
  }
  const { quantization_config, ...raw } = config.raw;
  const quantization = parseQuantization(directory.pathOf("config.json"), quantization_config);
  const head: Module = {
    name: headName.replace(/\.weight$/, ""),
    outputs: config.vocabSize,
    inputs: config.hiddenSize,
  };
  const modules = [...blocksOf(config).flatMap(({ linears }) => linears), head];
  const names = new Set(modules.map(({ name }) => name));
  const opened = await openWeights(directory, (name) => expected.has(name) || partOf(name, names) !== null);
  try {
    const {
      weights,
      findings,
      packed: found,
      activations,
    } = await openInterchange(directory.path, quantization, modules, opened, config.dtype ?? "BF16");
    const { warnings } = quantization;
    // what the head takes is not rounded here
    const ofLayers = new Map([...activations].filter(([name]) => name !== head.name));
    return { config: { ...config, raw }, weights, packed: found, activations: ofLayers, findings, warnings };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
