import { counted } from "../../compiler/words.js";
import { perplexity, type Evaluation } from "../llama/inference/evaluate.js";
import { chanceWarning, printPerplexity } from "../llama/compression/outcome.js";
import { openSession, type Session } from "../llama/inference/session.js";
import { printVerification, verificationFault, verifySession } from "../llama/inference/verify.js";
import { meanScore, scoreOf, type TaskScore } from "../llama/tasks/accuracy.js";
import { checkContext, scoredWindows, windowsInWords } from "../llama/windows.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import type { MixedText } from "../llama/texts.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { UsageError } from "./failure.js";
import { openGiven, warn, withLocalTexts } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { answerWithBar, readTasks, scoreTable, tokenizeTasks } from "./tasks.js";
import { givenProblems, matchInWords, solve } from "./exact-match.js";
import { tokenizeProblems } from "../llama/tasks/exact-match.js";
import { givenTexts, readTexts } from "./text.js";
import { noteWarnings } from "./warnings.js";

interface EvalOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly model: string;
  readonly text: readonly string[];
  readonly tasks?: readonly string[];
  readonly exactMatch?: string;
  readonly maxTokens: number;
  readonly solutions?: string;
  readonly window: number;
  readonly limit?: number;
  readonly verify?: boolean;
}

/** `espalier eval`: perplexity of a text, accuracy on tasks. */
export async function run(output: Output, asked: EvalOptions): Promise<number | void> {
  const options = await withLocalTexts(asked, output);
  const { tasks: paths = [], limit } = options;
  if (options.text.length === 0 && paths.length === 0 && options.exactMatch === undefined)
    throw new UsageError("eval needs something to score: --text FILE, --tasks FILE..., --exact-match FILE");
  const given = await readTasks(paths, limit);
  const problems = await givenProblems(options);
  const model = await openGiven(options.model, output);
  try {
    const tokenizer = await model.tokenizer();
    const toScore = await textToScore(options, tokenizer, model.config.eosTokens, output);
    const ids = toScore?.ids ?? null;
    // what is wrong with the text is reported before a device is opened
    if (ids !== null)
      checkContext(
        scoredWindows(ids, options.window, tokenizer.bos, limit, toScore?.answers),
        model.config.contextLength,
      );
    const tasks = await tokenizeTasks(given, tokenizer, model.config.contextLength, output);
    const prompts = problems === null ? [] : await tokenizeProblems(problems, tokenizer, model.config.contextLength);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const session = await openSession(caller, model, {
        ...sessionOptions(options, caller.target),
        activations: options.activations,
      });
      const text = toScore === null ? null : await scoreText(session, toScore, tokenizer.bos, options, output);
      const started = performance.now();
      const scores = (await answerWithBar(session, tasks, output, "answering questions")).map(scoreOf);
      const seconds = (performance.now() - started) / 1000;
      const match = problems === null ? null : await solve(session, model, problems, prompts, options, output);
      const found = text === null ? null : chanceWarning(text.perplexity, model.config.vocabSize, "the model", "given");
      const some = ids ?? [...(tasks[0]?.questions[0]?.sequences[0]?.ids ?? Array.from(prompts[0] ?? []))];
      const verification = options.verify === true ? await verifySession(session, some, options.window) : null;
      const fault = verification === null ? null : verificationFault(verification);
      const warnings = found === null ? [] : [found];
      output.result(
        {
          ...(text ?? {}),
          ...(tasks.length === 0 ? {} : { tasks: scores, mean: meanScore(scores) }),
          ...(match === null ? {} : { exactMatch: match }),
          seconds: seconds + (text?.seconds ?? 0) + (match?.seconds ?? 0),
          ...(verification === null ? {} : { verification }),
          warnings,
          device: device.name,
        },
        () =>
          [
            ...(text === null ? [] : [textInWords(text, options, output, device.name)]),
            ...(tasks.length === 0 ? [] : [tasksInWords(scores, seconds, output, device.name)]),
            ...(match === null ? [] : [matchInWords(match, output, device.name)]),
          ].join("\n"),
      );
      if (verification !== null) output.note(printVerification(verification));
      noteWarnings(output, warnings, 0);
      if (fault !== null) warn(output, fault);
      return fault === null ? undefined : 1;
    } finally {
      close();
    }
  } finally {
    await model.close();
  }
}

/** The texts of `--text` as one; null where there is none. */
async function textToScore(
  options: EvalOptions,
  tokenizer: Tokenizer,
  ends: readonly number[],
  output: Output,
): Promise<MixedText | null> {
  const given = givenTexts(options.text);
  if (given.length === 0) return null;
  const weighted = given.find(({ weight }) => weight !== 1);
  if (weighted !== undefined)
    throw new UsageError(`eval scores each text once: --text ${weighted.path}, without a weight`);
  return readTexts(given, tokenizer, { window: options.window, ends }, output);
}

async function scoreText(
  session: Session,
  { ids, answers }: MixedText,
  bos: number | null,
  { window, limit }: EvalOptions,
  output: Output,
): Promise<Evaluation> {
  const progress = output.progress("scoring windows");
  const result = await perplexity(session, ids, {
    window,
    bos,
    answers,
    limit,
    onProgress: (done, total, value) => progress.update(done, total, `perplexity ${printPerplexity(value)}`),
  });
  progress.end();
  return result;
}

function textInWords(
  { perplexity: value, tokens, windows, seconds }: Evaluation,
  { window, limit }: EvalOptions,
  output: Output,
  device: string,
): string {
  const given = limit === undefined ? counted(windows, "window") : windowsInWords(windows, true);
  return `perplexity ${output.paint.bold(shown(value))} over ${counted(tokens, "token")} (${given} of ${window}) in ${seconds.toFixed(1)} s on ${device}`;
}

function tasksInWords(scores: readonly TaskScore[], seconds: number, output: Output, device: string): string {
  return `${scoreTable(scores, output.paint)}\n${counted(meanScore(scores).questions, "question")} in ${seconds.toFixed(1)} s on ${device}`;
}

function shown(perplexity: number): string {
  return perplexity < 1e6 ? perplexity.toFixed(4) : printPerplexity(perplexity);
}
