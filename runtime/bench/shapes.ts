/** Linear layers of a model as products that a runtime makes: layers that share an input are one. */
export interface BenchLayer {
  readonly layer: string;
  /** Outputs. */
  readonly n: number;
  /** Inputs. */
  readonly k: number;
}

/** The models whose shapes are known by name. */
export const benchShapes: { readonly [name: string]: readonly BenchLayer[] } = {
  // Dubey et al. 2024, table 3: hidden 4096, 32 heads over 8, head 128, intermediate 14336
  "llama-3.1-8b": [
    { layer: "qkv", n: 6144, k: 4096 },
    { layer: "o", n: 4096, k: 4096 },
    { layer: "gate+up", n: 28672, k: 4096 },
    { layer: "down", n: 4096, k: 14336 },
  ],
  // the model of examples/: small enough for a CPU
  "classics-3.7m": [
    { layer: "qkv", n: 512, k: 256 },
    { layer: "o", n: 256, k: 256 },
    { layer: "gate+up", n: 1536, k: 256 },
    { layer: "down", n: 256, k: 768 },
  ],
};
