import { LlamaError } from "../error.js";
import { beyond } from "./outcome.js";
import { factsOf, report, writtenWords, type Run } from "./run.js";
import { settleRotated } from "./rotate.js";
import { savedRecipe } from "./recipe-record.js";
import { saveModel } from "./working-model.js";

/** @throws LlamaError error-too-large where a layer has lost more than the run allows */
export function refuseLost({ options: { maxError }, working, saved, step, state }: Run): void {
  const found = maxError === undefined ? null : beyond(working.treated, maxError);
  if (found === null) return;
  throw new LlamaError(
    "error-too-large",
    `${found} ${writtenWords(saved)}${Math.max(step, state.finished) === 0 ? "" : " What is finished is kept for --resume with another limit, or with none."}`,
  );
}

/** Puts what a step of work has made where a later run finds it. */
export async function finishStep(run: Run): Promise<void> {
  run.step++;
  [run.announced, run.before] = [[], []];
  await run.working.keep();
  run.known = factsOf(run);
  await run.state.commit(run.step, run.known);
  // what is refused is kept: another limit may take it
  refuseLost(run);
}

/**
 * Writes the model as it is. Before it gets its name it is noted, for a run that is stopped after that to find it: one
 * that goes on comes here again, and takes what it finds as it was noted for its own.
 */
export async function save(run: Run, directory: string): Promise<void> {
  const { place, recipe, options, state } = run;
  await settleRotated(run);
  refuseLost(run);
  const target = await place.realPath(directory);
  for (const [at, one] of run.before.entries()) {
    if (at < run.announced.length || one.directory !== target || !(await place.stands(one))) continue;
    run.announced = [...run.announced, run.before[run.announced.length] ?? one];
    run.saved.push(target);
    return;
  }
  const written = await saveModel(
    place,
    run.model,
    run.working,
    directory,
    {
      recipe: await savedRecipe(place, recipe, options.source, options.files ?? null),
      // a run may replace what it wrote itself: the model as it is by then
      force: options.force === true || run.saved.includes(target),
      async announced(what) {
        run.announced = [...run.announced, what];
        await state.commit(run.step, { ...run.known, announced: run.announced, seconds: factsOf(run).seconds });
      },
    },
    (name, done, total, bytes) => report(run, "save", name, done, total, run.costs.save(bytes)),
  );
  run.saved.push(written);
}
