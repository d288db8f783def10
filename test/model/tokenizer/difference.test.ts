/** What tells two tokenizers apart. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tokenizerDifference } from "../../../runtime/model/tokenizer/difference.js";
import type { Tokenizer } from "../../../runtime/model/tokenizer/tokenizer.js";

const test = suite("tokenizer: difference");

function tokenizer(
  tokens: readonly string[],
  { prefix = [], special = [] }: { readonly prefix?: readonly number[]; readonly special?: readonly number[] } = {},
): Tokenizer {
  return {
    size: tokens.length,
    prefix,
    special: new Set(special),
    spelling: (id: number) => tokens[id] ?? null,
  } as unknown as Tokenizer;
}

test("the first difference is named, and there is none between equals", () => {
  const one = tokenizer(["<s>", "a", "b"], { prefix: [0], special: [0] });
  for (const [other, wanted] of [
    [tokenizer(["<s>", "a", "b"], { prefix: [0], special: [0] }), null],
    [tokenizer(["<s>", "a"]), /one has 3 tokens, the other 2/],
    [tokenizer(["<s>", "b", "a"]), /the token 1 is `a` in one and `b` in the other/],
    [tokenizer(["<s>", "a", "b"], { special: [0] }), /one puts `<s>` before texts, the other nothing/],
    [tokenizer(["<s>", "a", "b"], { prefix: [0] }), /the token `<s>` is special in one of them only/],
    [tokenizer(["<s>", "a", "b"], { prefix: [0], special: [0, 2] }), /the token `b` is special/],
  ] as const)
    if (wanted === null) assert.is(tokenizerDifference(one, other), null);
    else assert.match(tokenizerDifference(one, other) ?? "", wanted);
});

test.run();
