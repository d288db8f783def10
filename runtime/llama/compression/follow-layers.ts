/** What a recipe does to the layers of a block: measures, what is printed, channels that change places, new weights, columns that stay. */
import type { Permutation, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Linear } from "../../model/model.js";
import type { CalibrationRun } from "./calibration-run.js";
import { chosenTreatment } from "./chosen-treatment.js";
import { isSelected } from "./names.js";
import { retainColumns } from "./retain.js";
import type { Loop, Narrowing } from "./retention-plan.js";
import { report, warnOf, type Run } from "./run.js";
import type { LayerTreatment, Seen } from "./treat.js";

/** What a step takes out of the model, if it does. */
export interface Retaining {
  readonly plan: Narrowing | null;
  /** The loops of the recipe that retain, by number. */
  readonly retaining: ReadonlyMap<Loop, number>;
}

/** Follows a loop over layers in a block. */
export async function followLayers(
  run: Run,
  step: Extract<RecipeStep, { kind: "linears" }>,
  index: number,
  calibration: CalibrationRun | null,
  retaining: Retaining,
): Promise<void> {
  const chosen = run.model.blocks[index]?.linears.filter(({ name }) => isSelected(step, name)) ?? [];
  const seen = calibration?.seen() ?? null;
  const layers: LayerTreatment[] = [];
  const retained: { readonly linear: Linear; readonly scores: ArrayLike<number> }[] = [];
  let moved = false;
  for (const linear of chosen) {
    const treatment = await chosenTreatment(run, step.treatments, linear, seen);
    if (treatment?.permutes != null) {
      await permute(run, treatment.permutes, linear, seen);
      moved = true;
      report(run, "compress", linear.name, chosen.indexOf(linear) + 1, chosen.length, run.costs.treat(linear));
    }
    for (const { measure, ...computed } of treatment?.measures ?? [])
      run.measured.set(measure, linear, await run.treater.compute(computed, linear, seen));
    for (const { text, ...computed } of treatment?.prints ?? []) {
      const value = await run.treater.compute(computed, linear, seen);
      run.printed.push({ block: linear.block, layer: linear.name, text, value: Number.isFinite(value) ? value : null });
      run.options.note?.(`${linear.name}: ${text} = ${Number.isFinite(value) ? Number(value.toPrecision(6)) : value}`);
    }
    const retains = treatment?.retains ?? null;
    if (retains !== null) retained.push({ linear, scores: await run.treater.values(retains, linear, seen) });
    if (treatment !== null && treatment.stores !== null) layers.push({ linear, treatment });
    else if (treatment !== null && treatment.measures.length + treatment.prints.length > 0)
      report(run, "compress", linear.name, chosen.indexOf(linear) + 1, chosen.length, run.costs.treat(linear));
  }
  if (moved) {
    // what is on the device, and what was observed, is of the order before
    run.working.unload();
    calibration?.forget();
  }
  await run.treater.treat(layers, seen, run.recipe.parameters, (record, at) => {
    warnOf(run, record);
    const { linear } = layers[at]!;
    report(run, "compress", linear.name, chosen.indexOf(linear) + 1, chosen.length, run.costs.treat(linear));
  });
  const planned = retaining.plan?.retentions.get(step);
  for (const { linear, scores } of planned === undefined ? [] : retained)
    await retainColumns(run, { planned: planned!, id: retaining.retaining.get(step)! }, linear, seen, scores);
}

/** Exchanges channels that a layer takes. */
async function permute(run: Run, permutation: Permutation, linear: Linear, seen: Seen | null): Promise<void> {
  await run.treater.using(permutation.score, linear, seen, (score) =>
    run.channels.permute(run.caller, linear, score, permutation),
  );
}
