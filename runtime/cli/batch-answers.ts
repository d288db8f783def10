/** Prompts of a batch, answered on one device. */
import { createStopStrings } from "../llama/inference/stop-strings.js";
import { openSession } from "../llama/inference/session.js";
import type { Caller } from "../llama/call.js";
import type { Scheduler } from "../llama/serving/requests.js";
import { openScheduler } from "../llama/serving/scheduler.js";
import type { Model } from "../model/model.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import type { BatchLine, BatchResult } from "./batch-lines.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import type { TunedOptions } from "./options.js";
import { samplingOf, type SamplingOptions } from "./sampling.js";

/** How prompts are answered where their lines do not say. */
export interface AnswerOptions extends DtypeOptions, ActivationOptions, TunedOptions, SamplingOptions {
  /** Texts that a device gives tokens at once. */
  readonly sequences: number;
}

/** What answers prompts, several at once. */
export interface Answers {
  /** For people. */
  readonly device: string;
  answer(line: BatchLine, prompt: ArrayLike<number>): Promise<BatchResult>;
  /** Tokens of prompts, and those that were not shared with others. */
  counts(): Promise<{ readonly promptTokens: number; readonly computedPromptTokens: number }>;
  close(): Promise<void>;
}

/** Opens a scheduler on a device. */
export async function openAnswers(
  device: string,
  caller: Caller,
  model: Model,
  options: AnswerOptions,
  contextLength: number,
): Promise<Answers> {
  const tokenizer = await model.tokenizer();
  const session = await openSession(caller, model, {
    ...sessionOptions(options, caller.target),
    activations: options.activations,
  });
  const scheduler = await openScheduler(session, { sequences: options.sequences, contextLength });
  return {
    device,
    answer: (line, prompt) => answer(scheduler, model, tokenizer, line, prompt, options),
    counts() {
      const { promptTokens, computedPromptTokens } = scheduler.state;
      return Promise.resolve({ promptTokens, computedPromptTokens });
    },
    close: () => scheduler.close(),
  };
}

async function answer(
  scheduler: Scheduler,
  model: Model,
  tokenizer: Tokenizer,
  { line, prompt, maxTokens, temperature, seed, stop }: BatchLine,
  ids: ArrayLike<number>,
  options: AnswerOptions,
): Promise<BatchResult> {
  const stream = tokenizer.stream();
  // the text of the first new token depends on those before it
  for (let at = 0; at < ids.length; at++) stream.push(ids[at]!);
  const submission = scheduler.submit({
    prompt: ids,
    maxNewTokens: maxTokens ?? options.maxTokens,
    stopTokens: model.generation.eosTokens,
    sampling: {
      ...samplingOf(options),
      temperature: temperature ?? options.temperature,
      seed: seed ?? options.seed,
    },
  });
  const until = createStopStrings(stop.length > 0 ? stop : options.stop);
  let text = "";
  let newTokens = 0;
  for await (const { id } of submission.tokens) {
    newTokens++;
    text += until.push(stream.push(id));
    if (until.found) break;
  }
  if (!until.found) text += until.push(stream.end()) + until.end();
  const { ended, promptTokens } = await submission.end;
  return {
    line,
    prompt,
    text,
    ended: until.found || ended === "stop" ? "stop" : "length",
    promptTokens,
    newTokens,
  };
}
