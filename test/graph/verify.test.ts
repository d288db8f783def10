import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  integer,
  load,
  range,
  reduce,
  select,
  tensorType,
  unary,
} from "../../compiler/graph/build.js";
import type { GraphBuilder } from "../../compiler/graph/build.js";
import type { ConcreteGraph, Eqn, Scalar, SymbolicGraph } from "../../compiler/graph/graph.js";
import { verify } from "../../compiler/graph/verify.js";
import { symbolSize } from "../../compiler/types/size.js";
import { full } from "../../compiler/types/type.js";
import type { Concrete } from "../../compiler/types/type.js";

const test = suite("verify");

/** x: f32[2, 4], m: bool[2, 4], y = map i, j: x[i, j] + 1; a mutable cache, and its update. */
function good(): ConcreteGraph {
  const b = buildGraph("g");
  const x = b.input("x", "f32", [2, 4]);
  b.input("m", "bool", [2, 4]);
  const cache = b.input("cache", "f32", [4], { mutable: true });
  const y = b.map("y", [2, 4], (i, j) => binary("add", load(x, [i!, j!]), constant(1)));
  const k = b.range("k", 0, 4);
  const next = b.update("next", cache, [k], [indexOf(k)], load(y, [integer(0), indexOf(k)]));
  b.output("y", y);
  b.output("cache", next, cache);
  return b.graph();
}

const [X, M, CACHE, Y, NEXT] = [0, 1, 2, 3, 4] as const;

function faults(change: (graph: ConcreteGraph) => ConcreteGraph): string {
  return verify(change(good())).join("\n");
}

function withType(
  id: number,
  type: Partial<ConcreteGraph["values"][number]["type"]>,
): (graph: ConcreteGraph) => ConcreteGraph {
  return (graph) => ({
    ...graph,
    values: graph.values.map((value) => (value.id === id ? { ...value, type: { ...value.type, ...type } } : value)),
  });
}

function withEqn(at: number, change: (eqn: Eqn<Concrete>) => Eqn<Concrete>): (graph: ConcreteGraph) => ConcreteGraph {
  return (graph) => ({ ...graph, eqns: graph.eqns.map((eqn, position) => (position === at ? change(eqn) : eqn)) });
}

test("a graph in order has no faults", () => assert.equal(verify(good()), []));

const broken: readonly (readonly [fault: string, change: (graph: ConcreteGraph) => ConcreteGraph])[] = [
  ["has the id 7", (g) => ({ ...g, values: g.values.map((value, at) => (at === Y ? { ...value, id: 7 } : value)) })],
  ["%3 is defined twice", (g) => ({ ...g, eqns: [g.eqns[0]!, ...g.eqns] })],
  ["is never defined", (g) => ({ ...g, eqns: g.eqns.slice(1) })],
  ["%3 is not defined before", (g) => ({ ...g, eqns: [...g.eqns].reverse() })],
  ["defines the value 9, which is not there", withEqn(0, (eqn) => ({ ...eqn, out: 9 }))],
  ["is an input twice", (g) => ({ ...g, inputs: [...g.inputs, { value: X, name: "again", mutable: false }] })],
  ["two inputs have the name x", (g) => ({ ...g, inputs: g.inputs.map((input) => ({ ...input, name: "x" })) })],
  ["two outputs have the name y", (g) => ({ ...g, outputs: g.outputs.map((output) => ({ ...output, name: "y" })) })],
  ["output y names %9", (g) => ({ ...g, outputs: [{ ...g.outputs[0]!, value: 9 }, g.outputs[1]!] })],
  ["no output gives the final state of the mutable input cache", (g) => ({ ...g, outputs: g.outputs.slice(0, 1) })],
  ["which is not a mutable input", (g) => ({ ...g, outputs: [{ ...g.outputs[0]!, input: X }, g.outputs[1]!] })],
  ["cannot replace %2", (g) => ({ ...g, outputs: [g.outputs[0]!, { ...g.outputs[1]!, value: Y }] })],
  ["axis 0 is -1", withType(X, { shape: [-1, 4] })],
  ["pattern 5:4 is impossible", withType(Y, { pattern: { kind: "nm", n: 5, m: 4, axis: 1, mask: null } })],
  ["the pattern is along axis 2 of 2", withType(Y, { pattern: { kind: "nm", n: 2, m: 4, axis: 2, mask: null } })],
  ["the pattern's mask %0 is f32[2, 4]", withType(Y, { pattern: { kind: "masked", mask: X } })],
  ["the pattern's mask %9 is not there", withType(Y, { pattern: { kind: "masked", mask: 9 } })],
  ["the ranges are not 0 .. shape", withType(Y, { shape: [2, 5] })],
  ["the body is f32, not i32", withType(Y, { dtype: "i32" })],
  ["only pack defines a packed value", withType(Y, { format: { name: "f16", args: {}, of: null } })],
  ["a packed tensor cannot be updated", withType(CACHE, { format: { name: "f16", args: {}, of: null } })],
  ["1 indices for rank 0", withType(NEXT, { shape: [] })],
  [
    "a bound of k is not a constant size",
    withEqn(1, (eqn) =>
      eqn.kind === "update"
        ? {
            ...eqn,
            indices: [
              range(eqn.indices[0]!.index, "k", 0, {
                kind: "load",
                tensor: X,
                at: [integer(0), integer(0)],
                dtype: "f32",
                guarded: false,
              }),
            ],
          }
        : eqn,
    ),
  ],
  [
    "is bound twice",
    withEqn(0, (eqn) => (eqn.kind === "map" ? { ...eqn, indices: [eqn.indices[0]!, eqn.indices[0]!] } : eqn)),
  ],
  ["the source is f32[2, 4]", withEqn(0, () => ({ kind: "pack", out: NEXT, source: X, scale: null, zero: null }))],
  ["the score is a mask", withEqn(0, () => ({ kind: "top", out: Y, score: M, n: 2, m: 4, axis: 1 }))],
  ["top 5 of 4", withEqn(0, () => ({ kind: "top", out: Y, score: X, n: 5, m: 4, axis: 1 }))],
  ["axis 2 of rank 2", withEqn(0, () => ({ kind: "top", out: Y, score: X, n: 2, m: 4, axis: 2 }))],
];

