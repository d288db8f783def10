import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildGraph } from "../../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import { expandTop } from "../../../compiler/graph/passes/expand.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import { runs } from "../../support/runs.js";

const test = suite("top as a map");

test("reads as a count of those before", () => {
  const b = buildGraph("g");
  const s = b.input("s", "i32", [2, 8]);
  b.output("keep", b.top("keep", s, 2, 4, 1));
  assert.is(
    printGraph(expandTop(b.graph())),
    `graph g(%0 s: i32[2, 8])
  %1 keep: bool[2, 8] is 2:4 along 1 by %1 = map i0, k: (count j in k / 4 * 4..k / 4 * 4 + 4: %0[i0, j] > %0[i0, k] or %0[i0, j] == %0[i0, k] and j < k) < 2
  return %1 keep
`,
  );
});

test("keeps the same as top, with equals, infinities, NaN, and a last group that is short", () => {
  const element = fc.constantFrom(0, -0, 1, 1, -1, 2.5, NaN, Infinity, -Infinity);
  fc.assert(
    fc.property(
      fc.array(element, { minLength: 30, maxLength: 30 }),
      fc.constantFrom(2, 3, 4, 5, 15),
      fc.nat(14),
      fc.nat(1),
      fc.constantFrom("f32" as const, "f16" as const),
      (scores, m, n, axis, dtype) => {
        const b = buildGraph("g");
        const s = b.input("s", dtype, axis === 0 ? [15, 2] : [2, 15]);
        b.output("keep", b.top("keep", s, 1 + (n % m), m, axis));
        const inputs = new Map([["s", tensorValue(dtype, s.type.shape, scores)]]);
        const expanded = expandTop(b.graph());
        assert.equal(verify(expanded), []);
        assert.equal(evaluate(expanded, inputs), evaluate(b.graph(), inputs));
      },
    ),
    runs(200),
  );
});

test.run();
