import { suite } from "uvu";
import * as assert from "uvu/assert";
import { roundHalfEven } from "../../compiler/float.js";
import { binaryFunction, castFunction, unaryFunction } from "../../compiler/graph/arithmetic.js";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  integer,
  load,
  reduce,
  select,
  softmaxMean,
} from "../../compiler/graph/build.js";
import type { GraphBuilder } from "../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../compiler/graph/evaluate.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import type { Range, Scalar, Value } from "../../compiler/graph/graph.js";
import type { ReduceOp } from "../../compiler/graph/ops.js";
import type { Concrete } from "../../compiler/types/type.js";

const test = suite("evaluate");

type Inputs = { readonly [name: string]: TensorValue };

/** The elements of the one output. */
function run(
  inputs: Inputs,
  build: (b: GraphBuilder, values: { readonly [name: string]: Value<Concrete> }) => Value<Concrete>,
): number[] {
  const b = buildGraph("g");
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, { dtype, shape }]) => [name, b.input(name, dtype, shape)]),
  );
  b.output("out", build(b, values));
  return [...(evaluate(b.graph(), new Map(Object.entries(inputs))).get("out")?.data ?? [])];
}

const x23 = tensorValue("f32", [2, 3], [1, 2, 3, 4, 5, 6]);

test("a matrix-vector product", () => {
  const v = tensorValue("f32", [3], [1, 10, 100]);
  assert.equal(
    run({ w: x23, v }, (b, { w, v }) => {
      const k = b.range("k", 0, 3);
      return b.map("y", [2], (n) =>
        reduce("sum", [k], binary("multiply", load(w!, [n!, indexOf(k)]), load(v!, [indexOf(k)]))),
      );
    }),
    [321, 654],
  );
});

test("a scalar input, and a rank-0 result", () => {
  assert.equal(
    run({ s: tensorValue("f32", [], [3]) }, (b, { s }) => b.map("y", [], () => binary("add", load(s!), constant(1)))),
    [4],
  );
});

test("reductions over a range, an empty one, and one that starts below zero", () => {
  const over = (
    op: Exclude<ReduceOp, "softmax_mean">,
    low: number,
    high: number,
    body: (k: Scalar<Concrete>, x: Value<Concrete>) => Scalar<Concrete>,
  ) =>
    run({ x: tensorValue("f32", [4], [3, -1, 4, 4]) }, (b, { x }) => {
      const k: Range<Concrete> = b.range("k", low, high);
      return b.map("y", [], () => reduce(op, [k], body(indexOf(k), x!)));
    })[0];
  const element = (k: Scalar<Concrete>, x: Value<Concrete>): Scalar<Concrete> => load(x, [k]);
  const positive = (k: Scalar<Concrete>, x: Value<Concrete>): Scalar<Concrete> =>
    binary("greater", load(x, [k]), constant(0));
  const table: readonly (readonly [Exclude<ReduceOp, "softmax_mean">, typeof element, number, number])[] = [
    ["sum", element, 10, 0],
    ["mean", element, 2.5, 0],
    ["max", element, 4, -Infinity],
    ["min", element, -1, Infinity],
    ["argmax", element, 2, 0],
    ["count", positive, 3, 0],
    ["any", positive, 1, 0],
    ["all", positive, 0, 1],
  ];
  for (const [op, body, full, empty] of table) {
    assert.is(over(op, 0, 4, body), full, op);
    assert.is(over(op, 2, 2, body), empty, `${op} over nothing`);
    assert.is(over(op, -3, 4, body), full, `${op} from below zero`);
  }
});

test("a softmax mean counts by exponentials of scores, however large; over nothing it is 0", () => {
  const mean = (scores: readonly number[], low = 0): number | undefined =>
    run({ s: tensorValue("f32", [scores.length], scores), x: tensorValue("f32", [3], [3, -1, 4]) }, (b, { s, x }) => {
      const c = b.range("c", low, scores.length);
      return b.map("y", [], () => softmaxMean([c], load(s!, [indexOf(c)]), load(x!, [indexOf(c)])));
    })[0];
  assert.is(mean([0, 0, 0]), 2);
  assert.is(mean([1e30, 1e30, 1e30], -2), 2);
  assert.is(mean([Math.log(2), 0, Math.log(5)]), Math.fround(25 / 8));
  assert.is(mean([-3e38, 3e38, -3e38]), -1);
  assert.is(mean([-Infinity, -200, -Infinity]), -1);
  assert.is(mean([-Infinity, -Infinity, -Infinity]), 0);
  assert.is(mean([0, 0, 0], 3), 0);
  assert.ok(Number.isNaN(mean([0, NaN, 0])));
});

