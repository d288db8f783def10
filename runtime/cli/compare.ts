import { counted } from "../../compiler/words.js";
import { chanceWarning, printPerplexity } from "../llama/compression/outcome.js";
import { checkVocabularies, divergence, type Divergence } from "../llama/inference/divergence.js";
import { openSession, type Session } from "../llama/inference/session.js";
import { compareAnswers, type TasksComparison } from "../llama/tasks/comparison.js";
import type { Task } from "../llama/tasks/questions.js";
import type { TokenizedTask } from "../llama/tasks/sequences.js";
import type { MixedText } from "../llama/texts.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { checkContext, scoredWindows, windowsInWords } from "../llama/windows.js";
import { ModelError, quoted } from "../model/error.js";
import { filesOf, type Model } from "../model/model.js";
import { tokenizerDifference } from "../model/tokenizer/difference.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { UsageError } from "./failure.js";
import { openGiven, withLocalTexts } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { comparisonPage, type Comparison } from "./report/comparison.js";
import { checkPage, printWithPage } from "./report/write.js";
import { table, type Cell } from "./table.js";
import { answerWithBar, questionsInWords, readTasks, tokenizeTasks } from "./tasks.js";
import { readTexts } from "./text.js";
import { noteWarnings } from "./warnings.js";

interface CompareOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly text?: string;
  readonly tasks?: readonly string[];
  readonly window: number;
  readonly limit?: number;
  readonly report?: string;
}

/** `espalier compare`: what of a model is left in another, by tasks and on a text. */
export async function run(output: Output, one: string, other: string, asked: CompareOptions): Promise<number | void> {
  const options = await withLocalTexts(asked, output);
  const { tasks: paths = [], text, limit } = options;
  if (text === undefined && paths.length === 0)
    throw new UsageError("compare needs something to compare by: --tasks FILE..., --text FILE, or both");
  const given = await readTasks(paths, limit);
  const opened: Model[] = [];
  try {
    for (const path of [one, other]) opened.push(await openGiven(path, output));
    const [a, b] = opened as [Model, Model];
    if (options.report !== undefined)
      await checkPage(options.report, {
        files: [...filesOf(a), ...filesOf(b), ...paths, ...(text === undefined ? [] : [text])],
        directories: [one, other],
      });
    // all that is wrong with what is given is reported before a device is opened
    const { scored, bos, tasks } = await tokensOfBoth([a, b], given, options, output);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const sessions: Session[] = [];
      for (const model of [a, b])
        sessions.push(
          await openSession(caller, model, {
            ...sessionOptions(options, caller.target),
            activations: options.activations,
          }),
        );
      const [first, second] = sessions as [Session, Session];
      const started = performance.now();
      const onText = scored === null ? null : await withBar([first, second], scored, bos, options, output);
      const onTasks =
        tasks.length === 0
          ? null
          : compareAnswers(tasks, [
              await answerWithBar(first, tasks, output, "first model "),
              await answerWithBar(second, tasks, output, "second model"),
            ]);
      const seconds = (performance.now() - started) / 1000;
      const comparison: Comparison = { models: [one, other], tasks: onTasks, text: onText };
      const warnings = [a, b].flatMap(({ config, directory }, at) => {
        const found = chanceWarning(onText?.perplexities[at], config.vocabSize, `the model ${directory}`, "given");
        return found === null ? [] : [found];
      });
      const code = await printWithPage(
        output,
        { ...documentOf(comparison), seconds, warnings, device: device.name },
        () => `${words(comparison, options, output)}\nin ${seconds.toFixed(1)} s on ${device.name}`,
        options.report,
        () => comparisonPage(comparison, { seconds, device: device.name, text: text ?? null, warnings }),
      );
      noteWarnings(output, warnings, 0);
      return code;
    } finally {
      close();
    }
  } finally {
    for (const model of opened) await model.close();
  }
}

/**
 * What is scored, as the tokens of both models, which have to be the same.
 * @throws ModelError M144, LlamaError bad-option (vocabularies of two sizes), and what `readTexts` and `tokenizeTasks` do
 */
