import { bitsPerWeight, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import type { Model } from "../../model/model.js";
import { headName } from "../../model/layout.js";
import { printPattern } from "../../model/packed.js";
import type { Compression, TensorReport } from "./compression.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { warningsOf } from "./outcome.js";

/** What of a report does not follow from the weights. */
export interface RunFacts extends Omit<Compression, "tensors" | "bytesBefore" | "bytesAfter" | "warnings"> {
  /** Whether weights are stored after the last `save`. */
  readonly unsaved: boolean;
  /** Whether the head has become a tensor of its own. */
  readonly isUntied: boolean;
}

/** The report on a compression that is done. */
export function reportOf(
  model: Model,
  treated: ReadonlyMap<string, WeightRecord>,
  { unsaved, isUntied, ...facts }: RunFacts,
): Compression {
  // gains and biases are stored as they are computed: there is nothing to tell of them
  const layers = [...treated.values()].filter(
    ({ name, shape }) => shape.length === 2 && (name !== headName || isUntied || !model.config.tiedEmbeddings),
  );
  const tensors = layers.map(
    ({ name, format, pattern, shape, bytes, relativeError, layerError, seconds }): TensorReport => ({
      name,
      pattern: printPattern(pattern),
      format: printFormat(format),
      bitsPerWeight: bitsPerWeight(format, shapeOf(shape)),
      bytes,
      relativeError,
      layerError,
      seconds,
    }),
  );
  const bytesBefore = model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const ownHead = isUntied ? (treated.get(headName)?.bytes ?? 0) : 0;
  const bytesAfter = model.tensors.reduce(
    (sum, tensor) => sum + (treated.get(tensor.name)?.bytes ?? tensor.bytes),
    ownHead,
  );
  return {
    tensors,
    bytesBefore,
    bytesAfter,
    ...facts,
    warnings: warningsOf({
      treated,
      perplexities: facts.perplexities,
      vocabulary: model.config.vocabSize,
      bytesBefore,
      bytesAfter,
      unsaved,
    }),
  };
}
