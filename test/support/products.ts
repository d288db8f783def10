/**
 * Random products: sums of left * right over one index, with batch axes, several token axes, bounds that depend on the
 * token or on data, shifted and regrouped reads, packed weights, two sums in one equation, and what follows them.
 */
import fc from "fast-check";
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
  type GraphBuilder,
} from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { Scalar, Value } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { Concrete } from "../../compiler/types/type.js";
import type { Case } from "./agreement.js";
import { formatFault, numbers, packed, weightFormats } from "./packed.js";

type Node = Scalar<Concrete>;

/** What a product looks like. */
export interface ProductShape {
  /** Axes that left and right share, outermost first. */
  readonly batch: readonly number[];
  /** Axes of left alone. */
  readonly tokens: readonly number[];
  readonly n: number;
  readonly k: number;
  /** Whether a token axis stands between the batch axes. */
  readonly interleaved: boolean;
  /** Of the right side; null: dense, not necessarily read along k. */
  readonly format: string | null;
  /** How the right side is read: w[n, k], w[k, n], w[n, k - 1] or zero, w[n, k + 1]. */
  readonly right: "rows" | "columns" | "guarded" | "shifted";
  /**
   * How the left side is read: x[t, k], scaled by row and column, normed before, x[t, k / 4, k % 4], x[t, k - 1] or
   * zero, x[t, K - k].
   */
  readonly left: "plain" | "scaled" | "normed" | "regrouped" | "guarded" | "backwards";
  /** What k runs over: all, from 1, to the token, to a number given for the first axis, to the output. */
  readonly bound: "whole" | "part" | "token" | "data" | "output";
  /** A second sum: with the same left side, or another. */
  readonly pair: "none" | "same" | "other";
  /** What is done with the sums. */
  readonly after: "nothing" | "residual" | "gate" | "masked";
}

/** Any shapes, awkward sizes among them. */
export function productShapes(): fc.Arbitrary<ProductShape> {
  const size = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 9, 16, 17);
  return fc.record({
    batch: fc.oneof(
      { weight: 3, arbitrary: fc.constant<number[]>([]) },
      { weight: 2, arbitrary: fc.array(fc.constantFrom(1, 2, 3), { minLength: 1, maxLength: 2 }) },
    ),
    tokens: fc.oneof(
      { weight: 4, arbitrary: size.map((one) => [one]) },
      { weight: 1, arbitrary: fc.constant<number[]>([]) },
      { weight: 1, arbitrary: fc.tuple(fc.constantFrom(1, 2, 3), size) },
    ),
    n: fc.constantFrom(1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 40),
    k: fc.constantFrom(4, 1, 3, 8, 13, 16, 24, 32, 36, 64, 96, 128),
    interleaved: fc.boolean(),
    format: fc.option(fc.constantFrom(...weightFormats), { freq: 2 }),
    right: fc.oneof(
      { weight: 3, arbitrary: fc.constant("rows" as const) },
      { weight: 2, arbitrary: fc.constantFrom("columns", "guarded", "shifted") },
    ),
    left: fc.oneof(
      { weight: 3, arbitrary: fc.constant("plain" as const) },
      { weight: 3, arbitrary: fc.constantFrom("scaled", "normed", "normed", "regrouped", "guarded", "backwards") },
    ),
    bound: fc.oneof(
      { weight: 2, arbitrary: fc.constant("whole" as const) },
      { weight: 2, arbitrary: fc.constantFrom("part", "token", "data", "output") },
    ),
    pair: fc.oneof(
      { weight: 3, arbitrary: fc.constant("none" as const) },
      { weight: 1, arbitrary: fc.constantFrom("same", "other") },
    ),
    after: fc.constantFrom("nothing", "residual", "gate", "masked"),
  }) as fc.Arbitrary<ProductShape>;
}

/** Random products with their inputs. Printed as their graph where a property fails. */
export function productCases(): fc.Arbitrary<Case> {
  return productShapes().map((shape) => {
    const made = productCase(shape);
    return { ...made, [fc.toStringMethod]: () => `${printGraph(made.graph)}${JSON.stringify(shape)}` };
  });
}

/**
 * The product of a shape. Where a format cannot store it, or the layout is not that of the format, the right side is
 * dense.
 */