test("scores of a softmax mean that an index does not reach are computed once for all of it", () => {
  const reads: number[] = [];
  const b = buildGraph("g");
  const s = b.input("s", "f32", [2, 3]);
  const x = b.input("x", "f32", [3, 8]);
  const c = b.range("c", 0, 3);
  const y = b.map("y", [2, 8], (n, h) => softmaxMean([c], load(s, [n!, indexOf(c)]), load(x, [indexOf(c), h!])));
  b.output("y", y);
  const inputs = new Map([
    ["s", tensorValue("f32", [2, 3], [1, 2, 3, 4, 5, 6])],
    ["x", tensorValue("f32", [3, 8], new Array<number>(24).fill(1))],
  ]);
  evaluate(b.graph(), inputs, {
    reads: (value, offset) => void (value === s.id && reads.push(offset)),
    replaces: () => {},
  });
  assert.equal(reads, [0, 1, 2, 3, 4, 5]);
});

test("a sum is rounded once", () => {
  const n = 1000;
  assert.equal(
    run(
      {
        x: tensorValue(
          "f32",
          [n],
          Array.from({ length: n }, () => 0.1),
        ),
      },
      (b, { x }) => {
        const k = b.range("k", 0, n);
        return b.map("y", [], () => reduce("sum", [k], load(x!, [indexOf(k)])));
      },
    ),
    [Math.fround(n * Math.fround(0.1))],
  );
});

test("bounds of a reduction may be data", () => {
  assert.equal(
    run({ x: x23, n: tensorValue("i32", [2], [1, 3]) }, (b, { x, n }) =>
      b.map("y", [2], (i) => {
        const k = b.range("k", 0, load(n!, [i!]));
        return reduce("sum", [k], load(x!, [i!, indexOf(k)]));
      }),
    ),
    [1, 15],
  );
});

test("a guarded load is zero out of range, any other one an internal error", () => {
  const shifted = (guarded: boolean) =>
    run({ x: x23 }, (b, { x }) => b.map("y", [2, 3], (i, j) => load(x!, [i!, binary("add", j!, integer(1))], guarded)));
  assert.equal(shifted(true), [2, 3, 0, 5, 6, 0]);
  assert.throws(() => shifted(false), /out of range/);
});

test("the side that is not selected need not be there", () => {
  assert.equal(
    run({ x: x23 }, (b, { x }) =>
      b.map("y", [4], (i) => select(binary("less", i!, integer(3)), load(x!, [integer(0), i!]), constant(-1))),
    ),
    [1, 2, 3, -1],
  );
});

test("update: the rest stays, the body sees what was, writes out of range are dropped", () => {
  const w = tensorValue("f32", [4], [1, 2, 3, 4]);
  const update = (shift: number, op: "set" | "add", high = 4) =>
    run({ w }, (b, { w }) => {
      const i = b.range("i", 1, high);
      return b.update(
        "next",
        w!,
        [i],
        [binary("add", indexOf(i), integer(shift))],
        load(w!, [binary("subtract", indexOf(i), integer(1))]),
        op,
      );
    });
  assert.equal(update(0, "set"), [1, 1, 2, 3]);
  assert.equal(update(0, "add"), [1, 3, 5, 7]);
  assert.equal(update(1, "set"), [1, 2, 1, 2]);
  assert.equal(update(-1, "set", 2), [1, 2, 3, 4]);
});

test("add counts each of several writes to one place", () => {
  assert.equal(
    run({ w: tensorValue("i32", [2], [10, 20]) }, (b, { w }) => {
      const i = b.range("i", 0, 5);
      return b.update("next", w!, [i], [binary("divide", indexOf(i), integer(3))], integer(1), "add");
    }),
    [13, 22],
  );
});

test("top keeps the largest of each group, the lower index of equals, NaN last", () => {
  const top = (scores: readonly number[], n: number, m: number, shape: readonly number[], axis: number) =>
    run({ s: tensorValue("f32", shape, scores) }, (b, { s }) => b.top("keep", s!, n, m, axis));
  assert.equal(top([1, 3, 2, 3, 5, 5, 5, 5], 2, 4, [8], 0), [0, 1, 0, 1, 1, 1, 0, 0]);
  assert.equal(top([NaN, -1, NaN, -Infinity], 3, 4, [4], 0), [1, 1, 0, 1]);
  assert.equal(top([1, 2, 3, 4, 5, 6], 1, 2, [2, 3], 0), [0, 0, 0, 1, 1, 1]);
  assert.equal(top([1, 2, 3], 1, 2, [3], 0), [0, 1, 1]);
});

