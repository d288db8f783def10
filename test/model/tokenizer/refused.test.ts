/** A tokenizer.json that cannot be used is refused before anything is computed, with the reason. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../../runtime/model/files.js";
import { makeTokenizer, type Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { failure } from "../support.js";

const test = suite("model/tokenizer/refused");
const vocab = { "<unk>": 0, a: 1, b: 2, ab: 3 };
const model = { type: "BPE", unk_token: "<unk>", vocab, merges: [["a", "b"]] };
const plain = { version: "1.0", added_tokens: [], model };

function make(json: JsonObject, settings: JsonObject = {}): Promise<Tokenizer> {
  return makeTokenizer("t", json, settings, { vocabSize: 8, bosToken: null, eosTokens: [] });
}

const token = {
  id: 4,
  content: "x",
  special: true,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
};

/** What is put in place of a part of the file, and words of the message. */
const refused: readonly (readonly [JsonObject, RegExp])[] = [
  [{ version: "2.0" }, /version/],
  [{ model: { ...model, type: "Morfessor" } }, /model|variant/i],
  [{ model: { ...model, dropout: 0.1 } }, /`model.dropout`, which is 0.1.*chance/],
  [{ model: { ...model, merges: [["a", "z"]] } }, /Token `z` out of vocabulary|merge/i],
  [{ normalizer: { type: "X" } }, /normalizer|variant/i],
  [{ pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } }, /Hugging Face library says/],
  [{ added_tokens: [{ ...token, id: 7 }] }, /`x` with the id 7, which the Hugging Face library gives 4/],
  [{ added_tokens: [{ ...token, content: "b" }] }, /`b` with the id 4, which the Hugging Face library gives 2/],
  [
    { decoder: { type: "Sequence", decoders: [{ type: "Fuse" }, { type: "Strip", content: " ", start: 0, stop: 1 }] } },
    /`decoder.decoders\[1\].stop`, which is 1/,
  ],
  [{ added_tokens: [{ ...token, content: 3 }] }, /`added_tokens\[0\].content` should be a string/],
  [{ added_tokens: [{ ...token, single_word: 1 }] }, /Hugging Face library says/],
];

test("with the reason, whoever finds it", async () => {
  await make(plain);
  for (const [change, message] of refused)
    assert.match((await failure("M141", make({ ...plain, ...change }))).message, message);
});

test("text that the model has no token for", async () => {
  const words = { type: "WordLevel", vocab: { a: 1, b: 2 }, unk_token: "<none>" };
  const tokenizer = await make({ ...plain, model: words, pre_tokenizer: { type: "WhitespaceSplit" } });
  assert.equal([...(await tokenizer.encode("a b", { prefix: false }))], [1, 2]);
  await failure("M143", tokenizer.encode("a c", { prefix: false }));
});

test("special tokens in a text are text where tokenizer_config.json says so", async () => {
  const json = { ...plain, added_tokens: [token, { ...token, id: 5, content: "y", special: false }] };
  const idsOf = async (settings: JsonObject): Promise<number[]> => [
    ...(await (await make(json, settings)).encode("axby", { prefix: false })),
  ];
  assert.equal(await idsOf({}), [1, 4, 2, 5]);
  assert.equal(await idsOf({ split_special_tokens: true }), [1, 0, 2, 5]);
});

test.run();
