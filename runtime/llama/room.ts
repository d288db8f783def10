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
 * Bytes of the largest tensor between that is worth it: on a GPU two windows of 2048 tokens of 32 heads, with scores in
 * f32.
 */
const roomAtOnce = { gpu: 2 ** 30, cpu: 2 ** 28 } as const;

function roomOf(target: Target): number {
  return Math.min(target.maxBinding, roomAtOnce[target.kind]);
}

/** Bytes of the largest tensor between, a token of one sequence: scores of what it sees, or activations of an MLP. */
function bytesOfToken({ heads, intermediateSize, hiddenSize }: LlamaConfig, seen: number): number {
  return 4 * Math.max(heads * seen, 2 * intermediateSize, hiddenSize);
}

/** Windows for one batch, so that no tensor between is larger than there is room for, or a binding. */
export function windowsAtOnce(target: Target, config: LlamaConfig, tokens: number): number {
  const largest = tokens * bytesOfToken(config, tokens);
  return Math.max(1, Math.min(Math.floor(tokensAtOnce[target.kind] / tokens), Math.floor(roomOf(target) / largest)));
}

/**
 * Tokens of each of `batch` sequences that go through the model at once, at most `most`, where each sees up to `seen`
 * others: fewer the more that is. At least one, if the device can bind what that takes.
 * @throws LlamaError context-too-large
 */
export function chunkOf(
  target: Target,
  config: LlamaConfig,
  dtype: ActivationDtype,
  { seen, most, batch = 1 }: { readonly seen: number; readonly most: number; readonly batch?: number },
): number {
  const { heads, keyValueHeads, headDim } = config;
  const tensors: readonly (readonly [string, number])[] = [
    [`the scores of a token in ${counted(heads, "head")} take`, 4 * batch * heads * seen],
    [`the keys of a block take`, (dtype === "f16" ? 2 : 4) * batch * seen * keyValueHeads * headDim],
  ];
  const tooLarge = tensors.find(([, bytes]) => bytes > target.maxBinding);
  if (tooLarge !== undefined)
    throw new LlamaError(
      "context-too-large",
      `With ${counted(seen, "token")} in sight, ${tooLarge[0]} ${formatBytes(tooLarge[1])}, and ${target.name} binds at most ${formatBytes(target.maxBinding)} at once. Ask for fewer tokens, or use a device that binds more.`,
    );
  const fit = Math.floor(roomOf(target) / (batch * bytesOfToken(config, seen)));
  return Math.max(1, Math.min(most, fit));
}
