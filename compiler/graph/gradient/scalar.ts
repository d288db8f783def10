/** The reverse of a scalar: what an adjoint of it adds to the adjoints of the elements that it loads. */
import { full, type Level } from "../../types/type.js";
import { binary, cast, constant, indexOf, integer, load, reduce, selectAll } from "../build.js";
import type { Range, Scalar, ValueId } from "../graph.js";
import { freeIndices, reduced, scalarKey, substitute, type Reduce } from "../scalar.js";
import { asF32, not, touches, type Contribution, type Derivation } from "./derivation.js";
import { isZero, sizeOf, widen } from "./extent.js";
import { hoistInside, isPolynomial, nameScalar, refuseUnbounded, type Surroundings } from "./hoist.js";
import { binaryRules, times, unaryRules } from "./rules.js";

/**
 * Adds the contributions of a scalar whose adjoint, f32, is given for every index in the ranges of `around`. Its
 * reductions are as `hoistReductions` leaves them. Gives the values that were defined on the way, whose own equations
 * are to be reversed next, last first.
 */
export function reverseScalar<L extends Level>(
  derivation: Derivation<L>,
  node: Scalar<L>,
  adjoint: Scalar<L>,
  around: Surroundings<L>,
): readonly ValueId[] {
  if (!touches(derivation, node)) return [];
  const go = (each: Scalar<L>, to: Scalar<L>, inner: Surroundings<L> = around): readonly ValueId[] =>
    reverseScalar(derivation, each, to, inner);
  switch (node.kind) {
    case "constant":
    case "index":
    case "size":
      return [];
    case "load":
      contribute(derivation, node.tensor, {
        ranges: around.ranges,
        at: node.at,
        body: selectAll(around.conditions, adjoint),
      });
      return [];
    case "unary": {
      const rule = unaryRules[node.op] as ((g: Scalar<L>, a: Scalar<L>) => Scalar<L>) | null;
      return rule === null ? [] : go(node.a, rule(adjoint, asF32(node.a)));
    }
    case "binary": {
      const rule = binaryRules[node.op] as
        | ((g: Scalar<L>, a: Scalar<L>, b: Scalar<L>) => { a: Scalar<L> | null; b: Scalar<L> | null })
        | null;
      if (rule === null) return [];
      const { a, b } = rule(adjoint, asF32(node.a), asF32(node.b));
      return [...(a === null ? [] : go(node.a, a)), ...(b === null ? [] : go(node.b, b))];
    }
    case "select":
      return [
        ...go(node.then, adjoint, { ...around, conditions: [...around.conditions, node.condition] }),
        ...go(node.otherwise, adjoint, { ...around, conditions: [...around.conditions, not(node.condition)] }),
      ];
    case "cast":
      return go(node.a, adjoint);
    case "reduce":
      return reverseReduction(derivation, node, adjoint, around);
    default:
      return node satisfies never;
  }
}

/** Adds to the adjoint of a value. */
export function contribute<L extends Level>(
  derivation: Derivation<L>,
  value: ValueId,
  contribution: Contribution<L>,
): void {
  if (contribution.body.kind === "constant" && contribution.body.value === 0) return;
  const known = derivation.contributions.get(value) ?? [];
  derivation.contributions.set(value, known);
  // what an element gets several times at the same place is one sum
  const key = placeKey(contribution);
  const same = known.findIndex((each) => placeKey(each) === key);
  const other = known[same];
  if (other === undefined) known.push(contribution);
  else known[same] = { ...other, body: binary("add", other.body, contribution.body) };
}

function placeKey<L extends Level>({ ranges, at }: Contribution<L>): string {
  return `${ranges.map((range) => range.index).join()} ${at.map((each) => scalarKey(each)).join()}`;
}

function reverseReduction<L extends Level>(
  derivation: Derivation<L>,
  node: Reduce<L>,
  adjoint: Scalar<L>,
  around: Surroundings<L>,
): readonly ValueId[] {
  const over = widenAll(derivation, node, around);
  if (over === null) return [];
  const inner: Surroundings<L> = {
    ...around,
    ranges: [...around.ranges, ...over.ranges],
    conditions: [...around.conditions, ...over.conditions],
  };
  switch (node.op) {
    case "sum":
      return reverseScalar(derivation, node.body, adjoint, inner);
    case "mean":
      return reverseScalar(derivation, node.body, binary("divide", adjoint, countOf(node)), inner);
    case "max":
    case "min":
      return reverseExtreme(derivation, node, adjoint, around, inner);
    case "softmax_mean":
      return reverseSoftmaxMean(derivation, node, adjoint, around, over);
    case "any":
    case "all":
    case "count":
    case "argmax":
      return [];
    default:
      return node.op satisfies never;
  }
}

interface Widening<L extends Level> {
  readonly ranges: readonly Range<L>[];
  readonly conditions: readonly Scalar<L>[];
}

function widenAll<L extends Level>(
  derivation: Derivation<L>,
  node: Reduce<L>,
  around: Surroundings<L>,
): Widening<L> | null {
  const ranges: Range<L>[] = [];
  const conditions: Scalar<L>[] = [];
  for (const range of node.over) {
    const wide = widen(range, reduced(node), (id) => derivation.host.value(id));
    if (wide === null) {
      refuseUnbounded(derivation, range, around.out);
      return null;
    }
    ranges.push(wide.range);
    conditions.push(...wide.conditions);
    for (const condition of wide.conditions) derivation.ofRanges.add(condition);
  }
  return { ranges, conditions };
}

