/** A page computes the tokens that the Rust library computes in Node. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseJson } from "../../runtime/model/json.js";
import { tokenizerFrom, type Tokenizer } from "../../runtime/model/tokenizer/from-json.js";
import { nativeTokenizers } from "../../runtime/model/tokenizer/native.js";
import { scriptTokenizers } from "../../runtime/web/tokenizers.js";
import { projectFile } from "../support/project.js";

const test = suite("tokenizers of a page");

const folder = "examples/classics-3.7m";

async function both(): Promise<readonly [Tokenizer, Tokenizer]> {
  const path = projectFile(`${folder}/tokenizer.json`);
  const json = parseJson(path, readFileSync(path));
  const expected = { vocabSize: 2048, bosToken: null, eosTokens: [] };
  return [
    await tokenizerFrom(path, json, {}, expected, nativeTokenizers),
    await tokenizerFrom(path, json, {}, expected, scriptTokenizers),
  ];
}

test("ids of whole texts, and of awkward ones", async () => {
  const [native, script] = await both();
  const texts = [
    readFileSync(projectFile(`${folder}/eval.txt`), "utf8"),
    readFileSync(projectFile(`${folder}/calibration.txt`), "utf8").slice(0, 40_000),
    "",
    " ",
    "\n\n\t x  y   z\r\n",
    "I'll, we've; don't! 3.14159 2026-11-28 ½ ﬁ ",
    "naïve Ærøskøbing — “quoted” …",
    "日本語のテキスト 한국어 עברית العربية 👩‍👩‍👧‍👦 e\u0301 \ud83d",
    "<|endoftext|> a <|endoftext|>",
  ];
  for (const text of texts)
    for (const prefix of [false, true]) {
      const expected = await native.encode(text, { prefix });
      assert.equal([...(await script.encode(text, { prefix }))], [...expected], JSON.stringify(text.slice(0, 40)));
      assert.is(script.decode(expected), native.decode(expected));
    }
  assert.is(script.size, native.size);
  assert.equal([...script.special], [...native.special]);
  assert.equal(script.prefix, native.prefix);
  for (let id = 0; id < native.size; id++) assert.is(script.spelling(id), native.spelling(id));
});

test("a stream gives what the whole decoding gives", async () => {
  const [native, script] = await both();
  const ids = await native.encode("naïve — 日本 👩‍👩‍👧‍👦 Holmes", { prefix: false });
  const stream = script.stream();
  const pieces = [...ids].map((id) => stream.push(id));
  assert.is([...pieces, stream.end()].join(""), native.decode(ids));
});

test.run();
