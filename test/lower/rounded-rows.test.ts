/** What a row has one of, and a group, as products of integers that round their activations compute them: every kind of it. */
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
  reduce,
  select,
  unary,
} from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { Range, Scalar } from "../../compiler/graph/graph.js";
import type { DotSchedule } from "../../compiler/lower/schedules/dot-candidates.js";
import type { Target } from "../../compiler/target.js";
import type { Concrete } from "../../compiler/types/type.js";
import { agreeSimulated, expectedOf, schedulesOf, type Case } from "../support/agreement.js";
import { parseFormat } from "../support/format-text.js";
import { packed } from "../support/packed.js";
import { targets } from "../support/targets.js";

const test = suite("rows and groups that are rounded");

type S = Scalar<Concrete>;
type Element = (column: S) => S;

const number = (value: number): S => constant<Concrete>(value, "f32");
const target: Target = { ...targets["a GPU with subgroups of 32"], f16: true };
const [columns, group] = [2048, 64];

interface Kind {
  readonly dtype: "f32" | "f16";
  /** The element in a column, of x. */
  value(x: Element, column: S, whole: Range<Concrete>): S;
  /** What the scale of group `g` is 127 times, of x. */
  most?(x: Element, value: Element, g: S, range: (name: string, size: number) => Range<Concrete>): S;
}

const own: Kind["value"] = (x, column) => cast<Concrete>(x(column), "f32");
const inGroup = (g: S, j: Range<Concrete>): S =>
  binary("add", binary("multiply", g, integer<Concrete>(group)), indexOf<Concrete>(j));

const ofRows: Readonly<Record<string, Kind>> = {
  "the place of the largest": {
    dtype: "f32",
    value: (x, column, d) => binary("add", x(column), cast<Concrete>(reduce("argmax", [d], x(indexOf(d))), "f32")),
  },
  "whether any is large": {
    dtype: "f32",
    value: (x, column, d) =>
      select(reduce("any", [d], binary("greater", x(indexOf(d)), number(1.5))), x(column), number(0.5)),
  },
  "whether all are large": {
    dtype: "f32",
    value: (x, column, d) =>
      select(reduce("all", [d], binary("greater", x(indexOf(d)), number(-5))), x(column), number(0.5)),
  },
  "a mean of squares in f16": {
    dtype: "f16",
    value: (x, column, d) => {
      const one = x(indexOf(d));
      const mean = reduce("mean", [d], binary("multiply", one, one));
      return binary("multiply", cast<Concrete>(x(column), "f32"), unary("rsqrt", cast<Concrete>(mean, "f32")));
    },
  },
  "a largest in f16": {
    dtype: "f16",
    value: (x, column, d) =>
      binary("add", cast<Concrete>(x(column), "f32"), cast<Concrete>(reduce("max", [d], x(indexOf(d))), "f32")),
  },
  "the largest of a group in f16": {
    dtype: "f16",
    value: own,
    most: (x, _value, g, range) => {
      const j = range("j", group);
      return cast<Concrete>(reduce("max", [j], unary("abs", x(inGroup(g, j)))), "f32");
    },
  },
};

function caseOf({ dtype, value, most }: Kind, n: number, terms: number): Case {
  const build = buildGraph<Concrete>("rounded");
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  const values = Float32Array.from({ length: columns }, (_, at) => ((at * 37) % 64) / 16 - 2);
  inputs.set("x", tensorValue(dtype, [1, columns], values));
  const x = build.input("x", dtype, [1, columns]);
  const range = (name: string, size: number): Range<Concrete> => build.range(name, 0, integer(size));
  const normed = build.map("normed", [1, columns], (t, c) =>
    value((column) => load(x, [t, column]), c, range("d", columns)),
  );
  const scale = build.map("scale", [1, columns / group], (t, g) => {
    const element: Element = (column) => load(normed, [t, column]);
    const j = range("j", group);
    const largest =
      most?.((column) => load(x, [t, column]), element, g, range) ??
      reduce("max", [j], unary("abs", element(inGroup(g, j))));
    return binary("divide", largest, number(127));
  });
  const q = build.pack("q", normed, parseFormat(`int8(${group}, scale: f32)`), { scale });
  const weights = Array.from({ length: terms }, (_, at) => {
    const made = packed(`nm(2, 4) of int4(${group})`, n, columns, 5 + at);
    words.set(`w${at}`, made.words);
    inputs.set(`w${at}`, tensorValue("f32", [n, columns], made.dense));
    return build.input(`w${at}`, "f32", [n, columns], { format: made.spec });
  });
  build.output(
    "y",
    build.map("y", [1, n], (t, row) => {
      const sums = weights.map((w) => {
        const k = range("k", columns);
        return reduce("sum", [k], binary("multiply", load(q, [t, indexOf(k)]), load(w, [row, indexOf(k)])));
      });
      return sums.reduce((a, b) => binary("multiply", a, b));
    }),
  );
  return { graph: build.graph(), inputs, words, kind: "half" };
}

const device = { target, subgroupSize: 32 };
/** Three subgroups: no power of two. */
const three: DotSchedule = {
  kind: "dot",
  lanes: 32,
  teams: 3,
  rows: 1,
  workgroups: 4,
  slots: 1,
  early: 1,
  ahead: 1,
  keeps: "table",
  memories: 1,
};

for (const [name, kind] of Object.entries(ofRows))
  test(`${name}, by three subgroups and by as many as are usual`, () => {
    const given = caseOf(kind, 17, 1);
    const expected = expectedOf(given);
    for (const options of [{ schedule: three }, {}])
      assert.equal(schedulesOf(agreeSimulated(given, expected, device, options)), ["dot"]);
  });

test("two weights whose workgroups are no power of two of subgroups", () => {
  const given = caseOf(ofRows["whether any is large"]!, 330, 2);
  assert.equal(schedulesOf(agreeSimulated(given, expectedOf(given), device)), ["dot"]);
});

test("scales that are no matter of a group's columns alone, or by what lanes do not exchange, are computed apart", () => {
  const least: Kind["most"] = (_x, value, _g, range) => {
    const [h, j] = [range("h", columns / group), range("j", group)];
    return reduce("min", [h], reduce("max", [j], unary("abs", value(inGroup(indexOf(h), j)))));
  };
  const some: Kind["most"] = (_x, value, g, range) => {
    const j = range("j", group);
    return select(reduce("any", [j], binary("greater", value(inGroup(g, j)), number(1))), number(2.5), number(2));
  };
  for (const most of [least, some]) {
    const given = caseOf({ dtype: "f32", value: own, most }, 9, 1);
    const taken = schedulesOf(agreeSimulated(given, expectedOf(given), device));
    assert.is(taken.at(-1), "dot");
    assert.ok(taken.length > 1, taken.join());
  }
});

test.run();
