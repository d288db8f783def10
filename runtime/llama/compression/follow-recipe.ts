/** Following a recipe: statistics block by block, each layer treated on the device, the model written as it is then. */
import { counted } from "../../../compiler/words.js";
import { CompileError } from "../../../compiler/compile.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Recipe, RecipeStep, TrainStep } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/opened.js";
import { embeddingName } from "../../model/layout.js";
import { leftOut } from "../../model/parts.js";
import type { CalibrationHelper } from "./calibration-helper.js";
import { createChannels } from "./channels.js";
import { calibrationRun, type CalibrationRun } from "./calibration-run.js";
import type { LyingWeight } from "../long-runs/saved-state.js";
import type { Caller } from "../call.js";
import type { Compression, CompressOptions } from "./compression.js";
import { reportOf } from "./compression-report.js";
import { LlamaError } from "../error.js";
import { createForecast } from "./forecast.js";
import { createMeasured, permutes } from "./measured.js";
import { expect, evaluateBoth } from "./judge.js";
import { beyond, unsavedWarning } from "./outcome.js";
import { createFolds } from "./folds.js";
import { factsOf, report, warnOf, writtenWords, type Run } from "./run.js";
import { roundInputs } from "./round-inputs.js";
import { scaleInputs } from "./scaling.js";
import { saves, storesUnsaved } from "./saves.js";
import type { Place } from "./place.js";
import { keptLine } from "../long-runs/words.js";
import { savedRecipe } from "./recipe-record.js";
import { checkRecipe } from "./fit.js";
import type { TrainingPoints } from "./model-training.js";
import { memoryLimit } from "./training-memory.js";
import { calibrationBytes, tellTrainings } from "./told-memory.js";
import { measurePace, slowWords, trains } from "./pace.js";
import { followLayers, type Retaining } from "./follow-layers.js";
import { narrow, retentionsIn } from "./retain.js";
import { createTreater } from "./treat.js";
import { runTraining, type TrainedBlock } from "./training.js";
import { answeredTokens, calibrationWindows, checkContext, trainingWindows } from "../windows.js";
import { isUntied } from "./tied-head.js";
import { treatTensors } from "./treat-tensors.js";
import { bodyOf, calibrates, costsOf, observationsOf, observeCost, stepsOf, withDense, workLeft } from "./workload.js";
import { createWorkingModel, saveModel } from "./working-model.js";

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
    if (caller.target.kind === "cpu" && trains(recipe)) note(`note: ${slowWords(work, await measurePace(caller))}`);
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

/** @throws LlamaError error-too-large where a layer has lost more than the run allows */
function refuseLost({ options: { maxError }, working, saved, step, state }: Run): void {
  const found = maxError === undefined ? null : beyond(working.treated, maxError);
  if (found === null) return;
  throw new LlamaError(
    "error-too-large",
    `${found} ${writtenWords(saved)}${Math.max(step, state.finished) === 0 ? "" : " What is finished is kept for --resume with another limit, or with none."}`,
  );
}

async function follow(run: Run, step: RecipeStep, retaining: Retaining): Promise<void> {
  const body = bodyOf(step);
  if (body !== null) {
    await followBlocks(run, body, retaining);
    return retaining.plan === null ? undefined : narrow(run, retaining.plan, retaining.retaining);
  }
  if (run.step < run.state.finished) {
    run.step++;
    return;
  }
  if (step.kind === "expect") await expect(run, step.condition, step.text);
  else if (step.kind === "train") await train(run, step, null);
  else if (step.kind === "tensors") await treatTensors(run, step, null);
  else if (step.kind === "save") await save(run, run.place.within(run.options.output, step.name));
  else throw new InternalError(`${step.kind} outside of blocks`);
  await finishStep(run);
  if (step.kind === "tensors") run.working.unload();
  if (step.kind !== "train") return;
  // what the training has made of all blocks is in the state now
  run.working.unload();
  await run.place.forgetTraining(run.state.directory);
}

/** Trains the model, or a block. */
async function train(run: Run, step: TrainStep, block: TrainedBlock | null): Promise<void> {
  const { caller, model, working, treater, options, recipe } = run;
  const windows = block === null ? run.training : run.windows;
  if (windows === null) throw new InternalError("a training without a text");
  const points = block === null ? await trainingPoints(run) : null;
  const work = run.costs.train(step, step.settings.batch * windows.tokens);
  const trained = await runTraining(
    {
      caller,
      model,
      working,
      treater,
      parameters: recipe.parameters,
      windows: {
        ...windows,
        scored: answeredTokens(options.text?.answers ?? null, windows, options.text?.bos == null ? 0 : 1),
        origins: options.text?.origins,
      },
      dtype: options.dtype ?? "f32",
      limit: memoryLimit(caller, options.deviceMemory),
      calibrationBytes: calibrationBytes(run),
      points,
      note: options.note ?? (() => {}),
      onStep: (what, done, total, detail) => report(run, "train", what, done, total, work, detail),
      onTreated: (record) => warnOf(run, record),
    },
    step,
    block,
  );
  run.trainings.push(trained);
}

/** Where the training of this step of work keeps what it needs to be gone on with. */
async function trainingPoints(run: Run): Promise<TrainingPoints> {
  const { place, state, options } = run;
  const work = run.step;
  const kept = options.resume === true ? await place.keptTraining(state.directory) : null;
  return {
    kept: kept?.point.work === work ? kept : null,
    seconds: options.pointSeconds ?? 60,
    async keep(point, pieces) {
      // what is not committed is not kept
      await state.commit(run.step, run.known);
      await place.keepTraining(state.directory, { ...point, work }, pieces);
    },
  };
}

/** What is done to each block in turn. Blocks that are finished already only take the calibration activations on. */
async function followBlocks(run: Run, body: readonly RecipeStep[], retaining: Retaining): Promise<void> {
  const { model, caller, options, windows, working, state } = run;
  const { blocks } = model;
  const from = Math.min(blocks.length, Math.max(0, state.finished - run.step));
  run.step += from;
  if (from === blocks.length) return;
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
      await finishStep(run);
      calibration?.forget();
      if (block.index + 1 < blocks.length) await calibration?.advance(block.index);
      working.unload();
    }
  } finally {
    await calibration?.release();
  }
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
  const alone = body.find(({ kind }) => kind === "train" || kind === "scale");
  if (alone !== undefined) {
    const what = alone.kind === "train" ? "trained" : "scaled";
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
        roundInputs(run, step, index);
        break;
      case "blocks":
        throw new InternalError("blocks inside of blocks");
      default:
        step satisfies never;
    }
  }
}

/** Puts what a step of work has made where a later run finds it. */
async function finishStep(run: Run): Promise<void> {
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
async function save(run: Run, directory: string): Promise<void> {
  const { place, recipe, options, state } = run;
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
