import type { RecipeStep } from "../../compiler/recipe/recipe.js";
import type { Model } from "../model/model.js";
import { embedWindows, passBlock, releaseActivations, type Activations, type Statistics } from "./calibrate.js";
import type { Caller } from "./call.js";
import type { CalibrationText, CompressProgress } from "./compress.js";
import { loadFrame, releaseFrame, type ActivationDtype } from "./session.js";
import { unpackBlock } from "./weights.js";
import { calibrationWindows, checkContext } from "./windows.js";
import type { WorkingModel } from "./working-model.js";

/** Calibration activations on their way through a model, block by block. */
export interface CalibrationRun {
  readonly windows: number;
  /** Of all windows. */
  readonly tokens: number;
  /** Runs the block as it is and sums the observed functions of what its layers receive. */
  observe(block: number, steps: readonly (RecipeStep & { readonly kind: "observe" })[]): Promise<void>;
  /** What was observed of the current block. */
  statistics(): Statistics;
  /** Takes the activations on through the block as it is. */
  advance(block: number): Promise<void>;
  /** Frees the statistics of the current block. */
  forget(): void;
  release(): void;
}

/**
 * Embeds a calibration text.
 * @throws LlamaError text-too-short, bad-window
 */
export async function calibrationRun(caller: Caller, model: Model, working: WorkingModel, text: CalibrationText, dtype: ActivationDtype, progress: (progress: CompressProgress) => void): Promise<CalibrationRun> {
  const { config } = model;
  const windows = calibrationWindows(text.ids, text.window ?? 256, text.bos, text.windows ?? 128);
  checkContext(windows, config.contextLength);
  const frame = await loadFrame(caller, model, "stored");
  const batch = calibrationBatch(caller, model, windows.tokens);
  let activations: Activations = await embedWindows(caller, frame, windows, batch, dtype);
  releaseFrame(caller, frame);
  let statistics: Map<number, ReturnType<Statistics["get"]> & {}> = new Map();

  async function pass(block: number, observers: readonly (RecipeStep & { readonly kind: "observe" })[], advance: boolean): Promise<Statistics> {
    const { weights, release } = await working.block(block);
    const dense = await unpackBlock(caller, weights);
    try {
      const seen = await passBlock(caller, config, dense.weights, activations, observers.map(({ id, graph }) => ({ id, graph })), advance, (done, total) => {
        progress({ stage: advance ? "advance" : "observe", subject: `block ${block}`, done, total });
      });
      activations = seen.activations;
      return seen.statistics;
    } finally {
      dense.release();
      release();
    }
  }

  function forget(): void {
    for (const inputs of statistics.values()) for (const tensor of inputs.values()) caller.executor.release(tensor);
    statistics = new Map();
  }

  return {
    windows: windows.count, tokens: windows.count * windows.tokens, forget,
    async observe(block, steps) {
      for (const [id, inputs] of await pass(block, steps, false)) statistics.set(id, inputs);
    },
    statistics: () => statistics,
    async advance(block) {
      await pass(block, [], true);
    },
    release() {
      forget();
      releaseActivations(caller, activations);
    },
  };
}

/** Windows at a time, so that no tensor between is larger than a quarter of a GiB or a binding. */
function calibrationBatch(caller: Caller, model: Model, tokens: number): number {
  const { heads, intermediateSize, hiddenSize } = model.config;
  const room = Math.min(caller.target.maxBinding, 2 ** 28);
  const largest = 4 * tokens * Math.max(heads * tokens, 2 * intermediateSize, hiddenSize);
  return Math.max(1, Math.min(Math.floor((caller.target.kind === "gpu" ? 4096 : 2048) / tokens), Math.floor(room / largest)));
}
