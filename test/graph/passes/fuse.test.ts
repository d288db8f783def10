import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  binary,
  buildGraph,
  constant,
  indexOf,
  integer,
  load,
  reduce,
  select,
  unary,
} from "../../../compiler/graph/build.js";
import type { GraphBuilder } from "../../../compiler/graph/build.js";
import { fuse } from "../../../compiler/graph/passes/fuse.js";
import type { FuseOptions } from "../../../compiler/graph/passes/fuse.js";
import type { Scalar, Value } from "../../../compiler/graph/graph.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { scalarReductions } from "../../../compiler/graph/scalar.js";
import { verify } from "../../../compiler/graph/verify.js";
import type { Concrete } from "../../../compiler/types/type.js";

const test = suite("fuse");

type Tensor = Value<Concrete>;
type Node = Scalar<Concrete>;

/** The equations and the result after fusing, without the header. */
function fused(build: (b: GraphBuilder) => void, options: FuseOptions = {}): string {
  const b = buildGraph("g");
  build(b);
  const graph = fuse(b.graph(), options);
  assert.equal(verify(graph), [], printGraph(graph));
  return printGraph(graph)
    .split("\n")
    .slice(1, -1)
    .map((line) => line.trim())
    .join("\n");
}

/** out[t, n] = sum k: x[t, k] * w[n, k] */
function product(b: GraphBuilder, name: string, x: Tensor, w: Tensor): Tensor {
  const k = b.range("k", 0, x.type.shape[1] ?? 1);
  return b.map(
    name,
    [x.type.shape[0] ?? 1, w.type.shape[0] ?? 1],
    (t, n) => reduce("sum", [k], binary("multiply", load(x, [t!, indexOf(k)]), load(w, [n!, indexOf(k)]))),
    { names: ["t", "n"] },
  );
}

/** Element by element over one tensor. */
function each(b: GraphBuilder, name: string, x: Tensor, body: (element: Node) => Node): Tensor {
  return b.map(name, x.type.shape, (...at) => body(load(x, at)));
}

test("a chain of element-wise maps is one", () => {
  assert.is(
    fused((b) => {
      const x = b.input("x", "f32", [4]);
      const y = each(b, "y", x, (e) => unary("exp", e));
      const z = each(b, "z", y, (e) => binary("add", e, constant(1)));
      b.output(
        "out",
        each(b, "out", z, (e) => unary("sqrt", e)),
      );
    }),
    "%1 out: f32[4] = map i: sqrt(exp(%0[i]) + 1.0)\nreturn %1 out",
  );
});

test("the gated product of two projections is one equation with two reductions", () => {
  const b = buildGraph("mlp");
  const x = b.input("x", "f32", [2, 8]);
  const [w, v] = [b.input("w", "f32", [3, 8]), b.input("v", "f32", [3, 8])];
  const [gate, up] = [product(b, "gate", x, w), product(b, "up", x, v)];
  const silu = each(b, "silu", gate, (e) =>
    binary("divide", e, binary("add", constant(1), unary("exp", unary("negate", e)))),
  );
  b.output(
    "out",
    b.map("out", [2, 3], (t, n) => binary("multiply", load(silu, [t!, n!]), load(up, [t!, n!]))),
  );
  const graph = fuse(b.graph());
  assert.is(graph.eqns.length, 1);
  const [eqn] = graph.eqns;
  // the gate stands twice in silu, but is one object
  assert.is(eqn?.kind === "map" ? scalarReductions(eqn.body).length : 0, 2);
});

test("reductions over other ranges are not joined", () => {
  const text = fused((b) => {
    const x = b.input("x", "f32", [2, 8]);
    const y = b.input("y", "f32", [2, 4]);
    const [w, v] = [b.input("w", "f32", [3, 8]), b.input("v", "f32", [3, 4])];
    const [left, right] = [product(b, "left", x, w), product(b, "right", y, v)];
    b.output(
      "out",
      b.map("out", [2, 3], (t, n) => binary("add", load(left, [t!, n!]), load(right, [t!, n!]))),
    );
  });
  assert.is(
    text,
    [
      "%4 right: f32[2, 3] = map t, n: sum k in 0..4: %1[t, k] * %3[n, k]",
      "%5 out: f32[2, 3] = map i, j: (sum k in 0..8: %0[i, k] * %2[j, k]) + %4[i, j]",
      "return %5 out",
    ].join("\n"),
  );
});

