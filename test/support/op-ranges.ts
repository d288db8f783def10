/** Every op of scalars over the whole range of its operands, and what a device may make of each. */
import { binaryFunction, castFunction, unaryFunction } from "../../compiler/graph/arithmetic.js";
import { binary, buildGraph, cast, load, unary } from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, Scalar } from "../../compiler/graph/graph.js";
import { dtypes, type Dtype } from "../../compiler/types/dtype.js";
import { binaryOps, unaryOps, type BinaryOp, type TypeRule, type UnaryOp } from "../../compiler/types/scalar-ops.js";
import type { Concrete } from "../../compiler/types/type.js";
import { difference, type ToleranceKind } from "./tolerance.js";

/** An op on operands of a dtype: elements of `y` from those of `a` and `b`. */
export interface OpRange {
  readonly name: string;
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
  /** Why an element of `y` is none that a device may give; null where all are. */
  fault(y: ArrayLike<number>): string | null;
}

const floatLimits = {
  f32: { largest: (2 - 2 ** -23) * 2 ** 127, smallest: 2 ** -126, step: 2 ** -149 },
  f16: { largest: 65504, smallest: 2 ** -14, step: 2 ** -24 },
} as const;

const isFloat = (dtype: Dtype): dtype is "f32" | "f16" => dtype === "f32" || dtype === "f16";

/** Both zeros, both ends, what lies around them, and what is none of it. */
function corners(dtype: "f32" | "f16"): readonly number[] {
  const { largest, smallest, step } = floatLimits[dtype];
  const some = [
    0,
    step,
    smallest - step,
    smallest,
    2 * smallest,
    0.01,
    0.3,
    0.5,
    1 - step * 2 ** 20,
    1,
    1.5,
    2,
    2.5,
    3,
    7,
    10,
    88.5,
    100,
    1000,
    65504,
    largest / 2,
    largest,
    Infinity,
  ];
  return [...some, ...some.map((value) => -value), NaN];
}

/** The corners, every exponent, and a line of small numbers. */
function sweep(dtype: "f32" | "f16"): readonly number[] {
  const [low, high] = dtype === "f32" ? [-149, 127] : [-24, 15];
  const powers = Array.from({ length: high - low + 1 }, (_, at) => 2 ** (low + at));
  const line = Array.from({ length: 401 }, (_, at) => at / 2);
  const some = [
    ...powers.flatMap((power) => [power, 1.37 * power, 1.99 * power]),
    ...line,
    ...line.map((x) => x * 1.1),
  ];
  return [...corners(dtype), ...some, ...some.map((value) => -value)].filter(
    (value) => !Number.isFinite(value) || Math.abs(value) <= floatLimits[dtype].largest,
  );
}

const integers: { readonly [K in "i32" | "u32"]: readonly number[] } = {
  i32: [0, 1, -1, 2, -3, 7, 31, 32, 33, 65535, -65536, 1 << 30, 2 ** 31 - 1, -(2 ** 31)],
  u32: [0, 1, 2, 3, 7, 31, 32, 33, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1],
};

function samples(dtype: Dtype, all: boolean): readonly number[] {
  if (isFloat(dtype)) return all ? sweep(dtype) : corners(dtype);
  return dtype === "bool" ? [0, 1] : integers[dtype];
}

/** The dtypes of operands that a rule allows, and that of the result. */
function operandsOf(rule: TypeRule): readonly Dtype[] {
  switch (rule) {
    case "float":
      return ["f32", "f16"];
    case "numeric":
    case "compare":
      return ["f32", "f16", "i32", "u32"];
    case "integer":
      return ["i32", "u32"];
    case "logic":
      return ["bool"];
    case "bits":
      return ["f32"];
    case "from-bits":
      return ["u32"];
    default:
      return rule satisfies never;
  }
}

/**
 * How close results are to what is exact, by `spec/numerics.md`; those that are not here are rounded once, or exact.
 */
const closeness: { readonly [K in UnaryOp | BinaryOp]?: ToleranceKind } = {
  sqrt: "pointwise",
  rsqrt: "pointwise",
  exp: "pointwise",
  log: "pointwise",
  sin: "trigonometric",
  cos: "trigonometric",
  tanh: "pointwise",
  add: "pointwise",
  subtract: "pointwise",
  multiply: "pointwise",
  divide: "pointwise",
  power: "pointwise",
};

/** Whether an op on these operands is among those that have a meaning that a device is held to. */
function isHeld(op: UnaryOp | BinaryOp, dtype: Dtype, a: number, b: number): boolean {
  if (!isFloat(dtype)) return true;
  // a logarithm near 1 has an absolute error, which the exponent multiplies
  return (
    op !== "power" || (!(a < 0) && !(a > 0.5 && a < 2 && Math.abs(b) > 32) && !(a === 1 && Math.abs(b) === Infinity))
  );
}

/** What an operand may be taken for: a subnormal number is flushed, the sign of zero lost. */
function takenFor(dtype: Dtype, value: number): readonly number[] {
  if (!isFloat(dtype) || Math.abs(value) >= floatLimits[dtype].smallest || Number.isNaN(value)) return [value];
  return value === 0 ? [0, -0] : [value, 0, -0];
}

