/**
 * Texts for calibration and training: several with weights, and files of prompts and answers of which answers alone
 * count. What is made of them is one row of tokens that falls into windows, each of one text.
 */
import { gunzipSync } from "node:zlib";
import { formatBytes } from "../device/error.js";
import { ModelError, quoted } from "../model/error.js";
import { readBounded } from "../model/files.js";
import { readLines } from "../model/lines.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { counted } from "../../compiler/words.js";
import { LlamaError } from "./error.js";

export { answeredTokens } from "./windows.js";

/** Texts are tokenised whole; more than this would not fit the tokenizer's memory. */
export const largestText = 256 * 1024 * 1024;
/** The most of a line of prompts and answers. */
const longestLine = 4 * 1024 * 1024;
/** The most tokens that texts and their repetitions may have. */
const mostTokens = 2 ** 27;
/** The largest weight. */
export const largestWeight = 1000;

/** A text as tokens, without a token before it. */
export interface TokenText {
  readonly ids: readonly number[];
  /** 1 for each token that is learned and scored; null: all are. */
  readonly answers: Uint8Array | null;
}

/** Texts as one. */
export interface MixedText extends TokenText {
  /**
   * Of each window which one of the texts it is, the same number for the same window: one that a weight repeats is held
   * out as a whole. Null where none comes twice.
   */
  readonly origins: Int32Array | null;
}

/** A text and how often its windows are taken: 1 for each once. */
export interface WeightedText extends TokenText {
  readonly name: string;
  readonly weight: number;
}

/**
 * The text of a file in UTF-8, which may be compressed by gzip.
 * @throws ModelError M100 to M102 (the file), M104 (not UTF-8), M143 (empty), M170 (gzip)
 */
export async function readPlain(path: string): Promise<string> {
  const bytes = await readBounded(path, largestText);
  const plain = bytes.length > 1 && bytes.readUInt16BE(0) === 0x1f8b ? unpacked(path, bytes) : bytes;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch {
    throw new ModelError("M104", `${quoted(path)} is not text in UTF-8.`, "give a plain text file");
  }
  if (text.trim() === "")
    throw new ModelError("M143", `${quoted(path)} is empty; expected a text to score or to calibrate with.`);
  return text;
}

function unpacked(path: string, bytes: Buffer): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: largestText });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE")
      throw new ModelError(
        "M170",
        `${quoted(path)} has more than ${formatBytes(largestText)} of text.`,
        "split it into several files",
      );
    const reason = error instanceof Error ? error.message : String(error);
    throw new ModelError("M170", `${quoted(path)} is damaged gzip (${reason}).`, "fetch it again");
  }
}

/** Whether a file holds prompts and answers, a line each. */
export function isRecords(path: string): boolean {
  return /\.jsonl(\.gz)?$/i.test(path);
}

/** A line of prompts and answers; `answer` null: all of `prompt` counts. */
export interface TextRecord {
  readonly prompt: string;
  readonly answer: string | null;
}

/**
 * The records of a file: `{"prompt", "answer"}`, `{"question", "answer"}` or `{"text"}` in each line; empty lines are
 * passed over. `hold` may refuse one, with where it stands.
 * @throws ModelError M100, M101, M143 (no record), M145 (a line without its fields), M170
 */
export async function readRecords(
  path: string,
  hold: (record: TextRecord, where: string) => void = () => {},
): Promise<readonly TextRecord[]> {
  const records: TextRecord[] = [];
  for await (const { text, number } of readLines(path, { line: longestLine, file: largestText }))
    if (text.trim() !== "") {
      const where = `${quoted(path)}, line ${number}`;
      const record = recordOf(text, where);
      hold(record, where);
      records.push(record);
    }
  if (records.length === 0) throw new ModelError("M143", `${quoted(path)} has no line; expected one for each text.`);
  return records;
}

const forms = '`{"prompt": "...", "answer": "..."}`, `{"question": "...", "answer": "..."}` or `{"text": "..."}`';

function recordOf(line: string, where: string): TextRecord {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new ModelError("M145", `${where}: it is not JSON.`, `a line is ${forms}`);
  }
  const field = (name: string): string | null => {
    const found =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : null;
    return typeof found === "string" ? found : null;
  };
  const [prompt, question, answer, text] = ["prompt", "question", "answer", "text"].map(field);
  const own = prompt != null || question != null ? answer : text;
  if (own == null) throw new ModelError("M145", `${where}: its fields are not those of a text.`, `a line is ${forms}`);
  if (own.trim() === "")
    throw new ModelError(
      "M145",
      `${where}: nothing of it would be learned, for its ${own === text ? "text" : "answer"} is empty.`,
      "leave it out",
    );
  if (prompt != null) return { prompt, answer: own };
  return question != null
    ? { prompt: `Question: ${question}\nAnswer:`, answer: ` ${own}` }
    : { prompt: own, answer: null };
}

