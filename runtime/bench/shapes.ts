import { formatBytes } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { parseConfig, type LlamaConfig } from "../model/config.js";
import { modelShapes } from "./model-shapes.js";

/** The shape of a model of that name, with so many blocks where it is said. */
export function shapeOfModel(name: string, blocks: number | null = null): LlamaConfig {
  const raw = modelShapes[name] ?? {};
  return parseConfig(`the shape ${name}`, blocks === null ? raw : { ...raw, num_hidden_layers: blocks });
}

/** Linear layers of a model as products that a runtime makes: layers that share an input are one. */
export interface BenchLayer {
  readonly layer: string;
  /** Outputs. */
  readonly n: number;
  /** Inputs. */
  readonly k: number;
}

/** The products of a block. */
export function benchLayers(config: LlamaConfig): readonly BenchLayer[] {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headDim } = config;
  return [
    { layer: "qkv", n: (heads + 2 * keyValueHeads) * headDim, k: hiddenSize },
    { layer: "o", n: hiddenSize, k: heads * headDim },
    { layer: "gate+up", n: 2 * intermediateSize, k: hiddenSize },
    { layer: "down", n: hiddenSize, k: intermediateSize },
  ];
}

/** Bytes of the linear layers of a block in a format. */
export function blockBytes(config: LlamaConfig, format: FormatSpec): number {
  return benchLayers(config).reduce((sum, { n, k }) => sum + formatBytes(format, { rows: n, columns: k }), 0);
}
