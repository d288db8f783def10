import { InternalError } from "../../diagnostic.js";
import { codeOf } from "../../formats/code/registry.js";
import { shapeOf } from "../../formats/registry.js";
import { intervalOf, type Bounds } from "../../graph/analysis/ranges.js";
import type { ConcreteGraph, IndexId, Range, Scalar, ValueId } from "../../graph/graph.js";
import { scalarKey, type Load, type Reduce } from "../../graph/scalar.js";
import type { StorageMap } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, KernelUnary } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Dtype } from "../../types/dtype.js";
import type { Concrete } from "../../types/type.js";
import { joinAxes } from "./axes.js";
import { bufferElement, type KernelBuilder } from "./builder.js";
import { accumulate, finishAccumulator, isUnevenMean, startAccumulator, type Accumulator } from "./reduction.js";

/** What the lowering of a scalar expression depends on beside the expression. */
export interface Environment {
  readonly graph: ConcreteGraph;
  readonly storage: StorageMap;
  readonly target: Target;
  readonly build: KernelBuilder;
  /** Of all indices of the graph. */
  readonly intervals: Bounds;
  /** Current value of each index, a u32 expression. */
  readonly indices: ReadonlyMap<IndexId, Expr>;
  /** Reductions that a schedule has computed already, by their keys. */
  readonly known: ReadonlyMap<string, Expr>;
  /** Indices that are i32 parameters of the kernel, by its name. */
  readonly parameters: ReadonlyMap<IndexId, string>;
  /** Tensors whose elements a schedule keeps elsewhere than in their storage: how to read one. */
  readonly readers: ReadonlyMap<ValueId, (environment: Environment, load: Load<Concrete>) => Expr>;
}

export type Index = Expr;
type S = Scalar<Concrete>;

/** The environment with more indices bound. */
export function withIndices(environment: Environment, indices: Iterable<readonly [IndexId, Expr]>): Environment {
  return { ...environment, indices: new Map([...environment.indices, ...indices]) };
}

/** The environment with more reductions known: wherever one that is the same stands, its value is taken. */
export function withKnown(
  environment: Environment,
  known: readonly (readonly [Reduce<Concrete>, Expr])[],
): Environment {
  return {
    ...environment,
    known: new Map([...environment.known, ...known.map(([reduce, value]) => [keyOf(reduce), value] as const)]),
  };
}

/** The keys of reductions, once asked for: every element of a tile asks. */
const keys = new WeakMap<Reduce<Concrete>, string>();

function keyOf(reduce: Reduce<Concrete>): string {
  let key = keys.get(reduce);
  if (key === undefined) keys.set(reduce, (key = scalarKey(reduce)));
  return key;
}

/** The value of a reduction that is known. */
function knownOf(environment: Environment, scalar: S): Expr | undefined {
  return scalar.kind === "reduce" && environment.known.size > 0 ? environment.known.get(keyOf(scalar)) : undefined;
}

/** The value of an element-wise expression, of the kernel type named like its dtype. */
export function lowerScalar(environment: Environment, scalar: S): Expr {
  const known = knownOf(environment, scalar);
  if (known !== undefined) return known;
  const lower = (inner: S): Expr => lowerScalar(environment, inner);
  switch (scalar.kind) {
    case "constant":
      return k.literal(scalar.dtype, scalar.value);
    case "size":
      return k.i32(scalar.size);
    case "index":
      return k.convert("i32", lowerIndex(environment, scalar));
    case "load":
      return lowerLoad(environment, scalar);
    case "unary":
      if (scalar.op === "bits") return k.bitcast("u32", lower(scalar.a));
      if (scalar.op === "from_bits") return k.bitcast("f32", lower(scalar.a));
      if (scalar.op === "stop") return lower(scalar.a);
      return lowerUnary(scalar.op, lower(scalar.a));
    case "binary": {
      if (scalar.op === "straight_through") return lower(scalar.b);
      const [a, b] = [lower(scalar.a), lower(scalar.b)];
      if ((scalar.op === "divide" || scalar.op === "remainder") && (a.type === "i32" || a.type === "u32"))
        return divideIntegers(scalar.op, a, b);
      if (scalar.op === "shift_left" || scalar.op === "shift_right") return k.binary(scalar.op, a, k.convert("u32", b));
      return k.binary(scalar.op, a, b);
    }
    case "select":
      return lowerSelect(environment, scalar);
    case "cast":
      return lowerCast(environment.build, lower(scalar.a), scalar.dtype);
    case "reduce":
      return loopReduce(environment, scalar);
    default:
      return scalar satisfies never;
  }
}

