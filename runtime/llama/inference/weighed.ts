/** Logits as tokens are chosen by: less for what was said before, more or less for tokens by name. */
import type { Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import type { LlamaConfig } from "../../model/config.js";
import type { Caller } from "../call.js";
import type { Choose } from "./decode.js";
import { LlamaError } from "../error.js";
import { first } from "../results.js";

/** What changes logits before a token is chosen. */
export interface Weighing {
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

/** The largest bias and penalty: with it a token is taken always or never. */
const mostBias = 100;

/**
 * Checks what changes logits.
 * @throws LlamaError bad-option
 */
export function checkWeighing(config: LlamaConfig, weighing: Weighing): void {
  const {
    minP = 0,
    repetitionPenalty = 1,
    presencePenalty = 0,
    frequencyPenalty = 0,
    logitBias = new Map(),
  } = weighing;
  const rules: readonly (readonly [name: string, value: number, holds: boolean, expected: string])[] = [
    ["minP", minP, minP >= 0 && minP <= 1, "from 0 to 1"],
    ["repetitionPenalty", repetitionPenalty, repetitionPenalty > 0 && repetitionPenalty <= 100, "above 0, at most 100"],
    ["presencePenalty", presencePenalty, Math.abs(presencePenalty) <= mostBias, `from -${mostBias} to ${mostBias}`],
    ["frequencyPenalty", frequencyPenalty, Math.abs(frequencyPenalty) <= mostBias, `from -${mostBias} to ${mostBias}`],
    ...[...logitBias].flatMap(([id, bias]) => [
      [
        "a token of logitBias",
        id,
        Number.isInteger(id) && id >= 0 && id < config.vocabSize,
        `the id of a token, below ${config.vocabSize}`,
      ] as const,
      [`logitBias of the token ${id}`, bias, Math.abs(bias) <= mostBias, `from -${mostBias} to ${mostBias}`] as const,
    ]),
  ];
  for (const [name, value, holds, expected] of rules)
    if (!holds) throw new LlamaError("bad-option", `${name} should be ${expected}, found ${value}.`);
}

/**
 * `choose` with logits weighed before it, on the device, as long as the arena lives; `choose` itself where nothing is to
 * be weighed.
 * @throws DeviceError
 */
export async function weighing(
  arena: Arena,
  caller: Caller,
  config: LlamaConfig,
  prompt: ArrayLike<number>,
  { temperature, ...given }: Weighing & { readonly temperature: number },
  choose: Choose,
): Promise<Choose> {
  const { minP = 0, repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias = new Map() } = given;
  const near: Choose =
    minP === 0 || temperature === 0
      ? choose
      : async (calls, logits, positions) => {
          const below = -temperature * Math.log(minP);
          return choose(calls, first(await calls.call("near_highest", { logits, below })), positions);
        };
  if (repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0 && logitBias.size === 0) return near;
  const { vocabSize } = config;
  const fill = async (name: string, values: Float32Array, shape: readonly number[]): Promise<DeviceTensor> =>
    arena.own(await caller.executor.fill("f32", shape, values, name));
  const prompted = new Float32Array(vocabSize);
  for (let at = 0; at < prompt.length; at++) prompted[prompt[at] ?? 0] = 1;
  const bias = new Float32Array(vocabSize);
  for (const [id, value] of logitBias) bias[id] = value;
  const kept = {
    prompted: await fill("tokens of the prompt", prompted, [vocabSize]),
    bias: await fill("bias of logits", bias, [vocabSize]),
    said: await fill("tokens said", new Float32Array(vocabSize), [1, vocabSize]),
  };
  const by = { repetition: repetitionPenalty, presence: presencePenalty, frequency: frequencyPenalty };
  return async (calls, logits, positions) => {
    const next = await near(calls, first(await calls.call("weighed", { logits, ...kept, ...by })), positions);
    await calls.call("count_said", { said: kept.said, next });
    return next;
  };
}
