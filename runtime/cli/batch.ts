/** `espalier generate --batch`: many prompts, several at once, their results in order. */
import { appendFileSync } from "node:fs";
import { counted } from "../../compiler/words.js";
import { createStopStrings } from "../llama/inference/stop-strings.js";
import { openSession } from "../llama/inference/session.js";
import type { Scheduler } from "../llama/serving/requests.js";
import { openScheduler } from "../llama/serving/scheduler.js";
import type { Model } from "../model/model.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { doneOf, readBatch, type BatchLine, type BatchResult } from "./batch-lines.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { UsageError } from "./failure.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { samplingOf, type SamplingOptions } from "./sampling.js";

/** What `generate` is given for a batch. */
export interface BatchOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions, SamplingOptions {
  readonly batch: string;
  readonly out?: string;
  readonly sequences: number;
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly n: number;
  readonly draft?: string;
  readonly verify?: boolean;
}

/** @throws UsageError where something is asked for that batches do not have */
function checkOptions(options: BatchOptions): void {
  const others: readonly (readonly [name: string, given: boolean])[] = [
    ["--prompt", options.prompt !== undefined],
    ["--prompt-file", options.promptFile !== undefined],
    ["--chat", options.chat === true],
    ["--system", options.system !== undefined],
    ["--n", options.n > 1],
    ["--draft", options.draft !== undefined],
    ["--verify", options.verify === true],
  ];
  const [other] = others.filter(([, given]) => given);
  if (other !== undefined) throw new UsageError(`--batch does not go with ${other[0]}`);
}

/** Prompts under way for each that is given tokens: the next ones are there when one ends. */
const ahead = 4;

/** Runs a batch over a model that is open. */
export async function runBatch(output: Output, model: Model, options: BatchOptions): Promise<void> {
  const { out } = options;
  checkOptions(options);
  if (out === undefined) throw new UsageError("--batch needs --out FILE: where the results go, a line each");
  const lines = await readBatch(options.batch);
  const done = doneOf(out, lines);
  const tokenizer = await model.tokenizer();
  const prompts = await encodeAll(tokenizer, lines, model.config.contextLength);
  const left = lines.slice(done);
  if (done > 0) output.note(`${counted(done, "result")} kept, ${left.length} to go`);
  const { device, caller, close } = await openMachine(options, output.note);
  try {
    const session = await openSession(caller, model, {
      ...sessionOptions(options, caller.target),
      activations: options.activations,
    });
    const longest = lines.reduce(
      (most, { maxTokens }, at) => Math.max(most, prompts[at]!.length + (maxTokens ?? options.maxTokens)),
      1,
    );
    const contextLength = Math.min(model.config.contextLength, longest);
    const scheduler = await openScheduler(session, { sequences: options.sequences, contextLength });
    const started = performance.now();
    const progress = output.progress("prompts");
    try {
      const under: Promise<BatchResult>[] = [];
      for (let next = done, written = done; written < lines.length; written++) {
        for (; next < lines.length && under.length < ahead * options.sequences; next++) {
          const one = answer(scheduler, model, tokenizer, lines[next]!, prompts[next]!, options);
          one.catch(() => {});
          under.push(one);
        }
        const result = await under.shift()!;
        appendFileSync(out, `${JSON.stringify(result)}\n`);
        progress.update(written + 1, lines.length);
      }
    } finally {
      progress.end();
      await scheduler.close();
    }
    const seconds = (performance.now() - started) / 1000;
    const { promptTokens, computedPromptTokens, newTokens } = scheduler.state;
    if (output.json)
      output.result(
        {
          out,
          prompts: lines.length,
          kept: done,
          promptTokens,
          computedPromptTokens,
          newTokens,
          seconds,
          device: device.name,
        },
        () => "",
      );
    else
      output.note(
        `${counted(left.length, "prompt")}, ${counted(newTokens, "new token")} at ${(newTokens / seconds).toFixed(1)}/s on ${device.name}: ${out}`,
      );
  } finally {
    close();
  }
}

async function encodeAll(
  tokenizer: Tokenizer,
  lines: readonly BatchLine[],
  contextLength: number,
): Promise<readonly ArrayLike<number>[]> {
  const prompts: ArrayLike<number>[] = [];
  for (const { line, prompt } of lines) {
    const ids = await tokenizer.encode(prompt, { prefix: true });
    if (ids.length === 0) throw new UsageError(`the prompt in line ${line} has no tokens`);
    if (ids.length >= contextLength)
      throw new UsageError(
        `the prompt in line ${line} has ${counted(ids.length, "token")}, but the model's context holds ${contextLength}, of which one is for the first new token`,
      );
    prompts.push(ids);
  }
  return prompts;
}

async function answer(
  scheduler: Scheduler,
  model: Model,
  tokenizer: Tokenizer,
  { line, prompt, maxTokens, temperature, seed, stop }: BatchLine,
  ids: ArrayLike<number>,
  options: BatchOptions,
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
