/** Training a whole model: all blocks are on the device, each with its own input kept for the way back. */
import { elementCount } from "../../../compiler/types/shape.js";
import { counted } from "../../../compiler/words.js";
import { embeddingName, headName } from "../../model/layout.js";
import type { Model } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import type { WorkingModel } from "./working-model.js";
import { LlamaError } from "../error.js";
import type { KeptPoint, TrainingPoint } from "../long-runs/training-state.js";
import type { Frame } from "../inference/session.js";
import { first } from "../results.js";
import { downloadPieces, loadVector, type ActivationDtype } from "../weights.js";
import { createDraw, holdOut } from "../training/draw.js";
import { createLearner } from "../training/learner.js";
import { trainingLoop, type Learner, type LoopOptions, type TrainingOutcome } from "../training/loop.js";
import type { BlockLoss, Loss } from "../training/loss.js";
import { createBatch, createModelPass } from "../training/passes.js";
import type { TrainingRoom } from "./training-memory.js";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import { stepsFor } from "../training/settings.js";
import {
  beginBlock,
  loadStates,
  type BlockStudent,
  type TreatedLayers,
  type TrainedGain,
  type TrainedLayer,
} from "./students.js";
import { countingWindows, type TrainingWindows } from "../training/text.js";
import { beginTraining, type Trained } from "../training/trained.js";
import { createOptimizer } from "../training/update.js";

/** What is trained, on what, towards what. */
export interface TrainingTask {
  readonly loss: Loss;
  /** What is asked of each block of a model besides. */
  readonly beside: BlockLoss | null;
  readonly settings: TrainSettings;
  readonly layers: TreatedLayers;
  readonly windows: TrainingWindows;
  readonly dtype: ActivationDtype;
  readonly room: TrainingRoom;
}

/** What has been trained, for as long as the device has it. */
export interface TrainedWeights {
  readonly layers: readonly TrainedLayer[];
  readonly gains: readonly TrainedGain[];
  readonly outcome: TrainingOutcome;
}

export interface TrainingHooks extends Pick<LoopOptions, "onStep"> {
  readonly note: (line: string) => void;
  /** Where a training keeps what it needs to be gone on with; null where it does not. */
  readonly points?: TrainingPoints | null;
}

/** A place for what a training keeps now and then. */
export interface TrainingPoints {
  /** What a run that was stopped has kept of this training. */
  readonly kept: KeptPoint | null;
  /** Seconds between two points. */
  readonly seconds: number;
  keep(point: Omit<TrainingPoint, "work">, pieces: (name: string) => AsyncIterable<Uint8Array>): Promise<void>;
}

/** Batches of held-out windows that are looked at, at most. */
export const watchedBatches = 4;

/**
 * Trains a model; `finish` receives the best weights before they are given back.
 * @throws LlamaError diverged, text-too-short, unsupported-model; CompileError; DeviceError
 */
export async function trainModel(
  caller: Caller,
  model: Model,
  working: WorkingModel,
  task: TrainingTask,
  hooks: TrainingHooks,
  finish: (trained: TrainedWeights) => Promise<void>,
): Promise<TrainingOutcome> {
  const { loss, beside, settings, layers, windows, dtype } = task;
  const needsDense = loss.dense !== null || beside !== null;
  const { config } = model;
  const { executor } = caller;
  const split = splitWindows(windows, settings);
  const steps = stepsFor(settings, split.train.length);
  // what the steps before have left idle would stand beside what was told
  executor.trim();
  return withArena(executor, async (arena) => {
    const { places, rows } = task.room;
    const keepsBest = split.held.length > 0;
    const frame = await working.frame("model", arena);
    const head = await wholeHead(arena, caller, model, frame, dtype);
    const dense = needsDense ? await denseFrame(arena, caller, model, working, { frame, head, dtype }) : null;
    const students: BlockStudent[] = [];
    for (const { index } of model.blocks) {
      const states = await loadStates(arena, model, working, index);
      students.push(
        await beginBlock(arena, caller, model, states, index, {
          layers,
          norms: settings.norms,
          dtype,
          keepsBest,
          dense: needsDense,
          seen: null,
        }),
      );
    }
    const lastGain = await working.gain(gainName, arena);
    const gain: Trained | null = settings.norms
      ? await beginTraining(
          arena,
          caller,
          { name: gainName, parameter: "gain", start: lastGain, rounding: null },
          dtype,
          keepsBest,
        )
      : null;
    const trained = [...students.flatMap((student) => student.trained), ...(gain === null ? [] : [gain])];
    const optimizer = await createOptimizer(arena, caller, trained, steps, dtype);
    const batch = await createBatch(arena, caller, places, windows.tokens);
    const parts = { arena, caller, config, dtype, loss, optimizer, scratch: optimizer.scratch };
    const whole = {
      frame,
      students,
      head,
      gain: { weight: gain?.forward ?? lastGain, trained: gain },
      dense: dense === null ? null : { ...dense, blocks: students.map((student) => student.dense!) },
      beside,
    };
    const learn = await createModelPass({ ...parts, total: optimizer.total, learns: true }, whole, batch, rows);
    const total = arena.own(await executor.fill("f32", [1], [0], "the loss that is watched"));
    const watch = keepsBest
      ? { total, pass: await createModelPass({ ...parts, total, learns: false }, whole, batch, rows) }
      : null;
    const looksAhead = loss.next !== null;
    const learner = await createLearner({
      arena,
      caller,
      dtype,
      settings,
      steps,
      trained,
      optimizer,
      windows,
      looksAhead,
      batch,
      learn,
      watch,
    });
    const points = hooks.points ?? null;
    const from = points?.kept ?? null;
    if (from !== null) {
      await putBack(caller, learner, from);
      hooks.note(`Going on with the training after ${from.point.step} of ${counted(steps, "step")}.`);
    }
    let last = performance.now();
    const outcome = await trainingLoop(learner, {
      from: from?.point ?? null,
      async onSettled(step, record) {
        if (points === null || performance.now() - last < 1000 * points.seconds) return;
        await points.keep({ step, record, tensors: sizesOfTensors(learner) }, (name) => {
          const tensor = learner.tensors.get(name)!;
          return downloadPieces(caller, tensor, 4 * elementCount(tensor.shape));
        });
        last = performance.now();
      },
      settings,
      what: "the model",
      steps,
      split,
      draw: createDraw(split.train, settings.batch, settings.seed),
      onStep: hooks.onStep,
    });
    await finish({
      layers: students.flatMap((student) => student.layers),
      gains: [
        ...students.flatMap((student) => student.gains),
        ...(gain === null ? [] : [{ name: gainName, trained: gain }]),
      ],
      outcome,
    });
    return outcome;
  });
}

