import type { Format, Grid } from "../formats/format.js";
import { tableArgument } from "../formats/arguments.js";
import { formatOf, formats, printFormat } from "../formats/registry.js";
import type { Argument, Expr, FormatExpr } from "../syntax/ast.js";
import { constantSize, sizeValue, type Size } from "../types/size.js";
import type { FormatSpec, SymbolicFormat } from "../types/type.js";
import { compileTimeSize } from "./element.js";
import { fail, type Place } from "./frame.js";
import { lookup, peek, visibleNames } from "./scope.js";
import { formatHabits } from "./habits.js";
import { argumentsOf, namedValues } from "./named-values.js";
import { suggest } from "../suggest.js";
import { suggestion } from "./suggestion.js";

/** What a format asks of what is packed in it, with sizes that may be symbols. */
export interface FormatNeeds {
  readonly pattern: { readonly kind: "nm"; readonly n: Size; readonly m: Size } | { readonly kind: "masked" } | null;
  readonly grid: { readonly group: Size | "channel"; readonly symmetric: boolean } | null;
}

/** Checks a format as it is written; null where it is wrong, which is reported. Defaults are filled in. */
export function checkFormat(expr: FormatExpr, place: Place): SymbolicFormat | null {
  const written = readFormat(expr, place);
  if (written === null) return null;
  const normal = concrete(written).normalize();
  if (typeof normal === "string")
    return fail(
      place.frame,
      "E501",
      `\`${printFormat(written, "short")}\` is not a format: ${lowerFirst(normal.replace(/\.$/, ""))}`,
      expr.span,
      "this format",
      { labels: namedValues(argumentsOf(expr), place), help: groupHelp(expr, written, place) },
    );
  return restore(written, normal);
}

/** What a group could be, where it is a number that none of the format's can be, and all else is right. */
function groupHelp(expr: FormatExpr, format: SymbolicFormat, place: Place): string | null {
  const holder = withGroup(format);
  const value = typeof holder?.args["group"] === "object" ? sizeValue(holder.args["group"]) : null;
  if (holder === null || value === null) return null;
  const distance = (group: number): number => Math.abs(Math.log2(group / Math.max(value, 1)));
  const fitting = [8, 16, 32, 64, 128, 256, 512, 1024].filter(
    (group) => typeof concrete(regrouped(format, group)).normalize() !== "string",
  );
  const [least] = fitting;
  const [nearest] = fitting.sort((a, b) => distance(a) - distance(b));
  if (least === undefined || nearest === undefined) return null;
  const named = withName(expr, holder.name).find(
    (each) => each.kind === "name" && peek(place.scope, each.name)?.binding.kind !== "table",
  );
  const whole =
    named?.kind === "name" && peek(place.scope, named.name) !== null
      ? `let \`${named.name}\` be ${nearest}`
      : `write \`${printFormat(regrouped(holder, nearest), "short")}\``;
  return `${whole}, or another multiple of ${least} that divides K`;
}

/** The same with another number for its group. */
function regrouped(format: SymbolicFormat, group: number): SymbolicFormat {
  return {
    ...format,
    args: typeof format.args["group"] === "object" ? { ...format.args, group: constantSize(group) } : format.args,
    of: format.of === null ? null : regrouped(format.of, group),
  };
}

/** The arguments of the part of a composed format that has this name. */
function withName(expr: FormatExpr, name: string): readonly Expr[] {
  if (expr.name.name === name) return expr.args.map((argument) => argument.value);
  return expr.of === null ? [] : withName(expr.of, name);
}

/** What a checked format asks. */
export function needsOf(format: SymbolicFormat): FormatNeeds {
  const { spec, format: found } = concrete(format);
  const pattern = found?.pattern(spec) ?? null;
  const grid: Grid | null = found?.grid(spec) ?? null;
  const holder = grid === null ? null : withGroup(format);
  const size = (value: Size | string | boolean | undefined, otherwise: number): Size =>
    typeof value === "object" ? value : constantSize(otherwise);
  return {
    pattern:
      pattern === null || pattern.kind === "masked"
        ? pattern
        : { kind: "nm", n: size(format.args["n"], pattern.n), m: size(format.args["m"], pattern.m) },
    grid:
      grid === null
        ? null
        : {
            symmetric: grid.symmetric,
            group: grid.group === "channel" ? "channel" : size(holder?.args["group"], grid.group),
          },
  };
}

/** Why a tensor of this shape cannot be stored so, or null; says nothing while the shape or an argument is symbolic. */
export function shapeProblem(format: SymbolicFormat, shape: readonly Size[]): string | null {
  const dims = shape.map(sizeValue);
  const { spec, format: found, exact } = concrete(format);
  if (!exact || found === null || dims.some((dim) => dim === null)) return null;
  const known = dims.map((dim) => dim ?? 0);
  return found.check(spec, { rows: known.slice(0, -1).reduce((a, b) => a * b, 1), columns: known.at(-1) ?? 1 });
}

