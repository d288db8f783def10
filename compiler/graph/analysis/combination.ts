/**
 * How what a function gives of T tokens combines: whether f(a followed by b) is f(a) + f(b) for any a and b, but for
 * rounding, or the larger of the two, or the smaller. Then a text may be taken in parts of any size, and what they give
 * be put together.
 *
 * The proof goes through the equations in order and knows six things of a value or scalar: that it is *fixed* (no
 * token decides it), *zero*, that it is of *one token* (a function of what that token has, not of its position or of
 * another), or a *sum*, a *maximum* or a *minimum* over tokens. What is none of these is refused, with the reason where
 * it first came about.
 */
import { sameSize, sizeSymbols, symbolSize, type Size } from "../../types/size.js";
import type { Eqn, Range, Scalar, SymbolicGraph, Value, ValueId } from "../graph.js";
import { children } from "../scalar.js";
import {
  added,
  beside,
  combinationAmong,
  combinationOf,
  isWhole,
  lost,
  type Combination,
  type Known,
  type KnownTensor,
  type Proof,
  type LostCombination,
  type NotCombined,
} from "./combination-facts.js";
import { proveScalars } from "./combination-scalar.js";

export type { Combination, LostCombination, NotCombined } from "./combination-facts.js";

/**
 * How the first output of a graph combines over its tokens, of which the size parameter `tokens` is the number and which
 * lie along the axes of that size; or why that is not proved. What is zero is a sum.
 */
export function howCombined(graph: SymbolicGraph, tokens: string): Combination | LostCombination {
  const [output] = graph.outputs;
  if (output === undefined) return "sum";
  const known = new Map<ValueId, KnownTensor>();
  for (const { value } of graph.inputs) known.set(value, inputOf(graph.values[value]!, tokens));
  for (const eqn of graph.eqns) proveEqn(eqn, { graph, tokens, known });
  const found = known.get(output.value) ?? lost(output.value, { kind: "others" });
  if (found.kind === "lost") return found;
  return combinationOf(found) ?? (found.kind === "zero" ? "sum" : lost(output.value, { kind: "offset" }));
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
      const combination = combinationOf(score);
      const sizes = [eqn.n, eqn.m].some((size) => sizeSymbols(size).has(tokens));
      if (score.kind === "lost") known.set(eqn.out, score);
      else if (combination !== null) known.set(eqn.out, lost(eqn.out, { kind: "op", op: "top", of: combination }));
      else if (sizes || (score.kind === "token" && score.axis === eqn.axis))
        known.set(eqn.out, lost(eqn.out, { kind: "others" }));
      else known.set(eqn.out, score.kind === "token" ? score : { kind: "fixed" });
      return;
    }
    case "factorize": {
      const source = of(eqn.source);
      if (source.kind === "lost" || source.kind === "fixed") known.set(eqn.out, source);
      else known.set(eqn.out, lost(eqn.out, { kind: "op", op: eqn.op, of: combinationOf(source) ?? "sum" }));
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
      known.set(
        eqn.out,
        fixed ? { kind: "fixed" } : lost(eqn.out, { kind: "op", op: "plus", of: combinationAmong(parts) ?? "sum" }),
      );
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
  if (combinationOf(body) !== null) return lost(value.id, { kind: "others" });
  return body.kind === "token" && body.index !== indices[axis]?.index
    ? lost(value.id, { kind: "others" })
    : { kind: "token", axis };
}

/** A format rounds each row's elements by themselves, on the row's own grid. */
function provePack(out: Value, parts: readonly KnownTensor[]): KnownTensor {
  const bad = parts.find((part) => part.kind === "lost");
  if (bad !== undefined) return bad;
  const combination = combinationAmong(parts);
  if (combination !== null) return lost(out.id, { kind: "op", op: "pack", of: combination });
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
  const no = (reason: NotCombined): KnownTensor => lost(eqn.out, reason);
  const body = scalars(eqn.body);
  // the places beside that of the token, and the bounds
  const own = base.kind === "token" ? base.axis : null;
  const places = [
    ...eqn.at.filter((_, axis) => axis !== own),
    ...eqn.indices.filter((range) => !over.includes(range)).flatMap(({ low, high }) => [low, high]),
  ].map(scalars);
  const bad = [body, ...places].find((part) => part.kind === "lost");
  if (bad?.kind === "lost") return bad;
  const combination = combinationAmong(places);
  if (combination !== null) return no({ kind: "op", op: "index", of: combination });
  if (own !== null) {
    const at = eqn.at[own];
    const isOwn = at?.kind === "index" && over.some((range) => range.index === at.index);
    const others = [body, ...places].some(
      (part) =>
        combinationOf(part) !== null || (part.kind === "token" && (at?.kind !== "index" || part.index !== at.index)),
    );
    return isOwn && over.length === 1 && !others ? base : no({ kind: "others" });
  }
  if (over.length > 1) return no({ kind: "others" });
  if (over.length === 1) {
    // each token adds its own: a histogram, say
    if (eqn.op === "set" || combinationOf(body) !== null) return no({ kind: "others" });
    if (body.kind === "zero") return base;
    return beside([base, { kind: "sum" }], eqn.out);
  }
  if ([body, ...places].some((part) => part.kind === "token")) return no({ kind: "others" });
  return (eqn.op === "add" ? added : beside)([base, body], eqn.out);
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
  // what is known only becomes less from one to the next: zero, fixed, a sum or a maximum, then nothing
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
  return beside([before, after], out);
}

function mentions(scalar: Scalar, tokens: string): boolean {
  return (
    (scalar.kind === "size" && sizeSymbols(scalar.size).has(tokens)) ||
    children(scalar).some((child) => mentions(child, tokens))
  );
}
