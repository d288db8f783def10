import type { Scalar } from "../../graph/graph.js";
import type { ReduceOp } from "../../graph/ops.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, ScalarType } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "./builder.js";

type Reduce = Scalar<Concrete> & { readonly kind: "reduce" };

/**
 * The variables that hold the state of a reduction: one; for argmax the index beside the value; for softmax_mean the
 * highest score, the sum of the exponentials of what others are below it, and that of their products with the values.
 */
export type Accumulator = readonly Expr[];

/** What a reduction starts from, and how two partial results become one. */
const rules: {
  [K in Exclude<ReduceOp, "softmax_mean">]: {
    readonly initial: (type: ScalarType) => number;
    readonly combine: (a: Expr, b: Expr) => Expr;
  };
} = {
  sum: { initial: () => 0, combine: k.add },
  mean: { initial: () => 0, combine: k.add },
  count: { initial: () => 0, combine: k.add },
  max: { initial: lowest, combine: k.max },
  min: { initial: highest, combine: k.min },
  any: { initial: () => 0, combine: k.or },
  all: { initial: () => 1, combine: k.and },
  argmax: { initial: lowest, combine: k.max },
};

function lowest(type: ScalarType): number {
  return type === "i32" ? -0x80000000 : type === "u32" ? 0 : -Infinity;
}

function highest(type: ScalarType): number {
  return type === "i32" ? 0x7fffffff : type === "u32" ? 0xffffffff : Infinity;
}

/** The type a reduction is accumulated in: f16 sums are kept in f32. */
export function accumulatorType(reduce: Reduce): ScalarType {
  if (reduce.op === "count") return "u32";
  const dtype = "dtype" in reduce.body ? reduce.body.dtype : "i32";
  return dtype === "f16" ? "f32" : dtype;
}

/** Below every finite score but one; finite itself, so that nothing is subtracted from an infinity. */
export const lowestScore = -3.4028234663852886e38;

/** Declares the variables of a reduction with their first values. */
export function startAccumulator(build: KernelBuilder, reduce: Reduce): Accumulator {
  if (reduce.op === "softmax_mean")
    return [
      build.variable("highest", k.f32(lowestScore)),
      build.variable("total", k.f32(0)),
      build.variable("weighted", k.f32(0)),
    ];
  const type = accumulatorType(reduce);
  const value = build.variable(reduce.op, k.literal(type, rules[reduce.op].initial(type)));
  return reduce.op === "argmax" ? [value, build.variable("best", k.u32(0xffffffff))] : [value];
}

/**
 * Takes one element in. `index` is the u32 value of the (first) index, which argmax keeps; `score` the f32 that an element
 * of a softmax_mean counts by.
 */
export function accumulate(
  build: KernelBuilder,
  op: ReduceOp,
  accumulator: Accumulator,
  element: Expr,
  index: Expr,
  score: Expr | null = null,
): void {
  const [value] = accumulator;
  if (op === "softmax_mean") {
    mergeAccumulator(build, op, accumulator, [score!, k.f32(1), build.bind("value", element)]);
    return;
  }
  if (op === "count") build.assign(value!, k.add(value!, k.select(element, k.u32(1), k.u32(0))));
  else if (op === "argmax") mergeAccumulator(build, op, accumulator, [build.bind("candidate", element), index]);
  else if (
    (op === "sum" || op === "mean") &&
    element.kind === "binary" &&
    element.op === "multiply" &&
    element.type === "f32"
  )
    build.assign(value!, k.fma(element.a, element.b, value!));
  else build.assign(value!, rules[op].combine(value!, element));
}

/** Takes the partial result of another accumulator in. */
export function mergeAccumulator(
  build: KernelBuilder,
  op: ReduceOp,
  accumulator: Accumulator,
  other: readonly Expr[],
): void {
  if (op === "softmax_mean") return mergeSoftmax(build, accumulator, other);
  const [value, best] = accumulator;
  const [otherValue, otherBest] = other;
  if (best === undefined || otherBest === undefined) {
    build.assign(value!, rules[op].combine(value!, otherValue!));
    return;
  }
  // the lowest index of equals; an index of 2^32 - 1 means nothing seen yet, so that it is later than all
  const better = k.or(k.greater(otherValue!, value!), k.and(k.equal(otherValue!, value!), k.less(otherBest, best)));
  build.when(build.bind("better", better), () => {
    build.assign(value!, otherValue!);
    build.assign(best, otherBest);
  });
}

/** Two softmax means, brought to the higher of their highest scores: that of the other stays as it is, times 1. */
function mergeSoftmax(build: KernelBuilder, [highest, total, weighted]: Accumulator, other: readonly Expr[]): void {
  const [score, count, value] = other;
  const below = build.bind("below", k.exp(k.negate(k.abs(k.sub(highest!, score!)))));
  build.when(
    k.greater(score!, highest!),
    () => {
      build.assign(total!, k.fma(total!, below, count!));
      build.assign(weighted!, k.fma(weighted!, below, value!));
      build.assign(highest!, score!);
    },
    () => {
      build.assign(total!, k.fma(count!, below, total!));
      build.assign(weighted!, k.fma(value!, below, weighted!));
    },
  );
}

/** The result, of the reduction's dtype. `count` is the number of elements, u32: the divisor of a mean. */
export function finishAccumulator(reduce: Reduce, accumulator: Accumulator, count: Expr): Expr {
  const [value, best] = accumulator;
  switch (reduce.op) {
    case "mean":
      return k.convert(reduce.dtype, k.select(k.equal(count, 0), k.f32(0), k.div(value!, k.convert("f32", count))));
    case "count":
      return k.convert("i32", value!);
    case "softmax_mean": {
      const [, total, weighted] = accumulator;
      return k.select(k.equal(total!, 0), k.f32(0), k.div(weighted!, total!));
    }
    case "argmax":
      return k.select(k.equal(best!, 0xffffffff), k.i32(0), k.convert("i32", best!));
    default:
      return reduce.dtype === "bool" ? value! : k.convert(reduce.dtype, value!);
  }
}

/**
 * Whether a mean's number of elements is no product of lengths known before its loops: an inner range has bounds that
 * are data, or depend on an outer one.
 */
export function isUnevenMean(reduce: Reduce): boolean {
  return (
    reduce.op === "mean" &&
    reduce.over.slice(1).some((range) => constantOf(range.low) === null || constantOf(range.high) === null)
  );
}
