/** Following a recipe: statistics block by block, each layer treated on the device, the model written as it is then. */
import { counted } from "../../../compiler/words.js";
import { CompileError } from "../../../compiler/compile.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/opened.js";
import { leftOut } from "../../model/parts.js";
import { createChannels } from "./channels.js";
import type { Caller } from "../call.js";
import type { Compression, CompressOptions } from "./compression.js";
import { reportOf } from "./compression-report.js";
import { LlamaError } from "../error.js";
import { createForecast } from "./forecast.js";
import { createMeasured } from "./measured.js";
import { expect, evaluateBoth } from "./judge.js";
import { unsavedWarning } from "./outcome.js";
import { createFolds } from "./folds.js";
import { factsOf, type Run } from "./run.js";
import { prepareRotation, rotateStream } from "./rotate.js";
import { saves, storesUnsaved } from "./saves.js";
import { followBlocks } from "./run-blocks.js";
import { finishStep, refuseLost, save } from "./run-saves.js";
import { train } from "./run-training.js";
import type { Place } from "./place.js";
import { keptLine } from "../long-runs/words.js";
import { checkRecipe } from "./fit.js";
import { tellTrainings } from "./told-memory.js";
import { kernelsOf, measurePace, slowWords, trains } from "./pace.js";
import type { Retaining } from "./follow-layers.js";
import { narrow, retentionsIn } from "./retain.js";
import { createTreater } from "./treat.js";
import { calibrationWindows, checkContext, trainingWindows } from "../windows.js";
import { isUntied } from "./tied-head.js";
import { treatTensors } from "./treat-tensors.js";
import { bodyOf, calibrates, costsOf, stepsOf, workLeft } from "./workload.js";
import { createWorkingModel } from "./working-model.js";

/**
 * Compresses a model by a recipe. The recipe is checked against the model before any weight is read. A run that fails or
 * is stopped after a block is finished leaves what it has beside the output, for `resume`; a fault that it would come to
 * again does not.
 * @throws LlamaError recipe, expectation-failed, error-too-large, bad-option, text-too-short, bad-window, not-finite,
 * not-positive-definite, resume; CompileError; ModelError; DeviceError
 */
