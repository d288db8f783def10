/** Reads the bodies of requests: every field is checked, one that is not known is refused by name. */
import type { Sampling } from "../llama/inference/choice.js";
import { mostTop } from "../llama/serving/requests.js";
import type { ChatMessage } from "../chat/template.js";
import { Fields } from "../model/fields.js";
import { describe, isObject, type JsonObject } from "../model/files.js";
import { RequestError } from "./error.js";
import type { ServerLimits } from "./served.js";

/** What both kinds of completions have. */
export interface CommonParameters {
  readonly model: string;
  /** Null: as many as fit. */
  readonly maxTokens: number | null;
  readonly sampling: Sampling;
  readonly choices: number;
  readonly stops: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Alternatives to each token that are told, 0 for the token alone; null: no log-probabilities. */
  readonly logprobs: number | null;
}

export interface CompletionParameters extends CommonParameters {
  /** Texts, or ids of tokens. */
  readonly prompts: readonly (string | readonly number[])[];
  readonly echo: boolean;
}

export interface ChatParameters extends CommonParameters {
  readonly messages: readonly ChatMessage[];
}

/** Fields that change nothing here, and are taken as clients send them. */
const ignored = [
  "user",
  "metadata",
  "store",
  "service_tier",
  "safety_identifier",
  "prompt_cache_key",
  "parallel_tool_calls",
];

/** Fields that are taken with the value that changes nothing. */
const neutral: { readonly [name: string]: readonly unknown[] } = {
  best_of: [1],
  suffix: [""],
  tools: [[]],
  tool_choice: ["none", "auto"],
  functions: [[]],
  function_call: ["none", "auto"],
  response_format: [{ type: "text" }],
  modalities: [["text"]],
  reasoning_effort: ["none"],
};

/** Reads the body of `/v1/completions`. @throws RequestError 400 */
export function readCompletion(body: JsonObject, limits: ServerLimits): CompletionParameters {
  return reading(body, (fields) => {
    const common = readCommon(fields, limits, 16, "max_tokens");
    const found = fields.raw("logprobs");
    const logprobs = found === undefined || found === false ? null : fields.number("logprobs", whole(0, mostTop));
    const prompts = readPrompts(fields, limits);
    const echo = fields.boolean("echo", false);
    if (common.maxTokens === 0 && !echo) fields.problem("max_tokens", "above 0 unless `echo` is true", 0);
    if (prompts.length * common.choices > limits.choices)
      fields.problem("prompt", `at most ${limits.choices} texts, counted \`n\` times`, prompts.length * common.choices);
    return { ...common, logprobs, prompts, echo };
  });
}

/** Reads the body of `/v1/chat/completions`. @throws RequestError 400 */
export function readChat(body: JsonObject, limits: ServerLimits): ChatParameters {
  return reading(body, (fields) => {
    const common = readCommon(fields, limits, null, "max_completion_tokens");
    const wanted = fields.boolean("logprobs", false);
    const top = fields.number("top_logprobs", whole(0, mostTop), 0);
    if (top > 0 && !wanted) fields.problem("logprobs", "true where `top_logprobs` is asked for", wanted);
    return { ...common, logprobs: wanted ? top : null, messages: readMessages(fields, limits) };
  });
}

/** The largest bias and penalty. */
const mostBias = 100;

const whole = (min: number, max: number) => ({ integer: true, min, max });

