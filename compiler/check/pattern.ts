import type { Eqn, Scalar, Value, ValueId } from "../graph/graph.js";
import { substitute } from "../graph/scalar.js";
import type { BinaryOp, UnaryOp } from "../types/scalar-ops.js";
import { printSize, sameSize, sizeValue } from "../types/size.js";
import { full, type Pattern, type TensorType } from "../types/type.js";

/** A pattern that says something. */
export type Sparse = Exclude<Pattern, { kind: "full" }>;

/**
 * A reason for a scalar to be zero: wherever `pattern`'s mask is false. Two scalars with the same key are zero at the
 * same places; the key is the mask, or the tensor itself where its mask is not known.
 */
interface Zeros {
  readonly key: string;
  readonly pattern: Sparse;
}

/** What patterns are inferred from: the values with theirs, and the equations that define them. */
interface Known {
  readonly values: readonly Value[];
  readonly producer: ReadonlyMap<ValueId, Eqn>;
}

/** The pattern of the value that an equation defines. `type` is its type without the pattern. */
export function inferPattern(
  eqn: Eqn,
  list: readonly Value[],
  type: TensorType,
  producer: ReadonlyMap<ValueId, Eqn> = new Map(),
): Pattern {
  const values: Known = { values: list, producer };
  switch (eqn.kind) {
    case "map": {
      if (eqn.indices.length === 0) return full;
      const at: readonly Scalar[] = eqn.indices.map((range) => ({
        kind: "index",
        index: range.index,
        name: range.name,
      }));
      return fitting(best(zerosOf(eqn.body, at, values)), type, list);
    }
    case "update": {
      const base = zerosOfTensor(eqn.base, values);
      if (isZero(eqn.body)) return best(base);
      const body = zerosOf(eqn.body, eqn.at, values);
      return fitting(best(eqn.op === "set" && coversAll(eqn, type) ? body : intersect(base, body)), type, list);
    }
    // of every group of m at most n are kept
    case "top":
      return type.dtype === "bool" ? { kind: "nm", n: eqn.n, m: eqn.m, axis: eqn.axis, mask: eqn.out } : full;
    case "pack":
      return list[eqn.source]?.type.pattern ?? full;
    // what is corrected is zero nowhere for sure
    case "plus":
      return full;
    // the states of a scan are settled by `scan.ts`; a factor is zero above the diagonal, which no pattern says
    case "scan":
    case "factorize":
      return full;
    default:
      return eqn satisfies never;
  }
}

/** Whether whatever has the pattern `have` also has `want`: 2:4 is 3:4, and 4:8 too. */
export function impliesPattern(have: Pattern, want: Pattern): boolean {
  if (want.kind === "full") return true;
  if (have.kind === "full") return false;
  if (want.kind === "masked") return true;
  if (have.kind !== "nm" || have.axis !== want.axis) return false;
  if (sameSize(have.n, want.n) && sameSize(have.m, want.m)) return true;
  const [n, m, n2, m2] = [sizeValue(have.n), sizeValue(have.m), sizeValue(want.n), sizeValue(want.m)];
  if (n === null || m === null || n2 === null || m2 === null || m === 0) return false;
  return m2 % m === 0 && n * (m2 / m) <= n2;
}

/** A pattern in words: `2:4`, `unstructured`, `full`. */
export function printPattern(pattern: Pattern): string {
  switch (pattern.kind) {
    case "full":
      return "full";
    case "masked":
      return "unstructured";
    case "nm":
      return `${printSize(pattern.n)}:${printSize(pattern.m)}`;
    default:
      return pattern satisfies never;
  }
}

/**
 * Why a value has not the pattern that is wanted: the first equation on its way, going back, that reads something with
 * the pattern and makes something without. Null where nothing on the way ever had it.
 */
export function whereLost(
  value: ValueId,
  want: Pattern,
  values: readonly Value[],
  producer: ReadonlyMap<ValueId, Eqn>,
): { readonly eqn: Eqn; readonly from: ValueId } | null {
  const seen = new Set<ValueId>();
  // a state that loses its pattern in the course of the steps had it before the first
  const patternAt = (id: ValueId): Pattern => {
    const eqn = producer.get(id);
    const state = eqn?.kind === "scan" ? eqn.states.find((each) => each.before === id) : undefined;
    return values[state?.initial ?? id]?.type.pattern ?? full;
  };
  const visit = (id: ValueId): { readonly eqn: Eqn; readonly from: ValueId } | null => {
    if (seen.has(id)) return null;
    seen.add(id);
    const eqn = producer.get(id);
    if (eqn === undefined) return null;
    const from = aligned(eqn, id);
    for (const source of from)
      if (impliesPattern(patternAt(source), want) && values[source]?.type.dtype !== "bool")
        return { eqn, from: source };
    for (const source of from) {
      const found = visit(source);
      if (found !== null) return found;
    }
    return null;
  };
  return visit(value);
}