/** An op of one operand; WGSL has no negation and no sign of u32. */
function lowerUnary(op: KernelUnary, a: Expr): Expr {
  if (a.type === "u32" && op === "negate") return k.sub(k.u32(0), a);
  if (a.type === "u32" && op === "sign") return k.min(a, 1);
  if (a.type === "f16" && op === "round_f16") return a;
  return k.unary(op, a);
}

/** Integer division that gives 0 for a divisor of 0, which a literal is known not to be. */
function divideIntegers(op: "divide" | "remainder", a: Expr, b: Expr): Expr {
  if (k.literalValue(b) !== null) return k.literalValue(b) === 0 ? k.literal(a.type as "i32", 0) : k.binary(op, a, b);
  return k.select(k.equal(b, 0), 0, k.binary(op, a, k.select(k.equal(b, 0), 1, b)));
}

/** A conversion of the value; float to integer truncates and saturates, NaN to 0, to bool compares with zero. */
function lowerCast(build: KernelBuilder, given: Expr, dtype: Dtype): Expr {
  if (dtype === "bool") return given.type === "bool" ? given : k.notEqual(given, 0);
  if ((given.type !== "f32" && given.type !== "f16") || (dtype !== "i32" && dtype !== "u32"))
    return k.convert(dtype, given);
  const value = build.bind("value", k.convert("f32", given));
  // WGSL stops at the largest f32 that is in the range of the integers, and makes anything of NaN
  const [beyond, largest] = dtype === "i32" ? [2 ** 31, 2 ** 31 - 1] : [2 ** 32, 2 ** 32 - 1];
  const isNaN = k.greater(k.bitAnd(k.bitcast("u32", value), 0x7fffffff), 0x7f800000);
  const saturated = k.select(k.greaterEqual(value, beyond), largest, k.convert(dtype, value));
  return k.select(isNaN, 0, saturated);
}

/**
 * A non-negative i32 expression as u32: addresses are computed in u32 throughout, where division by a constant is
 * cheap. What cannot be shown non-negative goes through i32.
 */
export function lowerIndex(environment: Environment, scalar: S): Expr {
  const known = knownOf(environment, scalar);
  if (known !== undefined) return k.convert("u32", known);
  if (scalar.kind === "index") {
    const local = environment.indices.get(scalar.index);
    if (local !== undefined) return local;
    const parameter = environment.parameters.get(scalar.index);
    if (parameter === undefined) throw new InternalError(`index ${scalar.name} has no value here`);
    return k.convert("u32", environment.build.parameter(parameter, "i32"));
  }
  if (scalar.kind === "constant" && scalar.value >= 0) return k.u32(scalar.value);
  if (scalar.kind === "size") return k.u32(scalar.size);
  if (scalar.kind === "binary" && isNatural(environment, scalar)) {
    const [a, b] = [lowerIndex(environment, scalar.a), lowerIndex(environment, scalar.b)];
    if (scalar.op === "add") return k.add(a, b);
    if (scalar.op === "multiply") return k.mul(a, b);
    if (scalar.op === "divide" || scalar.op === "remainder") return divideIntegers(scalar.op, a, b);
  }
  return k.convert("u32", lowerScalar(environment, scalar));
}

/**
 * Whether an i32 expression is the same in u32: made of non-negative parts by ops that keep it so, and what is divided
 * has
 * not become negative by wrapping around. Indices start at constants that are not negative, or are treated as data.
 */
