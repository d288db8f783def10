import type { AskedActivations } from "./input-scales.js";
import type { Container } from "./layer.js";

/** What a checkpoint of another tool says of its layers. */
export interface Quantization {
  /** As the config calls it: `compressed-tensors`. */
  readonly method: string;
  /** How a module's weight is stored: null as it is. `undefined`: the tensors tell. */
  container(module: string): Container | null | undefined;
  /** In what a module takes what it multiplies; null: as it is. None is where there is no such thing. */
  activations?(module: string): AskedActivations | null;
  /** The container where the tensors tell. */
  readonly found: Container | null;
  /** What it also asks for and is not done, a sentence each, without a full stop. */
  readonly warnings: readonly string[];
}
