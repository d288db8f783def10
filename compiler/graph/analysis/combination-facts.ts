/** What the proof of how a statistic combines knows of values, and how what is known of parts goes together. */
import { constantSize, sameSize, symbolSize } from "../../types/size.js";
import type { IndexId, Range, SymbolicGraph, ValueId } from "../graph.js";
import type { ReduceOp } from "../ops.js";

/**
 * How what a function gives of two parts of a text makes what it gives of both: f(a followed by b) = f(a) + f(b), or the
 * larger of f(a) and f(b), or the smaller.
 */
export type Combination = "sum" | "max" | "min";

/** Why something combines in no way. */
export type NotCombined =
  /** A reduction over tokens that is not `sum`, `count`, `max` or `min`. */
  | { readonly kind: "reduction"; readonly op: ReduceOp }
  /** An op of what combines, or of two such, that does not give one: `sqrt` of a sum, `add` of maxima, `top`. */
  | { readonly kind: "op"; readonly op: string; readonly of: Combination }
  /** Two that combine otherwise, in one. */
  | { readonly kind: "mixed"; readonly parts: readonly Combination[] }
  /** Something that no token decides beside a sum, or alone: each part of a text would add it again. */
  | { readonly kind: "offset" }
  /** The position of a token, or how many there are. */
  | { readonly kind: "position" }
  /** Tokens together that do not stand in one reduction. */
  | { readonly kind: "others" };

/** The reason, and the value whose equation brings it. */
export interface LostCombination {
  readonly value: ValueId;
  readonly reason: NotCombined;
}

/** What combines, or what no token decides: zero too, and the same for any tokens. */
export type Whole = { readonly kind: "fixed" } | { readonly kind: "zero" } | { readonly kind: Combination };

export type Lost = { readonly kind: "lost" } & LostCombination;

/** What is known of a scalar; `token`: the index that says which token it is of. */
export type Known = Whole | { readonly kind: "token"; readonly index: IndexId } | Lost;

/** What is known of a tensor; `token`: the axis that its tokens lie along. */
export type KnownTensor = Whole | { readonly kind: "token"; readonly axis: number } | Lost;

/** What is known so far. */
export interface Proof {
  readonly graph: SymbolicGraph;
  readonly tokens: string;
  readonly known: Map<ValueId, KnownTensor>;
}

/** That it is not proved how a value combines, and why. */
export function lost(value: ValueId, reason: NotCombined): Lost {
  return { kind: "lost", value, reason };
}

/** How something combines; null for what does not, or is decided by no token or by one. */
export function combinationOf({ kind }: Known | KnownTensor): Combination | null {
  return kind === "sum" || kind === "max" || kind === "min" ? kind : null;
}

/** How the first of these combines that does. */
export function combinationAmong(parts: readonly (Known | KnownTensor)[]): Combination | null {
  return parts.map(combinationOf).find((found) => found !== null) ?? null;
}

/**
 * Whole values that stand beside one another, or of which one is chosen by what no token decides. What is fixed is the
 * larger and the smaller of itself twice, but not its sum.
 */
export function beside(parts: readonly (Known | KnownTensor)[], out: ValueId): Whole | Lost {
  const kinds = new Set(parts.flatMap((part) => combinationOf(part) ?? []));
  const fixed = parts.some((part) => part.kind === "fixed");
  const [kind, ...more] = kinds;
  if (kind === undefined) return { kind: fixed ? "fixed" : "zero" };
  if (more.length > 0) return lost(out, { kind: "mixed", parts: [...kinds] });
  return kind === "sum" && fixed ? lost(out, { kind: "offset" }) : { kind };
}

/** Whole values that are added: sums, or one maximum or minimum and what no token decides. */
export function added(parts: readonly (Known | KnownTensor)[], out: ValueId): Whole | Lost {
  const found = parts.flatMap((part) => combinationOf(part) ?? []);
  const extreme = found.find((kind) => kind !== "sum");
  if (extreme !== undefined && found.length > 1 && new Set(found).size === 1)
    return lost(out, { kind: "op", op: "add", of: extreme });
  return beside(parts, out);
}

/** The same of what is the other way round: the negative, or a multiple by a negative number. */
export function reversed(part: Known): Known {
  if (part.kind === "max") return { kind: "min" };
  return part.kind === "min" ? { kind: "max" } : part;
}

/** Whether a range is over all tokens, each once. */
export function isWhole({ low, high }: Range, tokens: string): boolean {
  const zero = low.kind === "constant" ? low.value === 0 : low.kind === "size" && sameSize(low.size, constantSize(0));
  return zero && high.kind === "size" && sameSize(high.size, symbolSize(tokens));
}
