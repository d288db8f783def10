import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { intervalOf, inRange, outOfRange } from "../../compiler/check/interval.js";
import { equalSizes, notNegative, printConstraint, provable } from "../../compiler/check/sizes.js";
import type { Constraint, Range, Scalar } from "../../compiler/graph/graph.js";
import {
  constantSize,
  divideSizes,
  multiplySizes,
  printSize,
  subtractSizes,
  symbolSize,
} from "../../compiler/types/size.js";
import { bindingOf, sizes, symbols, valueOf, type SizeBinding } from "../types/sizes.js";
import { runs } from "../support/runs.js";

const test = suite("proofs");

const [N, K, G] = [symbolSize("N"), symbolSize("K"), symbolSize("G")];
const none: readonly Constraint[] = [];
const divisible: readonly Constraint[] = [{ kind: "divides", left: K, right: G, span: null }];

/** Constraints as programs have them. */
const constraintSets: fc.Arbitrary<readonly Constraint[]> = fc.subarray<Constraint>([
  { kind: "divides", left: K, right: G, span: null },
  { kind: "divides", left: N, right: constantSize(4), span: null },
  { kind: "divides", left: G, right: constantSize(2), span: null },
  { kind: "equal", left: N, right: multiplySizes(constantSize(2), G), span: null },
  { kind: "at-least", left: K, right: constantSize(3), span: null },
  { kind: "divides", left: K, right: constantSize(2), span: null },
]);

function holds(constraint: Constraint, binding: SizeBinding): boolean {
  const [left, right] = [valueOf(constraint.left, binding), valueOf(constraint.right, binding)];
  switch (constraint.kind) {
    case "divides":
      return right !== 0 && left % right === 0;
    case "equal":
      return left === right;
    case "at-least":
      return left >= right;
    default:
      return constraint.kind satisfies never;
  }
}

/** Every binding of small values that satisfies the constraints. */
function* bindings(constraints: readonly Constraint[]): Generator<SizeBinding> {
  for (let n = 1; n <= 8; n++)
    for (let k = 1; k <= 12; k++)
      for (let g = 1; g <= 4; g++) {
        const binding = { N: n, K: k, G: g };
        if (constraints.every((constraint) => holds(constraint, binding))) yield binding;
      }
}

test("what is proved to be not negative, is", () => {
  fc.assert(
    fc.property(sizes, constraintSets, (written, constraints) => {
      if (!notNegative(written.size, constraints)) return;
      for (const binding of bindings(constraints))
        assert.ok(
          valueOf(written.size, binding) >= 0,
          `${printSize(written.size)} with ${JSON.stringify(binding)} where ${constraints.map(printConstraint).join(", ")}`,
        );
    }),
    runs(150),
  );
});

test("what is proved equal or divisible, is", () => {
  fc.assert(
    fc.property(
      sizes,
      sizes,
      constraintSets,
      fc.constantFrom("equal" as const, "divides" as const, "at-least" as const),
      (a, b, constraints, kind) => {
        const constraint: Constraint = { kind, left: a.size, right: b.size, span: null };
        if (!provable(constraint, constraints)) return;
        for (const binding of bindings(constraints)) {
          if (kind === "divides" && valueOf(b.size, binding) === 0) continue;
          assert.ok(
            holds(constraint, binding),
            `${printConstraint(constraint)} with ${JSON.stringify(binding)} where ${constraints.map(printConstraint).join(", ")}`,
          );
        }
      },
    ),
    runs(150),
  );
});

test("what must be provable", () => {
  assert.ok(notNegative(subtractSizes(K, multiplySizes(G, divideSizes(K, G))), none), "K - G * (K / G)");
  assert.ok(equalSizes(K, multiplySizes(G, divideSizes(K, G)), divisible));
  assert.not.ok(equalSizes(K, multiplySizes(G, divideSizes(K, G)), none));
  assert.ok(notNegative(subtractSizes(divideSizes(K, G), constantSize(1)), divisible), "K / G >= 1");
  assert.not.ok(notNegative(subtractSizes(divideSizes(K, G), constantSize(1)), none));
  assert.not.ok(notNegative(subtractSizes(N, K), none));
});

