/** The tokenizer against the ids and texts of the Rust library: test/data/tokenizers. */
import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JsonObject } from "../../../runtime/model/files.js";
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

const test = suite("model/tokenizer/reference");
const reference = JSON.parse(await readFile(projectFile("test/data/tokenizers/cases.json"), "utf8")) as Reference;
/** A `Strip` of the end ends the library's process on a short token: such files are refused. */
const cases = reference.cases.filter(({ parts }) => !/"type":"Strip"[^}]*"stop":[1-9]/.test(JSON.stringify(parts)));

function tokenizerOf({ model, parts }: Case): Promise<Tokenizer> {
  const expected = { vocabSize: 1024, bosToken: null, eosTokens: [] };
  return makeTokenizer("t", { version: "1.0", ...parts, model: reference.models[model] }, {}, expected);
}

test("ids of texts, what is put before them, and the way back", async () => {
  for (const one of cases) {
    const tokenizer = await tokenizerOf(one);
    for (const [at, text] of reference.texts.entries()) {
      const ids = [...(await tokenizer.encode(text, { prefix: false }))];
      assert.equal(ids, one.ids[at], `${one.name}: ${JSON.stringify(text)}`);
      const back = one.back[at];
      if (back !== null) assert.is(tokenizer.decode(ids), back, `${one.name}: ${JSON.stringify(text)} and back`);
    }
    const framed = [...(await tokenizer.encode("a", { prefix: true }))];
    assert.equal(framed, one.framed.slice(0, framed.length), one.name);
    for (const [ids, text] of one.decoded)
      if (text !== null) assert.is(tokenizer.decode(ids), text, `${one.name}: ${ids.join()}`);
  }
});

test("a Metaspace that splits cuts between words: `a b` of the issue", async () => {
  const [first] = cases.filter(({ name }) => name === "Metaspace always True marked");
  assert.equal([...(await (await tokenizerOf(first!)).encode("a b", { prefix: false }))], [6, 5]);
});

test("what a stream gives together is what is decoded at once", async () => {
  const tokenizers = await Promise.all(
    cases
      .filter(({ name }) => /^(decoder|Metaspace|ByteLevel|Llama|normalizer: ByteLevel)/.test(name))
      .map(tokenizerOf),
  );
  const list = fc.array(fc.oneof(fc.nat(30), fc.nat(700)), { maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...tokenizers), list, (tokenizer, ids) => {
      const stream = tokenizer.stream();
      assert.is(ids.map((id) => stream.push(id)).join("") + stream.end(), tokenizer.decode(ids));
    }),
    runs(2000),
  );
});

test.run();
