import { InternalError } from "../../diagnostic.js";
import { codeOf } from "../../formats/code/registry.js";
import { shapeOf } from "../../formats/registry.js";
import { intervalOf, type Bounds } from "../../graph/analysis/ranges.js";
import type { ConcreteGraph, IndexId, Range, Scalar } from "../../graph/graph.js";
import type { BinaryOp, UnaryOp } from "../../graph/ops.js";
import type { Load } from "../../graph/scalar.js";
import type { StorageMap } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, KernelBinary, KernelUnary } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Dtype } from "../../types/dtype.js";
import type { Concrete } from "../../types/type.js";
import { joinAxes } from "./axes.js";
import { bufferElement, type KernelBuilder } from "./builder.js";
import { accumulate, finishAccumulator, isUnevenMean, startAccumulator } from "./reduction.js";

/** What the lowering of a scalar expression needs to know of where it stands. */
export interface Scope {
  readonly graph: ConcreteGraph;
  readonly storage: StorageMap;
  readonly target: Target;
  readonly build: KernelBuilder;
  /** Of all indices of the graph. */
  readonly intervals: Bounds;
  /** Current value of each index, a u32 expression. */
  readonly indices: ReadonlyMap<IndexId, Expr>;
  /** Subexpressions that a schedule has computed already, by identity. */
  readonly known: ReadonlyMap<Scalar<Concrete>, Expr>;
  /** Indices that are i32 parameters of the kernel, by its name. */
  readonly parameters: ReadonlyMap<IndexId, string>;
  /** Tensors whose elements a schedule keeps elsewhere than in their storage: how to read one. */
  readonly held: ReadonlyMap<number, (scope: Scope, load: Load<Concrete>) => Expr>;
}

export type Index = Expr;
type S = Scalar<Concrete>;

/** The scope with more indices bound. */
export function withIndices(scope: Scope, indices: Iterable<readonly [IndexId, Expr]>): Scope {
  return { ...scope, indices: new Map([...scope.indices, ...indices]) };
}

/** The scope with more subexpressions known. */
export function withKnown(scope: Scope, known: Iterable<readonly [S, Expr]>): Scope {
  return { ...scope, known: new Map([...scope.known, ...known]) };
}

const unaryKernel = {
  negate: "negate",
  not: "not",
  abs: "abs",
  sign: "sign",
  sqrt: "sqrt",
  rsqrt: "rsqrt",
  exp: "exp",
  log: "log",
  sin: "sin",
  cos: "cos",
  tanh: "tanh",
  floor: "floor",
  ceil: "ceil",
  round: "round",
  round_f16: "round_f16",
} as const satisfies { [K in Exclude<UnaryOp, "bits" | "from_bits">]: KernelUnary };

const binaryKernel = {
  add: "add",
  subtract: "subtract",
  multiply: "multiply",
  divide: "divide",
  remainder: "remainder",
  power: "power",
  min: "min",
  max: "max",
  equal: "equal",
  not_equal: "not_equal",
  less: "less",
  less_equal: "less_equal",
  greater: "greater",
  greater_equal: "greater_equal",
  and: "and",
  or: "or",
  bit_and: "bit_and",
  bit_or: "bit_or",
  bit_xor: "bit_xor",
  shift_left: "shift_left",
  shift_right: "shift_right",
} as const satisfies { [K in BinaryOp]: KernelBinary };

/** The value of an element-wise expression, of the kernel type named like its dtype. */
export function lowerScalar(scope: Scope, scalar: S): Expr {
  const known = scope.known.get(scalar);
  if (known !== undefined) return known;
  const lower = (inner: S): Expr => lowerScalar(scope, inner);
  switch (scalar.kind) {
    case "constant":
      return k.literal(scalar.dtype, scalar.value);
    case "size":
      return k.i32(scalar.size);
    case "index":
      return k.convert("i32", lowerIndex(scope, scalar));
    case "load":
      return lowerLoad(scope, scalar);
    case "unary":
      if (scalar.op === "bits") return k.bitcast("u32", lower(scalar.a));
      if (scalar.op === "from_bits") return k.bitcast("f32", lower(scalar.a));
      return lowerUnary(scalar.op, lower(scalar.a));
    case "binary": {
      const [a, b] = [lower(scalar.a), lower(scalar.b)];
      if ((scalar.op === "divide" || scalar.op === "remainder") && (a.type === "i32" || a.type === "u32"))
        return divideIntegers(scalar.op, a, b);
      if (scalar.op === "shift_left" || scalar.op === "shift_right")
        return k.binary(binaryKernel[scalar.op], a, k.convert("u32", b));
      return k.binary(binaryKernel[scalar.op], a, b);
    }
    case "select":
      return lowerSelect(scope, scalar);
    case "cast":
      return lowerCast(scope.build, lower(scalar.a), scalar.dtype);
    case "reduce":
      return loopReduce(scope, scalar);
    default:
      return scalar satisfies never;
  }
}

