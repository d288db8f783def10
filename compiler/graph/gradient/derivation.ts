/** What is known while gradients are derived, and which scalars they go through. */
import { isFloat } from "../../types/dtype.js";
import type { DtypeRef } from "../../types/dtype.js";
import type { Span } from "../../diagnostic.js";
import type { Level } from "../../types/type.js";
import { cast, constant, selectAll, unary } from "../build.js";
import type { Range, Scalar, ValueId } from "../graph.js";
import type { ReduceOp } from "../ops.js";
import { dtypeOf, reduced } from "../scalar.js";
import type { GradientHost } from "./host.js";
import { binaryRules, unaryRules } from "./rules.js";

/** Adds `body`, f32, to the adjoint of a value at the places `at`, for every index in the ranges. */
export interface Contribution<L extends Level> {
  readonly ranges: readonly Range<L>[];
  readonly at: readonly Scalar<L>[];
  readonly body: Scalar<L>;
}

/** Why there is no gradient: for a diagnostic. */
export interface GradientFault {
  readonly kind: "refused" | "independent" | "unbounded";
  readonly message: string;
  readonly span: Span | null;
  readonly help: string | null;
  readonly labels: readonly { readonly span: Span; readonly message: string }[];
}

export interface Derivation<L extends Level> {
  readonly host: GradientHost<L>;
  /** Whether rounding to a grid counts as having no effect on the gradient, or ends it. */
  readonly packs: "stop" | "through";
  /** The values that a gradient is asked by, and those that depend on them. */
  readonly active: Set<ValueId>;
  /** What adjoints are made of, by value. */
  readonly contributions: Map<ValueId, Contribution<L>[]>;
  /** The dtype in which the adjoint of a value is kept, where that is another than its own. */
  readonly kept: Map<ValueId, L["dtype"]>;
  readonly faults: GradientFault[];
  /** Conditions that say no more than that an index is within its range: beyond it nothing counts. */
  readonly ofRanges: Set<Scalar<L>>;
  /** Whether a scalar `touches`, as far as it was asked. */
  readonly touched: Map<Scalar<L>, boolean>;
}

/** Whether what a reduction gives changes smoothly with what it reduces. */
const slopes: { readonly [K in ReduceOp]: boolean } = {
  sum: true,
  mean: true,
  max: true,
  min: true,
  softmax_mean: true,
  any: false,
  all: false,
  count: false,
  argmax: false,
};

/** Whether a scalar has a dtype that gradients are of. */
export function isSmooth<L extends Level>(scalar: Scalar<L>): boolean {
  return isFloat(dtypeOf(scalar) as DtypeRef);
}

/** The operands that a gradient of a scalar goes on to. */
export function smoothOperands<L extends Level>(node: Scalar<L>): readonly Scalar<L>[] {
  if (!isSmooth(node)) return [];
  switch (node.kind) {
    case "constant":
    case "index":
    case "size":
    case "load":
      return [];
    case "unary":
      return unaryRules[node.op] === null ? [] : [node.a];
    case "binary":
      if (binaryRules[node.op] === null) return [];
      return node.op === "straight_through" ? [node.a] : [node.a, node.b];
    case "select":
      return [node.then, node.otherwise];
    case "cast":
      return isSmooth(node.a) ? [node.a] : [];
    case "reduce":
      return slopes[node.op] ? reduced(node) : [];
    default:
      return node satisfies never;
  }
}

/** Whether a gradient of the scalar reaches a value that counts. */
export function touches<L extends Level>(derivation: Derivation<L>, scalar: Scalar<L>): boolean {
  const known = derivation.touched.get(scalar);
  if (known !== undefined) return known;
  const found =
    scalar.kind === "load"
      ? isSmooth(scalar) && derivation.active.has(scalar.tensor)
      : smoothOperands(scalar).some((each) => touches(derivation, each));
  derivation.touched.set(scalar, found);
  return found;
}

/** A scalar as f32. */
export function asF32<L extends Level>(scalar: Scalar<L>): Scalar<L> {
  const dtype = dtypeOf(scalar);
  if (dtype === "f32") return scalar;
  if (scalar.kind === "constant") return constant<L>(scalar.value, "f32" as L["dtype"]);
  return cast(scalar, "f32" as L["dtype"]);
}

/** A scalar where all conditions hold, else 0, each condition in a `select` of its own. */
export function nested<L extends Level>(conditions: readonly Scalar<L>[], scalar: Scalar<L>): Scalar<L> {
  return conditions.reduceRight((inner, condition) => selectAll([condition], inner), scalar);
}

/** That a condition does not hold. */
export function not<L extends Level>(condition: Scalar<L>): Scalar<L> {
  return unary("not", condition);
}
