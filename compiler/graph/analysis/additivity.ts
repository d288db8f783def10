/**
 * Whether what a function gives of T tokens is a sum over them: f(a followed by b) = f(a) + f(b), for any a and b, but
 * for rounding. Then a text may be taken in parts of any size, and what they give be added up.
 *
 * The proof goes through the equations in order and knows four things of a value or scalar: that it is *fixed* (no
 * token decides it), *zero*, that it is of *one token* (a function of what that token has, not of its position or of
 * another), or a *sum* over tokens. What is none of these is refused, with the reason where it first came about.
 */
import { constantSize, sameSize, sizeSymbols, symbolSize, type Size } from "../../types/size.js";
import type { Eqn, IndexId, Range, Scalar, SymbolicGraph, Value, ValueId } from "../graph.js";
import type { ReduceOp } from "../ops.js";
import { children } from "../scalar.js";

/** Why something is no sum over tokens. */
export type NotAdditive =
  /** A reduction over tokens that is not `sum` or `count`. */
  | { readonly kind: "reduction"; readonly op: ReduceOp }
  /** An op of a sum, or of two, that does not give one: `sqrt`, `multiply`, `cholesky`, `top`. */
  | { readonly kind: "op"; readonly op: string }
  /** Something that no token decides beside a sum, or alone: each part of a text would add it again. */
  | { readonly kind: "offset" }
  /** The position of a token, or how many there are. */
  | { readonly kind: "position" }
  /** Tokens together that do not stand in one sum. */
  | { readonly kind: "others" };

/** The reason, and the value whose equation brings it. */
export interface LostAdditivity {
  readonly value: ValueId;
  readonly reason: NotAdditive;
}

/** What is known of a scalar; `token`: the index that says which token it is of. */
type Known =
  | { readonly kind: "fixed" }
  | { readonly kind: "zero" }
  | { readonly kind: "sum" }
  | { readonly kind: "token"; readonly index: IndexId }
  | ({ readonly kind: "lost" } & LostAdditivity);

/** What is known of a tensor; `token`: the axis that its tokens lie along. */
type KnownTensor =
  | { readonly kind: "fixed" }
  | { readonly kind: "zero" }
  | { readonly kind: "sum" }
  | { readonly kind: "token"; readonly axis: number }
  | ({ readonly kind: "lost" } & LostAdditivity);

/**
 * Why the first output of a graph is not provably a sum over its tokens, of which the size parameter `tokens` is the
 * number and which lie along the axes of that size; null where it is.
 */
export function lostAdditivity(graph: SymbolicGraph, tokens: string): LostAdditivity | null {
  const [output] = graph.outputs;
  if (output === undefined) return null;
  const known = new Map<ValueId, KnownTensor>();
  for (const { value } of graph.inputs) known.set(value, inputOf(graph.values[value]!, tokens));
  for (const eqn of graph.eqns) proveEqn(eqn, { graph, tokens, known });
  const found = known.get(output.value) ?? lost(output.value, { kind: "others" });
  if (found.kind === "lost") return found;
  return found.kind === "sum" || found.kind === "zero" ? null : lost(output.value, { kind: "offset" });
}

interface Proof {
  readonly graph: SymbolicGraph;
  readonly tokens: string;
  readonly known: Map<ValueId, KnownTensor>;
}

function lost(value: ValueId, reason: NotAdditive): LostAdditivity & { readonly kind: "lost" } {
  return { kind: "lost", value, reason };
}

function inputOf(value: Value, tokens: string): KnownTensor {
  const axis = tokenAxis(value.type.shape, tokens);
  if (axis === "none") return { kind: "fixed" };
  return axis === "unclear" ? lost(value.id, { kind: "others" }) : { kind: "token", axis };
}

/** The one axis along which tokens lie; `unclear` where several do, or a size is computed of their number. */
function tokenAxis(shape: readonly Size[], tokens: string): number | "none" | "unclear" {
  const axes = shape.flatMap((size, axis) => (sizeSymbols(size).has(tokens) ? [axis] : []));
  const [axis] = axes;
  if (axis === undefined) return "none";
  return axes.length === 1 && sameSize(shape[axis]!, symbolSize(tokens)) ? axis : "unclear";
}

