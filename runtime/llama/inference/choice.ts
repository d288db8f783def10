/**
 * How the next token of a text is chosen from its logits, on the device: the likeliest or one that is drawn, of logits as
 * they are or weighed by what was said before. Each text has a place, a row of the tensors that hold what is asked for.
 */
import type { LlamaConfig } from "../../model/config.js";
import type { Arena } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { first } from "../results.js";
import type { Calls } from "./chain.js";
import type { Choose } from "./decode.js";

/** How the next token is chosen. */
export interface Sampling {
  /** 0: the likeliest token. */
  readonly temperature: number;
  /** Keep so many of the likeliest; 0 or none: all. */
  readonly topK?: number | undefined;
  /** Keep the likeliest with this much of the probability together; 1 or none: all. */
  readonly topP?: number | undefined;
  readonly seed?: number | undefined;
  /** Leave tokens less likely than this times the likeliest; 0 or none: keep all. */
  readonly minP?: number | undefined;
  /** Divides logits above 0 of tokens seen, in prompt and text, and multiplies those below; 1 or none: as they are. */
  readonly repetitionPenalty?: number | undefined;
  /** Taken from the logits of new tokens that were said before; 0 by default. */
  readonly presencePenalty?: number | undefined;
  /** The same for each time that they were. */
  readonly frequencyPenalty?: number | undefined;
  /** Added to the logits of tokens, by id. */
  readonly logitBias?: ReadonlyMap<number, number> | undefined;
}

/** What programs a choice takes. */
export interface ChoiceKind {
  /** Whether tokens are drawn; else the likeliest are taken. */
  readonly draws: boolean;
  /** Whether logits are weighed before. */
  readonly weighs: boolean;
}

/** Numbers of a place in the tensor of settings. */
export const settingsOfPlace = 9;

/** Tensors with a row for each place. */
export interface Places {
  /** i32 [B]: the place of each row of logits. */
  readonly places: DeviceTensor;
  /** u32 [places, 9]: what `settingWords` gives. */
  readonly settings: DeviceTensor;
  /** f32 [places, V] each: tokens of the prompt, times that a token was said, bias. Null where nothing is weighed. */
  readonly weights: {
    readonly prompted: DeviceTensor;
    readonly said: DeviceTensor;
    readonly bias: DeviceTensor;
  } | null;
}

/**
 * Below this share of a logit's unit the highest logit takes all, whatever the others are: nothing else has a
 * probability that f32 holds. It is far above what a device computes with as with 0.
 */
const leastTemperature = 2 ** -100;

/** The largest bias and penalty: with it a token is taken always or never. */
const mostBias = 100;

/** What a choice takes for one text. */
export function kindOf(sampling: Sampling): ChoiceKind {
  const { temperature, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias } = sampling;
  return {
    draws: temperature >= leastTemperature,
    weighs: repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0 || (logitBias?.size ?? 0) > 0,
  };
}

/** What the functions that choose take of one text: a row of the tensor of settings. */
export function settingWords(config: Pick<LlamaConfig, "vocabSize">, sampling: Sampling): Uint32Array<ArrayBuffer> {
  const { seed = 0, temperature, topK = 0, topP = 1, minP = 0 } = sampling;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0 } = sampling;
  const { draws, weighs } = kindOf(sampling);
  const values = Float32Array.of(
    // beyond it all tokens are as likely
    draws ? Math.min(temperature, 1 / leastTemperature) : 0,
    topK === 0 ? config.vocabSize : Math.min(topK, config.vocabSize),
    // above 1, so that rounding never cuts off the last tokens; the likeliest token has more than the least
    Math.fround(topP) >= 1 ? 2 : Math.max(topP, leastTemperature),
    0,
    minP === 0 ? -3e38 : Math.log(minP),
    repetitionPenalty,
    presencePenalty,
    frequencyPenalty,
    0,
  );
  const words = new Uint32Array(values.buffer);
  words[3] = seed >>> 0;
  words[8] = weighs ? 1 : 0;
  return words;
}

/** What is weighed of one text, by token: f32 [V] each. */
export function weightRows(
  { vocabSize }: LlamaConfig,
  prompt: ArrayLike<number>,
  { logitBias = new Map() }: Sampling,
): { readonly [name in keyof NonNullable<Places["weights"]>]: Float32Array<ArrayBuffer> } {
  const prompted = new Float32Array(vocabSize);
  for (let at = 0; at < prompt.length; at++) prompted[prompt[at] ?? 0] = 1;
  const bias = new Float32Array(vocabSize);
  for (const [id, value] of logitBias) bias[id] = value;
  return { prompted, said: new Float32Array(vocabSize), bias };
}