function readFormat(expr: FormatExpr, place: Place): SymbolicFormat | null {
  const found = formats.find(({ name }) => name === expr.name.name);
  if (found === undefined) {
    // what is read only comes from files, and is not written
    const names = formats.filter((format) => format.readOnly !== true).map((format) => format.name);
    // `int3` is no misspelt `int8`
    const other = (name: string): string => name.replace(/\d+/g, "");
    const near = suggest(
      expr.name.name,
      names.filter((name) => other(name) !== other(expr.name.name)),
    );
    const help =
      formatHabits.get(expr.name.name) ??
      (near === null ? `the formats are ${names.join(", ")}` : `did you mean \`${near}\`?`);
    return fail(place.frame, "E501", `there is no format \`${expr.name.name}\``, expr.name.span, "not a format", {
      help,
    });
  }
  const args: Record<string, Size | string | boolean> = {};
  const positions = found.parameters
    .filter((parameter) => parameter.kind === "number" || parameter.kind === "table")
    .map((parameter) => parameter.name);
  for (const argument of expr.args) {
    const read = readArgument(argument, found, positions, args, place);
    if (read === null) return null;
    if (args[read.name] !== undefined)
      return fail(
        place.frame,
        "E501",
        `\`${read.name}\` of \`${found.name}\` is given twice`,
        argument.span,
        "given again",
      );
    args[read.name] = read.value;
  }
  const of = expr.of === null ? null : readFormat(expr.of, place);
  return expr.of !== null && of === null ? null : { name: found.name, args, of };
}

function readArgument(
  argument: Argument,
  format: Format,
  positions: readonly string[],
  given: Readonly<Record<string, unknown>>,
  place: Place,
): { readonly name: string; readonly value: Size | string | boolean } | null {
  const label = argument.label?.name ?? null;
  const { value } = argument;
  if (label !== null && !format.parameters.some((parameter) => parameter.name === label)) {
    const help = suggestion(
      label,
      format.parameters.map((parameter) => parameter.name),
      "its arguments are",
    );
    return fail(
      place.frame,
      "E501",
      `\`${format.name}\` has no argument \`${label}\``,
      argument.span,
      "no such argument",
      { help },
    );
  }
  if (value.kind === "name" && peek(place.scope, value.name) === null) {
    for (const parameter of format.parameters) {
      if (parameter.kind === "flag" && label === null && (value.name === parameter.yes || value.name === parameter.no))
        return { name: parameter.name, value: value.name === parameter.yes };
      const here =
        label === null
          ? positions.find((name) => given[name] === undefined) === parameter.name
          : label === parameter.name;
      if (here && "words" in parameter && parameter.words.includes(value.name))
        return { name: parameter.name, value: value.name };
    }
    const all = format.parameters.flatMap((parameter) =>
      parameter.kind === "flag" ? [parameter.yes, parameter.no] : "words" in parameter ? parameter.words : [],
    );
    const words = [...new Set(all)];
    const near = suggest(value.name, words) ?? suggest(value.name, visibleNames(place.scope));
    const module = place.frame.file.elsewhere().get(value.name);
    const help =
      module !== undefined
        ? `the module ${module} declares it: write \`use ${module}\` at the top of the file`
        : near === null && words.length > 0
          ? `no \`${value.name}\` is declared here, and the words of \`${format.name}\` are ${words.join(", ")}`
          : suggestion(value.name, [...words, ...visibleNames(place.scope)], "it can be");
    return fail(
      place.frame,
      "E501",
      `\`${format.name}\` takes no argument \`${value.name}\``,
      argument.span,
      "neither a size nor a word of this format",
      { help },
    );
  }
  const name = label ?? positions.find((candidate) => given[candidate] === undefined);
  if (name === undefined)
    return fail(
      place.frame,
      "E501",
      `\`${format.name}\` takes ${positions.length === 0 ? "no numbers" : `(${positions.join(", ")})`}`,
      argument.span,
      "one argument too many",
    );
  if (format.parameters.find((parameter) => parameter.name === name)?.kind === "table") {
    const binding = value.kind === "name" ? lookup(place.scope, value.name) : null;
    if (binding?.kind === "unknown") return null;
    if (value.kind === "name" && binding?.kind === "table")
      return { name, value: tableArgument(value.name, binding.values) };
    return fail(place.frame, "E501", `\`${name}\` of \`${format.name}\` is a table`, argument.span, "not a table", {
      help: "a table is a constant of the file or of a module: `const thirds = [-1.0, 0.0, 1.0]`",
    });
  }
  const size = compileTimeSize(value, place);
  return size === null ? null : { name, value: size };
}

/** Stand-ins for arguments that are symbols, so that a format can check the others. */
const standIns: Readonly<Record<string, number>> = { group: 128, n: 1, m: 4 };

function concrete(format: SymbolicFormat): {
  readonly spec: FormatSpec;
  readonly format: Format | null;
  readonly exact: boolean;
  readonly normalize: () => FormatSpec | string;
} {
  let exact = true;
  const specOf = (each: SymbolicFormat): FormatSpec => {
    const args = Object.entries(each.args).map(([name, value]): [string, number | string | boolean] => {
      if (typeof value !== "object") return [name, value];
      const number = sizeValue(value);
      if (number === null) exact = false;
      return [name, number ?? standIns[name] ?? 1];
    });
    return { name: each.name, args: Object.fromEntries(args), of: each.of === null ? null : specOf(each.of) };
  };
  const spec = specOf(format);
  const found = formatOf(format.name);
  return { spec, format: found, exact, normalize: () => found?.normalize(spec) ?? `there is no format ${spec.name}` };
}

/** The normal form, with the sizes as they were written. */
function restore(written: SymbolicFormat, normal: FormatSpec): SymbolicFormat {
  const args = Object.entries(normal.args).map(([name, value]): [string, Size | string | boolean] => [
    name,
    written.args[name] ?? (typeof value === "number" ? constantSize(value) : value),
  ]);
  return {
    name: normal.name,
    args: Object.fromEntries(args),
    of: normal.of === null ? null : restore(written.of ?? { name: normal.of.name, args: {}, of: null }, normal.of),
  };
}

/** The part of a composed format that has the scales. */
function withGroup(format: SymbolicFormat): SymbolicFormat | null {
  if (format.args["group"] !== undefined) return format;
  return format.of === null ? null : withGroup(format.of);
}

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
