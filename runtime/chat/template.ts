/** The chat template of a model: how a conversation is written as the one text that the model continues. */
import { ModelError, quoted } from "../model/error.js";
import { isObject, sizeLimits, type JsonObject } from "../model/files.js";
import type { Model } from "../model/model.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";

/** What a turn says, and who says it: `system`, `user`, `assistant`, or what else the template knows. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

export interface ChatTemplate {
  /** Jinja, as the Hugging Face library has it. */
  readonly source: string;
  /** The file that it is from. */
  readonly place: string;
  /** Special tokens that templates write out, as the vocabulary spells them; "" for none. */
  readonly bosToken: string;
  readonly eosToken: string;
}

/** The most characters of a template. */
export const longestTemplate = 2 ** 20;

/**
 * The chat template of a model: its `chat_template.jinja`, else the `chat_template` of its `tokenizer_config.json` or of
 * its GGUF metadata (of several by name, `default`). Null for a model without one.
 * @throws ModelError M100 to M104 (the files), M146 (what is there is no template)
 */
export async function chatTemplateOf(model: Model): Promise<ChatTemplate | null> {
  const files = new Map((await model.companions()).map((file) => [file.name, file]));
  const read = async (name: string): Promise<string | null> => {
    const file = files.get(name);
    if (file === undefined) return null;
    const bytes = await file.read();
    if (bytes.length > sizeLimits.config) throw unusable(name, `has ${bytes.length} bytes`);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw unusable(name, "is not UTF-8");
    }
  };
  const settings = jsonOf(await read("tokenizer_config.json"));
  const token = (name: string): string => {
    const value = settings[name];
    const text = isObject(value) ? value["content"] : value;
    return typeof text === "string" ? text : "";
  };
  const tokens = { bosToken: token("bos_token"), eosToken: token("eos_token") };
  const jinja = await read("chat_template.jinja");
  if (jinja !== null) return { source: bounded("chat_template.jinja", jinja), place: "chat_template.jinja", ...tokens };
  const place = "tokenizer_config.json";
  const source = named(place, settings["chat_template"]);
  return source === null ? null : { source: bounded(place, source), place, ...tokens };
}

/**
 * Tokens that end an answer: those that end any text of the model, and those that its template ends a turn by.
 */
export function turnEnds(
  template: ChatTemplate,
  tokenizer: Tokenizer,
  eosTokens: readonly number[],
): readonly number[] {
  const ends = [...tokenizer.special].filter((id) => {
    const spelling = tokenizer.spelling(id);
    return (
      spelling !== null &&
      (spelling === template.eosToken || (endsOfTurns.test(spelling) && template.source.includes(spelling)))
    );
  });
  return [...new Set([...eosTokens, ...ends])];
}

/** As models spell the token behind a turn: `<|im_end|>`, `<|eot_id|>`, `<end_of_turn>`, `<|end|>`, `</s>`. */
const endsOfTurns = /^<\|?(?:im_end|eot_id|eom_id|end_of_turn|end|end_of_text|endoftext|\/s)\|?>$/;

function jsonOf(text: string | null): JsonObject {
  if (text === null) return {};
  const value: unknown = JSON.parse(text);
  return isObject(value) ? value : {};
}

/** One template, or the one that is called `default` in a list of `{name, template}`. */
function named(place: string, value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) throw unusable(place, "has a `chat_template` that is neither a text nor a list of them");
  const found: unknown = value.find((each: unknown) => isObject(each) && each["name"] === "default");
  const source = isObject(found) ? found["template"] : undefined;
  if (typeof source !== "string") throw unusable(place, "has several chat templates, and none is called `default`");
  return source;
}

function bounded(place: string, source: string): string {
  if (source.length > longestTemplate)
    throw unusable(place, `has a chat template of ${source.length} characters; at most ${longestTemplate} are read`);
  return source;
}

function unusable(place: string, why: string): ModelError {
  return new ModelError("M146", `${quoted(place)} ${why}.`, "take the file from the model's own place");
}
