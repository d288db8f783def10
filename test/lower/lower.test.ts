import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import { formatOf, shapeOf } from "../../compiler/formats/registry.js";
import { binary, buildGraph, cast, constant, indexOf, integer, load, reduce, select, unary } from "../../compiler/graph/build.js";
import { evaluate, tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import type { Schedule } from "../../compiler/lower/choose.js";
import type { Target } from "../../compiler/target.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { evaluateStages } from "../support/stages.js";
import { targets } from "../support/targets.js";

const test = suite("lowering");

/** Values without structure, repeatable. */
function numbers(count: number, seed = 1): Float32Array {
  let state = seed * 7919 + 17;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function closeTo(actual: TensorValue, expected: TensorValue, what: string): void {
  assert.equal(actual.shape, expected.shape, what);
  expected.data.forEach((value, at) => {
    const difference = Math.abs(actual.data[at]! - value);
    assert.ok(difference <= 1e-4 + 1e-4 * Math.abs(value), `${what}: element ${at} is ${actual.data[at]}, expected ${value}`);
  });
}

function agree(graph: ConcreteGraph, inputs: ReadonlyMap<string, TensorValue>, what: string, target: Target, schedule: Schedule | null = null, words?: ReadonlyMap<string, Uint32Array>): readonly string[] {
  const expected = evaluate(graph, inputs);
  const stages = lowerConcrete(graph, target, { schedule });
  const actual = evaluateStages(stages, inputs, words, target.subgroups?.min ?? 4);
  for (const [name, value] of expected) closeTo(actual.get(name)!, value, `${what}: ${name}`);
  return stages.kernels.flat().map((kernel) => kernel.origin.schedule);
}

/** y[t, n] = sum[k] x[t, k] * w[n, k], with the weight in a format. */
function productGraph(t: number, n: number, k: number, format: FormatSpec | null): ConcreteGraph {
  const build = buildGraph("product");
  const x = build.input("x", "f32", [t, k]);
  const w = build.input("w", "f32", [n, k], { format });
  const y = build.map("y", [t, n], (ti, ni) => {
    const over = build.range("k", 0, k);
    return reduce("sum", [over], binary("multiply", load(x, [ti!, indexOf(over)]), load(w, [ni!, indexOf(over)])));
  }, { names: ["t", "n"] });
  build.output("y", y);
  return build.graph();
}

for (const [name, target] of Object.entries(targets)) {
  test(`element-wise chains and selects on ${name}`, () => {
    const build = buildGraph("chain");
    const x = build.input("x", "f32", [7, 13]);
    const s = build.input("s", "f32", []);
    const a = build.map("a", [7, 13], (i, j) => binary("multiply", load(x, [i!, j!]), load(s)));
    const b = build.map("b", [7, 13], (i, j) => select(binary("less", load(a, [i!, j!]), constant(0)), unary("negate", load(a, [i!, j!])), binary("add", load(a, [i!, j!]), cast(i!, "f32"))));
    build.output("b", b);
    agree(build.graph(), new Map([["x", tensorValue("f32", [7, 13], numbers(91))], ["s", tensorValue("f32", [], [1.5])]]), "chain", target);
  });

  test(`norm and softmax are rows on ${name}`, () => {
    for (const d of [1, 31, 32, 33, 257]) {
      const build = buildGraph("norm");
      const x = build.input("x", "f32", [5, d]);
      const ms = build.map("ms", [5], (t) => {
        const over = build.range("d", 0, d);
        return reduce("mean", [over], binary("multiply", load(x, [t!, indexOf(over)]), load(x, [t!, indexOf(over)])));
      });
      const y = build.map("y", [5, d], (t, j) => binary("multiply", load(x, [t!, j!]), unary("rsqrt", binary("add", load(ms, [t!]), constant(1e-5)))));
      const top = build.map("top", [5], (t) => {
        const over = build.range("d", 0, d);
        return reduce("max", [over], load(x, [t!, indexOf(over)]));
      });
      const total = build.map("total", [5], (t) => {
        const over = build.range("d", 0, d);
        return reduce("sum", [over], unary("exp", binary("subtract", load(x, [t!, indexOf(over)]), load(top, [t!]))));
      });
      const p = build.map("p", [5, d], (t, j) => binary("divide", unary("exp", binary("subtract", load(x, [t!, j!]), load(top, [t!]))), load(total, [t!])));
      const best = build.map("best", [5], (t) => {
        const over = build.range("d", 0, d);
        return reduce("argmax", [over], load(p, [t!, indexOf(over)]));
      });
      for (const [output, value] of [["y", y], ["p", p], ["best", best]] as const) build.output(output, value);
      const schedules = agree(build.graph(), new Map([["x", tensorValue("f32", [5, d], numbers(5 * d, d))]]), `norm ${d}`, target);
      if (d >= 32) assert.ok(schedules.includes("rows"), `${d}: ${schedules.join(" ")}`);
    }
  });

  test(`products of every schedule and format agree with the evaluator on ${name}`, () => {
    const specs: readonly (FormatSpec | null)[] = [
      null,
      { name: "f16", args: {}, of: null },
      { name: "bf16", args: {}, of: null },
      { name: "int4", args: { group: 32, symmetric: true }, of: null },
      { name: "int8", args: { group: "channel", symmetric: true }, of: null },
      { name: "int4", args: { group: 32, symmetric: false }, of: null },
      { name: "nm", args: { n: 2, m: 4 }, of: { name: "f16", args: {}, of: null } },
      { name: "nm", args: { n: 2, m: 4 }, of: { name: "int4", args: { group: 32, symmetric: true }, of: null } },
      { name: "q8_0", args: {}, of: null },
      { name: "q4_0", args: {}, of: null },
      { name: "q4_1", args: {}, of: null },
      { name: "q6_k", args: {}, of: null },
    ];
    for (const given of specs) {
      const sizes = given?.name === "q6_k" ? [[1, 5, 256], [3, 17, 512], [9, 33, 256]] as const : [[1, 5, 64], [3, 17, 96], [9, 33, 64], [40, 35, 128]] as const;
      for (const [t, n, k] of sizes) {
        const spec = given === null ? null : (formatOf(given.name)!.normalize(given) as FormatSpec);
        const graph = productGraph(t, n, k, spec);
        const words = new Map<string, Uint32Array>();
        let dense = numbers(n * k, 3);
        if (spec !== null) {
          const format = formatOf(spec.name)!;
          const shape = shapeOf([n, k]);
          const grid = format.grid(spec);
          if (spec.name === "nm") dense = dense.map((value, at) => (at % 4 < 2 ? 0 : value));
          const groups = grid === null ? 0 : grid.group === "channel" ? 1 : k / grid.group;
          const packed = format.encode(spec, shape, dense, grid === null ? null : {
            scale: new Float32Array(n * groups).fill(0.125), zero: grid.symmetric ? null : new Float32Array(n * groups).fill(7),
          });
          words.set("w", packed);
          dense = format.decode(spec, shape, packed);
        }
        const inputs = new Map([["x", tensorValue("f32", [t, k], numbers(t * k, 2))], ["w", tensorValue("f32", [n, k], dense)]]);
        for (const schedule of [null, "matvec", "tiled", "loops"] as const) {
          const taken = agree(graph, inputs, `${spec === null ? "f32" : JSON.stringify(spec)} ${t}x${n}x${k} ${schedule}`, target, schedule, words);
          // a sparse weight may be unpacked by an eqn of its own first
          if (schedule === "tiled" || schedule === "loops") assert.is(taken.at(-1), schedule);
          if (schedule === "matvec" && t <= 8) assert.is(taken.at(-1), "matvec");
        }
      }
    }
  });

  test(`updates happen in place, and copy where the old state is needed on ${name}`, () => {
    const build = buildGraph("update");
    const cache = build.input("cache", "f32", [9, 3], { mutable: true });
    const x = build.input("x", "f32", [4, 3]);
    const position = build.input("position", "i32", []);
    const [t, d] = [build.range("t", 0, 4), build.range("d", 0, 3)];
    const next = build.update("next", cache, [t, d], [binary("add", load(position), indexOf(t)), indexOf(d)], load(x, [indexOf(t), indexOf(d)]));
    const sum = build.map("sum", [3], (j) => {
      const over = build.range("i", 0, 9);
      return reduce("sum", [over], binary("subtract", load(next, [indexOf(over), j!]), load(cache, [indexOf(over), j!])));
    });
    build.output("cache", next, cache);
    build.output("sum", sum);
    for (const at of [0, 3, 5, 7, 20]) {
      agree(build.graph(), new Map([["cache", tensorValue("f32", [9, 3], numbers(27, 5))], ["x", tensorValue("f32", [4, 3], numbers(12, 6))], ["position", tensorValue("i32", [], [at])]]), `update at ${at}`, target);
    }
  });
  void integer;
}

test.run();
