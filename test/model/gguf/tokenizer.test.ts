import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openModel } from "../../../runtime/model/model.js";
import type { Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { readTokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { exampleModel, failure, inDirectory } from "../support.js";
import { fixture, fixtures, small, smallTokens, writeGguf, type Value } from "./support.js";
import { byteLevel, pieces, scores, sentencePiece } from "./vocabularies.js";
import { runs } from "../../support/runs.js";

const test = suite("model/gguf/tokenizer");

/** The tokenizer of the small model with entries replaced; its vocabulary is made to fit by `llama.vocab_size`. */
async function tokenizerOf(changes: Readonly<Record<string, Value | null>>): Promise<Tokenizer> {
  return inDirectory(async (directory) => {
    const tokens = changes["tokenizer.ggml.tokens"];
    const count = tokens?.type === "strings" ? tokens.value.length : smallTokens.length;
    const parts = small({ "llama.vocab_size": { type: "u32", value: count }, ...changes });
    const model = await openModel(
      await writeGguf(join(directory, "m.gguf"), {
        ...parts,
        tensors: parts.tensors.map((tensor) =>
          tensor.name === "token_embd.weight" ? { ...tensor, shape: [count, 32] } : tensor,
        ),
      }),
    );
    try {
      return await model.tokenizer();
    } finally {
      await model.close();
    }
  });
}

test("ids of a whole text are those of the model that the files were made from", async () => {
  const original = await readTokenizer(exampleModel, { vocabSize: 2048, bosToken: 0, eosTokens: [1] });
  const text = await readFile(join(exampleModel, "eval.txt"), "utf8");
  const ids = await original.encode(text, { prefix: true });
  for (const name of fixtures) {
    const model = await openModel(fixture(name).model);
    const tokenizer = await model.tokenizer();
    assert.equal(await tokenizer.encode(text, { prefix: true }), ids, name);
    assert.is(tokenizer.decode(ids), text);
    assert.equal(
      [tokenizer.bos, [...tokenizer.prefix], [...tokenizer.special], tokenizer.size],
      [0, [0], [0, 1], 2048],
    );
    await model.close();
  }
});

test("each pre-tokenizer cuts as its model's does", async () => {
  const cuts: readonly (readonly [string | null, string, readonly string[]])[] = [
    ["gpt-2", "he's 1234!!", ["he", "'s", "Ġ", "12", "34", "!!"]],
    ["gpt-2", "he'S", ["he", "'", "S"]],
    ["smollm", "he's 1234!!", ["he", "'s", "Ġ", "1", "2", "3", "4", "!!"]],
    ["llama-bpe", "he'S 1234!!", ["he", "'S", "Ġ", "123", "4", "!!"]],
    ["llama-bpe", "\n\n12345", ["ĊĊ", "123", "45"]],
    ["qwen2", "he'S 1234", ["he", "'S", "Ġ", "1", "2", "3", "4"]],
    ["default", "he!!1234", ["he", "!!", "123", "4"]],
    [null, "he!!1234", ["he", "!!", "123", "4"]],
  ];
  for (const [pre, text, expected] of cuts) {
    const tokenizer = await tokenizerOf(byteLevel(pre));
    const ids = await tokenizer.encode(text, { prefix: false });
    assert.equal(
      [...ids].map((id) => tokenizer.spelling(id)),
      expected,
      `${pre} ${text}`,
    );
    assert.is(tokenizer.decode(ids), text);
  }
});

test("whether a bos stands before texts", async () => {
  const bosOf = async (pre: string, changes: Readonly<Record<string, Value | null>> = {}): Promise<readonly number[]> =>
    (await tokenizerOf({ ...byteLevel(pre), ...changes })).prefix;
  assert.equal(await bosOf("gpt-2"), []);
  assert.equal(await bosOf("llama-bpe"), [0]);
  assert.equal(await bosOf("gpt-2", { "tokenizer.ggml.add_bos_token": { type: "bool", value: true } }), [0]);
  assert.equal(await bosOf("llama-bpe", { "tokenizer.ggml.add_bos_token": { type: "bool", value: false } }), []);
  const { message } = await failure("M141", bosOf("llama-bpe", { "tokenizer.ggml.bos_token_id": null }));
  assert.match(message, /`tokenizer.ggml.bos_token_id` names none/);
});

/**
 * SentencePiece as it is: of all neighbours that make a piece, those of the highest score are joined, the first of
 * equals; what is no piece becomes bytes.
 */
function joined(text: string): readonly number[] {
  const parts = [...`▁${text.replaceAll(" ", "▁")}`];
  for (;;) {
    const candidates = parts.slice(1).map((right, at) => pieces.indexOf(`${parts[at]}${right}`));
    const best = candidates.reduce(
      (found, piece, at) => (piece >= 0 && (found < 0 || scores[piece]! > scores[candidates[found]!]!) ? at : found),
      -1,
    );
    if (best < 0) break;
    parts.splice(best, 2, `${parts[best]}${parts[best + 1]}`);
  }
  return parts.flatMap((part) => {
    const piece = pieces.indexOf(part);
    return piece >= 0 ? [259 + piece] : [...Buffer.from(part)].map((byte) => 3 + byte);
  });
}

test("scores join as SentencePiece does, and bytes stand for what has no piece", async () => {
  const tokenizer = await tokenizerOf(sentencePiece());
  assert.equal([[...tokenizer.prefix], [...tokenizer.special]], [[1], [0, 1, 2]]);
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "é", "日", "z"), minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(text, async (drawn) => {
      const ids = await tokenizer.encode(drawn, { prefix: false });
      assert.equal([...ids], joined(drawn), JSON.stringify(drawn));
      assert.is(tokenizer.decode(ids), drawn);
    }),
    runs(300),
  );
  assert.equal([...(await tokenizer.encode("[INST]", { prefix: false }))], [259 + pieces.length]);
});

