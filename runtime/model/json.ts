/** JSON that was read, and words for what is in it. */
import { ModelError, quoted } from "./error.js";

const mebibyte = 1024 * 1024;

/** The largest files of each kind that are read into memory, in bytes. */
export const sizeLimits = {
  /** config.json, generation_config.json, tokenizer_config.json. */
  config: 16 * mebibyte,
  /** model.safetensors.index.json. */
  index: 64 * mebibyte,
  /** tokenizer.json; the largest in use have some 35 MB. */
  tokenizer: 96 * mebibyte,
  /** Any other file that is copied along with a model. */
  companion: 256 * mebibyte,
} as const;

/** A plain JSON object, as parsed. */
export type JsonObject = { readonly [key: string]: unknown };

/**
 * A JSON text that holds an object; `path` is for messages.
 * @throws ModelError M104 (not JSON in UTF-8, or not an object)
 */
export function parseJson(path: string, bytes: Uint8Array): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/[\u0000-\u001f]/g, " ") : String(error);
    throw new ModelError(
      "M104",
      `${quoted(path)} is not valid JSON: ${reason}.`,
      "the file may be cut short, or be a Git LFS pointer instead of the file itself",
    );
  }
  if (!isObject(value))
    throw new ModelError("M104", `${quoted(path)} holds ${describe(value)}; expected a JSON object.`);
  return value;
}

/** Whether a parsed JSON value is an object (no array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A parsed value in words for a message: `the string "gpt2"`, `an array`. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value))
    return value.length <= 4 && value.every((item) => typeof item !== "object")
      ? `the list [${value.map(describe).join(",").slice(0, 80)}]`
      : "a list";
  if (typeof value === "object") return "an object";
  // a GGUF file can hold what JSON cannot
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** JSON as it is written in files. */
export function printJson(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
