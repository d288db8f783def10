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
  unary,
} from "../../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import type { Eqn, Range, Scalar, Value } from "../../../compiler/graph/graph.js";
import { printScalar } from "../../../compiler/graph/print.js";
import { withRanges } from "../../../compiler/graph/analysis/ranges.js";
import { sharing } from "../../../compiler/graph/passes/share.js";
import { allScalarRules, rewriteScalar, simplifyScalars } from "../../../compiler/graph/passes/simplify.js";
import { verify } from "../../../compiler/graph/verify.js";
import type { Concrete } from "../../../compiler/types/type.js";
import { close } from "../../support/tolerance.js";

const test = suite("rewrites of scalars, each alone");

type Node = Scalar<Concrete>;

/** What the examples are made of: an index i in 0..7, j in 0..5, and elements of tensors at them. */
interface Parts {
  readonly i: Node;
  readonly j: Node;
  /** f32 */
  readonly x: Node;
  /** f32, another */
  readonly y: Node;
  /** f16 */
  readonly h: Node;
  /** i32, any sign */
  readonly p: Node;
  /** bool */
  readonly m: Node;
  readonly xs: Value<Concrete>;
}

/**
 * A row: the rule, what it is given, and what comes out, as `%0[i]` for x, `%1[j]` y, `%2[i]` h, `%3[i]` p, `%4[i]` m.
 */
type Example = readonly [rule: string, before: (parts: Parts) => Node, after: string];

const f = (value: number): Node => constant(value);
const yes = constant<Concrete>(1, "bool");
const no = constant<Concrete>(0, "bool");
const k = (low: number | Node, high: number | Node): Range<Concrete> => range(10, "k", low, high);
const at = (over: Range<Concrete>): Node => indexOf(over);