function isNatural(environment: Environment, scalar: S): boolean {
  switch (scalar.kind) {
    case "constant":
      return scalar.value >= 0 && scalar.dtype === "i32";
    case "size":
    case "index":
      return true;
    case "binary": {
      if (scalar.dtype !== "i32" || !isNatural(environment, scalar.a) || !isNatural(environment, scalar.b))
        return false;
      if (scalar.op === "divide" || scalar.op === "remainder")
        return (
          intervalOf(scalar.a, environment.intervals).low >= 0 && intervalOf(scalar.b, environment.intervals).low >= 0
        );
      return scalar.op === "add" || scalar.op === "multiply";
    }
    default:
      return false;
  }
}

function lowerLoad(environment: Environment, load: S & { readonly kind: "load" }): Expr {
  const reader = environment.readers.get(load.tensor);
  if (reader !== undefined) return reader(environment, load);
  const value = environment.graph.values[load.tensor]!;
  const storage = environment.storage[load.tensor];
  if (storage === null || storage === undefined)
    return lowerParameter(
      environment,
      value.name,
      environment.graph.inputs.find((input) => input.value === load.tensor)?.name,
      load.dtype,
    );
  const { format } = value.type;
  const { shape, at: indices } =
    format === null && !load.guarded ? joinAxes(value.type.shape, load.at) : { shape: value.type.shape, at: load.at };
  const at: Expr[] = [];
  let inside: Expr | null = null;
  indices.forEach((scalar, axis) => {
    let index = lowerIndex(environment, scalar);
    const inBounds = scalar.kind === "constant" && scalar.value >= 0 && scalar.value < shape[axis]!;
    if (load.guarded && !inBounds) {
      // a negative i32 becomes a large u32, so one comparison serves both ends
      index = environment.build.bind("at", index);
      const within = k.less(index, shape[axis]!);
      inside = inside === null ? within : k.and(inside, within);
      index = k.select(within, index, 0);
    }
    at.push(index);
  });
  const loaded = loadElement(environment, load.tensor, at, shape);
  const element = format === null ? loaded : k.convert(value.type.dtype, loaded);
  if (inside === null) return element;
  return k.select(inside, element, k.literal(load.dtype, 0));
}

/**
 * The element of a tensor at u32 indices in range, f32 where the tensor is packed. `shape` is that of the tensor,
 * perhaps with axes joined.
 */
export function loadElement(
  environment: Environment,
  tensor: number,
  at: readonly Expr[],
  shape: readonly number[] = environment.graph.values[tensor]!.type.shape,
): Expr {
  const value = environment.graph.values[tensor]!;
  const storage = environment.storage[tensor]!;
  const { dtype, format } = value.type;
  if (format === null) {
    const element = bufferElement(dtype);
    const loaded = k.loadBuffer(environment.build.view(storage, element, "read"), element, flatten(shape, at));
    return dtype === "bool" ? k.notEqual(loaded, 0) : loaded;
  }
  const row = flatten(shape.slice(0, -1), at.slice(0, -1));
  return codeOf(format).locate(
    format,
    shapeOf(shape),
    environment.build.words(storage),
    environment.build.bind("row", row),
    environment.build.bind("column", at[at.length - 1] ?? k.u32(0)),
  );
}

/** The position of an element in row-major order. */
export function flatten(shape: readonly number[], at: readonly Expr[]): Expr {
  return at.reduce((sum, index, axis) => k.add(k.mul(sum, shape[axis]!), index), k.u32(0) as Expr);
}

function lowerParameter(environment: Environment, fallback: string, name: string | undefined, dtype: Dtype): Expr {
  const type = dtype === "f16" ? "f32" : dtype === "bool" ? "u32" : dtype;
  const parameter = environment.build.parameter(name ?? fallback, type);
  return dtype === "bool" ? k.notEqual(parameter, 0) : k.convert(dtype, parameter);
}

