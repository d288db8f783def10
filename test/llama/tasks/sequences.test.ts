/** Choices as tokens: where the boundary is, what stands before, what is cut. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Question } from "../../../runtime/llama/tasks/questions.js";
import { tokenizeTask, type TokenizedTask } from "../../../runtime/llama/tasks/sequences.js";
import type { Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";
import { failure } from "../../model/support.js";

const test = suite("tasks: sequences");

/** Letters are tokens from 1 on, spaces have none, and "ab" is one token, 90. */
function tokenizer(prefix: readonly number[]): Tokenizer {
  const encode = async (text: string): Promise<Uint32Array<ArrayBuffer>> =>
    Uint32Array.from(
      [...text.replaceAll(" ", "").matchAll(/ab|./g)].map(([token]) =>
        token === "ab" ? 90 : token.charCodeAt(0) - 96,
      ),
    );
  return { prefix, bos: prefix[0] ?? null, encode } as unknown as Tokenizer;
}

function tokenize(
  prefix: readonly number[],
  contextLength: number,
  ...choices: readonly (readonly [string, string])[]
): Promise<TokenizedTask> {
  const questions: readonly Question[] = [
    { label: 0, choices: choices.map(([context, continuation], at) => ({ context, continuation, line: at + 1 })) },
  ];
  return tokenizeTask({ name: "t", path: "t.jsonl", available: 1, questions }, tokenizer(prefix), contextLength);
}

const idsOf = ({ questions }: TokenizedTask): readonly (readonly number[])[] =>
  questions.flatMap(({ sequences }) =>
    sequences.map(({ ids, scored }) => [...ids.slice(0, -scored), -1, ...ids.slice(-scored)]),
  );

test("a continuation is what follows the context's tokens, or by itself where they would change", async () => {
  const made = await tokenize([], 100, ["xa", " cab"], ["xa", " bc"], ["x", "\u{1d4b6}"]);
  assert.equal(idsOf(made).slice(0, 2), [
    [24, 1, -1, 3, 90],
    [24, 1, -1, 2, 3], // not [24, 90, 3]
  ]);
  assert.equal(made.questions[0]?.characters, [4, 3, 1], "code points, the leading space counted");
  assert.is(made.truncated, 0);
});

test("what is put before each text stays; contexts too long lose their oldest tokens", async () => {
  assert.equal(idsOf(await tokenize([50], 100, ["", "c"], ["xy", "c"])), [
    [50, -1, 3],
    [50, 24, 25, -1, 3],
  ]);
  // five tokens are scored or seen, of which the last is not seen
  const cut = await tokenize([50], 4, ["wxyz", "cd"], ["yz", "cd"], ["wxyz", "cdef"]);
  assert.equal(idsOf(cut), [
    [50, 25, 26, -1, 3, 4],
    [50, 25, 26, -1, 3, 4],
    [50, -1, 3, 4, 5, 6],
  ]);
  assert.is(cut.truncated, 2);
  assert.equal(idsOf(await tokenize([], 4, ["wxyz", "cd"])), [[24, 25, 26, -1, 3, 4]]);
});

test("what cannot be scored is refused by its line: M174", async () => {
  for (const [prefix, choice, message] of [
    [[], ["", "c"], /line 2: the context has no tokens, and the model's tokenizer puts none before texts/],
    [[50], ["x", " "], /line 2: the continuation has no tokens/],
    [[50], ["x", "cdefg"], /line 2: the continuation has 5 tokens, which the model's context of 4 has no room for/],
    [[], ["x", "cdefg"], /has 5 tokens/],
  ] as const)
    assert.match((await failure("M174", tokenize(prefix, 4, ["x", "c"], choice))).message, message);
});

test.run();