/** How many elements a mean is of, as f32; where there are none nothing is divided by it. */
function countOf<L extends Level>(node: Reduce<L>): Scalar<L> {
  return node.over
    .map(({ low, high }) => asF32(isZero(low) ? high : binary("subtract", high, low)))
    .reduce((product, each) => times(product, each), constant<L>(1, "f32" as L["dtype"]));
}

/** Equals share the adjoint. */
function reverseExtreme<L extends Level>(
  derivation: Derivation<L>,
  node: Reduce<L>,
  adjoint: Scalar<L>,
  around: Surroundings<L>,
  inner: Surroundings<L>,
): readonly ValueId[] {
  const { host } = derivation;
  const found = load<L>(
    host.value(around.out),
    around.ranges.map((range) => indexOf<L>(range)),
  );
  const isBest = binary("equal", node.body, found);
  const ties = nameScalar(
    derivation,
    asF32(reduce<L>("count", node.over, isBest)),
    { ...around, before: undefined },
    "ties",
  );
  return reverseScalar(derivation, node.body, binary("divide", adjoint, ties), {
    ...inner,
    conditions: [...inner.conditions, isBest],
  });
}

/**
 * out = sum_c p_c v_c with p = softmax(s): dv_c = p_c dout, ds_c = p_c (dp_c - sum_c p_c dp_c) with dp_c = sum dout v_c
 * over what the scores do not depend on. Scores, p and dp are values of their own, computed once.
 */
function reverseSoftmaxMean<L extends Level>(
  derivation: Derivation<L>,
  node: Reduce<L>,
  adjoint: Scalar<L>,
  around: Surroundings<L>,
  over: Widening<L>,
): readonly ValueId[] {
  const { host } = derivation;
  const f32 = "f32" as L["dtype"];
  const here: Surroundings<L> = { ...around, before: undefined };
  const score = node.score ?? constant<L>(0, f32);
  const mark = host.eqns().length;

  const free = new Set(freeIndices(score));
  for (const condition of [...over.conditions, ...around.conditions])
    for (const index of freeIndices(condition)) free.add(index);
  const rows = around.ranges.filter((range) => free.has(range.index));
  const others = around.ranges.filter((range) => !free.has(range.index));
  const inner: Surroundings<L> = {
    ...here,
    ranges: [...rows, ...over.ranges],
    conditions: [...around.conditions, ...over.conditions],
  };
  const kept = derivation.kept.get(around.out) ?? host.value(around.out).type.dtype;

  /** A value over the rows, and over the reduction's indices where `all`. */
  const define = (name: string, all: boolean, body: Scalar<L>, dtype: L["dtype"]): Scalar<L> => {
    const from = all ? inner.ranges : rows;
    const axes = from.map((range) => host.range(range.name, integer<L>(0), range.high));
    const renamed = new Map(from.map((range, at) => [range.index, indexOf<L>(axes[at] as Range<L>)]));
    const out = host.define(
      name,
      { dtype, shape: from.map((range) => sizeOf(range.high) as L["size"]), pattern: full, format: null },
      (id) => ({ kind: "map", out: id, indices: axes, body: substitute(body, renamed) }),
    );
    return { kind: "load", tensor: out, at: from.map((range) => indexOf<L>(range)), dtype, guarded: false };
  };

  const s = nameScalar(derivation, score, inner, "score");
  if (s.kind !== "load") return [];
  const minusInfinity = constant<L>(-Infinity, f32);
  const counted = (value: Scalar<L>, otherwise: Scalar<L>): Scalar<L> => selectAll(inner.conditions, value, otherwise);
  const most = define("most", false, reduce<L>("max", over.ranges, counted(s, minusInfinity)), f32);
  const none = constant<L>(0, f32);
  const power = exp(binary("subtract", s, most));
  const total = define("total", false, reduce<L>("sum", over.ranges, counted(power, none)), f32);
  const p = asF32(define("weight", true, castTo(counted(binary("divide", power, total), none), kept), kept));

  // the value that is averaged, its reductions named; where nothing is counted the weight is 0
  const conditions = isPolynomial(node.body) ? around.conditions : inner.conditions;
  const valued: Surroundings<L> = { ...here, ranges: [...around.ranges, ...over.ranges], conditions };
  const body = hoistInside(derivation, node.body, valued);
  const found = [...reverseScalar(derivation, body, times(adjoint, p), valued)];

  if (touches(derivation, score)) {
    const product = times(adjoint, body);
    const dp = define(
      "weight_adjoint",
      true,
      others.length === 0 ? product : reduce<L>("sum", others, selectAll(around.conditions, product)),
      f32,
    );
    const mean = define("mean_adjoint", false, reduce<L>("sum", over.ranges, times(p, dp)), f32);
    contribute(derivation, s.tensor, {
      ranges: inner.ranges,
      at: s.at,
      body: selectAll(inner.conditions, times(p, binary("subtract", dp, mean))),
    });
  }
  const made = host
    .eqns()
    .slice(mark)
    .map((eqn) => eqn.out)
    .filter((out) => derivation.active.has(out));
  return [...new Set([...found, ...made])];
}

function exp<L extends Level>(a: Scalar<L>): Scalar<L> {
  return { kind: "unary", op: "exp", a, dtype: "f32" as L["dtype"] };
}

function castTo<L extends Level>(a: Scalar<L>, dtype: L["dtype"]): Scalar<L> {
  return dtype === "f32" ? a : cast(a, dtype);
}
