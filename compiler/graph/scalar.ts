/** Traversal, substitution and comparison of scalar expressions. All keep shared subtrees shared. */
import { commutativeOps, type BinaryOp } from "../types/scalar-ops.js";
import { printSize } from "../types/size.js";
import type { Concrete, Level } from "../types/type.js";
import type { IndexId, Range, Scalar } from "./graph.js";

/** The dtype of a scalar's value. */
export function dtypeOf<L extends Level>(scalar: Scalar<L>): L["dtype"] | "i32" {
  return scalar.kind === "index" || scalar.kind === "size" ? "i32" : scalar.dtype;
}

/** The operands of a scalar; of a reduction, the bounds first, then what is reduced. */
export function children<L extends Level>(scalar: Scalar<L>): readonly Scalar<L>[] {
  switch (scalar.kind) {
    case "constant":
    case "index":
    case "size":
      return [];
    case "load":
      return scalar.at;
    case "unary":
    case "cast":
      return [scalar.a];
    case "binary":
      return [scalar.a, scalar.b];
    case "select":
      return [scalar.condition, scalar.then, scalar.otherwise];
    case "reduce":
      return [...scalar.over.flatMap((range) => [range.low, range.high]), ...reduced(scalar)];
    default:
      return scalar satisfies never;
  }
}

/** What a reduction computes for each of its elements: the score, where there is one, and the body. */
export function reduced<L extends Level>({ score, body }: Reduce<L>): readonly Scalar<L>[] {
  return score === null ? [body] : [score, body];
}

/** The scalar with each operand replaced; itself where none changes. */
export function mapChildren<L extends Level>(scalar: Scalar<L>, replace: (child: Scalar<L>) => Scalar<L>): Scalar<L> {
  switch (scalar.kind) {
    case "constant":
    case "index":
    case "size":
      return scalar;
    case "load": {
      const at = mapList(scalar.at, replace);
      return at === scalar.at ? scalar : { ...scalar, at };
    }
    case "unary":
    case "cast": {
      const a = replace(scalar.a);
      return a === scalar.a ? scalar : { ...scalar, a };
    }
    case "binary": {
      const a = replace(scalar.a);
      const b = replace(scalar.b);
      return a === scalar.a && b === scalar.b ? scalar : { ...scalar, a, b };
    }
    case "select": {
      const condition = replace(scalar.condition);
      const then = replace(scalar.then);
      const otherwise = replace(scalar.otherwise);
      return condition === scalar.condition && then === scalar.then && otherwise === scalar.otherwise
        ? scalar
        : { ...scalar, condition, then, otherwise };
    }
    case "reduce": {
      const over = mapList(scalar.over, (range) => mapRange(range, replace));
      return mapReduced(scalar, over, replace);
    }
    default:
      return scalar satisfies never;
  }
}

/** A reduction with other ranges, and what it reduces replaced; itself where nothing changes. */
export function mapReduced<L extends Level>(
  reduce: Reduce<L>,
  over: readonly Range<L>[],
  replace: (child: Scalar<L>) => Scalar<L>,
): Reduce<L> {
  const score = reduce.score === null ? null : replace(reduce.score);
  const body = replace(reduce.body);
  return over === reduce.over && score === reduce.score && body === reduce.body
    ? reduce
    : { ...reduce, over, score, body };
}

/** A range with its bounds replaced; itself where neither changes. */
export function mapRange<L extends Level>(range: Range<L>, replace: (bound: Scalar<L>) => Scalar<L>): Range<L> {
  const low = replace(range.low);
  const high = replace(range.high);
  return low === range.low && high === range.high ? range : { ...range, low, high };
}

/** A list with each item replaced; itself where none changes. */
export function mapList<T>(list: readonly T[], replace: (item: T) => T): readonly T[] {
  const mapped = list.map(replace);
  return mapped.every((item, at) => item === list[at]) ? list : mapped;
}

/**
 * Rewrites bottom-up: `rewrite` sees each node after its operands were rewritten. A shared subtree is rewritten once.
 */
