/** Sums in parts: against the whole ones, and which sums are taken so. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../../compiler/compile.js";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { scatterToGather } from "../../../compiler/graph/passes/scatter-to-gather.js";
import { simplify } from "../../../compiler/graph/passes/simplify.js";
import { splitSums } from "../../../compiler/graph/passes/split-sums.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import type { Target } from "../../../compiler/target.js";
import { graphOf } from "../../check/support.js";
import { programCase } from "../../lower/language.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case } from "../../support/agreement.js";
import { bound } from "../../support/gradients.js";
import { gradientProducts } from "../../support/gradient-products.js";
import { targets } from "../../support/targets.js";
import { difference } from "../../support/tolerance.js";

const test = suite("sums in parts");

const gpu: Target = { ...targets["a GPU with subgroups of 32"], name: "matrices", f16: true, matrices: true };

function gain(sizes: Readonly<Record<string, number>>): Case {
  return programCase(
    `fn main(x: f32[B, T, N], r: f32[B, T]) -> f32[N] {
  let start[n] = 0.0 for n in 0 .. N
  var g = start
  g[n] += x[b, t, n] * r[b, t] for b in 0 .. B, t in 0 .. T, n in 0 .. N
  return out where out[n] = 2.0 * g[n]
}`,
    sizes,
    "reduction",
  );
}

const { source: weightSource } = gradientProducts["of a product by its weight: a sum over sequences and tokens"]!;

function weight(sizes: Readonly<Record<string, number>>): Case {
  return programCase(weightSource, sizes, "half", {}, true);
}

/** The equations of the graph after the pass, without their names. */
function linesAfter({ graph, inputs, kind }: Case): readonly string[] {
  const before = simplify(scatterToGather(graph));
  const after = splitSums(before, gpu);
  assert.equal(verify(after), [], printGraph(after));
  const [expected] = evaluate(before, inputs).values();
  const [found] = evaluate(after, inputs).values();
  assert.is(difference(found?.data ?? [], expected?.data ?? [], kind), null);
  return printGraph(after)
    .split("\n")
    .filter((line) => line.includes(" = "))
    .map((line) => line.trim());
}

test("a gain: over tokens, in as many parts as keep a device busy", () => {
  assert.equal(linesAfter(gain({ B: 2, T: 2400, N: 5 })).slice(0, 2), [
    "%4 g_parts: f32[100, 5] = map part, n: sum b in 0..2, t in 0..24: %0[b, part * 24 + t, n] * %1[b, part * 24 + t]",
    "%2 g: f32[5] = map n: sum part in 0..100: %4[part, n]",
  ]);
});

test("a weight: over sequences, so that tokens stay the columns of a product", () => {
  assert.equal(linesAfter(weight({ B: 12, T: 700, N: 8, K: 4 })), [
    "%3 dw_parts: f32[6, 8, 4] = map part, n, k: sum b in 0..2, t in 0..700: f32(%0[part * 2 + b, t, n]) * f32(%1[part * 2 + b, t, k])",
    "%2 dw: f32[8, 4] = map n, k: sum part in 0..6: %3[part, n, k]",
  ]);
});

test("what is added to a total", () => {
  const given = programCase(
    "fn main(var total: f32[N], x: f32[B, T, N]) {\n  total[n] += x[b, t, n] for b in 0 .. B, t in 0 .. T, n in 0 .. N\n}",
    { B: 2, T: 2400, N: 5 },
    "reduction",
  );
  assert.equal(linesAfter(given), [
    "%3 total_parts: f32[100, 5] = map part, n: sum b in 0..2, t in 0..24: %1[b, part * 24 + t, n]",
    "%2 total: f32[5] = update %0[n] += sum part in 0..100: %3[part, n] for n in 0..5",
  ]);
});

test("short ones, those of many elements and those over one index stay whole", () => {
  assert.is(linesAfter(gain({ B: 2, T: 800, N: 5 })).length, 2);
  assert.is(linesAfter(weight({ B: 1, T: 5000, N: 3, K: 2 })).length, 1);
  const large = bound(graphOf(weightSource, "main"), { B: 8, T: 1024, N: 2048, K: 2048 });
  const many = simplify(scatterToGather(large));
  assert.is(splitSums(many, gpu), many);
  const whole = simplify(scatterToGather(gain({ B: 2, T: 2400, N: 5 }).graph));
  assert.is(splitSums(whole, targets["a CPU driver"]), whole);
});

test("through kernels", () => {
  const given = weight({ B: 4, T: 1024, N: 8, K: 8 });
  const stages = agreeSimulated(given, expectedOf(given), { target: gpu, subgroupSize: 32 }, { schedule: "matrix" });
  assert.equal(schedulesOf(stages), ["matrix", "loops"]);
  assert.equal(schedulesOf(lowerConcrete(given.graph, gpu, { schedule: "matrix", parts: false })), ["matrix"]);
});

test.run();