/** Notes what is known of the values that an equation defines. */
function proveEqn(eqn: Eqn, proof: Proof): void {
  const { graph, tokens, known } = proof;
  const of = (id: ValueId): KnownTensor => known.get(id) ?? lost(id, { kind: "others" });
  switch (eqn.kind) {
    case "map": {
      const scalars = proveScalars(eqn.out, eqn.indices, proof);
      known.set(eqn.out, tensorOf(graph.values[eqn.out]!, tokens, eqn.indices, scalars(eqn.body)));
      return;
    }
    case "update":
      known.set(eqn.out, proveUpdate(eqn, of(eqn.base), proof));
      return;
    case "top": {
      const score = of(eqn.score);
      const sizes = [eqn.n, eqn.m].some((size) => sizeSymbols(size).has(tokens));
      if (score.kind === "lost") known.set(eqn.out, score);
      else if (score.kind === "sum") known.set(eqn.out, lost(eqn.out, { kind: "op", op: "top" }));
      else if (sizes || (score.kind === "token" && score.axis === eqn.axis))
        known.set(eqn.out, lost(eqn.out, { kind: "others" }));
      else known.set(eqn.out, score.kind === "token" ? score : { kind: "fixed" });
      return;
    }
    case "factorize": {
      const source = of(eqn.source);
      if (source.kind === "lost" || source.kind === "fixed") known.set(eqn.out, source);
      else known.set(eqn.out, lost(eqn.out, { kind: "op", op: eqn.op }));
      return;
    }
    case "pack": {
      const parts = [eqn.source, eqn.scale, eqn.zero].flatMap((id) => (id === null ? [] : [of(id)]));
      known.set(eqn.out, provePack(graph.values[eqn.out]!, parts));
      return;
    }
    case "plus": {
      const parts = [eqn.packed, eqn.left, eqn.right].map(of);
      const fixed = parts.every((part) => part.kind === "fixed");
      known.set(eqn.out, fixed ? { kind: "fixed" } : lost(eqn.out, { kind: "op", op: "plus" }));
      return;
    }
    case "scan":
      proveScan(eqn, proof);
      return;
    default:
      eqn satisfies never;
  }
}

/** A tensor of scalars over indices of its axes: a token's own along the axis of the token, else whatever they are. */
function tensorOf(value: Value, tokens: string, indices: readonly Range[], body: Known): KnownTensor {
  if (body.kind === "lost") return body;
  const axis = tokenAxis(value.type.shape, tokens);
  if (axis === "unclear") return lost(value.id, { kind: "others" });
  if (axis === "none") return body.kind === "token" ? lost(value.id, { kind: "others" }) : body;
  if (body.kind === "sum") return lost(value.id, { kind: "others" });
  return body.kind === "token" && body.index !== indices[axis]?.index
    ? lost(value.id, { kind: "others" })
    : { kind: "token", axis };
}

/** A format rounds each row's elements by themselves, on the row's own grid. */
function provePack(out: Value, parts: readonly KnownTensor[]): KnownTensor {
  const bad = parts.find((part) => part.kind === "lost");
  if (bad !== undefined) return bad;
  if (parts.some((part) => part.kind === "sum")) return lost(out.id, { kind: "op", op: "pack" });
  const token = parts.find((part) => part.kind === "token");
  if (token?.kind !== "token") return { kind: "fixed" };
  const alike = parts.every((part) => part.kind !== "token" || part.axis === token.axis);
  return alike && token.axis < out.type.shape.length - 1 ? token : lost(out.id, { kind: "others" });
}

function proveUpdate(eqn: Extract<Eqn, { kind: "update" }>, base: KnownTensor, proof: Proof): KnownTensor {
  const { tokens } = proof;
  if (base.kind === "lost") return base;
  const scalars = proveScalars(eqn.out, eqn.indices, proof);
  const over = eqn.indices.filter((range) => isWhole(range, tokens));
  const no = (reason: NotAdditive): KnownTensor => lost(eqn.out, reason);
  const body = scalars(eqn.body);
  // the places beside that of the token, and the bounds
  const own = base.kind === "token" ? base.axis : null;
  const places = [
    ...eqn.at.filter((_, axis) => axis !== own),
    ...eqn.indices.filter((range) => !over.includes(range)).flatMap(({ low, high }) => [low, high]),
  ].map(scalars);
  const bad = [body, ...places].find((part) => part.kind === "lost");
  if (bad?.kind === "lost") return bad;
  if (places.some((part) => part.kind === "sum")) return no({ kind: "op", op: "index" });
  if (own !== null) {
    const at = eqn.at[own];
    const isOwn = at?.kind === "index" && over.some((range) => range.index === at.index);
    const others = [body, ...places].some(
      (part) => part.kind === "sum" || (part.kind === "token" && (at?.kind !== "index" || part.index !== at.index)),
    );
    return isOwn && over.length === 1 && !others ? base : no({ kind: "others" });
  }
  if (over.length > 1) return no({ kind: "others" });
  if (over.length === 1) {
    // each token adds its own: a histogram, say
    if (eqn.op === "set" || body.kind === "sum") return no({ kind: "others" });
    if (body.kind === "zero") return base;
    return base.kind === "fixed" ? no({ kind: "offset" }) : { kind: "sum" };
  }
  if ([body, ...places].some((part) => part.kind === "token")) return no({ kind: "others" });
  return together([base, body], eqn.out);
}