export function mapScalar<L extends Level>(scalar: Scalar<L>, rewrite: (node: Scalar<L>) => Scalar<L>): Scalar<L> {
  const done = new Map<Scalar<L>, Scalar<L>>();
  const visit = (node: Scalar<L>): Scalar<L> => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const result = rewrite(mapChildren(node, visit));
    done.set(node, result);
    return result;
  };
  return visit(scalar);
}

/** Every node, operands after the node that has them; a shared subtree once. */
export function scalarNodes<L extends Level>(scalar: Scalar<L>): readonly Scalar<L>[] {
  const seen = new Set<Scalar<L>>();
  const visit = (node: Scalar<L>): void => {
    if (seen.has(node)) return;
    seen.add(node);
    for (const child of children(node)) visit(child);
  };
  visit(scalar);
  return [...seen];
}

/** A load, alone. */
export type Load<L extends Level> = Extract<Scalar<L>, { kind: "load" }>;
/** A reduction, alone. */
export type Reduce<L extends Level> = Extract<Scalar<L>, { kind: "reduce" }>;

/** The conditions that all hold where a condition does: what `and` joins, in order. */
export function conjuncts<L extends Level>(condition: Scalar<L>): readonly Scalar<L>[] {
  return condition.kind === "binary" && condition.op === "and"
    ? [...conjuncts(condition.a), ...conjuncts(condition.b)]
    : [condition];
}

/** The loads in a scalar, in order of first occurrence. */
export function scalarLoads<L extends Level>(scalar: Scalar<L>): readonly Load<L>[] {
  return scalarNodes(scalar).filter((node) => node.kind === "load");
}

/** The scalar that conversions are of, through those that keep every value: f16 to f32, and a dtype to itself. */
export function withoutCasts<L extends Level>(scalar: Scalar<L>): Scalar<L> {
  if (scalar.kind !== "cast") return scalar;
  const [from, to] = [dtypeOf(scalar.a), scalar.dtype];
  return from === to || (from === "f16" && to === "f32") ? withoutCasts(scalar.a) : scalar;
}

/** The reductions in a scalar, outer before inner. */
export function scalarReductions<L extends Level>(scalar: Scalar<L>): readonly Reduce<L>[] {
  return scalarNodes(scalar).filter((node) => node.kind === "reduce");
}

/** Reductions with those that stand in others before them, so that each finds the value of what is inside it. */
export function innermostFirst<L extends Level>(reductions: Iterable<Reduce<L>>): readonly Reduce<L>[] {
  return [...reductions].sort((a, b) => scalarReductions(a).length - scalarReductions(b).length);
}

/** The indices that a scalar uses without binding them. */
export function freeIndices<L extends Level>(scalar: Scalar<L>): ReadonlySet<IndexId> {
  const free = new Set<IndexId>();
  const visit = (node: Scalar<L>, bound: ReadonlySet<IndexId>): void => {
    if (node.kind === "index") {
      if (!bound.has(node.index)) free.add(node.index);
    } else if (node.kind === "reduce") {
      const inner = new Set(bound);
      for (const range of node.over) {
        visit(range.low, inner);
        visit(range.high, inner);
        inner.add(range.index);
      }
      for (const each of reduced(node)) visit(each, inner);
    } else {
      for (const child of children(node)) visit(child, bound);
    }
  };
  visit(scalar, new Set());
  return free;
}

/** The indices that reductions in a scalar bind. */
export function boundIndices<L extends Level>(scalar: Scalar<L>): ReadonlySet<IndexId> {
  return new Set(scalarReductions(scalar).flatMap((reduce) => reduce.over.map((range) => range.index)));
}

/**
 * The scalar with free indices replaced. The replacements must not use an index that the scalar binds: `renumber`
 * first.
 */
export function substitute<L extends Level>(
  scalar: Scalar<L>,
  replacements: ReadonlyMap<IndexId, Scalar<L>>,
): Scalar<L> {
  if (replacements.size === 0) return scalar;
  return mapScalar(scalar, (node) => (node.kind === "index" ? (replacements.get(node.index) ?? node) : node));
}

