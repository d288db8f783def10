/**
 * Random additions: `h[place] += x[index...]` with places of every form, several indices a place among them, on zeros,
 * on what other additions made of them, and on a tensor that is given.
 */
import fc from "fast-check";
import { binary, buildGraph, constant, integer, indexOf, load, select } from "../../compiler/graph/build.js";
import type { GraphBuilder } from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, Range, Scalar } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { BinaryOp } from "../../compiler/types/scalar-ops.js";
import type { Concrete } from "../../compiler/types/type.js";

type S = Scalar<Concrete>;

const op =
  (name: BinaryOp) =>
  (a: S, b: S | number): S =>
    binary(name, a, typeof b === "number" ? integer(b) : b);
const [plus, minus, times, over, modulo, least] = [
  op("add"),
  op("subtract"),
  op("multiply"),
  op("divide"),
  op("remainder"),
  op("min"),
];

/** A form of one or more axes of the target, of indices whose ranges are `low .. high`. */
export interface PlaceForm {
  readonly ranges: readonly (readonly [number, number])[];
  readonly at: (indices: readonly S[], ids: (at: S) => S) => readonly S[];
  readonly shape: readonly number[];
}

const form = (
  ranges: readonly (number | readonly [number, number])[],
  shape: readonly number[],
  at: (i: S, j: S, ids: (at: S) => S) => readonly S[],
): PlaceForm => ({
  ranges: ranges.map((each) => (typeof each === "number" ? [0, each] : each)),
  shape,
  at: (indices, ids) => at(indices[0]!, indices[1] ?? integer(0), ids),
});

/** Values of `ids`, the places that are data: out of range among them. */
const places = [1, 0, 3, 1, -2, 2, 9, 3];

export const placeForms: Readonly<Record<string, PlaceForm>> = {
  "an index": form([5], [5], (i) => [i]),
  "an index of a part": form([[1, 4]], [5], (i) => [i]),
  "an index of more": form([6], [4], (i) => [i]),
  "a single one": form([[2, 3]], [4], (i) => [i]),
  none: form([4], [], () => []),
  "an offset": form([4], [6], (i) => [plus(i, 1)]),
  "an offset before the first": form([6], [5], (i) => [minus(i, 2)]),
  backwards: form([5], [5], (i) => [minus(integer(4), i)]),
  "backwards, a window": form([[1, 6]], [4], (i) => [minus(integer(5), i)]),
  stride: form([3], [7], (i) => [plus(times(i, 2), 1)]),
  "stride backwards": form([3], [7], (i) => [minus(integer(6), times(i, 3))]),
  digits: form([3, 4], [12], (i, j) => [plus(times(i, 4), j)]),
  "digits with gaps": form([3, 3], [14], (i, j) => [plus(plus(times(i, 4), j), 1)]),
  "digits of parts": form(
    [
      [1, 3],
      [1, 4],
    ],
    [12],
    (i, j) => [plus(times(i, 4), j)],
  ),
  "digits, one backwards": form([3, 4], [12], (i, j) => [minus(plus(times(i, 4), 3), j)]),
  "digits, both backwards": form([3, 4], [13], (i, j) => [minus(minus(integer(12), times(i, 4)), j)]),
  "digits of even numbers": form([3, 2], [12], (i, j) => [plus(times(i, 4), times(j, 2))]),
  "digits beyond the end": form([4, 4], [13], (i, j) => [plus(times(i, 4), j)]),
  "a half turned in digits": form([2, 6], [12], (i, j) => [plus(times(i, 6), modulo(plus(j, 3), 6))]),
  "a turn": form([5], [5], (i) => [modulo(plus(i, 2), 5)]),
  "a turn backwards": form([5], [5], (i) => [modulo(minus(integer(9), i), 5)]),
  "a turn of a part": form([[1, 4]], [5], (i) => [modulo(plus(i, 3), 5)]),
  "a quotient": form([8], [2], (i) => [over(i, 4)]),
  "a quotient with a rest": form([10], [3], (i) => [over(i, 4)]),
  "a quotient of a part": form([[3, 9]], [3], (i) => [over(i, 4)]),
  "a quotient of an offset": form([7], [3], (i) => [over(plus(i, 3), 4)]),
  "a remainder": form([8], [4], (i) => [modulo(i, 4)]),
  "a remainder with a rest": form([[1, 10]], [4], (i) => [modulo(i, 4)]),
  "a remainder of more": form([8], [3], (i) => [modulo(i, 4)]),
  heads: form([8], [2, 4], (i) => [over(i, 4), modulo(i, 4)]),
  "heads of a part": form([[2, 7]], [2, 4], (i) => [over(i, 4), modulo(i, 4)]),
  "the other way round": form([8], [4, 2], (i) => [modulo(i, 4), over(i, 4)]),
  "three digits": form([12], [2, 3, 2], (i) => [over(i, 6), modulo(over(i, 2), 3), modulo(i, 2)]),
  "three digits, otherwise": form([12], [2, 3, 2], (i) => [over(i, 6), over(modulo(i, 6), 2), modulo(i, 2)]),
  "quotients apart": form([12], [2, 6], (i) => [over(i, 6), over(i, 2)]),
  "a group of digits": form([4, 3], [2, 3], (i, j) => [over(i, 2), j]),
  "digits of a quotient": form([4, 3], [6], (i, j) => [plus(times(over(i, 2), 3), j)]),
  "a sum": form([4, 3], [6], (i, j) => [plus(i, j)]),
  "a difference": form([4, 3], [5], (i, j) => [plus(minus(i, j), 2)]),
  "a sum of strides": form([3, 4], [9], (i, j) => [plus(times(i, 2), j)]),
  "a sum of quotients": form([4, 6], [5], (i, j) => [plus(over(i, 2), over(j, 2))]),
  "a diagonal": form([4], [4, 4], (i) => [i, i]),
  "beside the diagonal": form([4], [4, 4], (i) => [i, plus(i, 1)]),
  "in turn": form([3, 4], [4, 3], (i, j) => [j, i]),
  smallest: form([5], [4], (i) => [least(i, 2)]),
  chosen: form([5], [4], (i) => [select(binary("less", i, integer(2)), i, integer(3))]),
  data: form([8], [4], (i, _, ids) => [ids(i)]),
  "data and an offset": form([8, 3], [5], (i, j, ids) => [plus(ids(i), j)]),
  "data beside it": form([4, 3], [4, 4], (i, j, ids) => [i, ids(j)]),
  "none of a range": form([0], [3], (i) => [i]),
  "none of a range, moved": form([0, 3], [3], (i, j) => [plus(plus(i, j), 1)]),
};

