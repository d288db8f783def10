/** Tokens that are computed as each would be by itself: products behind a norm, at the sizes of a pass over a few. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binary, buildGraph, indexOf, integer, load, reduce, unary } from "../../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { Concrete } from "../../../compiler/types/type.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case } from "../../support/agreement.js";
import { packed } from "../../support/packed.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";

const test = suite("tokens alike");
const device = { target: { ...targets["a GPU with subgroups of 32"], alike: true }, subgroupSize: 32 };
const k = 128;
const rows = 3;

/** y[t, n] = sum over k of x[t, k] / |x[t]| w[n, k], of some of eight tokens. */
function caseOf(format: string, from: number, tokens: number): Case {
  const build = buildGraph<Concrete>("alike");
  const made = packed(format, rows, k, 5);
  const all = Float32Array.from({ length: 8 * k }, (_, at) => Math.fround(Math.sin(at * 12.9898) * 3));
  const inputs = new Map<string, TensorValue>([
    ["x", tensorValue("f32", [tokens, k], all.slice(from * k, (from + tokens) * k))],
    ["w", tensorValue("f32", [rows, k], made.dense)],
  ]);
  const x = build.input("x", "f32", [tokens, k]);
  const w = build.input("w", "f32", [rows, k], { format: made.spec });
  const y = build.map("y", [tokens, rows], (t, n) => {
    const inner = build.range("j", 0, integer(k));
    const squared = binary("multiply", load(x, [t, indexOf(inner)]), load(x, [t, indexOf(inner)]));
    const size = unary("sqrt", reduce("sum", [inner], squared));
    const over = build.range("k", 0, integer(k));
    const scaled = binary("divide", load(x, [t, indexOf(over)]), size);
    return reduce("sum", [over], binary("multiply", scaled, load(w, [n, indexOf(over)])));
  });
  build.output("y", y);
  return { graph: build.graph(), inputs, words: new Map([["w", made.words]]), kind: "reduction" };
}

for (const format of ["f32", "f16", "int8(32)", "int4(64)", "nm(2, 4) of int4(64)", "nm(2, 4) of f16"])
  test(`${format}: several tokens as the evaluator has them, and bit for bit as each alone`, () => {
    const alone = Array.from({ length: 8 }, (_, at) => {
      const given = caseOf(format, at, 1);
      const stages = agreeSimulated(given, expectedOf(given), device);
      return evaluateStages(stages, given.inputs, given.words, device.subgroupSize).get("y")!.data;
    });
    for (const tokens of [3, 8]) {
      const given = caseOf(format, 0, tokens);
      const stages = agreeSimulated(given, expectedOf(given), device);
      assert.equal([...new Set(schedulesOf(stages))], ["matvec"]);
      const found = evaluateStages(stages, given.inputs, given.words, device.subgroupSize).get("y")!.data;
      assert.equal(
        [...found],
        alone.slice(0, tokens).flatMap((row) => [...row]),
      );
    }
  });

test.run();