/** The scalar with every index that its reductions bind replaced by a fresh one. */
export function renumber<L extends Level>(scalar: Scalar<L>, fresh: () => IndexId): Scalar<L> {
  const renamed = new Map<IndexId, IndexId>();
  for (const index of boundIndices(scalar)) renamed.set(index, fresh());
  if (renamed.size === 0) return scalar;
  return mapScalar(scalar, (node) => {
    if (node.kind === "index") return { ...node, index: renamed.get(node.index) ?? node.index };
    if (node.kind === "reduce")
      return {
        ...node,
        over: node.over.map((range) => ({ ...range, index: renamed.get(range.index) ?? range.index })),
      };
    return node;
  });
}

/**
 * A text that two scalars share exactly when they are the same but for the names and ids of the indices they bind.
 * `names` gives the text of free indices; without an entry, the id.
 */
export function scalarKey<L extends Level>(scalar: Scalar<L>, names: ReadonlyMap<IndexId, string> = new Map()): string {
  return keyOf(scalar, names, () => false);
}

/**
 * The same, but that the operands of a commutative op may also have changed places: scalars that share it have the same
 * value, bit for bit.
 */
export function unorderedKey<L extends Level>(
  scalar: Scalar<L>,
  names: ReadonlyMap<IndexId, string> = new Map(),
): string {
  return keyOf(scalar, names, (op) => commutativeOps.has(op));
}

function keyOf<L extends Level>(
  scalar: Scalar<L>,
  names: ReadonlyMap<IndexId, string>,
  sorts: (op: BinaryOp) => boolean,
): string {
  const key = (each: Scalar<L>): string => keyOf(each, names, sorts);
  switch (scalar.kind) {
    case "constant":
      return `${Object.is(scalar.value, -0) ? "-0" : scalar.value}:${dtypeKey(scalar.dtype)}`;
    case "index":
      return names.get(scalar.index) ?? `#${scalar.index}`;
    case "size":
      return typeof scalar.size === "number" ? `${scalar.size}:i32` : `size(${printSize(scalar.size)})`;
    case "load":
      return `%${scalar.tensor}[${scalar.at.map(key).join(",")}]${scalar.guarded ? "?" : ""}`;
    case "unary":
      return `${scalar.op}(${key(scalar.a)})`;
    case "binary": {
      const operands = [key(scalar.a), key(scalar.b)];
      return `${scalar.op}(${(sorts(scalar.op) ? operands.sort() : operands).join(",")})`;
    }
    case "select":
      return `select(${key(scalar.condition)},${key(scalar.then)},${key(scalar.otherwise)})`;
    case "cast":
      return `${dtypeKey(scalar.dtype)}(${key(scalar.a)})`;
    case "reduce": {
      const inner = new Map(names);
      const over = scalar.over.map((range) => {
        const bounds = `${keyOf(range.low, inner, sorts)}..${keyOf(range.high, inner, sorts)}`;
        inner.set(range.index, `@${inner.size}`);
        return bounds;
      });
      return `${scalar.op}{${over.join(",")}}(${reduced(scalar)
        .map((each) => keyOf(each, inner, sorts))
        .join(";")})`;
    }
    default:
      return scalar satisfies never;
  }
}

function dtypeKey(dtype: Level["dtype"]): string {
  return typeof dtype === "string" ? dtype : `parameter ${dtype.parameter}`;
}

/** The number a concrete scalar is, when it is a constant or a size. */
export function constantOf(scalar: Scalar<Concrete>): number | null {
  if (scalar.kind === "constant") return scalar.value;
  return scalar.kind === "size" ? scalar.size : null;
}

/**
 * Nodes of a scalar, counting a shared subtree at each of its uses: the length of the text it prints as. Stops counting
 * at `limit`.
 */
export function treeSize<L extends Level>(scalar: Scalar<L>, limit = Infinity): number {
  let count = 0;
  const visit = (node: Scalar<L>): void => {
    count += 1;
    for (const child of children(node)) if (count < limit) visit(child);
  };
  visit(scalar);
  return count;
}