async function tokensOfBoth(
  [a, b]: readonly [Model, Model],
  given: readonly Task[],
  { text, window, limit }: CompareOptions,
  output: Output,
): Promise<{
  readonly scored: MixedText | null;
  readonly bos: number | null;
  readonly tasks: readonly TokenizedTask[];
}> {
  const differs = (how: string): ModelError =>
    new ModelError(
      "M144",
      `${quoted(a.directory)} and ${quoted(b.directory)} have different tokenizers: ${how}.`,
      "models are compared on the same tokens: give two of one tokenizer",
    );
  const [one, other] = [await a.tokenizer(), await b.tokenizer()];
  const difference = tokenizerDifference(one, other);
  if (difference !== null) throw differs(difference);
  // what was said of the first model's tokens is true of the second's
  const silent = { note: () => {}, alarm: output.alarm };
  const contextLength = Math.min(a.config.contextLength, b.config.contextLength);
  let scored: MixedText | null = null;
  if (text !== undefined) {
    checkVocabularies([a.config, b.config]);
    const read = (tokenizer: Tokenizer, to: Pick<Output, "note" | "alarm">): Promise<MixedText> =>
      readTexts([{ path: text, weight: 1 }], tokenizer, { window, ends: a.config.eosTokens }, to);
    scored = await read(one, output);
    checkContext(scoredWindows(scored.ids, window, one.bos, limit, scored.answers), contextLength);
    if (!same(scored.ids, (await read(other, silent)).ids))
      throw differs(`they cut the text ${quoted(text)} in other tokens`);
  }
  const tasks = await tokenizeTasks(given, one, contextLength, output);
  for (const [at, task] of (await tokenizeTasks(given, other, contextLength, silent)).entries())
    if (!sameTokens(tasks[at], task)) throw differs(`they cut the questions of ${task.name} in other tokens`);
  return { scored, bos: one.bos, tasks };
}

function sameTokens(one: TokenizedTask | undefined, other: TokenizedTask): boolean {
  return other.questions.every(({ sequences }, question) =>
    sequences.every(({ ids, scored }, choice) => {
      const own = one?.questions[question]?.sequences[choice];
      return own !== undefined && own.scored === scored && same(own.ids, ids);
    }),
  );
}

function same(one: ArrayLike<number>, other: ArrayLike<number>): boolean {
  return one.length === other.length && Array.prototype.every.call(one, (id, at) => other[at] === id);
}

async function withBar(
  models: readonly [Session, Session],
  { ids, answers }: MixedText,
  bos: number | null,
  { window, limit }: CompareOptions,
  output: Output,
): Promise<Divergence> {
  const progress = output.progress("scoring windows");
  const result = await divergence(models, ids, {
    window,
    bos,
    answers,
    limit,
    onProgress: (done, total, value) => progress.update(done, total, `divergence ${value.toFixed(4)}`),
  });
  progress.end();
  return result;
}

/** A comparison as `--json` prints it. */
function documentOf({ models, tasks, text }: Comparison): object {
  return {
    models,
    ...(tasks === null ? {} : tasks),
    ...(text === null ? {} : { text }),
  };
}

function words({ models, tasks, text }: Comparison, { window, limit }: CompareOptions, output: Output): string {
  const lines = [`first ${models[0]}`, `second ${models[1]}`];
  if (tasks !== null)
    for (const [way, name] of [
      ["plain", "accuracy"],
      ["byLength", "by length"],
    ] as const) {
      lines.push("", measureTable(tasks, way, name, output));
    }
  if (text !== null) {
    const [first, second] = text.perplexities;
    lines.push(
      "",
      `perplexity ${output.paint.bold(printPerplexity(first))} and ${output.paint.bold(printPerplexity(second))}; KL(first || second) ${text.divergence.toFixed(4)} nats a token, ${percent(text.sameNext, 1)} of next tokens the same`,
      `over ${counted(text.tokens, "token")} (${limit === undefined ? counted(text.windows, "window") : windowsInWords(text.windows, true)} of ${window})`,
    );
  }
  return lines.join("\n");
}

function measureTable(
  { tasks, mean }: TasksComparison,
  way: "plain" | "byLength",
  name: string,
  output: Output,
): string {
  const cell = (share: number): Cell => ({ number: 100 * share, digits: 2 });
  const rows = tasks.map((task): Cell[] => {
    const { accuracies, recovery, onlyOne, onlyOther, probability } = task[way];
    return [
      task.name,
      questionsInWords(task),
      cell(accuracies[0]),
      cell(accuracies[1]),
      cell(recovery.value),
      intervalWords(recovery.interval),
      onlyOne,
      onlyOther,
      { number: probability, digits: 4 },
    ];
  });
  const { accuracies, recovery } = mean[way];
  rows.push([
    "mean",
    "",
    cell(accuracies[0]),
    cell(accuracies[1]),
    cell(recovery.value),
    intervalWords(recovery.interval),
    "",
    "",
    { number: NaN, digits: 4 },
  ]);
  return table(
    [name, "questions", "first %", "second %", "recovery %", "95% of it", "only first", "only second", "p"],
    rows,
    output.paint,
  );
}

function percent(share: number, digits: number): string {
  return `${(100 * share).toFixed(digits)}%`;
}

/** An interval in percent: `93.1 to 97.4`. */
function intervalWords({ low, high }: { readonly low: number; readonly high: number }): string {
  return Number.isNaN(low) ? "-" : `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
}
