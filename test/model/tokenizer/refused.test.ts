/** What of tokenizer.json is not supported is refused by its name, and what spec/tokenizer.md names is. */
import { readFile } from "node:fs/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isObject, type JsonObject } from "../../../runtime/model/files.js";
import { makeTokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { projectFile } from "../../support/project.js";
import { failure } from "../support.js";

const test = suite("model/tokenizer/refused");
const vocab = { "<unk>": 0, a: 1, b: 2, ab: 3 };
const model = { type: "BPE", unk_token: "<unk>", vocab, merges: [["a", "b"]] };
const plain = { version: "1.0", added_tokens: [], model };
const expected = { vocabSize: 8, bosToken: null, eosTokens: [] };

function make(json: JsonObject, settings: JsonObject = {}): ReturnType<typeof makeTokenizer> {
  return makeTokenizer("t", json, settings, expected);
}

const token = { id: 4, content: "x", special: true };
const metaspace = { type: "Metaspace", replacement: "▁", prepend_scheme: "first" };

/** What is put in place of a part of the file, and words of the message. */
const refused: readonly (readonly [JsonObject, RegExp])[] = [
  [{ version: "2.0" }, /`version` should be "1.0"/],
  [{ post_normalizer: { type: "X" } }, /`post_normalizer`, which is not known/],
  [{ model: { ...model, type: "Morfessor" } }, /`model.type` should be BPE, Unigram.*"Morfessor"/],
  [{ model: { ...model, dropout: 0.1 } }, /`model.dropout`, which is 0.1/],
  [{ model: { ...model, new_field: 1 } }, /`model.new_field`, which is not known/],
  [{ model: { ...model, fuse_unk: "yes" } }, /`model.fuse_unk` should be true or false/],
  [{ model: { ...model, merges: [["a", "z"]] } }, /`model.merges\[0\]`, which joins `a` and `z`/],
  [{ model: { ...model, merges: ["a b c"] } }, /`model.merges\[0\]` should be two tokens/],
  [{ model: { type: "Unigram", vocab: [["a", "1"]] } }, /`model.vocab\[0\]` should be a token and its score/],
  [{ model: { type: "Unigram", vocab: [["a", 1]], unk_id: 3 } }, /`model.unk_id`/],
  [{ model: { type: "WordLevel", vocab } }, /`model.unk_token` should be a string/],
  ...["Precompiled", "Nmt", "BertNormalizer"].map(
    (type) => [{ normalizer: { type } }, new RegExp(`\`normalizer.type\` should be Sequence.*"${type}"`)] as const,
  ),
  [{ normalizer: { type: "Sequence", normalizers: [{ type: "Nmt" }] } }, /`normalizer.normalizers\[0\].type`/],
  [{ normalizer: { type: "NFC", locale: "tr" } }, /`normalizer.locale`, which is not known/],
  [{ normalizer: { type: "Replace", pattern: { Regex: "a*" }, content: "" } }, /matches where there is nothing/],
  [
    { normalizer: { type: "Replace", pattern: { String: "" }, content: "" } },
    /`normalizer.pattern` should be a `String`/,
  ],
  [{ pre_tokenizer: { type: "UnicodeScripts" } }, /`pre_tokenizer.type`.*"UnicodeScripts"/],
  [{ pre_tokenizer: { type: "Replace", pattern: { String: "a" } } }, /`pre_tokenizer.type`/],
  [{ pre_tokenizer: { ...metaspace, replacement: "▁▁" } }, /`pre_tokenizer.replacement` should be one character/],
  [{ pre_tokenizer: { ...metaspace, prepend_scheme: "last" } }, /`pre_tokenizer.prepend_scheme`/],
  [{ pre_tokenizer: { ...metaspace, add_prefix_space: false } }, /`pre_tokenizer.prepend_scheme` should be "never"/],
  [{ pre_tokenizer: metaspace, normalizer: { type: "Strip", strip_left: true } }, /where the text starts is not known/],
  [
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace] } },
    /where the text starts is not known/,
  ],
  [{ pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "Left" } }, /`pre_tokenizer.behavior`/],
  ...[
    "(?<x>a)",
    "(a)\\1",
    "\\G",
    "\\K",
    "(?m:.)",
    "(?:a?)*",
    "(?i:\\p{Lu})",
    "(?i:ss)",
    "[",
    "(",
    "\\p{Elvish}",
    "a**",
  ].map(
    (Regex) =>
      [
        { pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated" } },
        /`pre_tokenizer.pattern.Regex`, whose expression .* uses/,
      ] as const,
  ),
  [{ post_processor: { type: "Template" } }, /`post_processor.type`/],
  [{ post_processor: { type: "TemplateProcessing", single: [], special_tokens: {} } }, /`post_processor.single`/],
  [{ decoder: { type: "CTC" } }, /`decoder.type` should be Sequence.*"CTC"/],
  [{ decoder: { type: "Strip", content: "ab", start: 1, stop: 0 } }, /`decoder.content` should be one character/],
  [
    { added_tokens: [{ ...token, id: 7 }] },
    /`added_tokens\[0\].id` should be 4, which the Hugging Face library gives "x"/,
  ],
  [{ added_tokens: [{ ...token, content: "b" }] }, /`added_tokens\[0\].id` should be 2/],
  [{ added_tokens: [{ ...token, strip: "left" }] }, /`added_tokens\[0\].strip`, which is not known/],
  [{ added_tokens: [{ ...token, single_word: 1 }] }, /`added_tokens\[0\].single_word` should be true or false/],
  [
    {
      normalizer: { type: "Lowercase" },
      added_tokens: [
        { ...token, normalized: true },
        { ...token, id: 5, content: "X", normalized: true },
      ],
    },
    /`added_tokens\[1\].normalized`, and the normalizer makes the token the same as "x"/,
  ],
];

