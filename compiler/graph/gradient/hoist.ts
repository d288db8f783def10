/**
 * Reductions whose value a gradient needs, or whose adjoint is no plain element, made into values of their own: each
 * then is computed once, and so is its adjoint.
 */
import type { DtypeRef } from "../../types/dtype.js";
import { isFloat } from "../../types/dtype.js";
import { full, type Level } from "../../types/type.js";
import { binary, indexOf, integer } from "../build.js";
import type { Eqn, IndexId, Range, Scalar, ValueId } from "../graph.js";
import {
  children,
  dtypeOf,
  freeIndices,
  mapChildren,
  mapScalar,
  reduced,
  scalarKey,
  scalarReductions,
  substitute,
  type Reduce,
} from "../scalar.js";
import { nested, not, touches, type Derivation } from "./derivation.js";
import { isZero, sameBound, sizeOf, widen } from "./extent.js";
import type { GradientHost } from "./host.js";

/** Where a scalar stands: the indices around it, and when it is computed. */
export interface Surroundings<L extends Level> {
  readonly ranges: readonly Range<L>[];
  readonly conditions: readonly Scalar<L>[];
  /** The value whose equation it belongs to. */
  readonly out: ValueId;
  /** New equations stand before that of this value, or at the end. */
  readonly before: ValueId | undefined;
  /** What has a name already, by its text and the conditions under which it is computed. */
  readonly named: Map<string, Scalar<L>>;
  /** The texts of reductions that the equation computes whatever its conditions are. */
  readonly always: ReadonlySet<string>;
}

/** What stands around the body of an equation. */
export function surroundings<L extends Level>(
  ranges: readonly Range<L>[],
  out: ValueId,
  before: ValueId | undefined,
  body: Scalar<L>,
): Surroundings<L> {
  return { ranges, conditions: [], out, before, named: new Map(), always: new Set(computedAlways(body)) };
}

function computedAlways<L extends Level>(node: Scalar<L>): readonly string[] {
  if (node.kind === "reduce") return [scalarKey(node)];
  return (node.kind === "select" ? [node.condition] : children(node)).flatMap((each) => computedAlways(each));
}

/**
 * The equation in a form in which the gradient of each reduction that is left is a plain element of the adjoint of
 * `out`, and reductions stand nowhere else; what else it reduces is defined before it. The values stay the same.
 */
export function hoistReductions<L extends Level>(
  derivation: Derivation<L>,
  eqn: Extract<Eqn<L>, { kind: "map" | "update" }>,
): void {
  const around = surroundings(eqn.indices, eqn.out, eqn.out, eqn.body);
  const body = hoistFrom(derivation, eqn.body, around, true);
  if (body !== eqn.body) derivation.host.replace(eqn.out, { ...eqn, body });
}

/** The same for a scalar; `root`: it is all of the equation, so that a largest or smallest element may stay. */
function hoistFrom<L extends Level>(
  derivation: Derivation<L>,
  node: Scalar<L>,
  around: Surroundings<L>,
  root: boolean,
): Scalar<L> {
  if (!touches(derivation, node)) return node;
  switch (node.kind) {
    case "cast":
      return mapChildren(node, (each) => hoistFrom(derivation, each, around, false));
    case "unary":
      if (node.op !== "negate") break;
      return mapChildren(node, (each) => hoistFrom(derivation, each, around, false));
    case "binary":
      if (node.op !== "add" && node.op !== "subtract") break;
      return mapChildren(node, (each) => hoistFrom(derivation, each, around, false));
    case "select":
      return mapBranches(node, around, (each, inner) => hoistFrom(derivation, each, inner, false));
    case "reduce": {
      const free = freeIndices(node);
      const ofAll = around.ranges.every((range) => free.has(range.index));
      // the two halves of a mean by softmax are named when its gradient is made: the equation itself stays whole
      if (node.op === "softmax_mean" && ofAll) return node;
      if ((node.op === "sum" || node.op === "mean") && ofAll) return withoutInner(derivation, node, around);
      if ((node.op === "max" || node.op === "min") && root) return withoutInner(derivation, node, around);
      break;
    }
    default:
      break;
  }
  return hoistInside(derivation, node, around);
}

