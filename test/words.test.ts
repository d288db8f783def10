/** Numbers and what they count. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { counted } from "../compiler/words.js";
import { calibrationWindows, windowsInWords } from "../runtime/llama/windows.js";
import { LlamaError } from "../runtime/llama/error.js";

const test = suite("words");

test("what is counted agrees with the number", () => {
  assert.equal(
    [0, 1, 2].map((number) => counted(number, "token")),
    ["0 tokens", "1 token", "2 tokens"],
  );
  assert.is(counted(2, "axis", "axes"), "2 axes");
  assert.equal(
    [1, 2].map((count) => [windowsInWords(count, false), windowsInWords(count, true)]),
    [
      ["the only window", "the first window"],
      ["all 2 windows", "the first 2 windows"],
    ],
  );
  assert.throws(
    () => calibrationWindows([7], 4, null, undefined),
    (error: unknown) =>
      error instanceof LlamaError && error.message === "The calibration text has 1 token, but a window of 4 needs 4.",
  );
});

test.run();