/** Whether an update addresses every element, each at its own indices. */
function coversAll(eqn: Extract<Eqn, { kind: "update" }>, type: TensorType): boolean {
  const distinct = new Set(eqn.at.map((at) => (at.kind === "index" ? at.index : null)));
  return (
    type.shape.length === eqn.at.length &&
    distinct.size === eqn.at.length &&
    eqn.at.every((at, axis) => {
      const range = eqn.indices.find((candidate) => at.kind === "index" && candidate.index === at.index);
      const size = type.shape[axis];
      return (
        range !== undefined &&
        size !== undefined &&
        isZeroSize(range.low) &&
        range.high.kind === "size" &&
        sameSize(range.high.size, size)
      );
    })
  );
}

function isZeroSize(scalar: Scalar): boolean {
  return isZero(scalar) || (scalar.kind === "size" && sizeValue(scalar.size) === 0);
}

/** The tensors that stand in an equation element against element with what it defines. */
function aligned(eqn: Eqn, id: ValueId): readonly ValueId[] {
  if (eqn.kind === "pack") return [eqn.source];
  if (eqn.kind === "scan")
    return eqn.states.flatMap((state) =>
      state.out === id ? [state.after] : state.before === id ? [state.initial] : [],
    );
  if (eqn.kind === "plus") return [eqn.packed];
  if (eqn.kind === "top" || eqn.kind === "factorize") return [];
  const at: readonly Scalar[] =
    eqn.kind === "update"
      ? eqn.at
      : eqn.indices.map((range) => ({ kind: "index", index: range.index, name: range.name }));
  const found: ValueId[] = eqn.kind === "update" ? [eqn.base] : [];
  const visit = (scalar: Scalar): void => {
    if (scalar.kind === "load" && sameAt(scalar.at, at)) found.push(scalar.tensor);
    for (const part of parts(scalar)) visit(part);
  };
  visit(eqn.body);
  return found;
}

function parts(scalar: Scalar): readonly Scalar[] {
  switch (scalar.kind) {
    case "unary":
    case "cast":
      return [scalar.a];
    case "binary":
      return [scalar.a, scalar.b];
    case "select":
      return [scalar.then, scalar.otherwise];
    case "reduce":
      return [scalar.body];
    case "constant":
    case "index":
    case "size":
    case "load":
      return [];
    default:
      return scalar satisfies never;
  }
}

/** Unary ops with f(0) = 0 (false for `not`). */
const keepsZero: { readonly [K in UnaryOp]: boolean } = {
  negate: true,
  not: false,
  abs: true,
  sign: true,
  sqrt: true,
  rsqrt: false,
  exp: false,
  log: false,
  sin: true,
  cos: false,
  tanh: true,
  floor: true,
  ceil: true,
  round: true,
  round_f16: true,
  bits: false,
  from_bits: true,
  stop: true,
};

/** How zeros of the operands make zeros of the result: where either is zero, where both are, where the left or the right one is. */
const zeroRule: { readonly [K in BinaryOp]: "either" | "both" | "left" | "right" | "none" } = {
  add: "both",
  subtract: "both",
  multiply: "either",
  divide: "left",
  remainder: "left",
  power: "none",
  min: "both",
  max: "both",
  equal: "none",
  not_equal: "none",
  less: "none",
  less_equal: "none",
  greater: "none",
  greater_equal: "none",
  and: "either",
  or: "both",
  bit_and: "either",
  bit_or: "both",
  bit_xor: "both",
  shift_left: "left",
  shift_right: "left",
  straight_through: "right",
};

/**
 * Why a scalar is zero, at the element `at` of the tensor being defined. Arithmetic is over finite numbers: 0 * x = 0.
 */
function zerosOf(scalar: Scalar, at: readonly Scalar[], values: Known, depth = 0): readonly Zeros[] {
  switch (scalar.kind) {
    case "constant":
    case "index":
    case "size":
      return [];
    case "load":
      return sameAt(scalar.at, at) ? zerosOfTensor(scalar.tensor, values) : zerosOfElement(scalar, at, values, depth);
    case "unary":
      return keepsZero[scalar.op] ? zerosOf(scalar.a, at, values, depth) : [];
    case "cast":
      return zerosOf(scalar.a, at, values, depth);
    case "select": {
      const then = zerosOf(scalar.then, at, values, depth);
      if (isZero(scalar.otherwise)) return union(zerosOf(scalar.condition, at, values, depth), then);
      const otherwise = zerosOf(scalar.otherwise, at, values, depth);
      if (isZero(scalar.then))
        return scalar.condition.kind === "unary" && scalar.condition.op === "not"
          ? union(zerosOf(scalar.condition.a, at, values, depth), otherwise)
          : otherwise;
      return intersect(then, otherwise);
    }
    case "binary": {
      const a = zerosOf(scalar.a, at, values, depth);
      // x ^ 2 with a positive power, x != 0 and x > 0 are zero (false) where x is zero
      if (scalar.op === "power") return scalar.b.kind === "constant" && scalar.b.value > 0 ? a : [];
      if (scalar.op === "not_equal") return isZero(scalar.b) ? a : [];
      if (scalar.op === "greater") return scalar.b.kind === "constant" && scalar.b.value >= 0 ? a : [];
      const rule = zeroRule[scalar.op];
      if (rule === "none") return [];
      if (rule === "left") return a;
      // min and max of a number with itself or of two zeros; with a zero constant nothing is known of the sign
      const b = zerosOf(scalar.b, at, values, depth);
      if (rule === "right") return b;
      if (rule === "either") return union(a, b);
      return isZero(scalar.a) ? b : isZero(scalar.b) ? a : intersect(a, b);
    }
    // a sum of zeros; the largest of an empty range is no zero, so max and min are left out
    case "reduce":
      return ["sum", "mean", "any", "count", "softmax_mean"].includes(scalar.op)
        ? zerosOf(scalar.body, at, values, depth)
        : [];
    default:
      return scalar satisfies never;
  }
}