test("no space is put before where the file says so", async () => {
  const tokenizer = await tokenizerOf(
    sentencePiece({ "tokenizer.ggml.add_space_prefix": { type: "bool", value: false } }),
  );
  const ids = await tokenizer.encode("ab a", { prefix: false });
  assert.equal(
    [...ids].map((id) => tokenizer.spelling(id)),
    ["ab", "▁a"],
  );
  assert.is(tokenizer.decode(ids), "ab a");
});

test("tokenizers that cannot be used", async () => {
  const refused = async (changes: Readonly<Record<string, Value | null>>, message: RegExp): Promise<void> =>
    assert.match((await failure("M141", tokenizerOf(changes))).message, message);
  await failure("M140", tokenizerOf({ "tokenizer.ggml.model": null }));
  await refused(
    { "tokenizer.ggml.model": { type: "string", value: "bert" } },
    /of the kind "bert".*expected "gpt2" or "llama"/,
  );
  await refused(
    { "tokenizer.ggml.pre": { type: "string", value: "tekken" } },
    /pre-tokenizer "tekken".*expected one of gpt-2,/,
  );
  await refused({ "tokenizer.ggml.pre": { type: "string", value: "constructor" } }, /"constructor"/);
  await refused(
    { "tokenizer.ggml.merges": null },
    /`tokenizer.ggml.merges` should be a list of strings, found nothing/,
  );
  await refused({ "tokenizer.ggml.merges": { type: "strings", value: ["he"] } }, /merge 0 should be two tokens/);
  await refused({ "tokenizer.ggml.merges": { type: "f32s", value: [1] } }, /found a list of numbers/);
  await refused(
    { "tokenizer.ggml.token_type": { type: "i32s", value: [1] } },
    /token_type` should be 32 numbers, found 1 number/,
  );
  await refused(
    { "tokenizer.ggml.tokens": { type: "strings", value: ["a", "b", "a"] }, "tokenizer.ggml.token_type": null },
    /tokens 0 and 2 are both `a`/,
  );
  await refused({ "tokenizer.ggml.add_bos_token": { type: "u8", value: 1 } }, /should be true or false, found 1/);
  await refused(
    { "tokenizer.ggml.unknown_token_id": { type: "u32", value: 99 } },
    /the id of one of 32 tokens, found 99/,
  );
  await refused(
    sentencePiece({ "tokenizer.ggml.scores": { type: "f32s", value: [0, 1] } }),
    /scores` should be 274 numbers, found 2 numbers/,
  );
  await refused(sentencePiece({ "tokenizer.ggml.scores": null }), /scores` should be 274 numbers, found nothing/);
  await refused(sentencePiece({ "tokenizer.ggml.scores": { type: "f32s", value: [1, 2] } }), /found 2 numbers/);
});

test("what a file does not say of its tokenizer is guessed, and reported", async () => {
  await inDirectory(async (directory) => {
    const warnings = async (changes: Readonly<Record<string, Value | null>>): Promise<string> => {
      const model = await openModel(await writeGguf(join(directory, "m.gguf"), small(changes)));
      await model.close();
      return model.warnings.join("\n");
    };
    assert.is(await warnings({}), "");
    assert.is(await warnings({ "tokenizer.ggml.pre": { type: "string", value: "default" } }), "");
    assert.match(
      await warnings({ "tokenizer.ggml.pre": null }),
      /m\.gguf` does not say how its tokenizer cuts a text \(`tokenizer\.ggml\.pre`\): it is cut as llama\.cpp/,
    );
    assert.match(await warnings({ "tokenizer.ggml.token_type": null }), /does not say which of its tokens are special/);
    assert.is(await warnings({ "tokenizer.ggml.model": null, "tokenizer.ggml.pre": null }), "");
  });
});

test("a vocabulary that does not fit the model", async () => {
  const tokens = Array.from({ length: 40 }, (_, id) => `t${id}`);
  await inDirectory(async (directory) => {
    const model = await openModel(
      await writeGguf(
        join(directory, "m.gguf"),
        small({
          "llama.vocab_size": { type: "u32", value: smallTokens.length },
          "tokenizer.ggml.tokens": { type: "strings", value: tokens },
          "tokenizer.ggml.token_type": null,
        }),
      ),
    );
    await failure("M142", model.tokenizer());
    await model.close();
  });
});

test.run();