test("by the name of the field, and with all that is wrong", async () => {
  make(plain);
  for (const [change, message] of refused)
    assert.match((await failure("M141", () => make({ ...plain, ...change }))).message, message);
  const several = await failure("M141", () => make({ ...plain, normalizer: { type: "X" }, decoder: { type: "Y" } }));
  assert.match(several.message, /"X"[^]*"Y"/);
  assert.match(several.help ?? "", /spec\/tokenizer\.md/);
});

test("text that has no token", async () => {
  const { unk_token: _, ...strict } = model;
  const tokenizer = make({ ...plain, model: strict });
  assert.equal([...tokenizer.encode("aba", { prefix: false })], [3, 1]);
  const error = await failure("M143", () => tokenizer.encode("abc", { prefix: false }));
  assert.match(error.message, /no token: "c"/);
});

test("special tokens in a text are text where tokenizer_config.json says so", () => {
  const json = { ...plain, added_tokens: [token, { ...token, id: 5, content: "y", special: false }] };
  assert.equal([...make(json).encode("axby", { prefix: false })], [1, 4, 2, 5]);
  assert.equal([...make(json, { split_special_tokens: true }).encode("axby", { prefix: false })], [1, 0, 2, 5]);
});

test("the table of the specification is what the reference ids are of", async () => {
  const text = await readFile(projectFile("spec/tokenizer.md"), "utf8");
  const rows = [...text.matchAll(/^\| `(\w+)` \| `(\w+)` \| (.*)\|$/gm)].map(
    ([, part = "", type = "", fields = ""]) => ({
      part,
      type,
      fields: [...fields.matchAll(/`(\w+)`/g)].map(([, field = ""]) => field),
    }),
  );
  const data = JSON.parse(await readFile(projectFile("test/data/tokenizers/cases.json"), "utf8")) as {
    readonly models: { readonly [name: string]: JsonObject };
    readonly cases: readonly { readonly parts: JsonObject }[];
  };
  const found = new Map<string, Set<string>>();
  const note = (part: string, component: unknown): void => {
    if (!isObject(component)) return;
    const key = `${part} ${String(component["type"])}`;
    const { type: _, ...fields } = component;
    found.set(key, new Set([...(found.get(key) ?? []), ...Object.keys(fields)]));
    for (const value of Object.values(component))
      if (Array.isArray(value) && value.every((each) => isObject(each) && "type" in each))
        for (const each of value) note(part, each);
  };
  for (const each of Object.values(data.models)) note("model", { type: "BPE", ...each });
  for (const { parts } of data.cases) for (const [part, component] of Object.entries(parts)) note(part, component);
  found.delete("added_tokens undefined");
  const sorted = (fields: Iterable<string>): string => [...fields].sort().join();
  assert.equal(
    rows.map(({ part, type, fields }) => `${part} ${type}: ${sorted(fields)}`).sort(),
    [...found].map(([key, fields]) => `${key}: ${sorted(fields)}`).sort(),
  );
});

test.run();
