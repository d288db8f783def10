import fc from "fast-check";
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
} from "../../compiler/graph/build.js";
import { allEqns, eqnOperands, freshIndices, removeDead, scanLocals } from "../../compiler/graph/eqn.js";
import { evaluate, tensorValue } from "../../compiler/graph/evaluate.js";
import { expandTop } from "../../compiler/graph/passes/expand.js";
import { fuse } from "../../compiler/graph/passes/fuse.js";
import type { ConcreteGraph, Eqn } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { simplify } from "../../compiler/graph/passes/simplify.js";
import { verify } from "../../compiler/graph/verify.js";
import type { Concrete } from "../../compiler/types/type.js";
import { pseudorandomValues } from "../support/columns.js";
import { runs } from "../support/runs.js";

const test = suite("scan");

type Scan = Extract<Eqn<Concrete>, { kind: "scan" }>;

/** GPTQ with a step of 1: each column is rounded, and its error taken over by the columns after it. */
function walk(rows: number, columns: number, low = 0, high = columns): ConcreteGraph {
  const b = buildGraph("walk");
  const w = b.input("w", "f32", [rows, columns]);
  const u = b.input("u", "f32", [columns, columns]);
  const [last] = b.scan(b.range("k", low, high), [w], (k, [state]) => {
    const q = b.map("q", [rows], (n) => unary("round", load(state!, [n!, k])), { names: ["n"] });
    const e = b.map(
      "e",
      [rows],
      (n) => binary("divide", binary("subtract", load(state!, [n!, k]), load(q, [n!])), load(u, [k, k])),
      { names: ["n"] },
    );
    const [n, j, m] = [b.range("n", 0, rows), b.range("j", k, columns), b.range("n", 0, rows)];
    const trailing = b.update(
      "w",
      state!,
      [n, j],
      [indexOf(n), indexOf(j)],
      unary("negate", binary("multiply", load(e, [indexOf(n)]), load(u, [k, indexOf(j)]))),
      "add",
    );
    return [b.update("w", trailing, [m], [indexOf(m), k], load(q, [indexOf(m)]))];
  });
  b.output("w", last!);
  return b.graph();
}

/** What `walk` says, in a loop over numbers rounded to f32 where the graph rounds. */
function walked(
  w: ArrayLike<number>,
  u: ArrayLike<number>,
  rows: number,
  columns: number,
  low: number,
  high: number,
): number[] {
  const f = Math.fround;
  const result = Array.from(w);
  for (let k = low; k < high; k += 1) {
    for (let n = 0; n < rows; n += 1) {
      const value = result[n * columns + k]!;
      const rest = value - Math.floor(value);
      const q = rest === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
      const e = f(f(value - q) / u[k * columns + k]!);
      for (let j = k; j < columns; j += 1)
        result[n * columns + j] = f(result[n * columns + j]! - f(e * u[k * columns + j]!));
      result[n * columns + k] = q;
    }
  }
  return result;
}

test("a scan prints its states, a step, and the states at its end", () => {
  assert.equal(verify(walk(2, 4)), []);
  assert.is(
    printGraph(walk(2, 4)),
    `graph walk(%0 w: f32[2, 4], %1 u: f32[4, 4])
  %7 w: f32[2, 4] = scan k in 0..4 from %2 = %0:
    %3 q: f32[2] = map n: round(%2[n, k])
    %4 e: f32[2] = map n: (%2[n, k] - %3[n]) / %1[k, k]
    %5 w: f32[2, 4] = update %2[n, j] += -(%4[n] * %1[k, j]) for n in 0..2, j in k..4
    %6 w: f32[2, 4] = update %5[n, k] = %3[n] for n in 0..2
    next %6
  return %7 w
`,
  );
});

