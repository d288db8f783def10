import { bitsPerWeight, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { countActivations } from "../../model/activation-counts.js";
import { headName } from "../../model/layout.js";
import { printPattern } from "../../model/packed.js";
import type { Compression, TensorReport } from "./compression.js";
import { retainedRecords } from "./retain.js";
import type { Run } from "./run.js";
import { warningsOf } from "./outcome.js";

/** What of a report does not follow from the weights. */
export interface RunFacts
  extends Omit<Compression, "tensors" | "bytesBefore" | "bytesAfter" | "activations" | "warnings"> {
  /** Whether weights are stored after the last `save`. */
  readonly unsaved: boolean;
  /** Whether the head has become a tensor of its own. */
  readonly isUntied: boolean;
}

/** The report on a compression that is done. */
export function reportOf(
  { given, model, working, retained }: Pick<Run, "given" | "model" | "working" | "retained">,
  { unsaved, isUntied, ...facts }: RunFacts,
): Compression {
  // what was made smaller and left so is told of too
  const narrowed = model === given ? [] : retainedRecords(retained, model);
  const treated = new Map([...narrowed.map((record) => [record.name, record] as const), ...working.treated]);
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
  const bytesBefore = given.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const ownHead = isUntied ? (treated.get(headName)?.bytes ?? 0) : 0;
  const bytesAfter = model.tensors.reduce(
    (sum, tensor) => sum + (treated.get(tensor.name)?.bytes ?? tensor.bytes),
    ownHead,
  );
  return {
    tensors,
    bytesBefore,
    bytesAfter,
    activations: countActivations(working.activations),
    ...facts,
    warnings: warningsOf({
      treated,
      perplexities: facts.perplexities,
      vocabulary: model.config.vocabSize,
      bytesBefore,
      bytesAfter,
      rounded: JSON.stringify([...working.activations]) !== JSON.stringify([...given.activations]),
      unsaved,
    }),
  };
}