/** So many definitions are looked through to see why an element is zero. */
const deepest = 4;

/**
 * Why an element of a tensor that is not indexed by `at` is zero there: as its definition says, with the indices of the
 * load put in. So the column `q[n] = e where keep[n, k]` of a step keeps the mask at [n, k].
 */
function zerosOfElement(
  load: Extract<Scalar, { kind: "load" }>,
  at: readonly Scalar[],
  values: Known,
  depth: number,
): readonly Zeros[] {
  const eqn = values.producer.get(load.tensor);
  if (eqn?.kind !== "map" || depth >= deepest) return [];
  const element = substitute(
    eqn.body,
    new Map(
      eqn.indices.map((range, axis) => [
        range.index,
        load.at[axis] ?? { kind: "index", index: range.index, name: range.name },
      ]),
    ),
  );
  return zerosOf(element, at, values, depth + 1);
}

function zerosOfTensor(tensor: ValueId, { values }: Known): readonly Zeros[] {
  const type = values[tensor]?.type;
  if (type === undefined) return [];
  const found: Zeros[] = [];
  if (type.pattern.kind !== "full")
    found.push({
      key: type.pattern.mask === null ? `value ${tensor}` : `mask ${type.pattern.mask}`,
      pattern: type.pattern,
    });
  if (type.dtype === "bool" && type.shape.length > 0)
    found.push({ key: `mask ${tensor}`, pattern: { kind: "masked", mask: tensor } });
  return union(found, []);
}

function isZero(scalar: Scalar): boolean {
  return scalar.kind === "constant" && scalar.value === 0;
}

function union(a: readonly Zeros[], b: readonly Zeros[]): readonly Zeros[] {
  const found = new Map<string, Zeros>();
  for (const zeros of [...a, ...b]) {
    const known = found.get(zeros.key);
    if (known === undefined || (known.pattern.kind === "masked" && zeros.pattern.kind === "nm"))
      found.set(zeros.key, zeros);
  }
  return [...found.values()];
}

function intersect(a: readonly Zeros[], b: readonly Zeros[]): readonly Zeros[] {
  return union(
    a.filter((zeros) => b.some((other) => other.key === zeros.key)),
    [],
  );
}

/** The most that is known: n:m before unstructured, a known mask before an unknown one. */
function best(zeros: readonly Zeros[]): Pattern {
  const rank = (pattern: Sparse): number => (pattern.kind === "nm" ? 2 : 0) + (pattern.mask === null ? 0 : 1);
  let found: Sparse | null = null;
  for (const { pattern } of zeros) if (found === null || rank(pattern) > rank(found)) found = pattern;
  return found ?? full;
}

/**
 * The pattern without its mask where that is of another shape: of a part of a tensor, or of one with zeros around,
 * groups count from 0 all the same.
 */
function fitting(pattern: Pattern, type: TensorType, values: readonly Value[]): Pattern {
  if (pattern.kind === "full" || pattern.mask === null) return pattern;
  const shape = values[pattern.mask]?.type.shape ?? [];
  const same = shape.length === type.shape.length && shape.every((size, axis) => sameSize(size, type.shape[axis]!));
  return same ? pattern : { ...pattern, mask: null };
}

function sameAt(a: readonly Scalar[], b: readonly Scalar[]): boolean {
  return a.length === b.length && a.every((scalar, axis) => sameIndex(scalar, b[axis]));
}

/** Structural equality of index expressions; those with loads are taken as different. */
function sameIndex(a: Scalar, b: Scalar | undefined): boolean {
  if (b === undefined) return false;
  switch (a.kind) {
    case "index":
      return b.kind === "index" && a.index === b.index;
    case "size":
      return b.kind === "size" && sameSize(a.size, b.size);
    case "constant":
      return b.kind === "constant" && a.value === b.value;
    case "binary":
      return b.kind === "binary" && a.op === b.op && sameIndex(a.a, b.a) && sameIndex(a.b, b.b);
    case "unary":
    case "load":
    case "select":
    case "cast":
    case "reduce":
      return false;
    default:
      return a satisfies never;
  }
}
