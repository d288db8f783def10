/** Options of how tokens are chosen and where a text ends, of all commands that write text. */
import { InvalidArgumentError, type Command } from "commander";
import type { Sampling } from "../llama/inference/choice.js";
import { integer, number } from "./options.js";

export interface SamplingOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly logitBias: readonly (readonly [id: number, bias: number])[];
  readonly stop: readonly string[];
  readonly seed: number;
}

/** The most stop strings, and the most characters of one. */
const mostStops = 16;
const longestStop = 1024;

/** Adds `--max-tokens`, `--temperature` and all the others. */
export function withSampling(command: Command, defaults: { readonly maxTokens: number }): Command {
  const penalty = number((value) => Math.abs(value) <= 100, "from -100 to 100");
  return command
    .option("--max-tokens <n>", "new tokens at most", integer(1), defaults.maxTokens)
    .option(
      "--temperature <t>",
      "0 takes the likeliest token",
      number((t) => t >= 0 && t <= 100, "from 0 to 100"),
      0,
    )
    .option("--top-k <k>", "sample from the k likeliest tokens", integer(1))
    .option(
      "--top-p <p>",
      "sample from the likeliest tokens that have this probability together",
      number((p) => p > 0 && p <= 1, "above 0, at most 1"),
    )
    .option(
      "--min-p <p>",
      "leave tokens that are less likely than p times the likeliest",
      number((p) => p >= 0 && p <= 1, "from 0 to 1"),
    )
    .option(
      "--repetition-penalty <r>",
      "divide logits of what was said or asked before, 1.1 for example",
      number((r) => r > 0 && r <= 100, "above 0, at most 100"),
    )
    .option("--presence-penalty <p>", "take from logits of what was said before", penalty)
    .option("--frequency-penalty <p>", "the same for each time that it was", penalty)
    .option(
      "--logit-bias <id=bias>",
      "add to the logit of a token, from -100 (never) to 100 (always); may be repeated",
      (text: string, before: SamplingOptions["logitBias"]) => [...before, biasOf(text)],
      [],
    )
    .option("--stop <text>", "end the text before this string; may be repeated", stopsOf, [])
    .option("--seed <s>", "seed of the random numbers", integer(0, 2 ** 32 - 1), 0);
}

/** What the library takes. */
export function samplingOf(options: SamplingOptions): Sampling & { readonly maxNewTokens: number } {
  const { temperature, topK, topP, seed, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = options;
  return {
    maxNewTokens: options.maxTokens,
    ...{ temperature, topK, topP, seed, minP, repetitionPenalty, presencePenalty, frequencyPenalty },
    logitBias: new Map(options.logitBias),
  };
}

function biasOf(text: string): readonly [number, number] {
  const [, id = "", bias = ""] = /^(\d{1,8})=([-+.\de]+)$/i.exec(text) ?? [];
  const value = Number(bias);
  if (id === "" || bias === "" || !(Math.abs(value) <= 100))
    throw new InvalidArgumentError("Expected the id of a token and a number from -100 to 100, such as 13=-100.");
  return [Number(id), value];
}

function stopsOf(text: string, before: readonly string[]): readonly string[] {
  if (text === "") throw new InvalidArgumentError("Expected a text of at least one character.");
  if (text.length > longestStop)
    throw new InvalidArgumentError(`Expected at most ${longestStop} characters, found ${text.length}.`);
  if (before.length >= mostStops) throw new InvalidArgumentError(`At most ${mostStops} strings are taken.`);
  return [...before, text];
}