const examples: readonly Example[] = [
  ["size", () => ({ kind: "size", size: 7 }), "7"],
  ["fold-constants", () => binary("add", f(1), f(2)), "3.0"],
  ["fold-constants", () => binary("divide", integer(7), integer(0)), "0"],
  ["fold-constants", () => unary("round", f(2.5)), "2.0"],
  ["fold-constants", () => cast(f(-2.5), "i32"), "-2"],
  ["fold-constants", () => binary("multiply", integer(0x10000), integer(0x10001)), "65536"],
  ["constant-right", ({ x }) => binary("add", f(2), x), "%0[i] + 2.0"],
  ["neutral", ({ x }) => binary("add", x, f(0)), "%0[i]"],
  ["neutral", ({ x }) => binary("power", x, f(1)), "%0[i]"],
  ["neutral", ({ p }) => binary("shift_left", p, integer(0)), "%3[i]"],
  ["neutral", ({ m }) => binary("and", m, yes), "%4[i]"],
  ["absorbing", ({ x }) => binary("multiply", x, f(0)), "0.0"],
  ["absorbing", ({ p }) => binary("remainder", p, integer(1)), "0"],
  ["absorbing", ({ p }) => binary("subtract", p, p), "0"],
  ["absorbing", ({ m }) => binary("or", m, yes), "true"],
  ["idempotent", ({ x }) => binary("max", x, x), "%0[i]"],
  ["twice", ({ x }) => unary("negate", unary("negate", x)), "%0[i]"],
  ["twice", ({ x }) => unary("abs", unary("negate", x)), "abs(%0[i])"],
  ["twice", ({ m }) => unary("not", unary("not", m)), "%4[i]"],
  ["twice", ({ x }) => unary("round", unary("floor", x)), "floor(%0[i])"],
  ["told-to-gradients", ({ x }) => unary("stop", x), "%0[i]"],
  ["told-to-gradients", ({ x, y }) => binary("straight_through", x, y), "%1[j]"],
  ["sign", ({ x, y }) => binary("add", x, unary("negate", y)), "%0[i] - %1[j]"],
  ["sign", ({ x }) => binary("subtract", f(0), x), "-%0[i]"],
  ["divide-by-power-of-two", ({ x }) => binary("divide", x, f(8)), "%0[i] * 0.125"],
  ["constant-power", ({ x }) => binary("power", x, f(2)), "%0[i] * %0[i]"],
  ["constant-power", ({ x }) => binary("power", unary("abs", x), f(0.5)), "sqrt(abs(%0[i]))"],
  ["select-decided", ({ x, y }) => select(yes, x, y), "%0[i]"],
  ["select-decided", ({ m, x }) => select(m, x, x), "%0[i]"],
  ["select-not", ({ m, x, y }) => select(unary("not", m), x, y), "select(%4[i], %1[j], %0[i])"],
  ["select-again", ({ m, x, y }) => select(m, select(m, x, y), f(3)), "select(%4[i], %0[i], 3.0)"],
  ["select-again", ({ m, x, y }) => select(m, f(3), select(m, x, y)), "select(%4[i], 3.0, %1[j])"],
  ["select-bool", ({ m }) => select(m, yes, no), "%4[i]"],
  ["select-bool", ({ m, i }) => select(m, binary("less", i, integer(3)), no), "%4[i] and i < 3"],
  ["double-cast", ({ x }) => cast(x, "f32"), "%0[i]"],
  ["double-cast", ({ h }) => cast(cast(h, "f32"), "f16"), "%2[i]"],
  ["double-cast", ({ m }) => cast(cast(m, "f32"), "i32"), "i32(%4[i])"],
  ["double-cast", ({ h }) => unary("round_f16", cast(h, "f32")), "f32(%2[i])"],
  ["reduce-nothing", ({ j }) => reduce("sum", [k(0, j)], f(0)), "0.0"],
  ["reduce-nothing", ({ j }) => reduce("all", [k(0, j)], yes), "true"],
  ["reduce-empty", ({ x }) => reduce("sum", [k(3, 3)], x), "0.0"],
  ["reduce-empty", ({ m }) => reduce("all", [k(3, 2)], m), "true"],
  ["reduce-empty", ({ p }) => reduce("max", [k(0, 0)], p), "-2147483648"],
  ["reduce-single", ({ xs }) => reduce("sum", [k(3, 4)], load(xs, [at(k(3, 4))])), "%0[3]"],
  ["reduce-single", ({ m }) => reduce("count", [k(3, 4)], m), "i32(%4[i])"],
  ["reduce-single", ({ x }) => reduce("argmax", [k(3, 4)], x), "3"],
  ["gather-constants", ({ p }) => binary("subtract", binary("add", p, integer(2)), integer(5)), "%3[i] - 3"],
  ["gather-constants", ({ p }) => binary("multiply", binary("multiply", p, integer(2)), integer(5)), "%3[i] * 10"],
  ["below-divisor", ({ i }) => binary("divide", i, integer(7)), "0"],
  ["below-divisor", ({ i }) => binary("remainder", i, integer(8)), "i"],
  [
    "divide-multiple",
    ({ i, j }) => binary("divide", binary("add", binary("multiply", i, integer(8)), j), integer(4)),
    "i * 2 + j / 4",
  ],
  [
    "remainder-multiple",
    ({ i, j }) => binary("remainder", binary("add", j, binary("multiply", i, integer(8))), integer(4)),
    "j % 4",
  ],
  ["divide-twice", ({ p }) => binary("divide", binary("divide", p, integer(2)), integer(3)), "%3[i] / 6"],
  ["decided-comparison", ({ i }) => binary("less", i, integer(7)), "true"],
  ["decided-comparison", ({ i, j }) => binary("equal", i, binary("add", j, integer(7))), "false"],
  ["decided-minimum", ({ i }) => binary("min", i, integer(9)), "i"],
  ["decided-minimum", ({ i }) => binary("max", i, integer(9)), "9"],
  ["in-range", ({ xs, j }) => load(xs, [binary("add", j, integer(2))], true), "%0[j + 2]"],
];