/** A reduction with the reductions in its body hoisted. */
function withoutInner<L extends Level>(derivation: Derivation<L>, node: Reduce<L>, around: Surroundings<L>): Scalar<L> {
  const inner = { ...around, ranges: [...around.ranges, ...node.over] };
  const body = hoistInside(derivation, node.body, inner);
  return body === node.body ? node : { ...node, body };
}

/** Every reduction in a scalar, the outermost of them, as a value of its own. */
export function hoistInside<L extends Level>(
  derivation: Derivation<L>,
  node: Scalar<L>,
  around: Surroundings<L>,
): Scalar<L> {
  if (node.kind === "reduce") {
    const text = scalarKey(node);
    const place = around.always.has(text) ? { ...around, conditions: [] } : around;
    const key = [text, ...place.conditions.map((each) => scalarKey(each))].join(" if ");
    const found = around.named.get(key) ?? nameScalar(derivation, node, place, node.op);
    around.named.set(key, found);
    return found;
  }
  if (node.kind === "select") return mapBranches(node, around, (each, inner) => hoistInside(derivation, each, inner));
  return mapChildren(node, (each) => hoistInside(derivation, each, around));
}

function mapBranches<L extends Level>(
  node: Extract<Scalar<L>, { kind: "select" }>,
  around: Surroundings<L>,
  visit: (each: Scalar<L>, around: Surroundings<L>) => Scalar<L>,
): Scalar<L> {
  const condition = visit(node.condition, around);
  const then = visit(node.then, { ...around, conditions: [...around.conditions, condition] });
  const otherwise = visit(node.otherwise, { ...around, conditions: [...around.conditions, not(condition)] });
  return condition === node.condition && then === node.then && otherwise === node.otherwise
    ? node
    : { ...node, condition, then, otherwise };
}

/**
 * An element of a new value that holds a scalar for all indices that decide it, 0 where it is not computed. Its adjoint
 * is kept in the dtype of the equation that it came from.
 */
export function nameScalar<L extends Level>(
  derivation: Derivation<L>,
  scalar: Scalar<L>,
  around: Surroundings<L>,
  name: string,
): Scalar<L> {
  const { host } = derivation;
  const free = new Set<IndexId>();
  // of finite elements a polynomial is finite, and where a range does not count its adjoint is 0
  const polynomial = isPolynomial(scalar);
  const conditions = around.conditions.filter((each) => !polynomial || !derivation.ofRanges.has(each));
  const widened = new Set<IndexId>();
  for (const each of around.conditions)
    if (derivation.ofRanges.has(each)) for (const index of freeIndices(each)) widened.add(index);
  const told = conditions.some((each) => !derivation.ofRanges.has(each));
  for (const each of [scalar, ...conditions]) for (const index of freeIndices(each)) free.add(index);
  const decisive: Range<L>[] = [];
  // from the inside out, for the bounds of a range may depend on those around it
  for (const range of [...around.ranges].reverse()) {
    if (!free.has(range.index)) continue;
    const wide = widen(range, reducedBy(scalar), (id) => host.value(id));
    if (wide === null) {
      refuseUnbounded(derivation, range, around.out);
      continue;
    }
    decisive.unshift(wide.range);
    const outside = isZero(wide.range.low)
      ? wide.conditions
      : [...wide.conditions, binary("greater_equal", indexOf<L>(wide.range), wide.range.low)];
    if (outside.length > 0) widened.add(range.index);
    if (polynomial) continue;
    for (const condition of outside) {
      conditions.push(condition);
      derivation.ofRanges.add(condition);
      for (const index of freeIndices(condition)) free.add(index);
    }
  }
  const axes = decisive.map((range) => host.range(range.name, integer<L>(0), range.high));
  const renamed = new Map(decisive.map((range, at) => [range.index, indexOf<L>(axes[at] as Range<L>)]));
  const shape = decisive.map((range) => sizeOf(range.high) as L["size"]);
  const guard = (each: Scalar<L>): Scalar<L> =>
    conditions.length > 0 || widened.size > 0
      ? guardLoads(each, {
          host,
          ranges: [...decisive, ...scalarReductions(each).flatMap((reduction) => reduction.over)],
          doubtful: told ? null : widened,
        })
      : each;
  const moved = conditions.map((each) => substitute(guard(each), renamed));
  conditions.forEach((each, at) => {
    const now = moved[at];
    if (now !== undefined && derivation.ofRanges.has(each)) derivation.ofRanges.add(now);
  });
  const body = nested(moved, substitute(guard(scalar), renamed));
  const dtype = dtypeOf(scalar) as L["dtype"];
  const out = host.define(
    name,
    { dtype, shape, pattern: full, format: null },
    (id) => ({ kind: "map", out: id, indices: axes, body }),
    around.before,
  );
  if (touches(derivation, scalar)) derivation.active.add(out);
  const own = derivation.kept.get(around.out) ?? host.value(around.out).type.dtype;
  if (isFloat(own as DtypeRef)) derivation.kept.set(out, own);
  hoistDefined(derivation, out);
  return { kind: "load", tensor: out, at: decisive.map((range) => indexOf<L>(range)), dtype, guarded: false };
}