test("no step, one and many are what a loop does, before and after every pass", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(9),
      fc.nat(9),
      fc.nat(1000),
      (rows, columns, a, b, seed) => {
        const [low, high] = [Math.min(a, columns), Math.min(b, columns)];
        const w = tensorValue("f32", [rows, columns], pseudorandomValues(rows * columns, seed, 4));
        const u = tensorValue(
          "f32",
          [columns, columns],
          pseudorandomValues(columns * columns, seed + 1, 0.5).map((value, at) =>
            at % (columns + 1) === 0 ? 1 + Math.abs(value) : value,
          ),
        );
        const expected = walked(w.data, u.data, rows, columns, low, high);
        const graph = walk(rows, columns, low, high);
        for (const pass of [
          (g: ConcreteGraph): ConcreteGraph => g,
          simplify,
          fuse,
          (g: ConcreteGraph): ConcreteGraph => simplify(fuse(simplify(expandTop(g)))),
        ]) {
          const after = pass(graph);
          assert.equal(verify(after), []);
          assert.equal(
            [
              ...evaluate(
                after,
                new Map([
                  ["w", w],
                  ["u", u],
                ]),
              ).get("w")!.data,
            ],
            expected,
            printGraph(after),
          );
        }
      },
    ),
    runs(60),
  );
});

/**
 * Two states, of which one step of the second needs the first: s = running sum, t = running sum of sums; and one for
 * nothing.
 */
function sums(outputs: readonly string[]): ConcreteGraph {
  const b = buildGraph("sums");
  const x = b.input("x", "f32", [5]);
  const [s0, t0, z0] = ["s", "t", "z"].map((name) => b.map(name, [1], () => constant(0)));
  const states = b.scan(b.range("k", 0, 5), [s0!, t0!, z0!], (k, [s, t, z]) => {
    const next = b.map("s", [1], (i) => binary("add", load(s!, [i!]), load(x, [k])));
    return [
      next,
      b.map("t", [1], (i) => binary("add", load(t!, [i!]), load(next, [i!]))),
      b.map("z", [1], (i) => binary("add", load(z!, [i!]), constant(1))),
    ];
  });
  states.forEach((state) => {
    if (outputs.includes(state.name)) b.output(state.name, state);
  });
  return b.graph();
}

test("states follow each other, and those that nothing needs go", () => {
  const x = new Map([["x", tensorValue("f32", [5], [1, 2, 3, 4, 5])]]);
  const all = evaluate(sums(["s", "t", "z"]), x);
  assert.equal([all.get("s")!.data[0], all.get("t")!.data[0], all.get("z")!.data[0]], [15, 35, 5]);
  const some = removeDead(sums(["t"]));
  assert.equal(verify(some), []);
  const scan = some.eqns.find((eqn): eqn is Scan => eqn.kind === "scan")!;
  assert.is(scan.states.length, 2);
  assert.is(evaluate(some, x).get("t")!.data[0], 35);
  assert.is((removeDead(sums(["z"])).eqns.at(-1) as Scan).states.length, 1);
  assert.is(removeDead(sums([])).eqns.length, 0);
});

test("helpers look into the body", () => {
  const graph = walk(2, 4);
  const scan = graph.eqns[0] as Scan;
  assert.equal([...eqnOperands(scan)].sort(), [0, 1]);
  assert.equal(scanLocals(scan), [2, 3, 4, 5, 6]);
  assert.is(allEqns(graph.eqns).length, 5);
  const used = allEqns(graph.eqns).flatMap((eqn) =>
    eqn.kind === "map" || eqn.kind === "update" ? eqn.indices.map((range) => range.index) : [],
  );
  assert.not.ok(used.includes(freshIndices(graph)()));
});

/** A map before the scan that its body reads, and one within; a window that opens every 4 columns. */
function windows(): ConcreteGraph {
  const b = buildGraph("windows");
  const w = b.input("w", "f32", [3, 8]);
  const doubled = b.map("doubled", [3, 8], (n, k) => binary("multiply", load(w, [n!, k!]), constant(2)));
  const [last] = b.scan(b.range("k", 0, 8), [w], (k, [state]) => {
    const end = select(
      binary("equal", binary("remainder", k, integer(4)), integer(0)),
      binary("add", k, integer(4)),
      k,
    );
    const inside = b.range("i", k, end);
    const largest = b.map(
      "largest",
      [3],
      (n) => reduce("max", [inside], unary("abs", load(state!, [n!, indexOf(inside)], true))),
      { names: ["n"] },
    );
    const first = b.map("first", [3], (n) => binary("multiply", load(state!, [n!, k]), constant(2)), { names: ["n"] });
    const kept = b.map("kept", [3], (n) => select(binary("equal", end, k), load(first, [n!]), load(largest, [n!])), {
      names: ["n"],
    });
    const [n, j] = [b.range("n", 0, 3), b.range("j", k, end)];
    return [
      b.update(
        "w",
        state!,
        [n, j],
        [indexOf(n), indexOf(j)],
        binary("add", load(doubled, [indexOf(n), indexOf(j)], true), load(kept, [indexOf(n)])),
      ),
    ];
  });
  b.output("w", last!);
  return b.graph();
}

