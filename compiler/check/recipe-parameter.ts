import type { ParameterValue, Recipe } from "../recipe/recipe.js";
import type { Expr, RecipeDeclaration } from "../syntax/ast.js";
import { fail, type Frame } from "./frame.js";
import { bind, type Scope } from "./scope.js";
import { defaultOf } from "./settings.js";
import { suggest } from "../suggest.js";
import { nameHabits } from "./habits.js";

/** The types that may be written of a parameter, by what its default is, and that in words. */
const parameterTypes: Readonly<
  Record<"number" | "boolean" | "string", { readonly types: readonly string[]; readonly words: string }>
> = {
  number: { types: ["size", "f32", "i32"], words: "a number" },
  boolean: { types: ["bool"], words: "a truth value" },
  string: { types: ["string"], words: "a string" },
};

/** Checks the parameters of a recipe and gives them to its scope. */
export function checkParameters(
  recipe: RecipeDeclaration,
  frame: Frame,
  scope: Scope,
  settings: ReadonlyMap<string, ParameterValue>,
): Recipe["parameters"] {
  const parameters: { name: string; value: ParameterValue; fallback: ParameterValue }[] = [];
  for (const param of recipe.params) {
    const name = param.name.name;
    const known = scope.entries.get(name);
    if (known !== undefined)
      fail(
        frame,
        "E203",
        `the parameter \`${name}\` is declared twice`,
        param.name.span,
        "declared again",
        known.span === null ? {} : { labels: [{ span: known.span, message: "first declared here" }] },
      );
    if (param.mutable) fail(frame, "E603", "parameters of recipes are constants", param.span, "`var` is for functions");
    const type = param.type?.dtype.name ?? null;
    if (type === "llama" || type === "tokens") {
      bind(scope, name, { kind: type === "llama" ? "model" : "text" }, param.name.span);
      if (param.fallback !== null)
        fail(frame, "E603", `a ${type} has no default`, param.fallback.span, "given at each run");
      continue;
    }
    const fallback = defaultOf(param.fallback);
    if (fallback === null) {
      bind(scope, name, { kind: "unknown" }, param.name.span);
      if (param.fallback === null)
        fail(
          frame,
          "E603",
          `\`${name}\` has neither a default nor one of the types llama and tokens`,
          param.span,
          "what is it?",
          { help: parameterHelp(name, type) },
        );
      else
        fail(
          frame,
          "E603",
          `the default of \`${name}\` must be a number, \`true\`, \`false\` or a name pattern in quotes`,
          param.fallback.span,
          "not a plain constant",
          { help: fallbackHelp(param.fallback) },
        );
      continue;
    }
    const kind = typeof fallback.value as keyof typeof parameterTypes;
    const { types, words } = parameterTypes[kind];
    if (type !== null && (param.type?.shape != null || !types.includes(type)))
      fail(
        frame,
        "E603",
        `\`${name}\` is declared as ${type}, and its default is ${words}`,
        param.span,
        "not the same",
        { help: `write \`${name} = ${kind === "string" ? JSON.stringify(fallback.value) : String(fallback.value)}\`` },
      );
    const value = settings.get(name) ?? fallback.value;
    parameters.push({ name, value, fallback: fallback.value });
    if (typeof value === "boolean") bind(scope, name, { kind: "boolean", value }, param.name.span);
    else if (typeof value === "string") bind(scope, name, { kind: "string", value }, param.name.span);
    else
      bind(
        scope,
        name,
        { kind: "number", value, integer: Number.isInteger(value) && (fallback.integer || settings.has(name)) },
        param.name.span,
      );
  }
  return parameters;
}

function fallbackHelp(expr: Expr): string | null {
  if (expr.kind === "name") return nameHabits.get(expr.name) ?? null;
  if (expr.kind !== "binary" || expr.left.kind !== "number" || expr.right.kind !== "number") return null;
  const [a, b] = [expr.left.value, expr.right.value];
  const value = expr.op === "/" ? a / b : expr.op === "*" ? a * b : expr.op === "+" ? a + b : a - b;
  return `write \`${value}\``;
}

function parameterHelp(name: string, type: string | null): string {
  const near = type === null ? null : suggest(type, ["llama", "tokens"]);
  if (near !== null) return `did you mean \`${name}: ${near}\`?`;
  if (type === "size" || type === "i32") return `give it a default: \`${name} = 128\``;
  if (type === "f32" || type === "bool") return `give it a default: \`${name} = ${type === "f32" ? "0.01" : "true"}\``;
  if (name === "model") return "write `model: llama`";
  if (name === "text") return "write `text: tokens`";
  return `write \`${name}: llama\`, \`${name}: tokens\`, or a default: \`${name} = 0.01\``;
}