/** A norm: ms[t] = mean d: x[t, d]^2; y[t, d] = x[t, d] * rsqrt(ms[t]). */
function norm(b: GraphBuilder): void {
  const x = b.input("x", "f32", [2, 8]);
  const d = b.range("d", 0, 8);
  const ms = b.map("ms", [2], (t) =>
    reduce("mean", [d], binary("multiply", load(x, [t!, indexOf(d)]), load(x, [t!, indexOf(d)]))),
  );
  b.output(
    "y",
    b.map("y", [2, 8], (t, k) => binary("multiply", load(x, [t!, k!]), unary("rsqrt", load(ms, [t!])))),
  );
}

test("a reduction that many elements share is loaded, unless the caller says otherwise", () => {
  assert.is(fused(norm).split("\n").length, 3);
  assert.is(
    fused(norm, { inlineReductions: () => true }),
    "%1 y: f32[2, 8] = map i, j: %0[i, j] * rsqrt(mean d in 0..8: %0[i, d] * %0[i, d])\nreturn %1 y",
  );
});

test("into a product, a cheap map goes, one with a transcendental does not", () => {
  const scaled = (op: (e: Node) => Node) =>
    fused((b) => {
      const x = b.input("x", "f32", [2, 8]);
      const w = b.input("w", "f32", [3, 8]);
      b.output("out", product(b, "out", each(b, "y", x, op), w));
    });
  assert.is(
    scaled((e) => binary("multiply", e, constant(2))),
    "%2 out: f32[2, 3] = map t, n: sum k in 0..8: %0[t, k] * 2.0 * %1[n, k]\nreturn %2 out",
  );
  assert.is(scaled((e) => unary("exp", e)).split("\n").length, 3);
});

test("an element-wise map with several consumers goes into each if it is cheap", () => {
  const text = (op: (e: Node) => Node) =>
    fused((b) => {
      const x = b.input("x", "f32", [4]);
      const y = each(b, "y", x, op);
      b.output(
        "a",
        each(b, "a", y, (e) => unary("abs", e)),
      );
      b.output(
        "b",
        each(b, "b", y, (e) => unary("sign", e)),
      );
    });
  assert.is(
    text((e) => unary("negate", e)),
    "%1 a: f32[4] = map i: abs(-%0[i])\n%2 b: f32[4] = map i: sign(-%0[i])\nreturn %1 a, %2 b",
  );
  const long = (e: Node): Node => [1, 2, 3, 4, 5].reduce<Node>((sum, n) => binary("add", sum, constant(n)), e);
  assert.is(text(long).split("\n").length, 4);
});

test("what a map had better load is inlined once that map is in another that needs less of it", () => {
  const b = buildGraph("g");
  const x = b.input("x", "f32", [4, 4]);
  const y = each(b, "y", x, (e) => [1, 2, 3, 4, 5].reduce<Node>((sum, n) => binary("add", sum, constant(n)), e));
  const z = b.map("z", [4, 4], (i, j) => binary("multiply", load(y, [i!, j!]), load(y, [i!, i!])));
  b.output(
    "out",
    b.map("out", [4, 4], (i) => load(z, [i!, i!])),
  );
  const once = fuse(b.graph());
  assert.is(once.eqns.length, 1);
  assert.is(printGraph(fuse(once)), printGraph(once));
});

