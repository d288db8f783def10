/** `espalier generate --batch`: many prompts, several at once, their results in order. */
import { appendFileSync } from "node:fs";
import { counted } from "../../compiler/words.js";
import type { Model } from "../model/model.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { openAnswers, type Answers, type AnswerOptions } from "./batch-answers.js";
import { doneOf, readBatch, type BatchLine, type BatchResult } from "./batch-lines.js";
import { UsageError } from "./failure.js";
import { openMachine } from "./machine.js";
import { devicesOf, type DeviceOptions, type SeveralDevicesOptions } from "./options.js";
import type { Output } from "./output.js";
import { openCrew } from "./workers/crew.js";
import { crewNames } from "./workers/names.js";

/** What `generate` is given for a batch. */
export interface BatchOptions extends DeviceOptions, SeveralDevicesOptions, AnswerOptions {
  readonly model: string;
  readonly batch: string;
  readonly out?: string;
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
  const longest = lines.reduce(
    (most, { maxTokens }, at) => Math.max(most, prompts[at]!.length + (maxTokens ?? options.maxTokens)),
    1,
  );
  const contextLength = Math.min(model.config.contextLength, longest);
  const answers = await openOn(output, model, options, contextLength);
  try {
    const started = performance.now();
    const progress = output.progress("prompts");
    let newTokens = 0;
    try {
      const under: Promise<BatchResult>[] = [];
      for (let next = done, written = done; written < lines.length; written++) {
        for (; next < lines.length && under.length < ahead * answers.sequences; next++) {
          const one = answers.answer(lines[next]!, prompts[next]!);
          one.catch(() => {});
          under.push(one);
        }
        const result = await under.shift()!;
        newTokens += result.newTokens;
        appendFileSync(out, `${JSON.stringify(result)}\n`);
        progress.update(written + 1, lines.length);
      }
    } finally {
      progress.end();
    }
    const seconds = (performance.now() - started) / 1000;
    const counts = await answers.counts();
    const { device } = answers;
    if (output.json)
      output.result({ out, prompts: lines.length, kept: done, ...counts, newTokens, seconds, device }, () => "");
    else
      output.note(
        `${counted(left.length, "prompt")}, ${counted(newTokens, "new token")} at ${(newTokens / seconds).toFixed(1)}/s on ${device}: ${out}`,
      );
  } finally {
    await answers.close();
  }
}

/** What answers: this process, or one for each of several devices. */
async function openOn(
  output: Output,
  model: Model,
  options: BatchOptions,
  contextLength: number,
): Promise<Answers & { readonly sequences: number }> {
  const devices = devicesOf(options);
  if (devices === null) {
    const { device, caller, close } = await openMachine(options, output.note);
    const answers = await openAnswers(device.name, caller, model, options, contextLength).catch((error: unknown) => {
      close();
      throw error;
    });
    return {
      ...answers,
      sequences: options.sequences,
      async close() {
        await answers.close();
        close();
      },
    };
  }
  const crew = openCrew({
    devices,
    begin: () => ({ work: "batch", options: { options, contextLength } }),
    note: output.note,
  });
  await crew.ready;
  return {
    device: crewNames(crew),
    sequences: options.sequences * devices.length,
    answer: async (line, prompt) =>
      (await crew.run({ kind: "answer", line, prompt: Int32Array.from(prompt) })) as BatchResult,
    async counts() {
      const each = (await Promise.all(
        crew.members.filter(({ isLost }) => !isLost).map(({ at }) => crew.run({ kind: "counts" }, { at })),
      )) as readonly Awaited<ReturnType<Answers["counts"]>>[];
      const sum = (value: (one: (typeof each)[number]) => number): number =>
        each.reduce((total, one) => total + value(one), 0);
      return {
        promptTokens: sum((one) => one.promptTokens),
        computedPromptTokens: sum((one) => one.computedPromptTokens),
      };
    },
    close: () => crew.close(),
  };
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