const size = (value: ReturnType<typeof symbolSize>): Scalar => ({ kind: "size", size: value });
const ranges: readonly Range[] = [
  { index: 0, name: "k", low: size(constantSize(0)), high: size(K) },
  { index: 1, name: "a", low: size(constantSize(0)), high: size(divideSizes(K, G)) },
  { index: 2, name: "g", low: size(constantSize(0)), high: size(G) },
  {
    index: 3,
    name: "i",
    low: { kind: "index", index: 2, name: "g" },
    high: {
      kind: "binary",
      op: "add",
      a: { kind: "index", index: 0, name: "k" },
      b: size(constantSize(1)),
      dtype: "i32",
    },
  },
];

/** Index expressions over the ranges above. */
const indices: fc.Arbitrary<Scalar> = fc.letrec<{ scalar: Scalar }>((tie) => ({
  scalar: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<Scalar>(
      ...ranges.map((range): Scalar => ({ kind: "index", index: range.index, name: range.name })),
      size(N),
      size(K),
      size(G),
    ),
    fc.integer({ min: -2, max: 5 }).map((value): Scalar => ({ kind: "constant", value, dtype: "i32" })),
    fc
      .tuple(
        fc.constantFrom(
          "add" as const,
          "subtract" as const,
          "multiply" as const,
          "divide" as const,
          "remainder" as const,
          "min" as const,
          "max" as const,
        ),
        tie("scalar"),
        tie("scalar"),
      )
      .map(([op, a, b]): Scalar => ({ kind: "binary", op, a, b, dtype: "i32" })),
    fc.tuple(tie("scalar"), tie("scalar"), tie("scalar")).map(
      ([x, a, b]): Scalar => ({
        kind: "select",
        condition: { kind: "binary", op: "less", a: x, b: a, dtype: "bool" },
        then: a,
        otherwise: b,
        dtype: "i32",
      }),
    ),
  ),
})).scalar;

function evaluate(scalar: Scalar, binding: SizeBinding, at: readonly number[]): number {
  switch (scalar.kind) {
    case "index":
      return at[scalar.index] ?? NaN;
    case "size":
      return valueOf(scalar.size, binding);
    case "constant":
      return scalar.value;
    case "select":
      return evaluate(scalar.condition, binding, at) !== 0
        ? evaluate(scalar.then, binding, at)
        : evaluate(scalar.otherwise, binding, at);
    case "binary": {
      const [a, b] = [evaluate(scalar.a, binding, at), evaluate(scalar.b, binding, at)];
      switch (scalar.op) {
        case "add":
          return a + b;
        case "subtract":
          return a - b;
        case "multiply":
          return a * b;
        case "divide":
          return b === 0 ? 0 : Math.trunc(a / b);
        case "remainder":
          return b === 0 ? 0 : a % b;
        case "min":
          return Math.min(a, b);
        case "max":
          return Math.max(a, b);
        default:
          return a < b ? 1 : 0;
      }
    }
    default:
      throw new Error(scalar.kind);
  }
}

/** Every point of the ranges. */
function* points(binding: SizeBinding): Generator<readonly number[]> {
  const [k, g] = [binding["K"] ?? 0, binding["G"] ?? 1];
  for (let x = 0; x < k; x++)
    for (let a = 0; a < Math.floor(k / g); a++)
      for (let y = 0; y < g; y++) for (let i = y; i < x + 1; i++) yield [x, a, y, i];
}

test("an index proved in range is, one proved outside is, and every bound holds", () => {
  fc.assert(
    fc.property(
      indices,
      fc.constantFrom(N, K, G, divideSizes(K, G)),
      fc.boolean(),
      bindingOf,
      (scalar, extent, known, binding) => {
        const constraints = known ? divisible : none;
        fc.pre(constraints.every((constraint) => holds(constraint, binding)) && (binding["K"] ?? 0) <= 9);
        const knowledge = { ranges, constraints };
        const [inside, outside] = [inRange(scalar, extent, knowledge), outOfRange(scalar, extent, knowledge)];
        const { low, high } = intervalOf(scalar, knowledge);
        const length = valueOf(extent, binding);
        for (const point of points(binding)) {
          const value = evaluate(scalar, binding, point);
          if (inside) assert.ok(value >= 0 && value < length, "inside");
          if (outside) assert.ok(value < 0 || value >= length, "outside");
          for (const bound of low) assert.ok(value >= valueOf(bound, binding), `low ${printSize(bound)}`);
          for (const bound of high) assert.ok(value <= valueOf(bound, binding), `high ${printSize(bound)}`);
        }
      },
    ),
    runs(400),
  );
});

test("the symbols of the generators are those of the tests", () => assert.equal([...symbols], ["N", "K", "G"]));

test.run();