/** An op of one operand; WGSL has no negation and no sign of u32. */
function lowerUnary(op: keyof typeof unaryKernel, a: Expr): Expr {
  if (a.type === "u32" && op === "negate") return k.sub(k.u32(0), a);
  if (a.type === "u32" && op === "sign") return k.min(a, 1);
  if (a.type === "f16" && op === "round_f16") return a;
  return k.unary(unaryKernel[op], a);
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
  const held = k.select(k.greaterEqual(value, beyond), largest, k.convert(dtype, value));
  return k.select(isNaN, 0, held);
}

/**
 * A non-negative i32 expression as u32: addresses are computed in u32 throughout, where division by a constant is
 * cheap. What cannot be shown non-negative goes through i32.
 */
export function lowerIndex(scope: Scope, scalar: S): Expr {
  const known = scope.known.get(scalar);
  if (known !== undefined) return k.convert("u32", known);
  if (scalar.kind === "index") {
    const local = scope.indices.get(scalar.index);
    if (local !== undefined) return local;
    const parameter = scope.parameters.get(scalar.index);
    if (parameter === undefined) throw new InternalError(`index ${scalar.name} has no value here`);
    return k.convert("u32", scope.build.parameter(parameter, "i32"));
  }
  if (scalar.kind === "constant" && scalar.value >= 0) return k.u32(scalar.value);
  if (scalar.kind === "size") return k.u32(scalar.size);
  if (scalar.kind === "binary" && isNatural(scope, scalar)) {
    const [a, b] = [lowerIndex(scope, scalar.a), lowerIndex(scope, scalar.b)];
    if (scalar.op === "add") return k.add(a, b);
    if (scalar.op === "multiply") return k.mul(a, b);
    if (scalar.op === "divide" || scalar.op === "remainder") return divideIntegers(scalar.op, a, b);
  }
  return k.convert("u32", lowerScalar(scope, scalar));
}

/**
 * Whether an i32 expression is the same in u32: made of non-negative parts by ops that keep it so, and what is divided
 * has
 * not become negative by wrapping around. Indices start at constants that are not negative, or are treated as data.
 */
function isNatural(scope: Scope, scalar: S): boolean {
  switch (scalar.kind) {
    case "constant":
      return scalar.value >= 0 && scalar.dtype === "i32";
    case "size":
    case "index":
      return true;
    case "binary": {
      if (scalar.dtype !== "i32" || !isNatural(scope, scalar.a) || !isNatural(scope, scalar.b)) return false;
      if (scalar.op === "divide" || scalar.op === "remainder")
        return intervalOf(scalar.a, scope.intervals).low >= 0 && intervalOf(scalar.b, scope.intervals).low >= 0;
      return scalar.op === "add" || scalar.op === "multiply";
    }
    default:
      return false;
  }
}

function lowerLoad(scope: Scope, load: S & { readonly kind: "load" }): Expr {
  const held = scope.held.get(load.tensor);
  if (held !== undefined) return held(scope, load);
  const value = scope.graph.values[load.tensor]!;
  const storage = scope.storage[load.tensor];
  if (storage === null || storage === undefined)
    return lowerParameter(
      scope,
      value.name,
      scope.graph.inputs.find((input) => input.value === load.tensor)?.name,
      load.dtype,
    );
  const { format } = value.type;
  const { shape, at: indices } =
    format === null && !load.guarded ? joinAxes(value.type.shape, load.at) : { shape: value.type.shape, at: load.at };
  const at: Expr[] = [];
  let inside: Expr | null = null;
  indices.forEach((scalar, axis) => {
    let index = lowerIndex(scope, scalar);
    const isSure = scalar.kind === "constant" && scalar.value >= 0 && scalar.value < shape[axis]!;
    if (load.guarded && !isSure) {
      // a negative i32 becomes a large u32, so one comparison serves both ends
      index = scope.build.bind("at", index);
      const within = k.less(index, shape[axis]!);
      inside = inside === null ? within : k.and(inside, within);
      index = k.select(within, index, 0);
    }
    at.push(index);
  });
  const loaded = loadElement(scope, load.tensor, at, shape);
  const element = format === null ? loaded : k.convert(value.type.dtype, loaded);
  if (inside === null) return element;
  return k.select(inside, element, k.literal(load.dtype, 0));
}

/**
 * The element of a tensor at u32 indices in range, f32 where the tensor is packed. `shape` is that of the tensor,
 * perhaps with axes joined.
 */