function reading<T>(body: JsonObject, read: (fields: Fields) => T): T {
  const fields = new Fields(body);
  const found = read(fields);
  for (const name of ignored) fields.raw(name);
  for (const [name, values] of Object.entries(neutral)) {
    const value = fields.raw(name);
    if (value !== undefined && !values.some((each) => JSON.stringify(each) === JSON.stringify(value)))
      fields.problem(name, `left out: it is not supported here, but as ${JSON.stringify(values[0])}`, value);
  }
  fields.refuseRest();
  const [first] = fields.problems;
  if (first === undefined) return found;
  const message = fields.problems.slice(0, 10).join("; ");
  throw new RequestError(400, "invalid_value", `${message}.`, /`(\w+)/.exec(first)?.[1] ?? null);
}

function readCommon(
  fields: Fields,
  limits: ServerLimits,
  usualTokens: number | null,
  newName: string,
): Omit<CommonParameters, "logprobs"> {
  const tokens = whole(0, 2 ** 27);
  const name = newName !== "max_tokens" && fields.has(newName) ? newName : "max_tokens";
  const maxTokens = fields.has(name) ? fields.number(name, tokens) : usualTokens;
  fields.raw("max_tokens");
  if (maxTokens === 0 && newName !== "max_tokens") fields.problem(name, "above 0", 0);
  const stream = fields.boolean("stream", false);
  const streamOptions = fields.nested("stream_options");
  const includeUsage = streamOptions?.boolean("include_usage", false) ?? false;
  streamOptions?.boolean("include_obfuscation", false);
  streamOptions?.refuseRest();
  const topK = fields.number("top_k", whole(-1, 2 ** 24), 0);
  // any number is a seed; without one, each request has its own
  const seed = fields.number(
    "seed",
    { integer: true, min: -Number.MAX_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER },
    NaN,
  );
  return {
    model: fields.requiredString("model"),
    maxTokens,
    sampling: {
      temperature: fields.number("temperature", { min: 0, max: 100 }, 1),
      topP: Math.max(1e-6, fields.number("top_p", { min: 0, max: 1 }, 1)),
      topK: Math.max(0, topK),
      seed: Number.isNaN(seed) ? Math.floor(Math.random() * 2 ** 32) : seed >>> 0,
      minP: fields.number("min_p", { min: 0, max: 1 }, 0),
      repetitionPenalty: fields.number("repetition_penalty", { min: 1e-3, max: 100 }, 1),
      presencePenalty: fields.number("presence_penalty", { min: -mostBias, max: mostBias }, 0),
      frequencyPenalty: fields.number("frequency_penalty", { min: -mostBias, max: mostBias }, 0),
      logitBias: readBiases(fields, limits),
    },
    choices: fields.number("n", whole(1, limits.choices), 1),
    stops: readStops(fields, limits),
    stream,
    includeUsage,
  };
}

/** Biases by the ids of tokens, which an object of JSON has for names. */
function readBiases(fields: Fields, limits: ServerLimits): ReadonlyMap<number, number> {
  const value = fields.raw("logit_bias");
  if (value === undefined) return new Map();
  const found = isObject(value) ? Object.entries(value) : [];
  const fits = ([id, bias]: readonly [string, unknown]): boolean =>
    /^\d{1,8}$/.test(id) && typeof bias === "number" && Math.abs(bias) <= mostBias;
  const wrong = found.find((entry) => !fits(entry));
  if (isObject(value) && found.length <= limits.biases && wrong === undefined)
    return new Map(found.map(([id, bias]) => [Number(id), Number(bias)]));
  fields.problem(
    "logit_bias",
    `an object of at most ${limits.biases} ids of tokens, with numbers from -${mostBias} to ${mostBias}`,
    wrong === undefined ? (isObject(value) ? `${found.length} of them` : value) : { [wrong[0].slice(0, 20)]: wrong[1] },
  );
  return new Map();
}

function readStops(fields: Fields, limits: ServerLimits): readonly string[] {
  const value = fields.raw("stop");
  if (value === undefined) return [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const fits = (each: unknown): each is string =>
    typeof each === "string" && each.length > 0 && each.length <= limits.stopLength;
  if (list.length <= limits.stops && list.every(fits)) return list;
  const long = list.find((each): each is string => typeof each === "string" && each.length > limits.stopLength);
  fields.problem(
    "stop",
    `a string of 1 to ${limits.stopLength} characters, or a list of at most ${limits.stops} of them`,
    list.length > limits.stops ? `${list.length} of them` : long === undefined ? value : `${long.length} characters`,
  );
  return [];
}

function readPrompts(fields: Fields, limits: ServerLimits): readonly (string | readonly number[])[] {
  const value = fields.raw("prompt");
  if (typeof value === "string") return [value];
  if (isIds(value)) return [value];
  if (Array.isArray(value) && value.length > 0) {
    if (value.length > limits.choices) {
      fields.problem("prompt", `at most ${limits.choices} texts`, value.length);
      return [];
    }
    const list: readonly unknown[] = value;
    if (list.every((each): each is string => typeof each === "string")) return list;
    if (list.every(isIds)) return list;
  }
  fields.problem("prompt", "a string, a list of strings, a list of token ids, or a list of such lists", value);
  return [];
}

function isIds(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0);
}

function readMessages(fields: Fields, limits: ServerLimits): readonly ChatMessage[] {
  const value = fields.raw("messages");
  if (!Array.isArray(value) || value.length === 0 || value.length > limits.messages) {
    const found = Array.isArray(value) ? `${value.length} of them` : value;
    fields.problem("messages", `a list of 1 to ${limits.messages} messages`, found);
    return [];
  }
  return value.map((message: unknown, at): ChatMessage => {
    const where = `messages[${at}]`;
    const none = { role: "user", content: "" };
    if (!isObject(message)) {
      fields.problem(where, "an object with `role` and `content`", message);
      return none;
    }
    const { role, content } = message;
    if (typeof role !== "string" || role.length === 0 || role.length > 64) {
      fields.problem(`${where}.role`, "a short string, such as `user`", role);
      return none;
    }
    const text = contentOf(content);
    if (text === null) fields.problem(`${where}.content`, "a string, or a list of parts of the type `text`", content);
    return { role, content: text ?? "" };
  });
}

/** A text, or parts of one. */
function contentOf(content: unknown): string | null {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return null;
  const parts = content.map((part: unknown) =>
    isObject(part) && part["type"] === "text" && typeof part["text"] === "string" ? part["text"] : null,
  );
  return parts.every((part) => part !== null) ? parts.join("") : null;
}

/** The object that a body holds. @throws RequestError 400 */
export function parseBody(bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof Error ? error.message.slice(0, 200) : String(error);
    throw new RequestError(400, "invalid_json", `The body should be JSON in UTF-8: ${reason}.`);
  }
  if (isObject(value)) return value;
  throw new RequestError(400, "invalid_json", `The body should be a JSON object, found ${describe(value)}.`);
}
