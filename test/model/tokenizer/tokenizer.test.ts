import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isObject, readJson, type JsonObject } from "../../../runtime/model/files.js";
import { makeTokenizer, readTokenizer, type Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { exampleModel, failure, inDirectory, writeJson } from "../support.js";
import { runs } from "../../support/runs.js";

const expected = { vocabSize: 2048, bosToken: 0, eosTokens: [1] };
const test = suite<{ tokenizer: Tokenizer; json: JsonObject; reference: JsonObject }>("model/tokenizer");

test.before(async (context) => {
  context.tokenizer = await readTokenizer(exampleModel, expected);
  context.json = await readJson(join(exampleModel, "tokenizer.json"), 1e7);
  context.reference = await readJson(join(exampleModel, "reference.json"), 1e6);
});

/** A tokenizer in the manner of Llama 2: no pre-tokenizer, `▁` for spaces, bytes for what has no token. */
function spacedTokenizer(json: JsonObject): JsonObject {
  const model = json["model"] as {
    readonly vocab: { readonly [token: string]: number };
    readonly merges: readonly (readonly string[])[];
  };
  const spaced = (token: string): string => token.replaceAll("Ġ", "▁").replaceAll("Ċ", "\n");
  const bytes = Array.from(
    { length: 256 },
    (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`, 2048 + byte] as const,
  );
  const vocab = Object.fromEntries([
    ...Object.entries(model.vocab).map(([token, id]) => [spaced(token), id] as const),
    ...bytes,
  ]);
  return {
    ...json,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "Prepend", prepend: "▁" },
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: { ...model, vocab, merges: model.merges.map((pair) => pair.map(spaced)), byte_fallback: true },
  };
}

test("the reference's prompt and text", async ({ tokenizer, reference }) => {
  const ids = reference["greedy_ids"] as number[];
  assert.equal([...(await tokenizer.encode(String(reference["prompt"]), { prefix: true }))], reference["prompt_ids"]);
  assert.is(tokenizer.decode(ids), reference["greedy_text"]);
  const stream = tokenizer.stream();
  assert.is(ids.map((id) => stream.push(id)).join("") + stream.end(), reference["greedy_text"]);
  assert.equal([tokenizer.bos, [...tokenizer.prefix], tokenizer.size, [...tokenizer.special]], [0, [0], 2048, [0, 1]]);
  assert.is(tokenizer.spelling(1), "<|end_of_text|>");
  assert.is(tokenizer.spelling(5000), null);
});

test("whole texts come back as they were", async ({ tokenizer }) => {
  const text = await readFile(join(exampleModel, "eval.txt"), "utf8");
  const ids = await tokenizer.encode(text, { prefix: false });
  assert.is(ids.length, 16447);
  assert.is(tokenizer.decode(ids), text);
  assert.equal([...(await tokenizer.encode("", { prefix: false }))], []);
  assert.equal([...(await tokenizer.encode("", { prefix: true }))], [0]);
  assert.is(tokenizer.decode([]), "");
  assert.is(tokenizer.decode([0, 1, 5000]), "");
});

test("a stream gives what decoding at once gives, and never a part of a character", async ({ tokenizer, json }) => {
  const spaced = await makeTokenizer("t", spacedTokenizer(json), {}, { ...expected, vocabSize: 2304 });
  const text = fc
    .string({
      unit: fc.oneof(
        fc.constantFrom("é", "日", "😀", "🇫🇷", " ", "the", "\n", "\uFEFF"),
        fc.string({ unit: "grapheme", maxLength: 2 }),
      ),
      maxLength: 12,
    })
    .filter((made) => !made.includes("\uFFFD"));
  await fc.assert(
    fc.asyncProperty(text, fc.constantFrom(tokenizer, spaced), async (made, coder) => {
      const ids = await coder.encode(made, { prefix: false });
      const stream = coder.stream();
      const pieces = [...ids].map((id) => stream.push(id));
      const given = pieces.join("");
      const end = stream.end();
      assert.is(given + end, coder.decode(ids));
      assert.is(given + end, made);
      assert.not.match(given, /\uFFFD/);
    }),
    runs(200),
  );
});

test("bytes that are no text are given as U+FFFD at once, also without end", async ({ tokenizer, json }) => {
  const [lead = 0] = await tokenizer.encode("日", { prefix: false });
  const stream = tokenizer.stream();
  for (let i = 0; i < 1000; i++) assert.is(stream.push(lead), i === 0 ? "" : "\uFFFD");
  assert.is(stream.push((await tokenizer.encode("a", { prefix: false }))[0]!) + stream.end(), "\uFFFDa");
  // bytes of their own: as the Hugging Face library does it, one bad byte spoils all bytes beside it
  const spaced = await makeTokenizer("t", spacedTokenizer(json), {}, { ...expected, vocabSize: 2304 });
  const byteStream = spaced.stream();
  const ids = [0xe6, 0x97, 0xa5, 0xff, 0x61].map((byte) => 2048 + byte);
  assert.equal([...ids.map((id) => byteStream.push(id)), byteStream.end()], ["", "", "", "", "", "\uFFFD".repeat(5)]);
  assert.is(spaced.decode(ids.slice(0, 3)), "日");
  assert.is(spaced.decode(ids.slice(0, 2)), "\uFFFD\uFFFD");
  assert.is(spaced.decode([0xef, 0xbb, 0xbf, 0x61].map((byte) => 2048 + byte)), "\uFEFFa");
});

test("a prompt's end gives a stream its context", async ({ json }) => {
  const spaced = await makeTokenizer("t", spacedTokenizer(json), {}, { ...expected, vocabSize: 2304 });
  const ids = await spaced.encode("said he", { prefix: false });
  const stream = spaced.stream();
  const pieces = [...ids].map((id) => stream.push(id));
  assert.is(pieces.join(""), "said he");
  assert.ok(pieces.slice(1).some((piece) => piece.startsWith(" ")));
});

test("the space after a special token stays, at once and token by token", async ({ json }) => {
  const spaced = await makeTokenizer("t", spacedTokenizer(json), {}, { ...expected, vocabSize: 2304 });
  const ids = [
    ...(await spaced.encode("who?", { prefix: false })),
    1,
    ...(await spaced.encode("fromations", { prefix: false })),
  ];
  assert.is(spaced.decode(ids), "who? fromations");
  const stream = spaced.stream();
  assert.is(ids.map((id) => stream.push(id)).join("") + stream.end(), "who? fromations");
});

test("whether a bos stands before texts", async ({ json }) => {
  const { post_processor: _, ...bare } = json;
  const bosOf = async (tokenizer: JsonObject, settings: JsonObject): Promise<number | null> =>
    (await makeTokenizer("t", tokenizer, settings, expected)).bos;
  assert.is(await bosOf(bare, {}), null);
  assert.is(await bosOf(bare, { add_bos_token: true, bos_token: { content: "<|begin_of_text|>" } }), 0);
  assert.is(await bosOf(json, { add_bos_token: false }), null);
  assert.equal(
    [...(await (await makeTokenizer("t", bare, {}, expected)).encode("he", { prefix: true }))],
    [...(await (await makeTokenizer("t", json, {}, expected)).encode("he", { prefix: false }))],
  );
});

test("a tokenizer of another model", async ({ json }) => {
  const make =
    (expectation: object, tokenizer = json) =>
    () =>
      makeTokenizer("t", tokenizer, {}, { ...expected, ...expectation });
  assert.match((await failure("M142", make({ vocabSize: 2000 }))).message, /48 of them with ids of 2000 and above/);
  assert.match((await failure("M142", make({ vocabSize: 32000 }))).message, /only 2048 tokens.*32000/);
  make({ vocabSize: 2560 })();
  const twice = await failure("M142", make({ vocabSize: 3000, bosToken: 2999, eosTokens: [2998] }));
  assert.match(twice.message, /2999, the config's bos_token_id/);
  assert.match(twice.message, /2998, the config's eos_token_id/);
});

test("files that are no tokenizer", async ({ json }) => {
  const model = json["model"];
  assert.ok(isObject(model));
  const broken: readonly JsonObject[] = [
    {},
    { ...json, model: null },
    { ...json, model: {} },
    { ...json, model: { ...model, vocab: 3 } },
    { ...json, model: { ...model, vocab: { a: -1, b: 1e12 } } },
    { ...json, model: { ...model, merges: 7 } },
    { ...json, pre_tokenizer: { type: "Unknown" } },
    { ...json, decoder: { type: "Unknown" } },
    { ...json, added_tokens: [{ id: "x" }] },
    { ...json, pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
  ];
  for (const tokenizer of broken)
    await failure("M141", () => makeTokenizer("t", tokenizer, {}, { vocabSize: 2048, bosToken: null, eosTokens: [] }));
});

test("files of a directory", async () => {
  await inDirectory(async (directory) => {
    await failure("M140", readTokenizer(directory, expected));
    await writeFile(join(directory, "tokenizer.model"), "x");
    assert.match((await failure("M140", readTokenizer(directory, expected))).message, /tokenizer\.model/);
    await copyFile(join(exampleModel, "tokenizer.json"), join(directory, "tokenizer.json"));
    assert.is((await readTokenizer(directory, expected)).bos, 0);
    await writeJson(join(directory, "tokenizer_config.json"), []);
    await failure("M104", readTokenizer(directory, expected));
  });
});

test.run();