/** Where a rule looks as if it applied, but must not. */
const counterexamples: readonly Example[] = [
  ["fold-constants", () => binary("divide", f(1), f(0)), "1.0 / 0.0"],
  ["absorbing", ({ x }) => binary("subtract", x, x), "%0[i] - %0[i]"],
  ["below-divisor", ({ p }) => binary("divide", p, integer(8)), "%3[i] / 8"],
  [
    "divide-multiple",
    ({ p, j }) => binary("divide", binary("add", binary("multiply", p, integer(8)), j), integer(4)),
    "(%3[i] * 8 + j) / 4",
  ],
  [
    "divide-multiple",
    ({ i }) => binary("divide", binary("multiply", i, integer(0x40000000)), integer(2)),
    "i * 1073741824 / 2",
  ],
  ["double-cast", ({ x }) => cast(cast(x, "f16"), "f32"), "f32(f16(%0[i]))"],
  ["double-cast", ({ p }) => cast(cast(p, "f32"), "i32"), "i32(f32(%3[i]))"],
  ["reduce-single", ({ p, x }) => reduce("sum", [k(p, 4)], x), "sum k in %3[i]..4: %0[i]"],
  ["in-range", ({ xs, j }) => load(xs, [binary("add", j, integer(3))], true), "%0[j + 3]?"],
  ["constant-right", ({ x }) => binary("subtract", f(2), x), "2.0 - %0[i]"],
  ["divide-by-power-of-two", ({ p }) => binary("divide", p, integer(2)), "%3[i] / 2"],
  ["select-bool", ({ m, x }) => select(m, x, f(0)), "select(%4[i], %0[i], 0.0)"],
];

/** A graph of one map over i and j with the example as its body, before and after the one rule. */
function check([name, make, after]: Example): void {
  const rule = allScalarRules.find((each) => each.name === name);
  if (rule === undefined) throw new Error(`there is no rule ${name}`);
  const builder = buildGraph("example");
  const x = builder.input("x", "f32", [7]);
  const y = builder.input("y", "f32", [5]);
  const h = builder.input("h", "f16", [7]);
  const p = builder.input("p", "i32", [7]);
  const m = builder.input("m", "bool", [7]);
  const out = builder.map("out", [7, 5], (i, j) =>
    make({
      i: i as Node,
      j: j as Node,
      x: load(x, [i as Node]),
      y: load(y, [j as Node]),
      h: load(h, [i as Node]),
      p: load(p, [i as Node]),
      m: load(m, [i as Node]),
      xs: x,
    }),
  );
  builder.output("out", out);
  const graph = builder.graph();
  assert.equal(verify(graph), []);
  const simple = simplifyScalars(graph, [rule]);
  assert.equal(verify(simple), []);
  const eqn = simple.eqns[0] as Extract<Eqn<Concrete>, { kind: "map" }>;
  assert.is(printScalar(eqn.body, eqn.indices), after);

  const inputs = new Map([
    ["x", tensorValue("f32", [7], [0.5, -1.5, 2, 0, 3.25, -4, 7])],
    ["y", tensorValue("f32", [5], [1, -2.5, 0, 4, 8])],
    ["h", tensorValue("f16", [7], [0.1, -1.5, 2, 0, 3.3, -4, 7])],
    ["p", tensorValue("i32", [7], [-17, -1, 0, 1, 8, 100, 2 ** 31 - 1])],
    ["m", tensorValue("bool", [7], [1, 0, 0, 1, 1, 0, 1])],
  ]);
  close(evaluate(simple, inputs).get("out")?.data ?? [], evaluate(graph, inputs).get("out")?.data ?? [], "exact", name);
}

for (const example of examples) test(`${example[0]} gives ${example[2]}`, () => check(example));
for (const example of counterexamples) test(`${example[0]} leaves ${example[2]}`, () => check(example));

test("every rule has an example", () => {
  const shown = new Set(examples.map(([name]) => name));
  assert.equal(
    allScalarRules.map((rule) => rule.name).filter((name) => !shown.has(name)),
    [],
  );
});

test("no two rules have one name", () => {
  assert.is(new Set(allScalarRules.map((rule) => rule.name)).size, allScalarRules.length);
});

test("rules work together, inside out, with what reductions know of their indices", () => {
  const j = k(0, 8);
  const share = sharing<Concrete>();
  const body = share(
    reduce(
      "sum",
      [j],
      select(
        binary("less", at(j), integer(8)),
        binary("multiply", f(1), cast(binary("divide", at(j), integer(16)), "f32")),
        f(5),
      ),
    ),
  );
  assert.is(
    printScalar(rewriteScalar(body, { bounds: withRanges(new Map(), []), shape: () => [] }, allScalarRules)),
    "0.0",
  );
});

test.run();