function lowerSelect(environment: Environment, scalar: S & { readonly kind: "select" }): Expr {
  const condition = lowerScalar(environment, scalar.condition);
  if (!isCostly(environment, scalar.then) && !isCostly(environment, scalar.otherwise))
    return k.select(condition, lowerScalar(environment, scalar.then), lowerScalar(environment, scalar.otherwise));
  const { build } = environment;
  const result = build.variable("chosen", k.literal(scalar.dtype, 0));
  build.when(
    condition,
    () => build.assign(result, lowerScalar(environment, scalar.then)),
    () => build.assign(result, lowerScalar(environment, scalar.otherwise)),
  );
  return result;
}

/** Whether computing it for nothing would be a waste that a branch saves. */
function isCostly(environment: Environment, scalar: S): boolean {
  if (knownOf(environment, scalar) !== undefined) return false;
  switch (scalar.kind) {
    case "reduce":
      return true;
    case "unary":
    case "cast":
      return isCostly(environment, scalar.a);
    case "binary":
      return isCostly(environment, scalar.a) || isCostly(environment, scalar.b);
    case "select":
      return (
        isCostly(environment, scalar.condition) ||
        isCostly(environment, scalar.then) ||
        isCostly(environment, scalar.otherwise)
      );
    default:
      return false;
  }
}

/** The bounds of a range as u32 expressions; a bound that is data and negative counts as 0. */
export function lowerRange(
  environment: Environment,
  range: Range<Concrete>,
): { readonly from: Expr; readonly to: Expr } {
  const bound = (scalar: S): Expr => {
    if (isNatural(environment, scalar) && intervalOf(scalar, environment.intervals).low >= 0)
      return lowerIndex(environment, scalar);
    return k.convert("u32", k.max(lowerScalar(environment, scalar), 0));
  };
  return { from: bound(range.low), to: bound(range.high) };
}

/** A reduction as loops of one invocation. */
function loopReduce(environment: Environment, reduce: Reduce<Concrete>): Expr {
  const accumulator = startAccumulator(environment.build, reduce);
  return finishAccumulator(reduce, accumulator, reduceLoops(environment, reduce, accumulator, null));
}

/**
 * The loops of a reduction, of which the invocation takes all, or where it is shared those steps of the innermost that
 * are its own. `outermost`: the bounds of the first range where they are at hand. Returns the number of elements of
 * all, u32.
 */
export function reduceLoops(
  environment: Environment,
  reduce: Reduce<Concrete>,
  accumulator: Accumulator,
  share: { readonly lanes: number; readonly lane: Expr } | null,
  outermost: { readonly from: Expr; readonly to: Expr } | null = null,
): Expr {
  const { build } = environment;
  const counted = isUnevenMean(reduce) ? build.variable("count", k.u32(0)) : null;
  let count: Expr = k.u32(1);
  const nest = (inner: Environment, depth: number): void => {
    const range = reduce.over[depth];
    if (range === undefined) {
      if (counted !== null) build.assign(counted, k.add(counted, 1));
      const index = inner.indices.get(reduce.over[0]!.index)!;
      const score = reduce.score === null ? null : build.bind("score", lowerScalar(inner, reduce.score));
      accumulate(build, reduce.op, accumulator, reduceBody(inner, reduce, accumulator), index, score);
      return;
    }
    const { from, to } = (depth === 0 ? outermost : null) ?? lowerRange(inner, range);
    const end = build.bind("end", to);
    if (counted === null) count = k.mul(count, k.sub(k.max(end, from), from));
    const shared = depth === reduce.over.length - 1 ? share : null;
    build.loop(
      range.name,
      shared === null ? from : k.add(from, shared.lane),
      end,
      (index) => nest(withIndices(inner, [[range.index, index]]), depth + 1),
      shared?.lanes ?? 1,
    );
  };
  nest(environment, 0);
  return counted ?? count;
}

/** The body of a reduction, converted to what its accumulator holds. */
export function reduceBody(
  environment: Environment,
  reduce: S & { readonly kind: "reduce" },
  accumulator: readonly Expr[],
): Expr {
  const body = lowerScalar(environment, reduce.body);
  const type = accumulator[0]!.type;
  return body.type === "bool" || body.type === type ? body : k.convert(type, body);
}