/** An addition to a graph, and the tensors that it reads. */
interface Addition {
  readonly forms: readonly PlaceForm[];
  /** An index that stands in no place. */
  readonly summed: number | null;
  /** Whether what is added stands in a condition on the indices. */
  readonly condition: boolean;
}

export interface AdditionCase {
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
}

/** Small integers, so that sums are exact. */
function whole(dtype: "f32" | "f16", shape: readonly number[], seed: number): TensorValue {
  return tensorValue(
    dtype,
    shape,
    Array.from({ length: elementCount(shape) }, (_, at) => ((at * 7 + seed * 3) % 11) - 5),
  );
}

function add(
  build: GraphBuilder,
  inputs: Map<string, TensorValue>,
  base: ReturnType<GraphBuilder["input"]>,
  { forms, summed, condition }: Addition,
  turn: number,
): ReturnType<GraphBuilder["input"]> {
  const dtype = base.type.dtype as "f32" | "f16";
  const named = "ijklmn";
  const extents = [...forms.flatMap(({ ranges }) => ranges), ...(summed === null ? [] : [[0, summed] as const])];
  const ranges: readonly Range<Concrete>[] = extents.map(([low, high], at) => build.range(named[at] ?? "o", low, high));
  const ids = build.input(`ids${turn}`, "i32", [places.length]);
  inputs.set(`ids${turn}`, tensorValue("i32", [places.length], places));
  let from = 0;
  const at = forms.flatMap((each) => {
    const own = ranges.slice(from, from + each.ranges.length).map((range) => indexOf(range));
    from += each.ranges.length;
    return each.at(own, (index) => load(ids, [index]));
  });
  const size = extents.map(([, high]) => Math.max(1, high));
  const x = build.input(`x${turn}`, dtype, size);
  inputs.set(`x${turn}`, whole(dtype, size, turn));
  const here = ranges.map((range) => indexOf(range));
  const value = load(x, here);
  const [first, last] = [here[0], here.at(-1)];
  const body =
    condition && first !== undefined && last !== undefined
      ? select(binary("less", last, plus(first, 2)), value, constant(0, dtype))
      : value;
  return build.update(`h${turn}`, base, ranges, at, body, "add");
}

/** The graph of some additions to one tensor, one after the other. */
export function additionCase(
  additions: readonly Addition[],
  base: "zeros" | "given" | "computed",
  dtype: "f32" | "f16",
): AdditionCase {
  const build = buildGraph<Concrete>("additions");
  const inputs = new Map<string, TensorValue>();
  const shape = additions[0]?.forms.flatMap((each) => each.shape) ?? [];
  const input = (): ReturnType<GraphBuilder["input"]> => {
    inputs.set("x", whole(dtype, shape, 4));
    return build.input("x", dtype, shape);
  };
  const given = base === "zeros" ? null : input();
  let h =
    base === "given" && given !== null
      ? given
      : build.map("start", shape, (...own) =>
          given === null ? constant(0, dtype) : binary("add", load(given, own), constant(1, dtype)),
        );
  additions.forEach((each, turn) => {
    h = add(build, inputs, h, each, turn);
  });
  build.output("h", h);
  return { graph: build.graph(), inputs };
}

/** Random cases, printed as their graph. */
export function additionCases(): fc.Arbitrary<AdditionCase> {
  const one = fc.constantFrom(...Object.values(placeForms));
  const forms = fc.oneof(
    { weight: 2, arbitrary: one.map((each) => [each]) },
    { weight: 3, arbitrary: fc.tuple(one, one).map((both) => [...both]) },
  );
  const addition = (of: readonly PlaceForm[]): fc.Arbitrary<Addition> =>
    fc.record({
      forms: fc.constant(of),
      summed: fc.option(fc.constantFrom(1, 3)),
      condition: fc.boolean(),
    });
  const alike = (of: readonly PlaceForm[]): fc.Arbitrary<readonly PlaceForm[]> => {
    const shape = of.flatMap((each) => each.shape).join();
    const others = Object.values(placeForms).filter((each) => each.shape.join() === shape);
    return others.length === 0 ? fc.constant(of) : fc.constantFrom(of, ...others.map((each) => [each]));
  };
  return forms
    .chain((of) =>
      fc.tuple(
        addition(of),
        fc.option(alike(of).chain(addition)),
        fc.constantFrom("zeros" as const, "given" as const, "computed" as const),
        fc.constantFrom("f32" as const, "f16" as const),
      ),
    )
    .map(([first, second, base, dtype]) => {
      const made = additionCase(second === null ? [first] : [first, second], base, dtype);
      return { ...made, [fc.toStringMethod]: () => printGraph(made.graph) };
    });
}
