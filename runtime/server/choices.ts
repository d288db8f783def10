/** The texts that a request asks for, side by side. */
import { counted } from "../../compiler/words.js";
import type { PromptToken, Submission } from "../llama/serving/requests.js";
import { readAnswer, type AnswerEnd, type AnswerPiece } from "./answer.js";
import { RequestError } from "./error.js";
import type { CommonParameters } from "./parameters.js";
import type { ServedModel } from "./served.js";

/** A text that is under way. */
export interface Choice {
  readonly index: number;
  readonly prompt: ArrayLike<number>;
  /** Whether it is the first of its prompt: what the prompt took counts once. */
  readonly isFirst: boolean;
  readonly submission: Submission;
}

/** What a request took. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}

/** What all of a request's texts have in common. */
export interface ChoiceOptions {
  readonly ends: readonly number[];
  /** Whether the prompt's tokens are scored, too. */
  readonly scoresPrompt: boolean;
}

/**
 * Submits `n` texts of each prompt; `signal` cancels them all, and if one is refused, so are the others.
 * @throws RequestError 400; what `submit` throws
 */
export function submitChoices(
  model: ServedModel,
  parameters: CommonParameters,
  prompts: readonly ArrayLike<number>[],
  { ends, scoresPrompt }: ChoiceOptions,
  signal: AbortSignal,
): readonly Choice[] {
  const { maxTokens, sampling, logprobs } = parameters;
  for (const prompt of prompts) checkLength(model, prompt.length, maxTokens);
  for (const id of sampling.logitBias?.keys() ?? [])
    if (id >= model.vocabulary)
      throw new RequestError(
        400,
        "invalid_value",
        `\`logit_bias\` should have ids of tokens, below ${model.vocabulary}, found ${id}.`,
        "logit_bias",
      );
  const choices: Choice[] = [];
  const cancel = (): void => choices.forEach(({ submission }) => submission.cancel());
  try {
    for (const prompt of prompts)
      for (let at = 0; at < parameters.choices; at++) {
        const submission = model.scheduler.submit({
          prompt,
          maxNewTokens: maxTokens ?? model.scheduler.contextLength - prompt.length,
          stopTokens: ends,
          sampling: { ...sampling, seed: ((sampling.seed ?? 0) + at) >>> 0 },
          logprobs: logprobs ?? undefined,
          promptLogprobs: scoresPrompt && logprobs !== null ? logprobs : undefined,
        });
        choices.push({ index: choices.length, prompt, isFirst: at === 0, submission });
      }
  } catch (error) {
    cancel();
    throw error;
  }
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  return choices;
}

function checkLength({ scheduler }: ServedModel, promptTokens: number, maxTokens: number | null): void {
  const { contextLength } = scheduler;
  if (promptTokens + Math.max(maxTokens ?? 1, 0) <= contextLength) return;
  const asked = maxTokens === null ? "" : ` and ${counted(maxTokens, "new token")} are asked for`;
  throw new RequestError(
    400,
    "context_length_exceeded",
    `A text may have ${counted(contextLength, "token")}, prompt and answer together; the prompt has ${promptTokens}${asked}.`,
    maxTokens === null || promptTokens >= contextLength ? "prompt" : "max_tokens",
  );
}

/** Reads a choice to its end; `onPiece` hears of the pieces. */
export async function followChoice(
  model: ServedModel,
  { submission, prompt }: Choice,
  { stops, logsStop }: { readonly stops: readonly string[]; readonly logsStop: boolean },
  onPiece: (piece: AnswerPiece) => void,
): Promise<AnswerEnd> {
  const answer = readAnswer(model, submission, prompt, stops, logsStop);
  for (;;) {
    const next = await answer.next();
    if (next.done === true) return next.value;
    onPiece(next.value);
  }
}

/** Follows all choices at once; where one fails, the others are cancelled. */
export async function followAll<T>(
  choices: readonly Choice[],
  follow: (choice: Choice) => Promise<T>,
): Promise<readonly T[]> {
  const work = choices.map(follow);
  try {
    return await Promise.all(work);
  } catch (error) {
    for (const { submission } of choices) submission.cancel();
    await Promise.allSettled(work);
    throw error;
  }
}

/** What choices took that have ended. */
export async function usageOf(choices: readonly Choice[], ends: readonly AnswerEnd[]): Promise<Usage> {
  const firsts = choices.filter(({ isFirst }) => isFirst);
  const shared = await Promise.all(firsts.map(async ({ submission }) => (await submission.end).sharedTokens));
  const prompt = firsts.reduce((sum, { prompt: ids }) => sum + ids.length, 0);
  const completion = ends.reduce((sum, { newTokens }) => sum + newTokens, 0);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: shared.reduce((sum, count) => sum + count, 0) },
  };
}

/** The scores of a prompt's tokens; none where they were not asked for. */
export async function promptScores({ submission }: Choice, wanted: boolean): Promise<readonly PromptToken[]> {
  return wanted ? submission.prompt : [];
}
