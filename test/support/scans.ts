/** Scans over columns as methods write them, as graphs. */
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
import type { ConcreteGraph, Scalar, Value } from "../../compiler/graph/graph.js";
import type { Concrete } from "../../compiler/types/type.js";
import { numbers } from "./numbers.js";

type S = Scalar<Concrete>;
export interface ScanCase {
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
}

const times = (a: S, b: S): S => binary("multiply", a, b);
const minus = (a: S, b: S): S => binary("subtract", a, b);
const plus = (a: S, b: S): S => binary("add", a, b);
const isMultiple = (k: S, of: number): S => binary("equal", binary("remainder", k, integer(of)), integer(0));
const groupStart = (k: S, of: number): S => times(binary("divide", k, integer(of)), integer(of));

/** An upper triangular matrix like a factor of an inverse Hessian. */
function upper(size: number, seed: number): Float32Array {
  const values = numbers(size * size, seed);
  return values.map((value, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    return i === j ? 1 + Math.abs(value) / 4 : i < j ? value / 8 : 0;
  });
}

/**
 * GPTQ: columns are rounded to a grid, and the error is taken off the columns after. With `keep`, what is pruned stays
 * zero.
 */
export function gptq(
  rows: number,
  size: number,
  options: { readonly keep?: boolean; readonly after?: boolean; readonly set?: boolean; readonly seed?: number } = {},
): ScanCase {
  const seed = options.seed ?? 1;
  const build = buildGraph("gptq");
  const w0 = build.input("w0", "f32", [rows, size]);
  const u = build.input("u", "f32", [size, size]);
  const keep = build.input("keep", "bool", [rows, size]);
  const over = build.range("k", 0, size);
  const [out] = build.scan(over, [w0], (k, [w]) => {
    const grid = (n: S): S => times(unary("round", times(load(w!, [n, k]), constant(4))), constant(0.25));
    const q = build.map("q", [rows], (n) =>
      options.keep === true ? select(load(keep, [n!, k]), grid(n!), constant(0)) : grid(n!),
    );
    const e = build.map("e", [rows], (n) => binary("divide", minus(load(w!, [n!, k]), load(q, [n!])), load(u, [k, k])));
    const [n, j] = [
      build.range("n", 0, rows),
      build.range("j", options.after === true ? plus(k, integer(1)) : k, size),
    ];
    const at = [indexOf(n), indexOf(j)];
    const taken = times(load(e, [indexOf(n)]), load(u, [k, indexOf(j)]));
    const wanted = options.keep === true ? select(load(keep, at), taken, constant(0)) : taken;
    const w1 =
      options.set === true
        ? build.update("w1", w!, [n, j], at, minus(load(w!, at), wanted))
        : build.update("w1", w!, [n, j], at, unary("negate", wanted), "add");
    const m = build.range("n", 0, rows);
    return [build.update("w2", w1, [m], [indexOf(m), k], load(q, [indexOf(m)]))];
  });
  build.output("w", out!);
  return {
    graph: build.graph(),
    inputs: new Map([
      ["w0", tensorValue("f32", [rows, size], numbers(rows * size, seed))],
      ["u", tensorValue("f32", [size, size], upper(size, seed + 1))],
      [
        "keep",
        tensorValue(
          "bool",
          [rows, size],
          numbers(rows * size, seed + 2).map((value) => (value > 0 ? 1 : 0)),
        ),
      ],
    ]),
  };
}

/**
 * SparseGPT with GPTQ in one pass: at each fourth column the two of four with the smallest errors are chosen, at each
 * `group`th the scale of the group is made; the mask and the scales are results too.
 */
export function sparseGptq(rows: number, size: number, group: number, seed = 1): ScanCase {
  const build = buildGraph("sparse");
  const w0 = build.input("w0", "f32", [rows, size]);
  const u = build.input("u", "f32", [size, size]);
  const groups = Math.ceil(size / group);
  const none = build.map("none", [rows, size], () => constant(0, "bool"));
  const unit = build.map("unit", [rows], () => constant(1));
  const zeros = build.map("zeros", [rows, groups], () => constant(0));
  const over = build.range("k", 0, size);
  const [w, keep, scales] = build.scan(over, [w0, none, zeros, unit], (k, [before, mask, grid, scale]) => {
    const first = groupStart(k, 4);
    const score = build.map(
      "score",
      [rows, 4],
      (n, i) => {
        const column = plus(first, i!);
        return binary("divide", unary("abs", load(before!, [n!, column], true)), load(u, [column, column], true));
      },
      { names: ["n", "i"] },
    );
    const [n, j] = [build.range("n", 0, rows), build.range("j", first, plus(first, integer(4)))];
    const other = build.range("o", 0, 4);
    const [mine, its] = [
      load(score, [indexOf(n), minus(indexOf(j), first)]),
      load(score, [indexOf(n), indexOf(other)]),
    ];
    const lower = binary("less", indexOf(other), minus(indexOf(j), first));
    const ahead = reduce(
      "count",
      [other],
      binary("or", binary("greater", its, mine), binary("and", binary("equal", its, mine), lower)),
    );
    const keepNow = build.update(
      "keep_now",
      mask!,
      [n, j],
      [indexOf(n), indexOf(j)],
      select(isMultiple(k, 4), binary("less", ahead, integer(2)), load(mask!, [indexOf(n), indexOf(j)], true)),
    );

    const step = build.map("scale_now", [rows], (row) => {
      const inside = build.range("g", 0, group);
      const largest = reduce(
        "max",
        [inside],
        unary("abs", load(before!, [row!, plus(groupStart(k, group), indexOf(inside))], true)),
      );
      return select(
        isMultiple(k, group),
        plus(binary("divide", largest, constant(7)), constant(0.01)),
        load(scale!, [row!]),
      );
    });
    const r = build.range("n", 0, rows);
    const gridNow = build.update(
      "grid_now",
      grid!,
      [r],
      [indexOf(r), binary("divide", k, integer(group))],
      load(step, [indexOf(r)]),
    );
    const q = build.map("q", [rows], (row) =>
      select(
        load(keepNow, [row!, k]),
        times(unary("round", binary("divide", load(before!, [row!, k]), load(step, [row!]))), load(step, [row!])),
        constant(0),
      ),
    );
    const e = build.map("e", [rows], (row) =>
      binary("divide", minus(load(before!, [row!, k]), load(q, [row!])), load(u, [k, k])),
    );
    const [m, c] = [build.range("n", 0, rows), build.range("j", plus(k, integer(1)), size)];
    const w1 = build.update(
      "w1",
      before!,
      [m, c],
      [indexOf(m), indexOf(c)],
      unary("negate", times(load(e, [indexOf(m)]), load(u, [k, indexOf(c)]))),
      "add",
    );
    const t = build.range("n", 0, rows);
    const w2 = build.update("w2", w1, [t], [indexOf(t), k], load(q, [indexOf(t)]));
    return [w2, keepNow, gridNow, step];
  });
  for (const [name, value] of [
    ["w", w],
    ["keep", keep],
    ["scales", scales],
  ] as const)
    build.output(name, value!);
  return {
    graph: build.graph(),
    inputs: new Map([
      ["w0", tensorValue("f32", [rows, size], numbers(rows * size, seed))],
      ["u", tensorValue("f32", [size, size], upper(size, seed + 1))],
    ]),
  };
}