test("an output stays, and is loaded", () => {
  const text = fused((b) => {
    const x = b.input("x", "f32", [4]);
    const y = each(b, "y", x, (e) => unary("negate", e));
    b.output("y", y);
    b.output(
      "z",
      each(b, "z", y, (e) => unary("abs", e)),
    );
  });
  assert.is(text, "%1 y: f32[4] = map i: -%0[i]\n%2 z: f32[4] = map i: abs(%1[i])\nreturn %1 y, %2 z");
});

test("a guarded load stays zero out of range, though the body is not", () => {
  assert.is(
    fused((b) => {
      const x = b.input("x", "f32", [4]);
      const y = each(b, "y", x, (e) => unary("exp", e));
      b.output(
        "out",
        b.map("out", [4], (i) => load(y, [binary("subtract", i!, integer(1))], true)),
      );
    }),
    "%1 out: f32[4] = map i: select(i - 1 >= 0, exp(%0[i - 1]?), 0.0)\nreturn %1 out",
  );
});

test("what top or pack needs whole stays", () => {
  assert.is(
    fused((b) => {
      const x = b.input("x", "f32", [4]);
      const y = each(b, "y", x, (e) => unary("abs", e));
      b.output("keep", b.top("keep", y, 1, 2, 0));
      b.output(
        "out",
        b.map("out", [4], (i) => unary("negate", load(y, [i!]))),
      );
    }).split("\n").length,
    4,
  );
});

test("a load is not moved behind the update of what it loads from", () => {
  const hazard = (late: boolean) =>
    fused((b) => {
      const w = b.input("w", "f32", [4], { mutable: true });
      const y = each(b, "y", w, (e) => unary("abs", e));
      const early = late ? null : each(b, "early", y, (e) => unary("negate", e));
      const i = b.range("i", 0, 2);
      const next = b.update("next", w, [i], [indexOf(i)], constant(0));
      b.output("out", early ?? each(b, "late", y, (e) => unary("negate", e)));
      b.output("w", next, w);
    });
  assert.is(
    hazard(false),
    "%1 early: f32[4] = map i: -abs(%0[i])\n%2 next: f32[4] = update %0[i] = 0.0 for i in 0..2\nreturn %1 out, %2 w in place of %0",
  );
  assert.is(hazard(true).split("\n").length, 4);
});

test("into an update of what it loads from, a map goes only where it loads the element written", () => {
  const into = (shift: number) =>
    fused((b) => {
      const w = b.input("w", "f32", [4], { mutable: true });
      const y = b.map("y", [4], (i) =>
        unary("abs", load(w, [shift === 0 ? i! : binary("remainder", binary("add", i!, integer(shift)), integer(4))])),
      );
      const i = b.range("i", 0, 4);
      b.output("w", b.update("next", w, [i], [indexOf(i)], load(y, [indexOf(i)])), w);
    });
  assert.is(into(0), "%1 next: f32[4] = update %0[i] = abs(%0[i]) for i in 0..4\nreturn %1 w in place of %0");
  assert.is(into(1).split("\n").length, 3);
});

test("the final state of a mutable input counts as written where it is made", () => {
  const text = fused((b) => {
    const w = b.input("w", "f32", [4], { mutable: true });
    const y = each(b, "y", w, (e) => unary("abs", e));
    const state = b.map("state", [4], (i) => select(binary("less", i!, integer(2)), load(w, [i!]), constant(0)));
    b.output(
      "out",
      each(b, "out", y, (e) => unary("negate", e)),
    );
    b.output("w", state, w);
  });
  assert.is(text.split("\n").length, 4);
});

test("no equation grows beyond its limit", () => {
  const chain = (maxNodes: number) =>
    fused(
      (b) => {
        let value = b.input("x", "f32", [4]);
        for (let at = 0; at < 12; at += 1)
          value = each(b, `y${at}`, value, (e) => binary("add", binary("multiply", e, e), constant(1)));
        b.output("out", value);
      },
      { maxNodes },
    ).split("\n").length - 1;
  assert.ok(chain(100) > 2);
  assert.ok(chain(100) < 12);
  assert.ok(chain(1000) < chain(100));
});

test.run();