/**
 * Records as tokens, `window` of which fall into a window. A record that does not fit into what is left of one begins
 * the next; what is left is filled with its beginning, which does not count. `end` stands behind each record and counts
 * as part of its answer.
 */
export async function packRecords(
  records: readonly TextRecord[],
  encode: (text: string) => Promise<ArrayLike<number>>,
  end: readonly number[],
  window: number,
): Promise<TokenText> {
  const ids: number[] = [];
  const answers: number[] = [];
  const push = (some: ArrayLike<number>, counts: 0 | 1): void => {
    for (let at = 0; at < some.length; at++) {
      ids.push(some[at] ?? 0);
      answers.push(counts);
    }
    if (ids.length > mostTokens) throw new LlamaError("bad-option", `The texts have more than ${mostTokens} tokens.`);
  };
  const fill = (some: readonly number[]): void => {
    const room = (window - (ids.length % window)) % window;
    for (let left = room; left > 0; left -= Math.min(left, some.length)) push(some.slice(0, left), 0);
  };
  for (const { prompt, answer } of records) {
    const before = await encode(prompt);
    const after = answer === null ? [] : await encode(answer);
    const length = before.length + after.length + end.length;
    const room = window - (ids.length % window);
    if (answer !== null && length > room && room < window) fill([...Array.from(before), ...Array.from(after), ...end]);
    push(before, answer === null ? 1 : 0);
    push(after, 1);
    push(end, 1);
  }
  if (ids.length > window) fill(ids.slice(0, window));
  return { ids, answers: Uint8Array.from(answers) };
}

/**
 * Several texts as one: each is cut into windows of `window` tokens, a last partial one dropped, of which so many are
 * taken as its weight says, a part of them evenly spread, and the windows of all texts are mixed evenly, so that any
 * first part of the whole has them in proportion. One text of weight 1 stays as it is, to its last token.
 * @throws LlamaError text-too-short (a text without a window), bad-option
 */
export function mixTexts(texts: readonly WeightedText[], window: number): MixedText {
  const [only] = texts;
  if (only === undefined) throw new LlamaError("bad-option", "There is no text.");
  if (texts.length === 1 && only.weight === 1) return { ids: only.ids, answers: only.answers, origins: null };
  let first = 0;
  const chosen = texts.flatMap((text, order) => {
    const there = Math.floor(text.ids.length / window);
    if (there === 0)
      throw new LlamaError(
        "text-too-short",
        `${text.name} has ${counted(text.ids.length, "token")}, and a window takes ${window}. Give a longer text or shorter windows.`,
      );
    if (!(text.weight > 0 && text.weight <= largestWeight))
      throw new LlamaError("bad-option", `The weight of ${text.name} should be above 0, at most ${largestWeight}.`);
    const wanted = Math.max(1, Math.round(there * text.weight));
    const begin = first;
    first += there;
    if (wanted * window > mostTokens)
      throw new LlamaError("bad-option", `${text.name}, so often, has more than ${mostTokens} tokens.`);
    return Array.from({ length: wanted }, (_, at) => {
      // as many of each round as of any other; a last part of a round is spread over the text
      const part = wanted % there;
      const whole = wanted - part;
      const own = at < whole ? at % there : Math.floor(((at - whole + 0.5) * there) / part);
      return { text, order, own, origin: begin + own, place: (at + 0.5) / wanted };
    });
  });
  if (chosen.length * window > mostTokens)
    throw new LlamaError("bad-option", `The texts have more than ${mostTokens} tokens.`);
  chosen.sort((a, b) => a.place - b.place || a.order - b.order);
  const ids: number[] = [];
  const counts = texts.some(({ answers }) => answers !== null) ? new Uint8Array(chosen.length * window).fill(1) : null;
  for (const [at, { text, own }] of chosen.entries()) {
    for (let token = 0; token < window; token++) {
      ids.push(text.ids[own * window + token] ?? 0);
      if (counts !== null && text.answers !== null)
        counts[at * window + token] = text.answers[own * window + token] ?? 0;
    }
  }
  const origins = Int32Array.from(chosen, ({ origin }) => origin);
  return { ids, answers: counts, origins: new Set(origins).size < origins.length ? origins : null };
}

/** Tokens of a text file. */
export async function tokensOf(
  path: string,
  tokenizer: Pick<Tokenizer, "encode">,
  end: readonly number[],
  window: number,
): Promise<TokenText> {
  const encode = (text: string): Promise<ArrayLike<number>> => tokenizer.encode(text, { prefix: false });
  if (isRecords(path)) return packRecords(await readRecords(path), encode, end, window);
  return { ids: Array.from(await encode(await readPlain(path))), answers: null };
}