function sizesOfTensors({ tensors }: Learner): TrainingPoint["tensors"] {
  return [...tensors].map(([name, { shape }]) => ({ name, bytes: 4 * elementCount(shape) }));
}

/** Fills what a training keeps with what it was. @throws LlamaError resume where that is another training's */
async function putBack(caller: Caller, learner: Learner, { point, read }: KeptPoint): Promise<void> {
  if (JSON.stringify(point.tensors) !== JSON.stringify(sizesOfTensors(learner)))
    throw new LlamaError(
      "resume",
      "What was kept of a training is of another one. Run without --resume to begin anew.",
    );
  const piece = new Uint8Array(2 ** 24);
  for (const { name, bytes } of point.tensors)
    for (let done = 0; done < bytes; done += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, bytes - done));
      await read(name, part, done);
      await caller.executor.write(learner.tensors.get(name)!, part, done);
    }
  learner.refresh();
}

/** The gain of the last norm. */
export const gainName = "model.norm.weight";

/**
 * The windows that are trained on and those that are watched; those in which nothing counts are neither.
 * @throws LlamaError text-too-short
 */
export function splitWindows(windows: TrainingWindows, settings: TrainSettings): ReturnType<typeof holdOut> {
  const counting = countingWindows(windows);
  const among = `${counted(windows.count, "window")} of ${windows.tokens} tokens`;
  if (counting.length === 0)
    throw new LlamaError(
      "text-too-short",
      `A training learns answers, and in the text's ${among} no token is part of one. Give it longer windows (--window), or more text.`,
    );
  const split = holdOut(counting, settings.held_out, watchedBatches * settings.batch);
  const { origins } = windows;
  const held = new Set(origins ? split.held.map((at) => origins[at]) : []);
  const train = origins ? split.train.filter((at) => !held.has(origins[at])) : split.train;
  if (train.length >= settings.batch) return { ...split, train };
  throw new LlamaError(
    "text-too-short",
    `A step of the training takes ${settings.batch} windows of ${windows.tokens} tokens, and the text has ${windows.count}${counting.length < windows.count ? `, ${counting.length} of them with a part of an answer` : ""}, of which ${split.held.length} are held out to be watched. Give it more text, shorter windows (--window), or a smaller \`batch\`.`,
  );
}

/** The weight that logits are made with, dense and in one piece. */
async function wholeHead(
  arena: Arena,
  caller: Caller,
  model: Model,
  { head }: Frame,
  dtype: ActivationDtype,
): Promise<DeviceTensor> {
  const [part, ...more] = head.parts;
  if (part === undefined || more.length > 0)
    throw new LlamaError(
      "unsupported-model",
      `To train a model its head, ${model.config.vocabSize} x ${model.config.hiddenSize}, has to fit one binding of ${caller.target.name}.`,
    );
  if (part.tensor.format?.name === dtype) return part.tensor;
  return arena.own(first(await caller.call(dtype === "f16" ? "dense_f16" : "dense", { w: part.tensor })));
}

/** What is around the blocks of the model as it was given; tables that were not stored are those of the model as it is. */
async function denseFrame(
  arena: Arena,
  caller: Caller,
  model: Model,
  working: WorkingModel,
  now: { readonly frame: Frame; readonly head: DeviceTensor; readonly dtype: ActivationDtype },
): Promise<{ readonly frame: Frame; readonly head: DeviceTensor }> {
  if ([embeddingName, headName].some((name) => working.treated.has(name))) {
    const frame = await working.frame("dense", arena);
    return { frame, head: await wholeHead(arena, caller, model, frame, now.dtype) };
  }
  const gain = await loadVector(caller, model, gainName, arena);
  return { frame: { ...now.frame, gain }, head: now.head };
}
