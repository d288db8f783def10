/** Settings that are given by name and are known before a recipe runs. */
import type { Argument } from "../syntax/ast.js";
import { constantCondition } from "./constant-condition.js";
import { checkElement } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import type { Scope } from "./scope.js";

const conditions: ReadonlySet<string> = new Set(["and", "or", "==", "!=", "<", "<=", ">", ">="]);

/** The value of a setting that a recipe gives by name; null where it is none, which is reported by `code`. */
export function constantSetting(
  { value, label }: Argument,
  frame: Frame,
  scope: Scope,
  code: string,
): number | boolean | null {
  // what is computed of truth values is a condition, as after `if`
  if ((value.kind === "unary" && value.op === "not") || (value.kind === "binary" && conditions.has(value.op)))
    return constantCondition(value, frame, scope);
  const element = checkElement(value, placeIn(frame, scope));
  if (element === null) return null;
  if (element.kind === "number") return element.value;
  if (element.kind === "scalar" && element.scalar.kind === "constant" && element.dtype === "bool")
    return element.scalar.value !== 0;
  return fail(frame, code, `\`${label?.name ?? "this"}\` is no constant`, value.span, "known only at a run", {
    help: "a setting is made of numbers, `true` and `false`, constants and parameters of the recipe",
  });
}
