/** `generate --draft`: a second model that proposes tokens to the first. */
import type { Caller } from "../llama/call.js";
import type { Generation } from "../llama/inference/generate.js";
import { openSession, type Session, type SessionOptions } from "../llama/inference/session.js";
import { speculate, type Speculation, type SpeculateOptions } from "../llama/inference/speculate.js";
import type { Model } from "../model/model.js";
import { tokenizerDifference } from "../model/tokenizer/difference.js";
import { UsageError } from "./failure.js";
import { openGiven } from "./given.js";
import type { Output } from "./output.js";
import type { SamplingOptions } from "./sampling.js";

/** A draft that is open, beside its model. */
export interface Draft {
  generate(session: Session, prompt: ArrayLike<number>, options: SpeculateOptions): Promise<Generation & Speculation>;
}

/**
 * Checks that a draft goes with the other options.
 * @throws UsageError
 */
export function checkDraft(options: SamplingOptions & { readonly n: number }): void {
  const others: readonly (readonly [name: string, given: boolean])[] = [
    ["a --temperature above 0", options.temperature > 0],
    ["--n", options.n > 1],
    ["--repetition-penalty", options.repetitionPenalty !== undefined],
    ["--presence-penalty", options.presencePenalty !== undefined],
    ["--frequency-penalty", options.frequencyPenalty !== undefined],
    ["--logit-bias", options.logitBias.length > 0],
  ];
  const [other] = others.filter(([, given]) => given);
  if (other !== undefined) throw new UsageError(`--draft is for the likeliest tokens: it does not go with ${other[0]}`);
}

/**
 * Opens a draft for a model: its tokenizer is the model's own.
 * @throws UsageError where it is another; ModelError
 */
export async function openDraft(path: string, model: Model, output: Output): Promise<Model> {
  const draft = await openGiven(path, output);
  try {
    const difference = tokenizerDifference(await model.tokenizer(), await draft.tokenizer());
    if (difference !== null) throw new UsageError(`the draft has another tokenizer than the model: ${difference}`);
    return draft;
  } catch (error) {
    await draft.close();
    throw error;
  }
}

/** Loads a draft onto the device of its model. */
export async function loadDraft(caller: Caller, model: Model, options: SessionOptions): Promise<Draft> {
  const draft = await openSession(caller, model, options);
  return {
    async generate(session, prompt, given) {
      return { ...(await speculate(session, draft, prompt, given)), sharedTokens: 0 };
    },
  };
}

/** What the proposals were worth, for a user. */
export function printSpeculation({ proposedTokens, acceptedTokens, passes, nearTies }: Speculation): string {
  const share = proposedTokens === 0 ? 0 : (100 * acceptedTokens) / proposedTokens;
  return `draft: ${acceptedTokens} of ${proposedTokens} proposed tokens accepted (${share.toFixed(1)}%), ${passes} passes of the model, ${nearTies} of them for near ties`;
}

/** The same for a program. */
export function worthOf({ proposedTokens, acceptedTokens, passes, nearTies }: Speculation): {
  readonly [name: string]: number;
} {
  return { proposedTokens, acceptedTokens, passes, nearTies };
}
