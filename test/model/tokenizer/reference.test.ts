/** The tokenizer against the ids and texts of the Rust library: test/data/tokenizers. */
import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../../runtime/model/files.js";
import { spansOf, splitText } from "../../../runtime/model/tokenizer/pattern.js";
import { translateRegex } from "../../../runtime/model/tokenizer/regex.js";
import { makeTokenizer, type Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { projectFile } from "../../support/project.js";
import { runs } from "../../support/runs.js";

interface Case {
  readonly name: string;
  readonly model: string;
  readonly parts: JsonObject;
  readonly ids: readonly (readonly number[])[];
  readonly framed: readonly number[];
  readonly decoded: readonly (readonly [readonly number[], string | null])[];
  readonly back: readonly (string | null)[];
}

interface Reference {
  readonly texts: readonly string[];
  readonly models: { readonly [name: string]: JsonObject };
  readonly cases: readonly Case[];
}

async function read<T>(name: string): Promise<T> {
  return JSON.parse(await readFile(projectFile(`test/data/tokenizers/${name}`), "utf8")) as T;
}

const test = suite("model/tokenizer/reference");
const reference = await read<Reference>("cases.json");

function tokenizerOf({ model, parts }: Case): Tokenizer {
  const expected = { vocabSize: 1024, bosToken: null, eosTokens: [] };
  return makeTokenizer("t", { version: "1.0", ...parts, model: reference.models[model] }, {}, expected);
}

test("ids of texts, what is put before them, and the way back", () => {
  for (const one of reference.cases) {
    const tokenizer = tokenizerOf(one);
    for (const [at, text] of reference.texts.entries()) {
      const ids = [...tokenizer.encode(text, { prefix: false })];
      assert.equal(ids, one.ids[at], `${one.name}: ${JSON.stringify(text)}`);
      const back = one.back[at];
      if (back !== null) assert.is(tokenizer.decode(ids), back, `${one.name}: ${JSON.stringify(text)} and back`);
    }
    const framed = [...tokenizer.encode("a", { prefix: true })];
    assert.equal(framed, one.framed.slice(0, framed.length), one.name);
    for (const [ids, text] of one.decoded)
      if (text !== null) assert.is(tokenizer.decode(ids), text, `${one.name}: ${ids.join()}`);
  }
});

test("a Metaspace that splits cuts between words: `a b` of the issue", () => {
  const [first] = reference.cases.filter(({ name }) => name === "Metaspace always True marked");
  assert.equal([...tokenizerOf(first!).encode("a b", { prefix: false })], [6, 5]);
});

test("what a stream gives together is what is decoded at once", () => {
  const tokenizers = reference.cases
    .filter(({ name }) => /^(decoder|Metaspace|ByteLevel|Llama|normalizer: ByteLevel)/.test(name))
    .map(tokenizerOf);
  const list = fc.array(fc.oneof(fc.nat(30), fc.nat(700)), { maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...tokenizers), list, (tokenizer, ids) => {
      const stream = tokenizer.stream();
      assert.is(ids.map((id) => stream.push(id)).join("") + stream.end(), tokenizer.decode(ids));
    }),
    runs(2000),
  );
});

test("regular expressions cut as Oniguruma's do", async () => {
  const { expressions } = await read<{
    readonly expressions: readonly { readonly expression: string; readonly pieces: readonly (readonly string[])[] }[];
  }>("expressions.json");
  for (const { expression, pieces } of expressions) {
    const pattern = translateRegex(expression);
    for (const each of pieces) {
      const text = each.join("");
      const cut = splitText(spansOf(pattern, text), "Isolated").map(({ start, end }) => text.slice(start, end));
      assert.equal(cut, each, expression);
    }
  }
});

test.run();
