/** How much goes through a training at once, and how much memory it takes. */
import { formatBytes } from "../../device/error.js";
import type { Target } from "../../../compiler/target.js";
import type { LlamaConfig } from "../../model/config.js";
import { LlamaError } from "../error.js";
import type { ActivationDtype } from "../weights.js";

/** Bytes of the largest tensor between that is worth it. */
const roomAtOnce = { gpu: 2 ** 29, cpu: 2 ** 28 } as const;

/**
 * Windows of a step that go through at once, so that no tensor between is larger than there is room for: the scores of
 * attention, which are made for the way back, or activations of an MLP. A step is cut in equal parts.
 */
export function windowsOfPass(target: Target, config: LlamaConfig, tokens: number, batch: number): number {
  const { heads, intermediateSize, hiddenSize } = config;
  const largest = 4 * tokens * Math.max(heads * tokens, intermediateSize, hiddenSize);
  if (largest > target.maxBinding)
    throw new LlamaError(
      "context-too-large",
      `To train on windows of ${tokens} tokens takes a tensor of ${formatBytes(largest)}, and ${target.name} binds at most ${formatBytes(target.maxBinding)} at once. Give it shorter ones: --window.`,
    );
  const most = Math.max(1, Math.floor(Math.min(target.maxBinding, roomAtOnce[target.kind]) / largest));
  return Math.ceil(batch / Math.ceil(batch / most));
}

/** Rows of logits that are made at once: of equal parts where the tokens of a pass can be halved often enough. */
export function rowsOfHead(target: Target, config: LlamaConfig, tokens: number): number {
  const room = Math.min(target.maxBinding, target.kind === "gpu" ? roomAtOnce.gpu : roomAtOnce.cpu / 2);
  const most = Math.max(1, Math.floor(room / (4 * config.vocabSize)));
  let rows = tokens;
  while (rows > most && rows % 2 === 0) rows /= 2;
  return rows <= most ? rows : most;
}

/** What a training keeps on the device, in bytes by what they are for. */
export interface TrainingMemory {
  /** Weights, moments, gradients, the best so far, and what passes use. */
  readonly state: number;
  /** The model as it was given, and what its logits are made with. */
  readonly dense: number;
  /** Inputs of blocks, the largest tensors between, roughly, and what an update computes in. */
  readonly activations: number;
}

/** A pass over so many windows of so many tokens through so many blocks. */
export interface PassShape {
  readonly windows: number;
  readonly tokens: number;
  readonly blocks: number;
  readonly rows: number;
}

/** What activations of a pass that learns take. */
export function bytesOfPass(config: LlamaConfig, dtype: ActivationDtype, pass: PassShape): number {
  const { hiddenSize, intermediateSize, heads, headDim, vocabSize } = config;
  const element = dtype === "f16" ? 2 : 4;
  const tokens = pass.windows * pass.tokens;
  const kept = (pass.blocks + 3) * tokens * hiddenSize * element;
  const block = tokens * (8 * intermediateSize + 12 * hiddenSize + 6 * heads * headDim) * element;
  const scores = 4 * pass.windows * heads * pass.tokens ** 2 * 4;
  const logits = pass.rows * vocabSize * 12;
  return kept + Math.max(block + scores, logits);
}

/**
 * As many windows of a step at once as `windowsOfPass` says, or fewer where what they take, `memoryAt`, would be more than
 * the device has: `limit` in bytes, null where it is not known. A step is cut in equal parts.
 * `advice` says what else there is, where even one window at once is too much.
 * @throws LlamaError context-too-large
 */
export function fittingWindows(
  target: Target,
  config: LlamaConfig,
  { tokens, batch }: { readonly tokens: number; readonly batch: number },
  memoryAt: (windows: number) => TrainingMemory,
  limit: number | null,
  advice: () => string,
): { readonly places: number; readonly memory: TrainingMemory } {
  let places = windowsOfPass(target, config, tokens, batch);
  for (;;) {
    const memory = memoryAt(places);
    if (limit === null || bytesOf(memory) <= limit) return { places, memory };
    if (places === 1)
      throw new LlamaError(
        "context-too-large",
        `Training takes at least ${memoryInWords(memory)}. ${target.kind === "cpu" ? "This machine" : target.name} has ${formatBytes(limit)} in all. ${advice()}`,
      );
    places = Math.min(places - 1, Math.ceil(batch / (Math.ceil(batch / places) + 1)));
  }
}

/** Bytes of it all. */
export function bytesOf({ state, dense, activations }: TrainingMemory): number {
  return state + dense + activations;
}

/** The same in words. */
export function memoryInWords(memory: TrainingMemory): string {
  const { state, dense, activations } = memory;
  return `${formatBytes(bytesOf(memory))} of the device's memory: ${formatBytes(state)} for weights, moments and gradients, ${formatBytes(dense)} for the model as it was given, about ${formatBytes(activations)} for activations`;
}