/** Whether a device may give `got` where `exact` is meant. */
function allowed(dtype: Dtype, exact: number, got: number, kind: ToleranceKind | undefined): boolean {
  if (exact === got || (Number.isNaN(exact) && Number.isNaN(got))) return true;
  if (!isFloat(dtype) || Number.isNaN(exact) || Number.isNaN(got)) return false;
  const { largest, smallest } = floatLimits[dtype];
  if (got === 0 && Math.abs(exact) < smallest) return true;
  const tolerance = dtype === "f16" && kind === "pointwise" ? "half" : (kind ?? "exact");
  // at the end of the range, infinity and the largest number are neighbours
  const within = (value: number): number => Math.min(Math.max(value, -largest), largest);
  // a peak of 1: what is near zero since terms cancel has the error of the terms
  return difference([within(got), 1], [within(exact), 1], tolerance) === null;
}

function opRange(
  name: string,
  operands: readonly Dtype[],
  result: Dtype,
  columns: readonly (readonly number[])[],
  body: (operands: readonly Scalar<Concrete>[]) => Scalar<Concrete>,
  holds: (given: readonly number[], got: number) => boolean | null,
): OpRange {
  const count = columns[0]!.length;
  const build = buildGraph<Concrete>(name.replace(/[^a-z0-9]/g, "_"));
  const names = ["a", "b"].slice(0, operands.length);
  const given = operands.map((dtype, at) => build.input(names[at]!, dtype, [count]));
  build.output(
    "y",
    build.map("y", [count], (i) => body(given.map((each) => load(each, [i!])))),
  );
  const inputs = new Map(operands.map((dtype, at) => [names[at]!, tensorValue(dtype, [count], columns[at]!)] as const));
  return {
    name,
    graph: build.graph(),
    inputs,
    fault(y) {
      for (let at = 0; at < count; at++) {
        const values = names.map((each) => inputs.get(each)!.data[at]!);
        if (holds(values, y[at] ?? NaN) === false)
          return `${name} of ${values.join(" and ")} is ${y[at]}, of ${result}`;
      }
      return null;
    },
  };
}

function unaryRange(op: UnaryOp, dtype: Dtype): OpRange {
  const result: Dtype = unaryOps[op] === "bits" ? "u32" : unaryOps[op] === "from-bits" ? "f32" : dtype;
  const exact = unaryFunction(op, result);
  const values =
    op === "from_bits" ? [...new Uint32Array(Float32Array.from(sweep("f32")).buffer)] : samples(dtype, true);
  return opRange(
    `${op} of ${dtype}`,
    [dtype],
    result,
    [values],
    ([a]) => unary(op, a!),
    ([a = 0], got) => {
      // which bits a NaN has is free, and so is whether it has a sign
      if (Number.isNaN(a) && (op === "bits" || op === "sign")) return null;
      return takenFor(dtype, a).some((taken) => allowed(result, exact(taken), got, closeness[op]));
    },
  );
}

function binaryRange(op: BinaryOp, dtype: Dtype): OpRange {
  const result: Dtype = binaryOps[op] === "compare" ? "bool" : dtype;
  const exact = binaryFunction(op, dtype);
  const values = samples(dtype, false);
  const pairs = values.flatMap((a) => values.map((b) => [a, b] as const)).filter(([a, b]) => isHeld(op, dtype, a, b));
  const columns = [pairs.map(([a]) => a), pairs.map(([, b]) => b)];
  return opRange(
    `${op} of ${dtype}`,
    [dtype, dtype],
    result,
    columns,
    ([a, b]) => binary(op, a!, b!),
    ([a = 0, b = 0], got) => {
      if ((op === "min" || op === "max") && (Number.isNaN(a) || Number.isNaN(b)))
        return [a, b].some((either) => takenFor(dtype, either).some((taken) => allowed(result, taken, got, undefined)));
      return takenFor(dtype, a).some((x) =>
        takenFor(dtype, b).some((y) => allowed(result, exact(x, y), got, closeness[op])),
      );
    },
  );
}

function castRange(from: Dtype, to: Dtype): OpRange {
  const exact = castFunction(from, to);
  return opRange(
    `${from} to ${to}`,
    [from],
    to,
    [samples(from, true)],
    ([a]) => cast(a!, to),
    ([a = 0], got) =>
      takenFor(from, a).some((taken) =>
        allowed(to, exact(taken), got, to === "f16" || from === "i32" || from === "u32" ? "pointwise" : undefined),
      ),
  );
}

/** All of them; those of f16 for devices that have it. */
export function opRanges({ f16 }: { readonly f16: boolean }): readonly OpRange[] {
  const there = (dtype: Dtype): boolean => (dtype === "f16") === f16;
  const [unaries, binaries] = [Object.keys(unaryOps) as UnaryOp[], Object.keys(binaryOps) as BinaryOp[]];
  return [
    ...unaries.flatMap((op) =>
      operandsOf(unaryOps[op])
        .filter(there)
        .map((dtype) => unaryRange(op, dtype)),
    ),
    ...binaries.flatMap((op) =>
      operandsOf(binaryOps[op])
        .filter(there)
        .map((dtype) => binaryRange(op, dtype)),
    ),
    ...dtypes.flatMap((from) =>
      dtypes.filter((to) => from !== to && f16 === [from, to].includes("f16")).map((to) => castRange(from, to)),
    ),
  ];
}
