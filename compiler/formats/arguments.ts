/** The arguments of a format, checked and printed generically over its parameters. */
import { printSize } from "../types/size.js";
import type { FormatSpec, SymbolicFormat } from "../types/type.js";
import type { FormatParameter } from "./format.js";

/** Fills the defaults of the parameters in; a sentence where an argument is missing, unknown or of the wrong kind. */
export function normalizeArguments(spec: FormatSpec, parameters: readonly FormatParameter[]): FormatSpec | string {
  const args: Record<string, number | string | boolean> = {};
  for (const parameter of parameters) {
    const value = spec.args[parameter.name] ?? ("fallback" in parameter ? parameter.fallback : null);
    if (value === null) {
      if ((parameter.kind === "number" && parameter.optional !== true) || parameter.kind === "table")
        return `${spec.name} needs its argument \`${parameter.name}\`.`;
      continue;
    }
    const problem = argumentProblem(spec.name, parameter, value);
    if (problem !== null) return problem;
    args[parameter.name] = value;
  }
  const unknown = Object.keys(spec.args).find((name) => !parameters.some((parameter) => parameter.name === name));
  if (unknown !== undefined) return `${spec.name} has no argument \`${unknown}\`.`;
  return { name: spec.name, args, of: spec.of };
}

function argumentProblem(name: string, parameter: FormatParameter, value: number | string | boolean): string | null {
  switch (parameter.kind) {
    case "number": {
      if (
        typeof value === "number"
          ? Number.isInteger(value) && value > 0
          : typeof value === "string" && parameter.words.includes(value)
      )
        return null;
      const words = parameter.words.map((word) => ` or \`${word}\``).join("");
      return `The argument \`${parameter.name}\` of ${name} must be a positive whole number${words}, and is ${String(value)}.`;
    }
    case "flag":
      return typeof value === "boolean" ? null : `${name} is either ${parameter.yes} or ${parameter.no}.`;
    case "word":
      return typeof value === "string" && parameter.words.includes(value)
        ? null
        : `The argument \`${parameter.name}\` of ${name} must be ${parameter.words.join(" or ")}, and is ${String(value)}.`;
    case "table":
      return typeof value === "string"
        ? null
        : `The argument \`${parameter.name}\` of ${name} must be the name of a list of numbers.`;
    case "label":
      return typeof value === "number" && Number.isInteger(value) && value >= 0
        ? null
        : `The argument \`${parameter.name}\` of ${name} must be a whole number, and is ${String(value)}.`;
    default:
      return parameter satisfies never;
  }
}

/** A table is its name, and its numbers after a colon: `nf4: -1 0 1`. */
export function tableArgument(name: string, values: readonly number[]): string {
  return `${name}: ${values.map(Math.fround).join(" ")}`;
}

/** The numbers of a table; null where the text is none. */
export function tableValues(argument: string): readonly number[] | null {
  const [, list] = /^[A-Za-z_]\w{0,63}: ([-+.\d\seE]{1,8192})$/.exec(argument) ?? [];
  const values = list?.trim().split(/\s+/).map(Number) ?? [];
  return values.length === 0 || !values.every(Number.isFinite) ? null : values;
}

function tableName(argument: string): string {
  return argument.split(":")[0] ?? argument;
}

/**
 * The arguments as they are written: `(128, symmetric)`; words at their default are left out, where it is to be short
 * flags, too; nothing at all for no arguments.
 */
export function printArguments(
  { args }: SymbolicFormat | FormatSpec,
  parameters: readonly FormatParameter[],
  length: "full" | "short",
): string {
  const parts = parameters.flatMap((parameter) => {
    const given = args[parameter.name];
    if (given === undefined) return [];
    const value = typeof given === "object" ? printSize(given) : given;
    switch (parameter.kind) {
      case "number":
        return [String(value)];
      case "flag":
        return length === "short" && value === parameter.fallback
          ? []
          : [value === true ? parameter.yes : parameter.no];
      case "table":
        return [tableName(String(value))];
      case "word":
        return value === parameter.fallback ? [] : [`${parameter.name}: ${String(value)}`];
      case "label":
        return [`${parameter.name}: ${String(value)}`];
      default:
        return parameter satisfies never;
    }
  });
  return parts.length === 0 ? "" : `(${parts.join(", ")})`;
}
