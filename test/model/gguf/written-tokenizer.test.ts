/** Tokenizers that are written as the metadata of a GGUF file are read as they were. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../../runtime/model/config.js";
import { ModelError } from "../../../runtime/model/error.js";
import type { JsonObject } from "../../../runtime/model/files.js";
import type { GgufFile } from "../../../runtime/model/gguf/container.js";
import { preTokenizers } from "../../../runtime/model/gguf/pre-tokenizers.js";
import { tokenizerOf } from "../../../runtime/model/gguf/tokenizer.js";
import type { MetadataValue } from "../../../runtime/model/gguf/types.js";
import { writtenTokenizer, type GivenTokenizer } from "../../../runtime/model/gguf/written-tokenizer.js";
import type { WrittenValue } from "../../../runtime/model/gguf/writer.js";
import { exampleModel, smallConfig } from "../support.js";
import { small, type Value } from "./support.js";
import { byteLevel, sentencePiece } from "./vocabularies.js";

const test = suite("model/gguf/written-tokenizer");

/** A file of these entries. */
function fileOf(entries: readonly (readonly [string, Value | WrittenValue])[]): GgufFile {
  const read = (value: Value | WrittenValue): MetadataValue => {
    if (value.type === "strings") return { kind: "strings", items: value.value };
    if (value.type === "i32s" || value.type === "f32s")
      return { kind: "numbers", items: value.value.map((item) => Math.fround(item)) };
    if (typeof value.value === "object") throw new Error("not here");
    return value.value;
  };
  const metadata = new Map(entries.map(([key, value]) => [key, read(value)] as const));
  return { path: "given", metadata } as unknown as GgufFile;
}

/** Its tokenizer as it is read again when it was written. */
function again(json: JsonObject, given: Partial<GivenTokenizer>, vocabSize: number): ReturnType<typeof tokenizerOf> {
  const config = parseConfig("c", { ...smallConfig, vocab_size: vocabSize });
  const whole: GivenTokenizer = { json, settings: {}, template: null, bos: 0, eos: [1], ...given };
  return tokenizerOf(fileOf(writtenTokenizer(config, whole)));
}

const samples: readonly (readonly [string, Readonly<Record<string, Value | null>>])[] = [
  ...Object.keys(preTokenizers).map((name) => [name, byteLevel(name)] as const),
  ["sentencepiece", sentencePiece()],
  [
    "sentencepiece without a space before",
    sentencePiece({ "tokenizer.ggml.add_space_prefix": { type: "bool", value: false } }),
  ],
];

for (const [name, changes] of samples)
  test(`${name}: the same tokenizer`, () => {
    const { metadata } = small(changes);
    const before = tokenizerOf(fileOf(metadata));
    const tokens = metadata.find(([key]) => key === "tokenizer.ggml.tokens")![1] as { value: readonly string[] };
    const entry = (key: string): number => (metadata.find(([each]) => each === key)![1] as { value: number }).value;
    const bos = before.settings["add_bos_token"] === true ? entry("tokenizer.ggml.bos_token_id") : null;
    const given = { settings: before.settings, bos, eos: [entry("tokenizer.ggml.eos_token_id")] };
    const after = again(before.json, given, tokens.value.length);
    assert.equal(after.json, before.json);
    const { add_eos_token: _, ...settings } = before.settings;
    if (bos === null) delete (settings as { bos_token?: unknown }).bos_token;
    for (const [key, value] of Object.entries(settings)) assert.equal(after.settings[key], value, key);
  });

test("the project's model; a vocabulary smaller than the embedding is filled up; a template goes with it", async () => {
  const json = JSON.parse(await readFile(join(exampleModel, "tokenizer.json"), "utf8"));
  const { json: found, settings } = again(json, { template: "{{ messages }}" }, 2050);
  const model = found["model"] as { vocab: { [token: string]: number }; merges: unknown };
  assert.is(Object.keys(model.vocab).length, 2050);
  assert.is(model.vocab["[PAD2049]"], 2049);
  for (const [token, id] of Object.entries(json.model.vocab)) assert.is(model.vocab[token], id);
  const pairs = json.model.merges.map((merge: unknown) => (typeof merge === "string" ? merge.split(" ") : merge));
  assert.equal(model.merges, pairs);
  assert.is(settings["chat_template"], "{{ messages }}");
});

const byteStep = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const model = { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] };

test("a pre-tokenizer that is spelt otherwise", () => {
  const digits = { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteStep] };
  const config = parseConfig("c", { ...smallConfig, vocab_size: 2 });
  const entries = writtenTokenizer(config, {
    json: { model, pre_tokenizer: digits },
    settings: {},
    template: null,
    bos: null,
    eos: [1, 0],
  });
  const found = Object.fromEntries(entries.map(([key, { value }]) => [key, value]));
  assert.is(found["tokenizer.ggml.pre"], "smollm");
  assert.is(found["tokenizer.ggml.add_bos_token"], false);
  assert.is(found["tokenizer.ggml.eot_token_id"], 0);
});

const refused: readonly (readonly [string, JsonObject, RegExp])[] = [
  ["WordPiece", { model: { type: "WordPiece" } }, /its model is "WordPiece"; GGUF takes BPE/],
  [
    "another expression",
    {
      model,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [{ type: "Split", pattern: { Regex: "x+" }, behavior: "Isolated" }, byteStep],
      },
    },
    /llama\.cpp has no name for the way it cuts texts.*gpt-2/,
  ],
  [
    "merges that are ignored",
    { model: { ...model, ignore_merges: true }, pre_tokenizer: byteStep },
    /no name for the way/,
  ],
  ["lower case", { model, pre_tokenizer: byteStep, normalizer: { type: "Lowercase" } }, /changes texts before it cuts/],
  ["no bytes", { model, pre_tokenizer: null }, /neither byte-level nor has it bytes/],
  ["spaces that stay", { model: { ...model, byte_fallback: true } }, /does not put `▁` in place of spaces/],
];

for (const [what, json, message] of refused)
  test(`refused: ${what}`, () => {
    assert.throws(
      () => again(json, {}, 2),
      (error: unknown) => error instanceof ModelError && error.code === "M155" && message.test(error.message),
    );
  });

test.run();
