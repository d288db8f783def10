import { InternalError } from "../../../compiler/diagnostic.js";
import type { RecipeStep } from "../../../compiler/recipe/recipe.js";
import { embeddingName } from "../../model/layout.js";
import { allDone, mayBeLeft } from "../../run/outcomes.js";
import type { CalibrationHelper } from "./calibration-helper.js";
import { calibrationRun, type CalibrationRun } from "./calibration-run.js";
import type { LyingWeight } from "../long-runs/saved-state.js";
import { permutes } from "./measured.js";
import { isSelected, treatmentOf } from "./names.js";
import { expect } from "./judge.js";
import { report, type Run } from "./run.js";
import { roundInputs } from "./round-inputs.js";
import { scaleInputs } from "./scaling.js";
import { followLayers, type Retaining } from "./follow-layers.js";
import type { LayerTreatment } from "./treat.js";
import { treatTensors } from "./treat-tensors.js";
import { calibrates, observationsOf, observeCost, withDense } from "./workload.js";
import { finishStep, save } from "./run-saves.js";
import { train } from "./run-training.js";

/** What is done to each block in turn. Blocks that are finished already only take the calibration activations on. */
export async function followBlocks(run: Run, body: readonly RecipeStep[], retaining: Retaining): Promise<void> {
  const { model, caller, options, windows, working, state } = run;
  const { blocks } = model;
  const from = Math.min(blocks.length, Math.max(0, state.finished - run.step));
  run.step += from;
  if (from === blocks.length) return;
  // a GPU's driver compiles while the windows are read and embedded; a CPU would compile on the cores that it computes on
  if (windows !== null && calibrates(options, body) && caller.target.kind === "gpu")
    mayBeLeft(run.treater.prepare(treatmentsIn(run, body, from)));
  const calibration =
    windows === null || !calibrates(options, body)
      ? null
      : await calibrationRun(caller, model, working, windows, {
          dtype: options.dtype ?? "f32",
          memory: options.memory,
          spill: (slots, slotBytes) => run.place.createSpill(slots, slotBytes, options.disk),
          ownGram: options.layerErrors !== false,
          withDense: withDense(body),
          helpers: helpersOf(run, body),
          onProgress: (done, total) =>
            report(run, "embed", "the calibration text", done, total, run.costs.embed / total),
          onPass: (pass, block, done, total) =>
            report(
              run,
              pass,
              `block ${block}`,
              done,
              total,
              (pass === "advance"
                ? run.costs.pass
                : observeCost(
                    run.costs,
                    body.filter((step) => step.kind === "observe"),
                  )) / total,
            ),
        });
  try {
    for (let at = 0; at < from; at++) await calibration?.advance(at);
    for (const block of blocks.slice(from)) {
      if (calibration !== null && observationsOf(body).length === 0) await calibration.observe(block.index, []);
      await followBody(run, body, block.index, calibration, retaining);
      calibration?.forget();
      const next = blocks[block.index + 1];
      const goesOn = calibration !== null && next !== undefined;
      // the device computes while what it has made is written, and what it needs next is read
      await allDone([
        finishStep(run),
        goesOn ? calibration.advance(block.index) : Promise.resolve(),
        goesOn ? working.expect(next) : Promise.resolve(),
      ]);
      working.unload();
    }
  } finally {
    await calibration?.release();
  }
}

/** What a body does to the layers of a block, as far as it is known before anything was observed. */
function treatmentsIn({ model }: Run, body: readonly RecipeStep[], index: number): readonly LayerTreatment[] {
  return body.flatMap((step) =>
    step.kind !== "linears"
      ? []
      : (model.blocks[index]?.linears ?? []).flatMap((linear): readonly LayerTreatment[] => {
          const treatment = isSelected(step, linear.name) ? treatmentOf(step.treatments, linear.name) : null;
          return treatment === null ? [] : [{ linear, treatment }];
        }),
  );
}

/**
 * The devices that take a share of the windows: none where a block is trained on them, which takes all activations to
 * one.
 */
function helpersOf(run: Run, body: readonly RecipeStep[]): readonly CalibrationHelper[] {
  const { model, options, state, working } = run;
  const { lies } = state;
  if (options.helpers === undefined || lies === undefined) return [];
  if (working.treated.has(embeddingName)) {
    options.note?.("note: the embedding was stored: the calibration windows are not divided.");
    return [];
  }
  if (run.model !== run.given) {
    options.note?.("note: what is left of the model after `retain` is on one device: windows are not divided.");
    return [];
  }
  const alone = body.find(({ kind }) => kind === "train" || kind === "scale" || kind === "round");
  if (alone !== undefined) {
    const what = alone.kind === "train" ? "trained" : alone.kind === "scale" ? "scaled" : "rounded";
    options.note?.(`note: blocks are ${what} on one device: the calibration windows are not divided.`);
    return [];
  }
  if (run.recipe.steps.some(permutes)) {
    options.note?.("note: channels change places on one device: the calibration windows are not divided.");
    return [];
  }
  let last: Promise<unknown> = Promise.resolve();
  const treated = (index: number): Promise<readonly LyingWeight[]> => {
    const next = last.then(async () => {
      await working.keep();
      const block = model.blocks[index];
      const names = [
        ...(block?.linears ?? []).map(({ weight }) => weight),
        ...(block?.vectors ?? []).map(({ name }) => name),
      ];
      return names.map((name) => lies(name)).filter((found) => found !== null);
    });
    last = next.catch(() => {});
    return next;
  };
  return options.helpers(treated);
}

async function followBody(
  run: Run,
  body: readonly RecipeStep[],
  index: number,
  calibration: CalibrationRun | null,
  retaining: Retaining,
): Promise<void> {
  const groups = observationsOf(body);
  for (const step of body) {
    switch (step.kind) {
      case "observe": {
        // those that stand together share a pass
        const group = groups.find(([head]) => head === step);
        if (group !== undefined) await calibration?.observe(index, group);
        break;
      }
      case "linears":
        await followLayers(run, step, index, calibration, retaining);
        break;
      case "tensors":
        await treatTensors(run, step, index);
        break;
      case "expect":
        await expect(run, step.condition, step.text);
        break;
      case "save":
        await save(run, run.place.within(run.options.output, step.name));
        break;
      case "train":
        if (calibration === null) throw new InternalError("a block is trained without activations");
        await train(run, step, { index, calibration });
        break;
      case "scale": {
        const { caller, working } = run;
        const rescale = async (input: string, inverse: Float32Array): Promise<void> =>
          calibration?.rescale(input, inverse);
        const seen = calibration?.seen() ?? null;
        await scaleInputs({ caller, working, seen, onScaled: rescale }, step, run.model.blocks[index]!);
        break;
      }
      case "round":
        await roundInputs(run, step, index, calibration?.seen() ?? null);
        break;
      case "rotate":
      case "blocks":
        throw new InternalError("blocks inside of blocks");
      default:
        step satisfies never;
    }
  }
}
