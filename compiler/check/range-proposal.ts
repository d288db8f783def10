import type { Expr } from "../syntax/ast.js";
import { printSize, type Size } from "../types/size.js";
import { namesIn } from "./names.js";
import type { Place } from "./frame.js";
import { peek } from "./scope.js";

/**
 * Where an index without a range most likely ends, as it is written: at `K / 2` where it stands in `x[2 * i + 1]`, at
 * `group` where it stands in `w[n, g * group + j]`, at the axis' size in `x[i - 1]`. Null where it stands in no axis'
 * index, or with more than this can decide. `shapeOf` gives the shape of what is indexed.
 */
export function proposedEnd(
  name: string,
  exprs: readonly Expr[],
  indices: ReadonlySet<string>,
  place: Place,
  shapeOf: (base: Expr) => readonly Size[] | null,
): string | null {
  const isIndex = (other: string): boolean => indices.has(other) || peek(place.scope, other)?.binding.kind === "index";
  for (const indexed of exprs.flatMap(indexedIn)) {
    const axis = indexed.at.findIndex((at) => namesIn(at).some((used) => used.name === name));
    const [at, size] = [indexed.at[axis], shapeOf(indexed.base)?.[axis]];
    if (at === undefined || size === undefined) continue;
    const terms = termsOf(at);
    const [own, ...more] = terms.filter((term) => factorOf(term, name) !== null);
    if (own === undefined || more.length > 0) continue;
    const factor = factorOf(own, name);
    if (factor === "1") {
      const step = terms
        .filter((term) => term !== own)
        .flatMap((term) =>
          namesIn(term)
            .filter((used) => isIndex(used.name))
            .map((used) => factorOf(term, used.name)),
        )
        .find((found) => found !== null && found !== "1");
      return step ?? printSize(size);
    }
    if (factor !== null && !/\s/.test(factor)) return `${printSize(size)} / ${factor}`;
  }
  return null;
}

/** `a + b - c` as its parts. */
function termsOf(expr: Expr): readonly Expr[] {
  return expr.kind === "binary" && (expr.op === "+" || expr.op === "-")
    ? [...termsOf(expr.left), ...termsOf(expr.right)]
    : [expr];
}

/** What a name is multiplied by in a term, as it is written; null where it is not just that. */
function factorOf(term: Expr, name: string): string | null {
  if (term.kind === "name") return term.name === name ? "1" : null;
  if (term.kind !== "binary" || term.op !== "*") return null;
  const [a, b] = [term.left, term.right];
  const plain = (expr: Expr): string | null =>
    expr.kind === "name" ? expr.name : expr.kind === "number" ? String(expr.value) : null;
  if (a.kind === "name" && a.name === name) return plain(b);
  if (b.kind === "name" && b.name === name) return plain(a);
  return null;
}

/** Every indexed tensor in an expression. */
function indexedIn(expr: Expr): readonly Extract<Expr, { kind: "index" }>[] {
  switch (expr.kind) {
    case "index":
      return [expr, ...indexedIn(expr.base), ...expr.at.flatMap(indexedIn)];
    case "call":
      return expr.args.flatMap((argument) => indexedIn(argument.value));
    case "unary":
      return indexedIn(expr.operand);
    case "binary":
      return [...indexedIn(expr.left), ...indexedIn(expr.right)];
    case "reduce":
      return indexedIn(expr.body);
    case "where":
      return [...indexedIn(expr.value), ...indexedIn(expr.mask)];
    case "top":
      return indexedIn(expr.score);
    case "pack":
    case "unpack":
    case "plus":
      return indexedIn(expr.value);
    case "name":
    case "string":
    case "number":
    case "boolean":
    case "member":
    case "observe":
    case "gradient":
    case "matches":
      return [];
    default:
      return expr satisfies never;
  }
}
