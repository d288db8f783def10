/** A step of a recipe that trains: what it is given, and what is made of what was trained. */
import { gainOffset } from "../../model/architectures/architecture.js";
import { architectureOf } from "../../model/architectures/registry.js";
import { counted } from "../../../compiler/words.js";
import type { Recipe, TrainStep } from "../../../compiler/recipe/recipe.js";
import type { Model } from "../../model/model.js";
import { embeddingName, headName } from "../../model/layout.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { CalibrationRun } from "./calibration-run.js";
import type { Treater } from "./treat.js";
import type { WorkingModel } from "./working-model.js";
import type { Caller } from "../call.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import type { ActivationDtype } from "../weights.js";
import { trainBlock } from "./block-training.js";
import type { StepReport } from "../training/loop.js";
import type { TrainingReport } from "../training/report.js";
import { besideOf, lossOf } from "../training/loss.js";
import {
  splitWindows,
  trainModel,
  type TrainedWeights,
  type TrainingHooks,
  type TrainingPoints,
  type TrainingTask,
} from "./model-training.js";
import { trainingRoom } from "./training-memory.js";
import { stepsFor } from "../training/settings.js";
import type { TrainingWindows } from "../training/text.js";

/** What a training step works with. */
export interface TrainingContext {
  readonly caller: Caller;
  readonly model: Model;
  readonly working: WorkingModel;
  readonly treater: Treater;
  readonly parameters: Recipe["parameters"];
  readonly windows: TrainingWindows;
  readonly dtype: ActivationDtype;
  /** Where the training of a model keeps what it needs to be gone on with. */
  readonly points: TrainingPoints | null;
  /** Bytes of the device's memory, null where that is not known, and of calibration activations on it. */
  readonly limit: number | null;
  readonly calibrationBytes: number;
  readonly note: (line: string) => void;
  /** After each step: how many of how many, and what is to be told of it. */
  readonly onStep: (what: string, done: number, total: number, detail: string) => void;
  readonly onTreated: (record: WeightRecord) => void;
}

/** The block that is trained, and what it receives. */
export interface TrainedBlock {
  readonly index: number;
  readonly calibration: CalibrationRun;
}

/**
 * Trains as a step of a recipe says; what was trained becomes the working model's.
 * @throws LlamaError diverged, text-too-short, unsupported-model, not-finite; CompileError; DeviceError
 */
export async function runTraining(
  context: TrainingContext,
  step: TrainStep,
  block: TrainedBlock | null,
): Promise<TrainingReport> {
  const { caller, model, working, windows, dtype, note } = context;
  const { settings } = step;
  const started = performance.now();
  const what = block === null ? "the model" : `block ${block.index}`;
  const split = splitWindows(windows, settings);
  const room = trainingRoom(caller.target, model, step, windows, {
    functions: caller.functions,
    dtype,
    keepsBest: split.held.length > 0,
    limit: context.limit,
    calibration: context.calibrationBytes,
    tables: [embeddingName, headName].reduce((sum, name) => sum + (working.treated.get(name)?.bytes ?? 0), 0),
  });
  const task: TrainingTask = {
    loss: lossOf(step.loss),
    beside: besideOf(step),
    settings,
    layers: step.layers,
    windows,
    dtype,
    room,
  };
  const planned = stepsFor(settings, split.train.length);
  const tokensPerStep = settings.batch * windows.tokens;
  const pace = createPace(tokensPerStep);
  const hooks: TrainingHooks = {
    note: (line) => note(`note: ${line}`),
    points: context.points,
    onStep: (at, report) => context.onStep(what, at, planned, detailOf(report, pace())),
  };
  const finish = (trained: TrainedWeights): Promise<void> => takeOver(context, trained, block, planned);
  const { losses, watched, best, skipped, steps, stopped } =
    block === null
      ? await trainModel(caller, model, working, task, hooks, finish)
      : await trainBlock(caller, model, working, block.index, inputsOf(block, step), task, hooks, finish);
  if (stopped !== null)
    note(
      `warning: the training of ${what} was stopped after ${steps} of ${counted(planned, "step")}, for ${stopped}; the weights of step ${best?.step ?? 0} are taken, whose loss on what is held out was ${best?.loss.toPrecision(4) ?? "not measured"}.`,
    );
  else if (best?.step === 0)
    note(
      `warning: the training of ${what} has made nothing better on what is held out; its weights stay as they were.`,
    );
  const seconds = (performance.now() - started) / 1000;
  const loss = step.beside === null ? step.function : `${step.function} and ${step.beside.function}`;
  return { what, loss, steps, planned, tokensPerStep, losses, watched, best, skipped, stopped, seconds };
}

function inputsOf({ calibration }: TrainedBlock, { settings }: TrainStep): Parameters<typeof trainBlock>[4] {
  const { activations, given } = calibration;
  return { activations: settings.dense_inputs ? (given ?? activations) : activations, seen: calibration.seen() };
}

/** Stores what the recipe makes of the trained weights, and the gains. */
async function takeOver(
  { caller, model, working, treater, parameters, onTreated }: TrainingContext,
  { layers, gains }: TrainedWeights,
  block: TrainedBlock | null,
  steps: number,
): Promise<void> {
  await treater.treat(
    layers.map(({ linear, treatment, trained }) => ({
      linear,
      treatment,
      trained: {
        values: new Map(trained.states.flatMap(({ input, master }) => (input === null ? [] : [[input, master]]))),
        steps,
      },
    })),
    block?.calibration.seen() ?? null,
    parameters,
    onTreated,
  );
  for (const { name, trained } of gains) {
    const values = Float32Array.from(await caller.executor.values(trained.forward));
    const offset = gainOffset(architectureOf(model.config), name);
    const given = (await model.floats(name)).map((value) => value + offset);
    const form: TensorForm = { dtype: "f32", shape: [values.length], format: { name: "f32", args: {}, of: null } };
    const tensor: DeviceTensor = await caller.executor.upload(form, values, name);
    const norm = (some: Float32Array): number => Math.hypot(...some);
    const record: WeightRecord = {
      name,
      format: { name: "f32", args: {}, of: null },
      pattern: { kind: "full" },
      shape: form.shape,
      bytes: 4 * values.length,
      relativeError: norm(values.map((value, at) => value - (given[at] ?? 0))) / Math.max(norm(given), 1e-30),
      layerError: null,
      seconds: 0,
    };
    working.replace(record, tensor);
  }
}

/** Tokens a second since the step before the last, averaged over the last steps; the first, which compiles, is left out. */
function createPace(tokens: number): () => number | null {
  const times: number[] = [];
  return () => {
    times.push(performance.now());
    if (times.length > 20) times.shift();
    const [first = 0, last = 0] = [times[0], times.at(-1)];
    return times.length < 3 ? null : (1000 * tokens * (times.length - 1)) / Math.max(1e-3, last - first);
  };
}

function detailOf({ loss }: StepReport, tokensPerSecond: number | null): string {
  const speed = tokensPerSecond === null ? "" : `, ${Math.round(tokensPerSecond).toLocaleString("en")} tokens/s`;
  return `loss ${loss.toPrecision(4)}${speed}`;
}
