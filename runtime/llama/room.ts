/** How much goes through a model at once, so that no tensor on the way is larger than the device has room for. */
import { counted } from "../../compiler/words.js";
import type { Target } from "../../compiler/target.js";
import type { LlamaConfig } from "../model/config.js";
import { formatBytes } from "../device/error.js";
import { LlamaError } from "./error.js";
import type { ActivationDtype } from "./weights.js";

/** Tokens worth giving a device at once: a GPU is filled by some thousands, a CPU reports its progress. */
const tokensAtOnce = { gpu: 4096, cpu: 2048 } as const;

/**
 * The same where X^T X of each batch is added to what there is: the more tokens, the more seldom that is read and
 * written.
 */
const tokensSummed = { gpu: 8192, cpu: 2048 } as const;

/** Bytes of the largest tensor between that is worth it. */
const roomAtOnce = { gpu: 2 ** 30, cpu: 2 ** 28 } as const;

function roomOf(target: Target): number {
  return Math.min(target.maxBinding, roomAtOnce[target.kind]);
}

/** Bytes of the largest tensor between, a token of one sequence: activations of an MLP. Attention keeps no scores. */
function bytesOfToken({ intermediateSize, hiddenSize }: LlamaConfig): number {
  return 4 * Math.max(2 * intermediateSize, hiddenSize);
}

/**
 * Windows for one batch, so that no tensor between is larger than there is room for, or a binding. `summed`: whether
 * statistics of the batch are added to those of others.
 */
export function windowsAtOnce(target: Target, config: LlamaConfig, tokens: number, summed = false): number {
  const largest = tokens * bytesOfToken(config);
  const most = (summed ? tokensSummed : tokensAtOnce)[target.kind];
  return Math.max(1, Math.min(Math.floor(most / tokens), Math.floor(roomOf(target) / largest)));
}

/**
 * Tokens of each of `batch` sequences that go through the model at once, at most `most`, where each sees up to `seen`
 * others. At least one, if the device can bind their keys.
 * @throws LlamaError context-too-large
 */
export function chunkOf(
  target: Target,
  config: LlamaConfig,
  dtype: ActivationDtype,
  { seen, most, batch = 1 }: { readonly seen: number; readonly most: number; readonly batch?: number },
): number {
  const { keyValueHeads, headDim } = config;
  const bytes = (dtype === "f16" ? 2 : 4) * batch * seen * keyValueHeads * headDim;
  if (bytes > target.maxBinding)
    throw new LlamaError(
      "context-too-large",
      `With ${counted(seen, "token")} in sight, the keys of a block take ${formatBytes(bytes)}, and ${target.name} binds at most ${formatBytes(target.maxBinding)} at once. Ask for fewer tokens, or use a device that binds more.`,
    );
  const fit = Math.floor(roomOf(target) / (batch * bytesOfToken(config)));
  return Math.max(1, Math.min(most, fit));
}
