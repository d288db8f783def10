/** Perplexities of a run: what a recipe expects of them, and those of another text at the end. */
import type { Condition } from "../../../compiler/recipe/recipe.js";
import type { CalibrationText } from "./compression.js";
import type { Spill } from "../long-runs/spill.js";
import { LlamaError } from "../error.js";
import { holds, type FoundPerplexity } from "./expectation.js";
import { printPerplexity } from "./outcome.js";
import { report, writtenWords, type Run } from "./run.js";
import { scoreModel } from "./score.js";
import { scoredWindows, usualWindows } from "../windows.js";
import { evaluateCost } from "./workload.js";

/**
 * Holds the model to what a recipe expects of it.
 * @throws LlamaError expectation-failed
 */
export async function expect(run: Run, condition: Condition, text: string): Promise<void> {
  const found: FoundPerplexity[] = [];
  const given = run.options.text;
  if (!given) throw new LlamaError("recipe", `The recipe ${run.recipe.name} needs a text to expect anything of.`);
  const asWritten = await holds(
    condition,
    async (of) => {
      if (of === "dense" && run.dense !== null) return run.dense;
      const value = await score(run, of, given);
      if (of === "dense") run.dense = value;
      run.perplexities.push({ text: "calibration", of: of === "dense" ? "given" : "compressed", value });
      return value;
    },
    found,
  );
  if (asWritten) return;
  const values = found
    .map(({ of, value }) => `perplexity(${of === "dense" ? "model.dense" : "model"}) is ${printPerplexity(value)}`)
    .join(", ");
  throw new LlamaError(
    "expectation-failed",
    `The recipe expects ${text}, which does not hold: ${values}. ${writtenWords(run.saved)}`,
  );
}

/** Perplexity of a text's windows under the model as it is, or as it was given. */
function score(run: Run, of: "model" | "dense", text: CalibrationText): Promise<number> {
  const windows = scoredWindows(text.ids, text.window ?? 256, text.bos, text.windows ?? usualWindows, text.answers);
  const { dtype = "f32", memory, disk } = run.options;
  const spill = (slots: number, slotBytes: number): Promise<Spill> => run.place.createSpill(slots, slotBytes, disk);
  return scoreModel(run.caller, run.model, run.working, of, windows, { dtype, memory, spill }, (done, total) =>
    report(
      run,
      "evaluate",
      of === "dense" ? "the model as given" : "the model as it is",
      done,
      total,
      evaluateCost(run.model, text) / total,
    ),
  );
}

/** Scores the model as it was given and as it is on a text of its own, where there is one. */
export async function evaluateBoth(run: Run): Promise<void> {
  const { evaluation } = run.options;
  if (!evaluation) return;
  try {
    for (const of of ["given", "compressed"] as const)
      run.perplexities.push({
        text: "evaluation",
        of,
        value: await score(run, of === "given" ? "dense" : "model", evaluation),
      });
  } catch (error) {
    if (!(error instanceof LlamaError)) throw error;
    throw new LlamaError(
      error.code,
      `${error.message} What was compressed is written all the same: --resume without --eval reports on it.`,
    );
  }
}
