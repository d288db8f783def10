/** Stop strings across the borders of pieces: what is held back, and what stands before the end. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createStopStrings } from "../../../runtime/llama/inference/stop-strings.js";

const test = suite("stop-strings");

function fed(
  stops: readonly string[],
  pieces: readonly string[],
): { readonly given: readonly string[]; readonly found: boolean } {
  const watch = createStopStrings(stops);
  const given = pieces.map((piece) => watch.push(piece));
  given.push(watch.end());
  return { given, found: watch.found };
}

test("text before a stop string is given, what could begin one waits for the next piece", () => {
  assert.equal(fed(["STOP"], ["a S", "TO", "P b"]), { given: ["a ", "", "", ""], found: true });
  assert.equal(fed(["STOP"], ["a S", "TO", "T"]), { given: ["a ", "", "STOT", ""], found: false });
  assert.equal(fed(["STOP"], ["a ST"]), { given: ["a ", "ST"], found: false });
  assert.equal(fed(["aab"], ["aa", "ab!"]), { given: ["", "a", ""], found: true });
});

test("the one that begins first ends the text; empty ones are none", () => {
  assert.equal(fed(["d", "bc"], ["abcd"]), { given: ["a", ""], found: true });
  assert.equal(fed([""], ["abc"]), { given: ["abc", ""], found: false });
  assert.equal(fed([], ["abc"]), { given: ["abc", ""], found: false });
});

test("however a text is cut, what is given is the text up to the stop string", () => {
  const text = "one two\n\nthree STSTOP four";
  for (const stops of [["STOP"], ["\n\n"], ["four!"], ["ne t", "two"]])
    for (let size = 1; size < 6; size++) {
      const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
      const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
      const expected = ends.length === 0 ? text : text.slice(0, Math.min(...ends));
      assert.is(fed(stops, pieces).given.join(""), expected, `${stops.join(" ")} in pieces of ${size}`);
    }
});

test.run();