export function productCase(shape: ProductShape, seed = 1): Case {
  const { batch, tokens, n, k } = shape;
  const format = shape.right === "rows" || shape.right === "guarded" ? shape.format : null;
  const [first = [], second = []] = shape.interleaved && batch.length > 1 ? [[0], [1]] : [batch.map((_, at) => at), []];
  // an axis each: the batch axis it is, or -1 - the token axis
  const outer = [...first, ...tokens.map((_, at) => -1 - at), ...second];
  const extents = outer.map((axis) => (axis >= 0 ? batch[axis]! : tokens[-1 - axis]!));
  const tokenAt = outer.indexOf(-tokens.length);
  const build = buildGraph<Concrete>("product");
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  let seeds = seed * 100;
  const dense = (name: string, size: readonly number[]): Value<Concrete> => {
    inputs.set(name, tensorValue("f32", size, numbers(elementCount(size), (seeds += 10))));
    return build.input(name, "f32", size);
  };
  const given = (name: string, values: readonly number[]): Value<Concrete> => {
    inputs.set(name, tensorValue("i32", [values.length], values));
    return build.input(name, "i32", [values.length]);
  };
  const weight = (name: string, shifted: number): Value<Concrete> => {
    if (shape.right === "columns") return dense(name, [...batch, k + shifted, n]);
    const size = [...batch, n, k + shifted];
    const rows = elementCount(size.slice(0, -1));
    if (format === null || formatFault(format, rows, k) !== null) return dense(name, size);
    const made = packed(format, rows, k, (seeds += 10));
    words.set(name, made.words);
    inputs.set(name, tensorValue("f32", size, made.dense));
    return build.input(name, "f32", size, { format: made.spec });
  };

  const lefts =
    shape.left === "regrouped" && k % 4 === 0
      ? [...extents, k / 4, 4]
      : shape.left === "backwards"
        ? [...extents, 2 * k]
        : [...extents, k];
  const activations = dense("x", lefts);
  const scale = shape.left === "scaled" ? dense("scale", extents) : null;
  const gain = shape.left === "scaled" ? dense("gain", [k]) : null;
  const x = shape.left === "normed" ? normed(build, activations, extents, k) : activations;
  const other = shape.pair === "other" ? dense("z", [...extents, k]) : null;
  const shifted = shape.right === "shifted" ? 1 : 0;
  const weights = [weight("w", shifted), ...(shape.pair === "none" ? [] : [weight("u", shifted)])];
  const limits =
    shape.bound === "data"
      ? given(
          "limits",
          Array.from({ length: extents[0] ?? 1 }, (_, at) => ((at * 5) % (k + 3)) - 1),
        )
      : null;
  const residual = shape.after === "residual" ? dense("r", [...extents, n]) : null;

  const y = build.map("y", [...extents, n], (...own) => {
    const column = own[own.length - 1]!;
    const outerIndices = own.slice(0, -1);
    const shared = batch.map((_, at) => own[outer.indexOf(at)]!);
    const token = tokenAt < 0 ? integer(0) : own[tokenAt]!;
    const high =
      shape.bound === "token"
        ? binary("min", binary("add", token, integer(1)), integer(k))
        : shape.bound === "output"
          ? binary("min", binary("add", column, integer(1)), integer(k))
          : limits !== null
            ? binary("add", load(limits, [extents.length === 0 ? integer(0) : own[0]!]), token)
            : integer(k);
    // past the end where data say so
    const guarded = shape.bound === "data";
    const sum = (at: number): Node => {
      const over = build.range("k", shape.bound === "part" ? Math.min(1, k - 1) : 0, high);
      const index = indexOf(over);
      const before = binary("subtract", index, integer(1));
      const left = (): Node => {
        if (at === 1 && other !== null) return load(other, [...outerIndices, index], guarded);
        switch (shape.left) {
          case "plain":
          case "normed":
            return load(x, [...outerIndices, index], guarded);
          case "scaled":
            return binary(
              "multiply",
              binary("multiply", load(x, [...outerIndices, index], guarded), load(scale!, outerIndices)),
              load(gain!, [index], guarded),
            );
          case "guarded":
            return load(x, [...outerIndices, before], true);
          case "regrouped":
            return k % 4 === 0
              ? load(
                  x,
                  [...outerIndices, binary("divide", index, integer(4)), binary("remainder", index, integer(4))],
                  guarded,
                )
              : load(x, [...outerIndices, index], guarded);
          case "backwards":
            return load(
              x,
              [...outerIndices, binary("subtract", shape.bound === "token" ? token : integer(k), index)],
              guarded || (shape.bound === "token" && tokens.at(-1)! > 2 * k),
            );
          default:
            return shape.left satisfies never;
        }
      };
      const w = weights[at]!;
      const right =
        shape.right === "columns"
          ? load(w, [...shared, index, column], guarded)
          : load(
              w,
              [
                ...shared,
                column,
                shape.right === "guarded"
                  ? before
                  : shape.right === "shifted"
                    ? binary("add", index, integer(1))
                    : index,
              ],
              guarded || shape.right === "guarded",
            );
      return reduce("sum", [over], binary("multiply", left(), right));
    };
    const [a, b] = weights.map((_, at) => sum(at));
    const both = b === undefined ? a! : shape.after === "gate" ? binary("multiply", a!, b) : binary("add", a!, b);
    switch (shape.after) {
      case "nothing":
        return both;
      case "gate":
        return binary("divide", both, binary("add", constant(1), unary("exp", unary("negate", unary("abs", a!)))));
      case "residual":
        return binary("add", load(residual!, own), both);
      case "masked":
        return select(binary("less_equal", column, token), both, cast(token, "f32"));
      default:
        return shape.after satisfies never;
    }
  });
  build.output("y", y);
  return { graph: build.graph(), inputs, words, kind: "reduction" };
}

/** x / sqrt(mean(x^2) + 0.1) along the last axis, as two equations. */
function normed(build: GraphBuilder, x: Value<Concrete>, outer: readonly number[], k: number): Value<Concrete> {
  const square = build.map("square", outer, (...own) => {
    const over = build.range("k", 0, k);
    const element = load(x, [...own, indexOf(over)]);
    return reduce("mean", [over], binary("multiply", element, element));
  });
  return build.map("normed", [...outer, k], (...own) =>
    binary("multiply", load(x, own), unary("rsqrt", binary("add", load(square, own.slice(0, -1)), constant(0.1)))),
  );
}
