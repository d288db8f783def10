import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binary, buildGraph, cast, constant, load, unary } from "../../../compiler/graph/build.js";
import type { ConcreteGraph } from "../../../compiler/graph/graph.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { graphRules, simplify } from "../../../compiler/graph/passes/simplify.js";

const test = suite("rewrites of graphs");

function apply(name: string, graph: ConcreteGraph): string {
  const rule = graphRules.find((each) => each.name === name);
  if (rule === undefined) throw new Error(`there is no rule ${name}`);
  return printGraph(rule.rewrite(graph));
}

/** y = |x|, z = |x|, out = y + z. */
function twins(): ConcreteGraph {
  const b = buildGraph("twins");
  const x = b.input("x", "f32", [4]);
  const y = b.map("y", [4], (i) => unary("abs", load(x, [i!])));
  const z = b.map("z", [4], (i) => unary("abs", load(x, [i!])), { names: ["q"] });
  b.output(
    "out",
    b.map("out", [4], (i) => binary("add", load(y, [i!]), load(z, [i!]))),
  );
  return b.graph();
}

test("equal equations are one", () => {
  assert.is(
    apply("common-equations", twins()),
    `graph twins(%0 x: f32[4])
  %1 y: f32[4] = map i: abs(%0[i])
  %2 z: f32[4] = map q: abs(%0[q])
  %3 out: f32[4] = map i: %1[i] + %1[i]
  return %3 out
`,
  );
});

test("what no output needs goes, and values are numbered anew", () => {
  assert.is(
    printGraph(simplify(twins())),
    `graph twins(%0 x: f32[4])
  %1 y: f32[4] = map i: abs(%0[i])
  %2 out: f32[4] = map i: %1[i] + %1[i]
  return %2 out
`,
  );
});

test("a copy is its source", () => {
  const b = buildGraph("copy");
  const x = b.input("x", "f32", [4, 3]);
  const y = b.map("y", [4, 3], (i, j) => load(x, [i!, j!]));
  const z = b.map("z", [3, 3], (i, j) => load(x, [j!, i!]));
  b.output(
    "out",
    b.map("out", [3], (i) => binary("add", load(y, [i!, i!]), load(z, [i!, i!]))),
  );
  assert.is(
    printGraph(simplify(b.graph())),
    `graph copy(%0 x: f32[4, 3])
  %1 z: f32[3, 3] = map i, j: %0[j, i]
  %2 out: f32[3] = map i: %0[i, i] + %1[i, i]
  return %2 out
`,
  );
});

test("a copy of what is updated later stays", () => {
  const b = buildGraph("keep");
  const w = b.input("w", "f32", [4], { mutable: true });
  const old = b.map("old", [4], (i) => load(w, [i!]));
  const i = b.range("i", 0, 2);
  const next = b.update("next", w, [i], [{ kind: "index", index: i.index, name: "i" }], constant(0));
  b.output(
    "out",
    b.map("out", [4], (k) => binary("subtract", load(next, [k!]), load(old, [k!]))),
  );
  b.output("w", next, w);
  const graph = b.graph();
  assert.is(printGraph(simplify(graph)), printGraph(graph));
});

test("a copy of an output that is updated later stays", () => {
  const b = buildGraph("keep");
  const w = b.map("w", [4], (i) => cast(i!, "f32"));
  const old = b.map("old", [4], (i) => load(w, [i!]));
  const i = b.range("i", 0, 2);
  const next = b.update("next", w, [i], [{ kind: "index", index: i.index, name: "i" }], constant(0));
  b.output("w", w);
  b.output(
    "out",
    b.map("out", [4], (k) => binary("subtract", load(next, [k!]), load(old, [k!]))),
  );
  const graph = b.graph();
  assert.is(printGraph(simplify(graph)), printGraph(graph));
});

test("equal equations are the output, where one is", () => {
  const b = buildGraph("out");
  const x = b.input("x", "f32", [4]);
  const y = b.map("y", [4], (i) => unary("abs", load(x, [i!])));
  const z = b.map("z", [4], (i) => unary("abs", load(x, [i!])));
  b.output("y", y);
  b.output(
    "w",
    b.map("w", [4], (i) => unary("negate", load(z, [i!]))),
  );
  assert.is(
    printGraph(simplify(b.graph())),
    `graph out(%0 x: f32[4])
  %1 y: f32[4] = map i: abs(%0[i])
  %2 w: f32[4] = map i: -%1[i]
  return %1 y, %2 w
`,
  );
});

test("two zeroed buffers that are updated each stay two", () => {
  const b = buildGraph("two");
  const zero = (name: string) => b.map(name, [4], () => constant(0));
  const [first, second] = [zero("a"), zero("b")];
  const set = (name: string, base: typeof first, value: number) => {
    const i = b.range("i", 0, 2);
    return b.update(name, base, [i], [{ kind: "index", index: i.index, name: "i" }], constant(value));
  };
  b.output("a", set("a1", first, 1));
  b.output("b", set("b1", second, 2));
  const graph = b.graph();
  assert.is(printGraph(simplify(graph)), printGraph(graph));
});

test.run();