export async function compressIn(
  place: Place,
  caller: Caller,
  given: Model,
  recipe: Recipe,
  options: CompressOptions,
): Promise<Compression> {
  const started = performance.now();
  const text = recipe.needsText || options.layerErrors === true ? (options.text ?? null) : null;
  const note = options.note ?? ((): void => {});
  if ((recipe.needsText || options.layerErrors === true) && text === null)
    throw new LlamaError("recipe", `The recipe ${recipe.name} needs a calibration text.`);
  if (options.maxError !== undefined && !(options.maxError >= 0 && options.maxError < Infinity))
    throw new LlamaError("bad-option", `maxError should be a number, 0 or more, found ${options.maxError}.`);
  if (options.dtype === "f16" && !caller.target.f16)
    throw new LlamaError(
      "bad-option",
      `Activations cannot be kept in f16, for ${caller.target.name} does not compute in it; f32 works everywhere.`,
    );
  const fit = checkRecipe(caller, given, recipe);
  for (const line of fit.notes) note(`note: ${line}`);
  if (storesUnsaved(recipe)) note(`warning: ${unsavedWarning.message}.`);
  const left = leftOut(given.unused);
  if (left !== null) note(`note: ${left}`);
  const windows = text === null ? null : calibrationWindows(text.ids, text.window ?? 256, text.bos, text.windows);
  if (windows !== null) checkContext(windows, given.config.contextLength);
  const training = text === null ? null : trainingWindows(text.ids, text.window ?? 256, text.bos);
  tellTrainings(recipe, { caller, model: given, windows, training, options }, note);
  const counts = {
    calibration: windows?.count ?? 0,
    training: training?.count ?? 0,
    tokens: windows?.tokens ?? 0,
  };
  // what would be found wrong when the model is written, before what a stopped run has kept is touched
  await given.companions();
  const written = await place.checkOutputs(given, recipe, options);
  const origin = {
    recipe,
    source: options.source,
    modules: options.files?.modules,
    text,
    dtype: options.dtype ?? "f32",
  };
  const state = await place.openState(options.output, caller, given, origin, { resume: options.resume === true, note });
  const channels = createChannels(caller.functions, given, state.facts.channels);
  const { model } = channels;
  const { facts } = state;
  const working = createWorkingModel(caller, model, state, createFolds(facts.folds), model, facts.activations);
  let run: Run | null = null;
  try {
    const costs = costsOf(model, windows === null ? 0 : windows.count * windows.tokens, windows?.tokens ?? 0);
    const measured = createMeasured(model, facts.measured);
    const work = workLeft(recipe, model, costs, { ...options, windows: counts }, state.finished);
    if (caller.target.kind === "cpu" && trains(recipe))
      note(`note: ${slowWords(work, kernelsOf(recipe, model), await measurePace(caller))}`);
    run = {
      place,
      caller,
      given: model,
      model,
      opened: [],
      recipe,
      options,
      windows,
      training,
      costs,
      state,
      working,
      started,
      forecast: createForecast(work),
      treater: createTreater(caller, model, working, { share: options.share, measured }),
      measured,
      printed: [...(facts.printed ?? [])],
      channels,
      retained: [...facts.retained],
      saved: [...facts.saved],
      perplexities: facts.perplexities.map(({ of, value }) => ({ text: "calibration", of, value: value ?? Infinity })),
      trainings: [...facts.trainings],
      dense: facts.dense,
      step: 0,
      known: facts,
      announced: [],
      before: facts.announced,
      isWritten: false,
    };
    if (options.resume === true)
      note(
        state.finished === 0 && written.length === 0 && (await place.keptTraining(state.directory)) === null
          ? "There is nothing to go on with: this run begins anew."
          : `Going on after ${state.finished} of ${counted(stepsOf(recipe, model), "step")}.`,
      );
    if (options.maxError !== undefined && !recipe.steps.some((step) => calibrates(options, bodyOf(step) ?? [])))
      note(
        `note: layer errors are not measured, so the limit of ${options.maxError} is for the errors of weights; --layer-errors measures them.`,
      );
    // what was finished under another limit
    refuseLost(run);
    const retaining = retentionsIn(recipe);
    for (const step of recipe.steps) await follow(run, step, { plan: fit.narrowings.get(step) ?? null, retaining });
    if (!recipe.steps.some((step) => saves(step))) await save(run, options.output);
    run.isWritten = true;
    await evaluateBoth(run);
    const report = reportOf(run, {
      isUntied: await isUntied(run.model, run.working),
      seconds: factsOf(run).seconds,
      stageSeconds: run.forecast.spent(),
      saved: run.saved,
      perplexities: run.perplexities,
      trainings: run.trainings,
      measured: run.measured.found(),
      printed: run.printed,
      unsaved: storesUnsaved(recipe),
      deviceBytesPeak: caller.executor.device.memory.peak,
    });
    await closeOpened(run);
    await state.remove();
    return report;
  } catch (error) {
    if (run !== null) await closeOpened(run);
    // the same run would come to the same fault, and another recipe is another run; a text to evaluate on can be
    // another, and so can the limit of errors
    const isFinal = error instanceof LlamaError ? error.code !== "error-too-large" : error instanceof CompileError;
    if (isFinal && run?.isWritten !== true) await state.remove();
    const left = await state.leave();
    if (left !== null) note(keptLine(left, stepsOf(recipe, model)));
    throw error;
  } finally {
    (run?.working ?? working).release();
  }
}

async function closeOpened({ opened }: Run): Promise<void> {
  for (const model of opened.splice(0)) await model.close();
}

async function follow(run: Run, step: RecipeStep, retaining: Retaining): Promise<void> {
  const body = bodyOf(step);
  if (body !== null) {
    await followBlocks(run, body, retaining);
    return retaining.plan === null ? undefined : narrow(run, retaining.plan, retaining.retaining);
  }
  if (run.step < run.state.finished) {
    run.step++;
    if (step.kind === "rotate") await prepareRotation(run, step);
    return;
  }
  if (step.kind === "expect") await expect(run, step.condition, step.text);
  else if (step.kind === "train") await train(run, step, null);
  else if (step.kind === "tensors") await treatTensors(run, step, null);
  else if (step.kind === "rotate") await rotateStream(run, step);
  else if (step.kind === "save") await save(run, run.place.within(run.options.output, step.name));
  else throw new InternalError(`${step.kind} outside of blocks`);
  await finishStep(run);
  if (step.kind === "tensors" || step.kind === "rotate") run.working.unload();
  if (step.kind !== "train") return;
  // what the training has made of all blocks is in the state now
  run.working.unload();
  await run.place.forgetTraining(run.state.directory);
}
