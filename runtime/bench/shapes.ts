import type { LlamaConfig } from "../model/config.js";

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
