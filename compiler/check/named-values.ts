import type { Label } from "../diagnostic.js";
import type { Expr, FormatExpr } from "../syntax/ast.js";
import { sizeValue } from "../types/size.js";
import type { Place } from "./frame.js";
import { namesIn } from "./names.js";
import { peek, type Binding } from "./scope.js";

/** Where what is named in expressions has its value, for an error that tells of the values: "`group` is 100". */
export function namedValues(exprs: readonly Expr[], { scope }: Pick<Place, "scope">): readonly Label[] {
  const names = new Set(exprs.flatMap(namesIn).map(({ name }) => name));
  return [...names].flatMap((name) => {
    const entry = peek(scope, name);
    const value = entry === null ? null : valueOf(entry.binding);
    return entry?.span && value !== null ? [{ span: entry.span, message: `\`${name}\` is ${value}` }] : [];
  });
}

/** What stands in the parentheses of a format, and of those that it is made of. */
export function argumentsOf(format: FormatExpr): readonly Expr[] {
  return [...format.args.map(({ value }) => value), ...(format.of === null ? [] : argumentsOf(format.of))];
}

function valueOf(binding: Binding): number | null {
  if (binding.kind === "number") return binding.value;
  return binding.kind === "size" ? sizeValue(binding.size) : null;
}
