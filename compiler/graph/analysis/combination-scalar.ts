/** What the proof of how a statistic combines knows of the scalars of an equation. */
import { sizeSymbols, type Size } from "../../types/size.js";
import type { IndexId, Range, Scalar, ValueId } from "../graph.js";
import type { ReduceOp } from "../ops.js";
import {
  beside,
  combinationAmong,
  isWhole,
  lost,
  reversed,
  type Combination,
  type Known,
  type NotCombined,
  type Proof,
} from "./combination-facts.js";

/** A reason, of which it is to be said how the part combines that it is about. */
type Reason = Exclude<NotCombined, { kind: "op" }> | { readonly kind: "op"; readonly op: string };

/** Ops of one operand that never give less of more. */
const rising: ReadonlySet<string> = new Set(["exp", "floor", "ceil", "round", "round_f16", "stop", "sign"]);

/** How reductions over all tokens combine; others do not. */
const combines: { readonly [Op in ReduceOp]?: Combination } = { sum: "sum", count: "sum", max: "max", min: "min" };

function isExtreme({ kind }: Known): boolean {
  return kind === "max" || kind === "min";
}

/** The sign of a number that the program has as such; null where it is not plain, or zero. */
function signOf(scalar: Scalar): number | null {
  switch (scalar.kind) {
    case "constant":
      return scalar.value > 0 ? 1 : scalar.value < 0 ? -1 : null;
    case "size":
      return isPositive(scalar.size) ? 1 : null;
    case "cast":
      return scalar.dtype === "bool" ? null : signOf(scalar.a);
    case "unary":
      return scalar.op === "negate" ? negated(signOf(scalar.a)) : null;
    default:
      return null;
  }
}

/** Whether a size is a polynomial of symbols, each at least 1, that only adds. */
function isPositive({ terms }: Size): boolean {
  const only = terms.every(
    ({ coefficient, factors }) => coefficient > 0 && factors.every(({ kind }) => kind === "symbol"),
  );
  return terms.length > 0 && only;
}

function negated(sign: number | null): number | null {
  return sign === null ? null : -sign;
}

/** What is known of the scalars of one equation, which has these indices. */
export function proveScalars(
  out: ValueId,
  indices: readonly Range[],
  { tokens, known }: Proof,
): (scalar: Scalar) => Known {
  const overTokens = new Set<IndexId>();
  for (const range of indices) if (isWhole(range, tokens)) overTokens.add(range.index);
  const done = new Map<Scalar, Known>();
  const no = (reason: NotCombined): Known => lost(out, reason);

  /** Something computed of parts in no way that is known: a token's own where they are. */
  const computed = (parts: readonly Known[], reason: Reason): Known => {
    const bad = parts.find((part) => part.kind === "lost");
    if (bad !== undefined) return bad;
    const of = combinationAmong(parts);
    if (of !== null) return no(reason.kind === "op" ? { ...reason, of } : reason);
    const own = new Set(parts.flatMap((part) => (part.kind === "token" ? [part.index] : [])));
    const [index] = own;
    if (index === undefined) return { kind: "fixed" };
    return own.size === 1 ? { kind: "token", index } : no({ kind: "others" });
  };
  /** Parts that are added, or of which a fixed condition chooses. */
  const together = (parts: readonly Known[]): Known => {
    const bad = parts.find((part) => part.kind === "lost");
    if (bad !== undefined) return bad;
    return parts.some((part) => part.kind === "token") ? computed(parts, { kind: "others" }) : beside(parts, out);
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
        if (scalar.op === "negate") return reversed(a);
        if (rising.has(scalar.op) && isExtreme(a)) return a;
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
        if (condition.kind === "fixed" || condition.kind === "zero") return together([then, otherwise]);
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
    if (tensor.kind !== "token") return places.kind === "token" ? no({ kind: "others" }) : tensor;
    const own = scalar.at[tensor.axis];
    if (own?.kind !== "index" || !overTokens.has(own.index)) return no({ kind: "others" });
    return computed([{ kind: "token", index: own.index }, places], { kind: "others" });
  };
  /**
   * The larger, or the smaller, of two: of maxima the largest is the maximum of what each token has the most of, and what
   * no token decides bounds all alike.
   */
  const extremeOf = (op: "max" | "min", a: Known, b: Known): Known => {
    if (a.kind === "lost" || b.kind === "lost" || a.kind === "token" || b.kind === "token")
      return computed([a, b], { kind: "others" });
    return a.kind === b.kind && a.kind !== op ? computed([a, b], { kind: "op", op }) : beside([a, b], out);
  };
  /** A maximum times or by a number that no token decides, and whose sign is known; null for anything else. */
  const extremeScaled = (part: Known, by: Scalar): Known | null => {
    const sign = isExtreme(part) && visit(by).kind === "fixed" ? signOf(by) : null;
    if (sign === null) return null;
    return sign < 0 ? reversed(part) : part;
  };
  const binary = ({ op, a: left, b: right }: Extract<Scalar, { kind: "binary" }>): Known => {
    const [a, b] = [visit(left), visit(right)];
    if (op === "add" || op === "subtract") {
      if (isExtreme(a) && isExtreme(b)) return computed([a, b], { kind: "op", op });
      return together([a, op === "add" ? b : reversed(b)]);
    }
    if ((op === "max" || op === "min") && (isExtreme(a) || isExtreme(b))) return extremeOf(op, a, b);
    if (op === "multiply" || op === "divide") {
      const isScaled = (part: Known, by: Known): boolean =>
        (part.kind === "sum" || part.kind === "zero") && (by.kind === "fixed" || by.kind === "zero");
      // 0 * x is 0: arithmetic is over finite numbers
      if (a.kind === "zero" && b.kind !== "lost") return a;
      if (op === "multiply" && b.kind === "zero" && a.kind !== "lost") return b;
      const scaled = extremeScaled(a, right) ?? (op === "multiply" ? extremeScaled(b, left) : null);
      if (scaled !== null) return scaled;
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
      const steady = ends.kind === "fixed" && value.kind !== "token";
      if (steady && (isExtreme(value) ? value.kind === op : op === "sum" || op === "mean")) return value;
      return computed([ends, value], { kind: "op", op });
    }
    if (more.length > 0) return no({ kind: "others" });
    const how = combines[op];
    if (how === undefined) return no({ kind: "reduction", op });
    const parts = computed([ends, value], { kind: "others" });
    if (parts.kind === "lost") return parts;
    if (parts.kind === "token" && parts.index !== range.index) return no({ kind: "others" });
    return value.kind === "zero" ? value : { kind: how };
  };
  return visit;
}