/** What a random columnwise scan is made of. */
export interface ScanChoices {
  readonly rows: number;
  readonly columns: number;
  readonly from: number;
  readonly to: number;
  /** The first column of the update, after the step's. */
  readonly after: 0 | 1;
  /** Outer products a step. */
  readonly products: 1 | 2;
  readonly masked: boolean;
  readonly set: boolean;
  /** Steps at which nothing is spread: those with k % every != 0. */
  readonly every: number;
  /** A number a row that is carried from step to step. */
  readonly carried: boolean;
  /** The group of columns read at its first column; 1 for none. */
  readonly group: number;
  readonly seed: number;
}

/** A scan of smooth operations, so that a difference of rounding stays small. */
export function randomScan(c: ScanChoices): ScanCase {
  const build = buildGraph("random");
  const w0 = build.input("w0", "f32", [c.rows, c.columns]);
  const s0 = build.input("s0", "f32", [c.rows]);
  const [u, v] = [build.input("u", "f32", [c.columns, c.columns]), build.input("v", "f32", [c.columns, c.columns])];
  const m = build.input("m", "f32", [c.rows, c.columns]);
  const over = build.range("k", c.from, c.to);
  const results = build.scan(over, c.carried ? [w0, s0] : [w0], (k, [w, s]) => {
    const near: (n: S) => S = (n) => {
      if (c.group === 1) return load(w!, [n, k]);
      const i = build.range("i", 0, c.group);
      const sum = reduce("sum", [i], load(w!, [n, plus(k, indexOf(i))], true));
      return select(
        isMultiple(k, c.group),
        times(sum, constant(0.125)),
        load(w!, [n, plus(groupStart(k, c.group), binary("remainder", k, integer(c.group)))], true),
      );
    };
    const state =
      s === undefined ? null : build.map("next", [c.rows], (n) => plus(times(load(s, [n!]), constant(0.5)), near(n!)));
    const x = build.map("x", [c.rows], (n) => {
      const value = plus(
        times(near(n!), constant(0.5)),
        state === null ? constant(0.25) : times(load(state, [n!]), constant(0.25)),
      );
      return c.every === 1 ? value : select(isMultiple(k, c.every), value, constant(0));
    });
    const [n, j] = [build.range("n", 0, c.rows), build.range("j", plus(k, integer(c.after)), c.columns)];
    const at = [indexOf(n), indexOf(j)];
    const one = times(load(x, [indexOf(n)]), load(u, [k, indexOf(j)]));
    const both =
      c.products === 1
        ? unary<Concrete>("negate", one)
        : minus(binary("divide", times(load(w0, [indexOf(n), k]), load(v, [k, indexOf(j)])), constant(3)), one);
    const body = c.masked ? times(load(m, at), both) : both;
    const w1 = c.set
      ? build.update("w1", w!, [n, j], at, plus(load(w!, at), body))
      : build.update("w1", w!, [n, j], at, body, "add");
    const r = build.range("n", 0, c.rows);
    const w2 = build.update("w2", w1, [r], [indexOf(r), k], plus(load(x, [indexOf(r)]), cast(k, "f32")));
    return state === null ? [w2] : [w2, state];
  });
  results.forEach((value: Value<Concrete>, at) => build.output(`out${at}`, value));
  const matrix = (seed: number, scale: number): TensorValue =>
    tensorValue(
      "f32",
      [c.columns, c.columns],
      numbers(c.columns ** 2, seed).map((value) => value * scale),
    );
  return {
    graph: build.graph(),
    inputs: new Map([
      ["w0", tensorValue("f32", [c.rows, c.columns], numbers(c.rows * c.columns, c.seed))],
      ["s0", tensorValue("f32", [c.rows], numbers(c.rows, c.seed + 1))],
      ["u", matrix(c.seed + 2, 0.01)],
      ["v", matrix(c.seed + 3, 0.01)],
      ["m", tensorValue("f32", [c.rows, c.columns], numbers(c.rows * c.columns, c.seed + 4))],
    ]),
  };
}
