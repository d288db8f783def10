/** What a training will take of the device's memory: told, and held against what there is, before anything is read. */
import type { TrainStep } from "../../../compiler/recipe/recipe.js";
import type { Target } from "../../../compiler/target.js";
import type { Linear, Model } from "../../model/model.js";
import type { Caller } from "../call.js";
import type { ActivationDtype } from "../weights.js";
import { lossOf } from "../training/loss.js";
import { bytesOfPass, fittingWindows, rowsOfHead, type TrainingMemory } from "../training/room.js";
import { bytesOfTrained, type TrainedElements } from "../training/trained.js";
import type { TrainingWindows } from "../training/text.js";
import { trainedElements } from "./students.js";

/** How a training goes through the device: windows at once, rows of logits at once, and the bytes that takes. */
export interface TrainingRoom {
  readonly places: number;
  readonly rows: number;
  readonly memory: TrainingMemory;
}

export interface RoomOptions {
  readonly dtype: ActivationDtype;
  /** Whether something is held out, and so the best state kept. */
  readonly keepsBest: boolean;
  /** Bytes of the device's memory; null where that is not known. */
  readonly limit: number | null;
  /** Bytes of tables, embedding and head, that the recipe has stored anew; 0 for none. */
  readonly tables: number;
  /** Bytes of calibration activations that stay on the device while blocks are trained. */
  readonly calibration: number;
}

/** Bytes of memory that a training may take: what was said of a GPU, else what a machine has whose CPU computes. */
export function memoryLimit({ target, executor }: Caller, said: number | undefined): number | null {
  return said ?? (target.kind === "cpu" ? executor.device.hostMemory : null);
}

/**
 * The room that a training takes: as many windows at once as fit.
 * @throws LlamaError context-too-large where not even one does
 */
export function trainingRoom(
  target: Target,
  model: Model,
  step: Pick<TrainStep, "scope" | "settings" | "layers" | "loss" | "beside">,
  { tokens }: Pick<TrainingWindows, "tokens">,
  { dtype, keepsBest, limit, calibration, tables }: RoomOptions,
): TrainingRoom {
  const { config, blocks, tensors } = model;
  const { settings, layers, scope, beside } = step;
  const width = dtype === "f16" ? 2 : 4;
  /** Elements of all layers, of those of which something is trained, and of what is trained. */
  const elementsOf = (linears: readonly Linear[]): TrainedElements & { readonly all: number } => {
    const elements = linears.map((linear) => ({
      own: linear.inputs * linear.outputs,
      trained: trainedElements(layers, linear),
    }));
    const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
    return {
      all: sum(elements.map(({ own }) => own)),
      used: sum(elements.map(({ own, trained }) => (trained > 0 ? own : 0))),
      trained: sum(elements.map(({ trained }) => trained)),
    };
  };
  const stored = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const memoryAt = (places: number): TrainingMemory => {
    if (scope === "block") {
      // the largest block: its weights as they are stored, as they were given, and decoded
      const largest = blocks.map(({ linears }) => elementsOf(linears)).reduce((a, b) => (b.all > a.all ? b : a));
      const given = Math.max(
        ...blocks.map(({ linears }) => linears.reduce((sum, { weight }) => sum + model.tensor(weight).bytes, 0)),
      );
      return {
        state: bytesOfTrained(largest, dtype, keepsBest),
        dense: 2 * given + 2 * largest.all * width,
        activations: calibration + bytesOfPass(config, dtype, { windows: places, tokens, blocks: 1, rows: 0 }),
      };
    }
    const all = elementsOf(blocks.flatMap(({ linears }) => linears));
    const head = config.vocabSize * config.hiddenSize * width;
    return {
      state: bytesOfTrained(all, dtype, keepsBest),
      dense:
        stored +
        tables +
        head +
        (lossOf(step.loss).dense === null && beside === null ? 0 : all.all * width + (tables === 0 ? 0 : head)),
      activations: bytesOfPass(config, dtype, {
        windows: places,
        tokens,
        // with a loss of blocks what they should give is kept as well
        blocks: (beside === null ? 1 : 2) * blocks.length,
        rows: rowsOfHead(target, config, places * tokens),
      }),
    };
  };
  const { places, memory } = fittingWindows(target, config, { tokens, batch: settings.batch }, memoryAt, limit);
  return { places, rows: rowsOfHead(target, config, places * tokens), memory };
}