for (const [fault, change] of broken)
  test(fault, () => assert.match(faults(change), new RegExp(fault.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))));

/** Faults of a map over i in 0..2, j in 0..4 with this body. */
function bodyFaults(make: (b: GraphBuilder, i: Scalar<Concrete>, x: Scalar<Concrete>) => Scalar<Concrete>): string {
  const b = buildGraph("g");
  const x = b.input("x", "f32", [2, 4]);
  b.output(
    "y",
    b.map("y", [2, 4], (i, j) => make(b, i!, load(x, [i!, j!]))),
  );
  return verify(b.graph()).join("\n");
}

const scalars: readonly (readonly [
  fault: RegExp,
  make: (b: GraphBuilder, i: Scalar<Concrete>, x: Scalar<Concrete>) => Scalar<Concrete>,
])[] = [
  [/index z \(99\) is not in scope/, () => ({ kind: "index", index: 99, name: "z" })],
  [/index i \(0\) is bound while it is in scope/, (_b, _i, x) => reduce("sum", [range(0, "i", 0, 2)], x)],
  [/operands of f32 and i32/, (_b, i, x) => binary("add", x, i)],
  [/an operand of i32 where the rule is "float"/, (_b, i) => unary("exp", i)],
  [/an operand of f32 where the rule is "integer"/, (_b, _i, x) => binary("bit_and", x, x)],
  [/a result of f32, not bool/, (_b, _i, x) => ({ kind: "binary", op: "less", a: x, b: x, dtype: "f32" })],
  [/a condition that is not bool/, (_b, _i, x) => select(x, x, x)],
  [/branches of another dtype/, (_b, i, x) => select(binary("less", i, i), x, i)],
  [
    /a load of dtype i32 from a tensor of f32/,
    (_b, i) => ({ kind: "load", tensor: 0, at: [i, i], dtype: "i32", guarded: true }),
  ],
  [/1 indices for rank 2/, (_b, i) => ({ kind: "load", tensor: 0, at: [i], dtype: "f32", guarded: true })],
  [/an index that is not i32/, (_b, i, x) => ({ kind: "load", tensor: 0, at: [i, x], dtype: "f32", guarded: true })],
  [/%1 is not defined before/, (_b, i) => ({ kind: "load", tensor: 1, at: [i, i], dtype: "f32", guarded: true })],
  [/a reduction over nothing/, (_b, _i, x) => reduce("sum", [], x)],
  [/argmax over more than one index/, (b, _i, x) => reduce("argmax", [b.range("k", 0, 2), b.range("l", 0, 2)], x)],
  [/a body of f32/, (b, _i, x) => reduce("count", [b.range("k", 0, 2)], x)],
  [/a bound that is not i32/, (b, _i, x) => reduce("sum", [b.range("k", 0, x)], x)],
  [/1.5 is no i32/, () => integer(1.5)],
  [/2 is no bool/, (_b, _i, x) => select(constant(2, "bool"), x, x)],
  [/an operand of bool where the rule is "numeric"/, (_b, _i, x) => unary("negate", cast(x, "bool"))],
];

for (const [fault, make] of scalars) test(`scalar: ${fault.source}`, () => assert.match(bodyFaults(make), fault));

test("symbols and parameters must be listed", () => {
  const value = (type: SymbolicGraph["values"][number]["type"]): SymbolicGraph => ({
    name: "g",
    span: null,
    values: [{ id: 0, name: "x", span: null, type }],
    inputs: [{ value: 0, name: "x", mutable: false }],
    outputs: [],
    eqns: [],
    parameters: { sizes: ["N"], dtypes: ["E"], formats: ["F"] },
    constraints: [],
  });
  assert.equal(
    verify(value({ dtype: { parameter: "E" }, shape: [symbolSize("N")], pattern: full, format: { parameter: "F" } })),
    [],
  );
  assert.match(
    verify(value({ dtype: "f32", shape: [symbolSize("K")], pattern: full, format: null })).join(),
    /mentions K, which is not a size parameter/,
  );
  assert.match(
    verify(value({ dtype: { parameter: "D" }, shape: [], pattern: full, format: null })).join(),
    /dtype D is not a parameter/,
  );
  assert.match(
    verify(value({ dtype: "f32", shape: [], pattern: full, format: { parameter: "G" } })).join(),
    /format G is not a parameter/,
  );
  assert.match(
    verify(
      value({
        dtype: "f32",
        shape: [],
        pattern: full,
        format: { name: "int4", args: { group: symbolSize("G") }, of: null },
      }),
    ).join(),
    /mentions G/,
  );
});

test("types are dense and full unless said", () =>
  assert.equal(tensorType("f32", [2]), { dtype: "f32", shape: [2], pattern: full, format: null }));

test.run();