test("nothing is moved into a body, cheap rows stay out of whole updates, and windows that fit need no guard", () => {
  const graph = windows();
  assert.equal(verify(graph), []);
  const fused = fuse(graph);
  assert.is(fused.eqns.length, 2);
  // `first` is computed where `kept` needs it; `largest`, a reduction, and `kept`, which a whole update needs, stay
  assert.is((fused.eqns[1] as Scan).body.filter((eqn) => eqn.kind === "map").length, 2, printGraph(fused));
  assert.not.match(printGraph(simplify(fused)), /\?/);
  const w = new Map([["w", tensorValue("f32", [3, 8], pseudorandomValues(24, 5, 3))]]);
  assert.equal([...evaluate(simplify(fused), w).get("w")!.data], [...evaluate(graph, w).get("w")!.data]);
});

test("a `top` in a body becomes a map there", () => {
  const b = buildGraph("chosen");
  const w = b.input("w", "f32", [2, 8]);
  const [last] = b.scan(b.range("k", 0, 8), [w], (k, [state]) => {
    const score = b.map("score", [2, 2], (n, j) => unary("abs", load(state!, [n!, binary("add", k, j!)], true)));
    const keep = b.top("keep", score, 1, 2, 1);
    const [n, j] = [b.range("n", 0, 2), b.range("j", 0, 2)];
    return [
      b.update(
        "w",
        state!,
        [n, j],
        [indexOf(n), binary("add", k, indexOf(j))],
        select(load(keep, [indexOf(n), indexOf(j)]), load(score, [indexOf(n), indexOf(j)]), constant(0)),
      ),
    ];
  });
  b.output("w", last!);
  const graph = b.graph();
  const after = expandTop(graph);
  assert.equal(verify(after), []);
  assert.ok(allEqns(after.eqns).every((eqn) => eqn.kind !== "top"));
  const inputs = new Map([["w", tensorValue("f32", [2, 8], pseudorandomValues(16, 3, 2))]]);
  assert.equal([...evaluate(after, inputs).get("w")!.data], [...evaluate(graph, inputs).get("w")!.data]);
});

const broken: readonly (readonly [fault: string, change: (scan: Scan) => Eqn<Concrete>])[] = [
  ["a scan without states", (scan) => ({ ...scan, states: [] })],
  [
    "ends a step as %1, which its body does not define",
    (scan) => ({ ...scan, states: scan.states.map((state) => ({ ...state, after: 1 })) }),
  ],
  [
    "state %9 is not defined before",
    (scan) => ({ ...scan, states: scan.states.map((state) => ({ ...state, initial: 9 })) }),
  ],
  ["%0 is defined twice", (scan) => ({ ...scan, states: scan.states.map((state) => ({ ...state, before: 0 })) })],
  [
    "a scan in the body of a scan",
    (scan) => ({
      ...scan,
      body: [...scan.body, { ...scan, states: scan.states.map((state) => ({ ...state, before: 8 })) }],
    }),
  ],
  [
    "a factorize in the body of a scan",
    (scan) => ({ ...scan, body: [...scan.body, { kind: "factorize", out: 8, source: 1, op: "cholesky" }] }),
  ],
  ["%3 is defined twice", (scan) => ({ ...scan, body: [scan.body[0]!, ...scan.body] })],
  [
    "a bound of k is not a constant size",
    (scan) => ({
      ...scan,
      range: { ...scan.range, high: { kind: "load", tensor: 0, at: [], dtype: "i32", guarded: false } },
    }),
  ],
];
for (const [fault, change] of broken) {
  test(`verify finds: ${fault}`, () => {
    const graph = walk(2, 4);
    assert.ok(
      verify({ ...graph, eqns: graph.eqns.map((eqn) => change(eqn as Scan)) })
        .join("\n")
        .includes(fault),
    );
  });
}

test("what a body defines is not read after it", () => {
  const graph = walk(2, 4);
  assert.match(
    verify({ ...graph, outputs: [{ value: 6, name: "w", input: null }] }).join("\n"),
    /output w names %6, which is not defined/,
  );
});

test.run();