/** Two that stand beside one another or are added: of a sum and what no token decides, neither. */
function together(
  parts: readonly (Known | KnownTensor)[],
  out: ValueId,
): Extract<KnownTensor, { kind: "fixed" | "zero" | "sum" | "lost" }> {
  const kinds = new Set(parts.map((part) => part.kind));
  if (kinds.has("sum")) return kinds.has("fixed") ? lost(out, { kind: "offset" }) : { kind: "sum" };
  return { kind: kinds.has("fixed") ? "fixed" : "zero" };
}

/**
 * What is known of the states before a scan must hold after a step that starts with it; where a step loses it, so does
 * the scan.
 */
function proveScan(scan: Extract<Eqn, { kind: "scan" }>, proof: Proof): void {
  const { known, tokens } = proof;
  const bounds = proveScalars(scan.out, [], proof);
  const initial = scan.states.map((state) => known.get(state.initial) ?? lost(state.initial, { kind: "others" }));
  let states = initial;
  // what is known only becomes less from one to the next: zero, then fixed or a sum, then nothing
  for (;;) {
    scan.states.forEach((state, at) => known.set(state.before, states[at]!));
    for (const eqn of scan.body) proveEqn(eqn, proof);
    const next = scan.states.map((state, at) => weaker(states[at]!, known.get(state.after)!, state.out));
    const stays = next.every((each, at) => each.kind === states[at]!.kind);
    states = next;
    if (stays) break;
  }
  const range = [scan.range.low, scan.range.high].map(bounds);
  const overTokens = [scan.range.low, scan.range.high].some((bound) => mentions(bound, tokens));
  scan.states.forEach((state, at) => {
    const found = states[at]!;
    const moves = state.after !== state.before;
    if (found.kind !== "lost" && moves && overTokens) known.set(state.out, lost(state.out, { kind: "position" }));
    else if (range.some((bound) => bound.kind === "lost") && moves)
      known.set(state.out, lost(state.out, { kind: "position" }));
    else known.set(state.out, found);
  });
}

/** What holds of both, of a state before and after a step. */
function weaker(before: KnownTensor, after: KnownTensor, out: ValueId): KnownTensor {
  if (before.kind === "lost") return before;
  if (after.kind === "lost") return after;
  if (before.kind === "token" || after.kind === "token")
    return before.kind === "token" && after.kind === "token" && before.axis === after.axis
      ? before
      : lost(out, { kind: "others" });
  return together([before, after], out);
}

function mentions(scalar: Scalar, tokens: string): boolean {
  return (
    (scalar.kind === "size" && sizeSymbols(scalar.size).has(tokens)) ||
    children(scalar).some((child) => mentions(child, tokens))
  );
}

/** Whether a range is over all tokens, each once. */
function isWhole({ low, high }: Range, tokens: string): boolean {
  const zero = low.kind === "constant" ? low.value === 0 : low.kind === "size" && sameSize(low.size, constantSize(0));
  return zero && high.kind === "size" && sameSize(high.size, symbolSize(tokens));
}