/** Logits f32 [B, V], and the positions [B] of the tokens they follow -> the next tokens, i32 [B, 1]. */
export async function chooseNext<T extends TensorForm>(
  calls: Calls<T>,
  { draws, weighs }: ChoiceKind,
  { places, settings, weights }: Places,
  logits: T | DeviceTensor,
  positions: T | DeviceTensor,
): Promise<T> {
  let by = logits;
  if (weighs) {
    if (weights === null) throw new Error("logits are weighed, and there is nothing to weigh them by");
    by = first(await calls.call("weighed", { logits, places, settings, ...weights }));
  }
  const next = first(
    draws
      ? await calls.call("sample", { logits: by, positions, places, settings })
      : await calls.call("greedy", { logits: by }),
  );
  if (weights !== null && weighs) await calls.call("count_said", { said: weights.said, places, next });
  return next;
}

/**
 * How the tokens of one text are chosen, for as long as the arena lives.
 * @throws DeviceError
 */
export async function chooserOf(
  arena: Arena,
  { executor }: Caller,
  config: LlamaConfig,
  prompt: ArrayLike<number>,
  sampling: Sampling,
): Promise<Choose> {
  const kind = kindOf(sampling);
  const row = async (name: string, values: Float32Array<ArrayBuffer>): Promise<DeviceTensor> =>
    arena.own(await executor.fill("f32", [1, config.vocabSize], values, name));
  const places = arena.own(await executor.fill("i32", [1], [0], "place"));
  const words = settingWords(config, sampling);
  const settings = arena.own(await executor.fill("u32", [1, settingsOfPlace], words, "settings"));
  let weights: Places["weights"] = null;
  if (kind.weighs) {
    const { prompted, said, bias } = weightRows(config, prompt, sampling);
    weights = {
      prompted: await row("tokens of the prompt", prompted),
      said: await row("tokens said", said),
      bias: await row("bias of logits", bias),
    };
  }
  return (calls, logits, positions) => chooseNext(calls, kind, { places, settings, weights }, logits, positions);
}

/**
 * Checks how tokens are to be chosen.
 * @throws LlamaError bad-option
 */
export function checkSampling({ vocabSize }: Pick<LlamaConfig, "vocabSize">, sampling: Sampling): void {
  const { temperature, topK = 0, topP = 1, seed = 0, minP = 0 } = sampling;
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias = new Map() } = sampling;
  const bounded = `from -${mostBias} to ${mostBias}`;
  checkRules([
    ["temperature", temperature, temperature >= 0 && temperature < Infinity, "0 or more"],
    ["topK", topK, Number.isInteger(topK) && topK >= 0, "a whole number, 0 or more"],
    ["topP", topP, topP > 0 && topP <= 1, "above 0, at most 1"],
    ["seed", seed, Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32, "a whole number from 0 to 4294967295"],
    ["minP", minP, minP >= 0 && minP <= 1, "from 0 to 1"],
    ["repetitionPenalty", repetitionPenalty, repetitionPenalty > 0 && repetitionPenalty <= 100, "above 0, at most 100"],
    ["presencePenalty", presencePenalty, Math.abs(presencePenalty) <= mostBias, bounded],
    ["frequencyPenalty", frequencyPenalty, Math.abs(frequencyPenalty) <= mostBias, bounded],
    ...[...logitBias].flatMap(([id, bias]) => [
      [
        "a token of logitBias",
        id,
        Number.isInteger(id) && id >= 0 && id < vocabSize,
        `the id of a token, below ${vocabSize}`,
      ] as const,
      [`logitBias of the token ${id}`, bias, Math.abs(bias) <= mostBias, bounded] as const,
    ]),
  ]);
}

/** @throws LlamaError bad-option for the first rule that does not hold */
export function checkRules(
  rules: readonly (readonly [name: string, value: number, holds: boolean, expected: string])[],
): void {
  for (const [name, value, holds, expected] of rules)
    if (!holds) throw new LlamaError("bad-option", `${name} should be ${expected}, found ${value}.`);
}
