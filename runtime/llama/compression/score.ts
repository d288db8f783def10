/** Perplexity of a model that need not fit the device: one block at a time, over all windows. */
import type { Model } from "../../model/model.js";
import { withArena } from "../../run/arena.js";
import { embedWindows, type ActivationBatch, type ActivationOptions } from "./activations.js";
import { passBlock } from "./calibrate.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { tokenLosses } from "../inference/evaluate.js";
import type { Frame } from "../inference/session.js";
import { unpackBlock } from "../weights.js";
import { checkContext, countedTokens, type ScoredWindows } from "../windows.js";
import type { WorkingModel } from "./working-model.js";

/**
 * exp of the mean loss of the windows' tokens, in nats, under the model as it is or as it was given.
 * @throws LlamaError bad-window, not-finite; ModelError M153; DeviceError
 */
export async function scoreModel(
  caller: Caller,
  model: Model,
  working: WorkingModel,
  of: "model" | "dense",
  windows: ScoredWindows,
  options: Omit<ActivationOptions, "onProgress">,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<number> {
  const { config, blocks } = model;
  checkContext(windows, config.contextLength);
  return withArena(caller.executor, async (arena) => {
    const frame = await working.frame(of, arena);
    const activations = await embedWindows(caller, config, frame, windows, options);
    try {
      const total = (blocks.length + 1) * activations.batches;
      for (const { index } of blocks)
        await withArena(caller.executor, async (own) => {
          const dense = await unpackBlock(caller, await working.block(index, of, own), options.dtype, own);
          await passBlock(caller, dense, activations, [], own, {
            advance: true,
            onProgress: (done) => onProgress(index * activations.batches + done, total),
          });
        });
      let loss = 0;
      for (let at = 0; at < activations.batches; at++) {
        loss += await withArena(caller.executor, async (own) =>
          batchLoss(caller, model, frame, await activations.load(at, own), windows, at * activations.batch),
        );
        if (!Number.isFinite(loss)) throw lossNotFinite(of, options.dtype);
        onProgress(blocks.length * activations.batches + at + 1, total);
      }
      return Math.exp(loss / countedTokens(windows));
    } finally {
      await activations.release();
    }
  });
}

/** That a model has no perplexity, of which a loss is NaN or infinite. */
export function lossNotFinite(of: "model" | "dense", dtype: ActivationOptions["dtype"]): LlamaError {
  const [which, why] =
    of === "dense"
      ? ["The model as it was given", "`espalier eval` of it shows which weight is to blame"]
      : [
          "The compressed model",
          "the weights that it has been given are finite, so the others are not, or the activations grow too large",
        ];
  return new LlamaError(
    "not-finite",
    `${which} has no perplexity: what it computes on the text is NaN or infinite; ${why}${dtype === "f16" ? "; --dtype f32 may help" : ""}.`,
  );
}

/** Summed loss of the windows from `from` on, whose activations after the last block these are. */
export async function batchLoss(
  caller: Caller,
  model: Pick<Model, "config">,
  frame: Frame,
  { x }: Pick<ActivationBatch, "x">,
  windows: ScoredWindows,
  from: number,
): Promise<number> {
  const [count = 0, tokens = 0] = x.shape;
  return withArena(caller.executor, async (arena) => {
    const own = windows.targets.slice(from * tokens, (from + count) * tokens);
    const targets = arena.own(await caller.executor.fill("i32", [count, tokens], own, "targets"));
    const losses = await tokenLosses({ caller, config: model.config, frame }, x, targets);
    const { counts } = windows;
    return losses.reduce((sum, loss, at) => (counts?.[from * tokens + at] === 0 ? sum : sum + loss), 0);
  });
}
