/** What a recipe does to embedding, head, norms and biases; and to a head that is tied no longer. */
import type { TensorsStep } from "../../../compiler/recipe/recipe.js";
import { embeddingName, headName } from "../../model/layout.js";
import { withArena } from "../../run/arena.js";
import { loadWeight, storedFormat, uploadPieces } from "../weights.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { chosenTreatment } from "./chosen-treatment.js";
import { isSelected } from "./names.js";
import { report, warnOf, type Run } from "./run.js";
import { tensorsOf } from "./tensors.js";
import type { LayerTreatment } from "./treat.js";
import { readerOf } from "./tied-head.js";

/** Treats the tensors of a step: of a block, or of the model. */
export async function treatTensors(run: Run, step: TensorsStep, block: number | null): Promise<void> {
  const { model, working, treater, recipe } = run;
  const isSplit = working.treated.has(headName);
  const chosen = tensorsOf(model, step.of, block, isSplit).filter(({ name }) => isSelected(step, name));
  const layers: LayerTreatment[] = [];
  for (const linear of chosen) {
    const treatment = await chosenTreatment(run, step.treatments, linear, null);
    if (treatment !== null && treatment.stores !== null) layers.push({ linear, treatment });
  }
  const alone = step.of === "embedding" || step.of === "head";
  if (alone && model.config.tiedEmbeddings && !isSplit && layers.length > 0) await splitHead(run);
  await treater.treat(layers, null, recipe.parameters, (record, at) => {
    warnOf(run, record);
    const { linear } = layers[at]!;
    report(run, "compress", linear.name, at + 1, layers.length, run.costs.treat(linear));
  });
}

/** The table of a tied model as it is now becomes the head's, too: from here on they are two tensors. */
async function splitHead({ caller, model, working }: Run): Promise<void> {
  const now = working.treated.get(embeddingName);
  await withArena(caller.executor, async (arena) => {
    const stored = model.tensor(embeddingName);
    const record: WeightRecord = {
      ...(now ?? {
        format: storedFormat(stored),
        pattern: stored.pattern,
        shape: stored.shape,
        bytes: stored.bytes,
        relativeError: 0,
        layerError: null,
        seconds: 0,
      }),
      name: headName,
    };
    const tensor =
      now === undefined
        ? await loadWeight(caller, model, embeddingName, "stored", arena)
        : await uploadPieces(
            caller,
            { dtype: "f32", shape: now.shape, format: now.format },
            headName,
            now.bytes,
            arena,
            readerOf(working.pieces(embeddingName)),
          );
    working.replace(record, arena.keep(tensor));
  });
}
