import { error, type Diagnostic } from "../diagnostic.js";
import type { ParameterValue } from "../recipe/recipe.js";
import type { Expr, RecipeDeclaration } from "../syntax/ast.js";
import type { FileScope } from "./modules.js";
import { suggestion } from "./suggestion.js";

/**
 * Values given for the parameters of recipes, by name. Text is read as what the default is: a number, `true` or `false`,
 * or a name pattern.
 */
export type Settings = Readonly<Record<string, number | boolean | string>>;

/** The default of a recipe's parameter: a number, truth value or string, written out, else null. */
export function defaultOf(expr: Expr | null): { readonly value: ParameterValue; readonly integer: boolean } | null {
  if (expr === null) return null;
  if (expr.kind === "string") return { value: expr.value, integer: false };
  if (expr.kind === "boolean") return { value: expr.value, integer: false };
  if (expr.kind === "number") return { value: expr.value, integer: expr.integer };
  if (expr.kind === "unary" && expr.op === "-" && expr.operand.kind === "number")
    return { value: -expr.operand.value, integer: expr.operand.integer };
  return null;
}

/** Whether a parameter of a recipe can be set: it has a default. */
function settable(recipe: RecipeDeclaration): readonly string[] {
  return recipe.params.filter((param) => defaultOf(param.fallback) !== null).map((param) => param.name.name);
}

/**
 * The settings as what the parameters are. Those that no recipe of the file has, or of the wrong type, are reported
 * and left out.
 */
export function checkSettings(
  file: FileScope,
  set: Settings,
  report: (found: Diagnostic) => void,
): ReadonlyMap<string, ParameterValue> {
  const known = new Map<string, ParameterValue>();
  const recipes = [...file.recipes.values()];
  const names = [...new Set(recipes.flatMap(settable))];
  const listed =
    names.length === 0 ? "the file has no parameters that can be set" : `the parameters are ${names.join(", ")}`;
  for (const [name, given] of Object.entries(set)) {
    if (!names.includes(name)) {
      const help = names.length === 0 ? null : suggestion(name, names, "the parameters are");
      report(
        error("E210", `there is no parameter \`${name}\` to set`, null, {
          notes: [listed],
          ...(help === null || help.startsWith("the parameters") ? {} : { help }),
        }),
      );
      continue;
    }
    const fallback = recipes
      .flatMap((recipe) =>
        recipe.params
          .filter((param) => param.name.name === name)
          .map((param) => defaultOf(param.fallback)?.value ?? null),
      )
      .find((found) => found !== null);
    const value = typeof fallback === "string" ? given : readSetting(given);
    if (
      value === null ||
      fallback === undefined ||
      typeof value !== typeof fallback ||
      (typeof value === "number" && !Number.isFinite(value)) ||
      (typeof value === "string" && value.trim() === "")
    ) {
      const wanted = wantedWords[typeof fallback as keyof typeof wantedWords];
      report(
        error("E210", `the parameter \`${name}\` is ${wanted}, and is set to \`${String(given)}\``, null, {
          notes: [`its default is ${String(fallback)}`],
        }),
      );
      continue;
    }
    const outside = typeof value === "number" ? outsideF32(value) : null;
    if (outside !== null) {
      report(
        error("E210", `the parameter \`${name}\` is set to \`${String(given)}\`, which is ${outside}`, null, {
          notes: [`its default is ${String(fallback)}`],
        }),
      );
      continue;
    }
    known.set(name, value);
  }
  return known;
}

/** Why a device cannot compute with a number, if it cannot: what is subnormal is 0 to many. */
function outsideF32(value: number): string | null {
  if (!Number.isFinite(Math.fround(value))) return "too large for an f32, which holds up to 3.4028235e38";
  if (value !== 0 && Math.abs(value) < 2 ** -126)
    return "too small for an f32: below 1.17549435e-38 a device may compute with 0";
  return null;
}

const wantedWords = { number: "a number", boolean: "`true` or `false`", string: "a name pattern" } as const;

function readSetting(given: number | boolean | string): number | boolean | null {
  if (typeof given !== "string") return given;
  const text = given.trim();
  if (text === "true" || text === "false") return text === "true";
  const value = Number(text);
  return text === "" || Number.isNaN(value) ? null : value;
}