function hoistDefined<L extends Level>(derivation: Derivation<L>, out: ValueId): void {
  const eqn = definition(derivation.host, out);
  if (eqn?.kind === "map" && touches(derivation, eqn.body)) hoistReductions(derivation, eqn);
}

/** The equation that defines a value. */
export function definition<L extends Level>(host: GradientHost<L>, out: ValueId): Eqn<L> | undefined {
  return host.eqns().find((eqn) => eqn.out === out);
}

/** Says that no size bounds a reduction. */
export function refuseUnbounded<L extends Level>(derivation: Derivation<L>, range: Range<L>, out: ValueId): void {
  derivation.faults.push({
    kind: "unbounded",
    message: `the gradient of a reduction over \`${range.name}\` needs a size that its upper bound never exceeds`,
    span: derivation.host.value(out).span,
    help: `bound it: \`min(..., C)\`, with C the size of the axis that \`${range.name}\` runs over`,
    labels: [],
  });
}

function reducedBy<L extends Level>(scalar: Scalar<L>): readonly Scalar<L>[] {
  return scalar.kind === "reduce" ? [...reduced(scalar), ...scalar.over.flatMap((r) => [r.low, r.high])] : [scalar];
}

/** What is known of the indices in a scalar that is computed where nothing may need it. */
interface Guarding<L extends Level> {
  readonly host: GradientHost<L>;
  readonly ranges: readonly Range<L>[];
  /** The indices that may be where the scalar is not needed; null: whatever they are, it may not be needed. */
  readonly doubtful: ReadonlySet<IndexId> | null;
}

/** A scalar whose loads give 0 out of range, where that may be. */
function guardLoads<L extends Level>(scalar: Scalar<L>, { host, ranges, doubtful }: Guarding<L>): Scalar<L> {
  const isAxis = (at: Scalar<L>, size: L["size"] | undefined): boolean => {
    if (at.kind !== "index" || size === undefined) return false;
    const high = ranges.find((range) => range.index === at.index)?.high;
    const bound = high === undefined ? null : sizeOf(high);
    return bound !== null && sameBound(bound, size);
  };
  return mapScalar(scalar, (node) => {
    if (node.kind !== "load" || node.guarded) return node;
    const { shape } = host.value(node.tensor).type;
    const safe = node.at.every(
      (at, axis) =>
        isAxis(at, shape[axis]) || (doubtful !== null && ![...freeIndices(at)].some((index) => doubtful.has(index))),
    );
    return safe ? node : { ...node, guarded: true };
  });
}

/** Whether a scalar is made of sums and products alone. */
export function isPolynomial<L extends Level>(scalar: Scalar<L>): boolean {
  switch (scalar.kind) {
    case "constant":
    case "load":
      return true;
    case "unary":
      return scalar.op === "negate" && isPolynomial(scalar.a);
    case "binary":
      return ["add", "subtract", "multiply"].includes(scalar.op) && isPolynomial(scalar.a) && isPolynomial(scalar.b);
    case "cast":
      return isFloat(dtypeOf(scalar.a) as DtypeRef) && isPolynomial(scalar.a);
    case "reduce":
      return scalar.op === "sum" && isPolynomial(scalar.body);
    case "index":
    case "size":
    case "select":
      return false;
    default:
      return scalar satisfies never;
  }
}