/** What is known of the scalars of one equation, which has these indices. */
function proveScalars(out: ValueId, indices: readonly Range[], { tokens, known }: Proof): (scalar: Scalar) => Known {
  const overTokens = new Set<IndexId>();
  for (const range of indices) if (isWhole(range, tokens)) overTokens.add(range.index);
  const done = new Map<Scalar, Known>();
  const no = (reason: NotAdditive): Known => lost(out, reason);

  /** Something computed of parts in no way that is known: a token's own where they are. */
  const computed = (parts: readonly Known[], reason: NotAdditive): Known => {
    const bad = parts.find((part) => part.kind === "lost");
    if (bad !== undefined) return bad;
    if (parts.some((part) => part.kind === "sum")) return no(reason);
    const own = new Set(parts.flatMap((part) => (part.kind === "token" ? [part.index] : [])));
    const [index] = own;
    if (index === undefined) return { kind: "fixed" };
    return own.size === 1 ? { kind: "token", index } : no({ kind: "others" });
  };
  /** Parts that are added, or of which a fixed condition chooses. */
  const added = (parts: readonly Known[], reason: NotAdditive): Known => {
    const bad = parts.find((part) => part.kind === "lost");
    if (bad !== undefined) return bad;
    return parts.some((part) => part.kind === "token") ? computed(parts, reason) : together(parts, out);
  };

  const visit = (scalar: Scalar): Known => {
    const before = done.get(scalar);
    if (before !== undefined) return before;
    const found = prove(scalar);
    done.set(scalar, found);
    return found;
  };
  const prove = (scalar: Scalar): Known => {
    switch (scalar.kind) {
      case "constant":
        return { kind: scalar.value === 0 ? "zero" : "fixed" };
      case "index":
        return overTokens.has(scalar.index) ? no({ kind: "position" }) : { kind: "fixed" };
      case "size":
        return sizeOf(scalar.size);
      case "load":
        return loaded(scalar);
      case "unary": {
        const a = visit(scalar.a);
        if (scalar.op === "negate") return a;
        return computed([a], { kind: "op", op: scalar.op });
      }
      case "cast": {
        const a = visit(scalar.a);
        const isFloat = scalar.dtype !== "bool" && scalar.dtype !== "i32" && scalar.dtype !== "u32";
        return isFloat || a.kind === "zero" ? a : computed([a], { kind: "op", op: "cast" });
      }
      case "binary":
        return binary(scalar);
      case "select": {
        const condition = visit(scalar.condition);
        const [then, otherwise] = [visit(scalar.then), visit(scalar.otherwise)];
        if (condition.kind === "fixed" || condition.kind === "zero")
          return added([then, otherwise], { kind: "others" });
        return computed([condition, then, otherwise], { kind: "op", op: "select" });
      }
      case "reduce":
        return reduced(scalar);
      default:
        return scalar satisfies never;
    }
  };
  /** T, 3 * T and K * T count tokens; T / 4 does not grow by a part as it does by itself. */
  const sizeOf = (size: Size): Known => {
    if (!sizeSymbols(size).has(tokens)) return { kind: "fixed" };
    const isCount = size.terms.every(({ factors }) => {
      const own = factors.filter((atom) => atom.kind !== "symbol" || atom.name === tokens);
      return own.length === 1 && own[0]?.kind === "symbol";
    });
    return isCount ? { kind: "sum" } : no({ kind: "position" });
  };
  const loaded = (scalar: Extract<Scalar, { kind: "load" }>): Known => {
    const tensor = known.get(scalar.tensor) ?? lost(scalar.tensor, { kind: "others" });
    if (tensor.kind === "lost") return tensor;
    const at = scalar.at.filter((_, axis) => tensor.kind !== "token" || axis !== tensor.axis).map(visit);
    const places = computed(at, { kind: "op", op: "index" });
    if (places.kind === "lost" || tensor.kind === "fixed") return places;
    if (tensor.kind === "zero") return { kind: "zero" };
    if (tensor.kind === "sum") return places.kind === "token" ? no({ kind: "others" }) : { kind: "sum" };
    const own = scalar.at[tensor.axis];
    if (own?.kind !== "index" || !overTokens.has(own.index)) return no({ kind: "others" });
    return computed([{ kind: "token", index: own.index }, places], { kind: "others" });
  };
  const binary = ({ op, a: left, b: right }: Extract<Scalar, { kind: "binary" }>): Known => {
    const [a, b] = [visit(left), visit(right)];
    if (op === "add" || op === "subtract") return added([a, b], { kind: "others" });
    if (op === "multiply" || op === "divide") {
      const isScaled = (part: Known, by: Known): boolean =>
        (part.kind === "sum" || part.kind === "zero") && (by.kind === "fixed" || by.kind === "zero");
      // 0 * x is 0: arithmetic is over finite numbers
      if (a.kind === "zero" && b.kind !== "lost") return a;
      if (op === "multiply" && b.kind === "zero" && a.kind !== "lost") return b;
      if (isScaled(a, b) && b.kind !== "zero") return a;
      if (op === "multiply" && isScaled(b, a)) return b;
      const beside = a.kind === "token" || b.kind === "token";
      return computed([a, b], beside ? { kind: "others" } : { kind: "op", op });
    }
    return computed([a, b], { kind: "op", op });
  };
  const reduced = ({ op, over, score, body }: Extract<Scalar, { kind: "reduce" }>): Known => {
    const whole = over.filter((range) => isWhole(range, tokens));
    for (const range of whole) overTokens.add(range.index);
    const rest = over.filter((range) => !whole.includes(range));
    if (rest.some((range) => overTokens.has(range.index))) return no({ kind: "position" });
    const ends = computed(
      rest.flatMap(({ low, high }) => [visit(low), visit(high)]),
      { kind: "position" },
    );
    const value = score === null ? visit(body) : computed([visit(score), visit(body)], { kind: "op", op });
    if (ends.kind === "lost" || value.kind === "lost") return ends.kind === "lost" ? ends : value;
    const [range, ...more] = whole;
    if (range === undefined) {
      if ((op === "sum" || op === "mean") && ends.kind === "fixed" && value.kind !== "token") return value;
      return computed([ends, value], { kind: "op", op });
    }
    if (more.length > 0) return no({ kind: "others" });
    if (op !== "sum" && op !== "count") return no({ kind: "reduction", op });
    const parts = computed([ends, value], { kind: "others" });
    if (parts.kind === "lost") return parts;
    if (parts.kind === "token" && parts.index !== range.index) return no({ kind: "others" });
    return value.kind === "zero" ? value : { kind: "sum" };
  };
  return visit;
}