export function loadElement(
  scope: Scope,
  tensor: number,
  at: readonly Expr[],
  shape: readonly number[] = scope.graph.values[tensor]!.type.shape,
): Expr {
  const value = scope.graph.values[tensor]!;
  const storage = scope.storage[tensor]!;
  const { dtype, format } = value.type;
  if (format === null) {
    const element = bufferElement(dtype);
    const loaded = k.loadBuffer(scope.build.view(storage, element, "read"), element, flatten(shape, at));
    return dtype === "bool" ? k.notEqual(loaded, 0) : loaded;
  }
  const row = flatten(shape.slice(0, -1), at.slice(0, -1));
  return codeOf(format).locate(
    format,
    shapeOf(shape),
    scope.build.words(storage),
    scope.build.bind("row", row),
    scope.build.bind("column", at[at.length - 1] ?? k.u32(0)),
  );
}

/** The position of an element in row-major order. */
export function flatten(shape: readonly number[], at: readonly Expr[]): Expr {
  return at.reduce((sum, index, axis) => k.add(k.mul(sum, shape[axis]!), index), k.u32(0) as Expr);
}

function lowerParameter(scope: Scope, fallback: string, name: string | undefined, dtype: Dtype): Expr {
  const type = dtype === "f16" ? "f32" : dtype === "bool" ? "u32" : dtype;
  const parameter = scope.build.parameter(name ?? fallback, type);
  return dtype === "bool" ? k.notEqual(parameter, 0) : k.convert(dtype, parameter);
}

function lowerSelect(scope: Scope, scalar: S & { readonly kind: "select" }): Expr {
  const condition = lowerScalar(scope, scalar.condition);
  if (!isCostly(scope, scalar.then) && !isCostly(scope, scalar.otherwise))
    return k.select(condition, lowerScalar(scope, scalar.then), lowerScalar(scope, scalar.otherwise));
  const { build } = scope;
  const result = build.variable("chosen", k.literal(scalar.dtype, 0));
  build.when(
    condition,
    () => build.assign(result, lowerScalar(scope, scalar.then)),
    () => build.assign(result, lowerScalar(scope, scalar.otherwise)),
  );
  return result;
}

/** Whether computing it for nothing would be a waste that a branch saves. */
function isCostly(scope: Scope, scalar: S): boolean {
  if (scope.known.has(scalar)) return false;
  switch (scalar.kind) {
    case "reduce":
      return true;
    case "unary":
    case "cast":
      return isCostly(scope, scalar.a);
    case "binary":
      return isCostly(scope, scalar.a) || isCostly(scope, scalar.b);
    case "select":
      return isCostly(scope, scalar.condition) || isCostly(scope, scalar.then) || isCostly(scope, scalar.otherwise);
    default:
      return false;
  }
}

/** The bounds of a range as u32 expressions; a bound that is data and negative counts as 0. */
export function lowerRange(scope: Scope, range: Range<Concrete>): { readonly from: Expr; readonly to: Expr } {
  const bound = (scalar: S): Expr => {
    if (isNatural(scope, scalar) && intervalOf(scalar, scope.intervals).low >= 0) return lowerIndex(scope, scalar);
    return k.convert("u32", k.max(lowerScalar(scope, scalar), 0));
  };
  return { from: bound(range.low), to: bound(range.high) };
}

/** A reduction as loops of one invocation. */
export function loopReduce(scope: Scope, reduce: S & { readonly kind: "reduce" }): Expr {
  const { build } = scope;
  const accumulator = startAccumulator(build, reduce);
  let inner = scope;
  const counted = isUnevenMean(reduce) ? build.variable("count", k.u32(0)) : null;
  let count: Expr = k.u32(1);
  const nest = (depth: number): void => {
    const range = reduce.over[depth];
    if (range === undefined) {
      if (counted !== null) build.assign(counted, k.add(counted, 1));
      const index = inner.indices.get(reduce.over[0]!.index)!;
      accumulate(build, reduce.op, accumulator, reduceBody(inner, reduce, accumulator), index);
      return;
    }
    const { from, to } = lowerRange(inner, range);
    const end = build.bind("end", to);
    if (counted === null) count = k.mul(count, k.sub(k.max(end, from), from));
    build.loop(range.name, from, end, (index) => {
      const before = inner;
      inner = withIndices(inner, [[range.index, index]]);
      nest(depth + 1);
      inner = before;
    });
  };
  nest(0);
  return finishAccumulator(reduce, accumulator, counted ?? count);
}

/** The body of a reduction, converted to what its accumulator holds. */
export function reduceBody(scope: Scope, reduce: S & { readonly kind: "reduce" }, accumulator: readonly Expr[]): Expr {
  const body = lowerScalar(scope, reduce.body);
  const type = accumulator[0]!.type;
  return body.type === "bool" || body.type === type ? body : k.convert(type, body);
}
