/** Which treatment a layer gets, where a run chooses. */
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import type { Linear } from "../../model/model.js";
import { treatmentsFor } from "./names.js";
import type { Run } from "./run.js";
import type { Seen } from "./treat.js";

/** The treatment that a layer gets, after the choices that are made by what is computed; null where none is for it. */
export async function chosenTreatment(
  run: Run,
  treatments: readonly Treatment[],
  linear: Linear,
  seen: Seen | null,
): Promise<Treatment | null> {
  // what one way has computed is not computed again for another that takes the same turns up to there
  const made = new Map<string, boolean>();
  for (const treatment of treatmentsFor(treatments, linear.name)) {
    let turns = "";
    let taken = true;
    for (const choice of treatment.choices) {
      turns += ` ${choice.span.file} ${choice.span.start}`;
      const holds = made.get(turns) ?? (await run.treater.compute(choice, linear, seen)) !== 0;
      made.set(turns, holds);
      if (holds !== choice.holds) {
        taken = false;
        break;
      }
      turns += ` ${holds}`;
    }
    if (taken) return treatment;
  }
  return null;
}