test("pack rounds to what the format holds", () => {
  assert.equal(
    run({ x: tensorValue("f32", [1, 4], [0.1, 2049, 1e6, -3]) }, (b, { x }) =>
      b.pack("p", x!, { name: "f16", args: {}, of: null }),
    ),
    [0.0999755859375, 2048, Infinity, -3],
  );
});

test("f16 rounds at each op", () => {
  assert.equal(
    run({ x: tensorValue("f16", [1], [2048]) }, (b, { x }) =>
      b.map("y", [1], (i) => binary("add", binary("add", load(x!, [i!]), constant(1, "f16")), constant(1, "f16"))),
    ),
    [2048],
  );
});

test("inputs that are missing or of another shape are named", () => {
  const b = buildGraph("g");
  b.output("y", b.input("x", "f32", [2]));
  assert.throws(() => evaluate(b.graph(), new Map()), /no value for input x/);
  assert.throws(() => evaluate(b.graph(), new Map([["x", x23]])), /shape \[2, 3\], not \[2\]/);
});

test("integers wrap around, divide by zero to zero, and keep the dividend's sign", () => {
  assert.is(binaryFunction("add", "i32")(2 ** 31 - 1, 1), -(2 ** 31));
  assert.is(binaryFunction("subtract", "u32")(0, 1), 2 ** 32 - 1);
  assert.is(binaryFunction("multiply", "i32")(123456789, 987654321), Math.imul(123456789, 987654321));
  assert.is(binaryFunction("multiply", "u32")(2 ** 32 - 1, 2 ** 32 - 1), 1);
  assert.is(binaryFunction("divide", "i32")(-7, 2), -3);
  assert.is(binaryFunction("remainder", "i32")(-7, 2), -1);
  assert.is(binaryFunction("divide", "u32")(7, 0), 0);
  assert.is(binaryFunction("remainder", "i32")(7, 0), 0);
  assert.is(binaryFunction("shift_right", "i32")(-8, 1), -4);
  assert.is(binaryFunction("shift_right", "u32")(2 ** 31, 31), 1);
  assert.is(binaryFunction("bit_or", "u32")(2 ** 31, 1), 2 ** 31 + 1);
  assert.is(unaryFunction("negate", "i32")(-(2 ** 31)), -(2 ** 31));
});

test("halves round to even, also in f16", () => {
  assert.equal(
    [0.5, 1.5, 2.5, -0.5, -1.5, 2.4999].map((each) => roundHalfEven(each) + 0),
    [0, 2, 2, 0, -2, 2],
  );
  assert.equal([2049, 2051, 65519, 65520, 2 ** -25, 2 ** -24 * 1.5].map(unaryFunction("round_f16", "f32")), [
    2048,
    2052,
    65504,
    Infinity,
    0,
    2 ** -23,
  ]);
});

test("casts truncate and saturate", () => {
  assert.equal([2.9, -2.9, 3e9, -3e9, NaN].map(castFunction("f32", "i32")), [2, -2, 2 ** 31 - 1, -(2 ** 31), 0]);
  assert.equal([2.9, -2.9, 5e9].map(castFunction("f32", "u32")), [2, 0, 2 ** 32 - 1]);
  assert.equal([-1].map(castFunction("i32", "u32")), [2 ** 32 - 1]);
  assert.equal([0, -0, 0.5, NaN].map(castFunction("f32", "bool")), [0, 0, 1, 1]);
  assert.is(castFunction("i32", "f32")(16777217), 16777216);
});

test("bits and from_bits are each other's inverse", () => {
  assert.is(unaryFunction("bits", "u32")(1), 0x3f800000);
  assert.is(unaryFunction("from_bits", "f32")(0xc0490fdb), Math.fround(-Math.PI));
});

test("cast of a mask is 0 or 1", () => {
  assert.equal(
    run({ m: tensorValue("bool", [2], [0, 1]) }, (b, { m }) => b.map("y", [2], (i) => cast(load(m!, [i!]), "f32"))),
    [0, 1],
  );
});

test.run();
