import { formatOf, formats, printFormat } from "../formats/registry.js";
import type { ValueId } from "../graph/graph.js";
import type { Expr } from "../syntax/ast.js";
import { isFloat, printDtype } from "../types/dtype.js";
import { constantSize, divideSizes, printSize, subtractSizes, type Size } from "../types/size.js";
import type { Pattern, SymbolicFormat } from "../types/type.js";
import { addEqn, addMap, indexScalar, loadAt, newAxis, typeOf, valueOf } from "./builder.js";
import { checkFormat, needsOf, shapeProblem } from "./formats.js";
import { demand, fail, printType, type Place } from "./frame.js";
import { impliesPattern, printPattern, whereLost } from "./pattern.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";

/**
 * Checks `pack e as F with scale s, zero z`: that e provably has the pattern of F, and that the grid is there and fits.
 */
export function checkPack(expr: Extract<Expr, { kind: "pack" }>, place: Place): ValueId | null {
  const { frame } = place;
  if (frame.builder.steps.size > 0)
    return fail(frame, "E601", "`pack` cannot stand in a `scan`", expr.span, "at each step", {
      help: "pack the result, after the `scan`",
    });
  const source = checkTensor(expr.value, place);
  const scale = expr.scale === null ? null : checkTensor(expr.scale, place);
  const zero = expr.zero === null ? null : checkTensor(expr.zero, place);
  const format = checkPackFormat(expr, place);
  if (
    source === null ||
    format === null ||
    (expr.scale !== null && scale === null) ||
    (expr.zero !== null && zero === null)
  )
    return null;
  const type = typeOf(frame.builder, source);
  if (type.format !== null)
    return fail(
      frame,
      "E503",
      `this is packed already, as ${printFormat(type.format, "short")}`,
      expr.value.span,
      printType(type),
      { help: "`unpack` it first" },
    );
  if (!isFloat(type.dtype) || type.shape.length === 0)
    return fail(
      frame,
      "E503",
      `only tensors of floating point numbers are packed, found ${printType(type)}`,
      expr.value.span,
      printType(type),
    );
  const columns = type.shape.at(-1) ?? constantSize(1);
  const needs = needsOf(format);
  const problem = shapeProblem(format, type.shape);
  if (problem !== null)
    return fail(
      frame,
      "E404",
      `${printType(type)} cannot be packed as ${printFormat(format, "short")}: ${problem}`,
      expr.span,
      problem,
    );
  const name = `\`${printFormat(format, "short")}\``;
  const divisible = [
    ...(needs.pattern?.kind === "nm" ? [needs.pattern.m] : []),
    ...(needs.grid !== null && needs.grid.group !== "channel" ? [needs.grid.group] : []),
  ].map((right) => demand(frame, { kind: "divides", left: columns, right }, expr.format.span, name));
  if (divisible.includes(false)) return null;
  if (needs.pattern !== null) {
    const want: Pattern =
      needs.pattern.kind === "nm"
        ? { ...needs.pattern, axis: type.shape.length - 1, mask: null }
        : { kind: "masked", mask: null };
    if (!impliesPattern(type.pattern, want)) return failPattern(expr, source, want, place);
  }
  if (!checkGrid(expr, format, type.shape, { scale, zero }, place)) return null;
  const grid = {
    scale: scale === null ? null : perGroup(scale, type.shape, place),
    zero: zero === null ? null : perGroup(zero, type.shape, place),
  };
  return addEqn(frame.builder, valueOf(frame.builder, source).name, expr.span, { ...type, format }, (out) => ({
    kind: "pack",
    out,
    source,
    ...grid,
  }));
}

function checkPackFormat(expr: Extract<Expr, { kind: "pack" }>, place: Place): SymbolicFormat | null {
  const { frame } = place;
  if (frame.formats.has(expr.format.name.name))
    return fail(
      frame,
      "E501",
      `\`${expr.format.name.name}\` is a format parameter: what it asks is not known here`,
      expr.format.span,
      "cannot be packed as",
      { help: "name the format" },
    );
  const { name } = expr.format.name;
  const made = formatOf(name)?.made;
  if (made !== undefined)
    return fail(frame, "E501", `nothing is packed as \`${name}\``, expr.format.span, "not by `as`", { help: made });
  if (formatOf(name)?.readOnly === true)
    return fail(
      frame,
      "E501",
      `\`${name}\` is read from files, and nothing is packed as it`,
      expr.format.span,
      "read only",
      {
        help: `of what GGUF has, ${formats
          .filter(
            (format) =>
              format.packsOnHost && format.readOnly !== true && format.pattern({ name, args: {}, of: null }) === null,
          )
          .map((format) => `\`${format.name}\``)
          .join(", ")} are packed`,
      },
    );
  return checkFormat(expr.format, place);
}

/** E502: says which equation lost the pattern, if one did. */
function failPattern(expr: Extract<Expr, { kind: "pack" }>, source: ValueId, want: Pattern, place: Place): null {
  const { frame } = place;
  const { builder } = frame;
  const found = typeOf(builder, source);
  const lost = whereLost(source, want, builder.values, builder.producer);
  const axis = found.shape.at(-1);
  const along = axis === undefined ? "" : ` along \`${printSize(axis).toLowerCase()}\``;
  const what = expr.value.kind === "name" ? `\`${expr.value.name}\`` : "this";
  const text =
    want.kind === "nm"
      ? `nothing guarantees that ${printSize(subtractSizes(want.m, want.n))} of every ${printSize(want.m)}${along} are zero`
      : "nothing says which of its elements are zero";
  const labels = [];
  const notes: string[] = [];
  if (lost !== null) {
    const span = builder.values[lost.eqn.out]?.span ?? null;
    const from = builder.values[lost.from]?.name ?? "it";
    const why =
      lost.eqn.kind === "update" ? "this update writes to pruned weights" : `this is not zero where \`${from}\` is`;
    if (span !== null) labels.push({ span, message: why });
    notes.push(
      `\`${from}\` has the pattern, and loses it in ${lost.eqn.kind === "update" ? "an update" : "an expression"} that is not zero where its mask is false`,
    );
  }
  const help = mayMask(source, want, place);
  return fail(
    frame,
    "E502",
    `${what} is packed as ${want.kind === "nm" ? printPattern(want) : expr.format.name.name}, but ${text}`,
    expr.value.span,
    `${printPattern(found.pattern)}`,
    { labels, notes, help },
  );
}

function mayMask(source: ValueId, want: Pattern, place: Place): string {
  const { builder } = place.frame;
  const shape = typeOf(builder, source).shape;
  const mask = builder.values.find(
    (value) =>
      value.type.dtype === "bool" &&
      value.type.shape.length === shape.length &&
      impliesPattern(value.type.pattern, want),
  );
  if (mask !== undefined) return `keep the mask: \`... where ${mask.name}\``;
  const { functions, elsewhere } = place.frame.file;
  const maker = want.kind === "nm" ? `mask_${printSize(want.n)}of${printSize(want.m)}` : "";
  const module = elsewhere().get(maker);
  if (functions.has(maker) || module !== undefined)
    return `mask it: \`... where ${maker}(score)\`, where the score of a weight may be \`magnitude(w)\`${module === undefined ? "" : ` (\`use ${module}\` at the top of the file)`}`;
  return want.kind === "nm"
    ? `make a mask with \`top ${printSize(want.n)} of ${printSize(want.m)} along ...\` and keep it: \`... where keep\``
    : "say which elements are kept: `... where keep`";
}

function checkGrid(
  expr: Extract<Expr, { kind: "pack" }>,
  format: SymbolicFormat,
  shape: readonly Size[],
  given: { readonly scale: ValueId | null; readonly zero: ValueId | null },
  place: Place,
): boolean {
  const { frame } = place;
  const { grid } = needsOf(format);
  const name = printFormat(format, "short");
  const surplus = grid === null ? (expr.scale ?? expr.zero) : grid.symmetric ? expr.zero : null;
  if (surplus !== null) {
    fail(
      frame,
      "E504",
      grid === null
        ? `${name} has no grid, and takes neither scale nor zero point`
        : `${name} is symmetric and takes no zero point`,
      surplus.span,
      "not needed",
    );
    return false;
  }
  if (grid === null) return true;
  const missing = given.scale === null ? "scale" : !grid.symmetric && given.zero === null ? "zero" : null;
  if (missing !== null) {
    const help = gridHelp(expr, format, grid, place);
    fail(
      frame,
      "E504",
      `${name} needs ${missing === "scale" ? "a scale" : "a zero point"} for each ${grid.group === "channel" ? "row" : "group"}`,
      expr.span,
      `no ${missing}`,
      { help },
    );
    return false;
  }
  const groups = grid.group === "channel" ? constantSize(1) : divideSizes(shape.at(-1) ?? constantSize(1), grid.group);
  const wanted = [...shape.slice(0, -1), groups];
  const fits = ([value, written]: readonly [ValueId | null, Expr | null]): boolean => {
    if (value === null || written === null) return true;
    const type = typeOf(frame.builder, value);
    const sizes = type.shape;
    const same = (expected: readonly Size[]): boolean =>
      sizes.length === expected.length &&
      sizes.every((size, axis) => equalSizes(size, expected[axis] ?? constantSize(0), frame.builder.constraints));
    if (
      type.dtype === "f32" &&
      type.format === null &&
      (same(wanted) || (grid.group === "channel" && same(shape.slice(0, -1))))
    )
      return true;
    fail(
      frame,
      "E504",
      `${name} needs f32[${wanted.map(printSize).join(", ")}] here, found ${printType(type)}`,
      written.span,
      type.dtype === "f32" ? printType(type) : `${printDtype(type.dtype)}, not f32`,
    );
    return false;
  };
  return [[given.scale, expr.scale] as const, [given.zero, expr.zero] as const].map(fits).every((fit) => fit);
}

/** How the grid of a format is made by the functions of `quantize`. */
function gridHelp(
  { value }: Extract<Expr, { kind: "pack" }>,
  format: SymbolicFormat,
  grid: NonNullable<ReturnType<typeof needsOf>["grid"]>,
  { frame }: Place,
): string {
  const integer = format.of?.name ?? format.name;
  const w = value.kind === "name" ? value.name : "...";
  const known = [...frame.file.functions.keys(), ...frame.file.elsewhere().keys()];
  const group = grid.group === "channel" ? null : printSize(grid.group);
  const [one, better] = group === null ? [`${integer}_channel_scale`, ""] : [`${integer}_scale`, `${integer}_search`];
  const both = `${integer}_grid`;
  const [made, needed] = grid.symmetric
    ? [`with scale ${one}(${[w, ...(group === null ? [] : [group])].join(", ")})`, [one, better]]
    : [`let s, z = ${both}(${w}, ${group ?? "K"})`, [both]];
  const generic = `write \`pack ${w} as ${printFormat(format, "short")} ${grid.symmetric ? "with scale s" : "with scale s, zero z"}\``;
  if (!needed.every((name) => name === "" || known.includes(name))) return generic;
  const use = needed.some((name) => frame.file.elsewhere().has(name)) ? " (`use quantize` at the top of the file)" : "";
  if (!grid.symmetric) return `write \`${made}\` before it${use}, then \`with scale s, zero z\``;
  const search = better === "" ? "" : `, or \`${better}\`, which looks for a better one`;
  return `write \`${made}\`${search}${use}`;
}

/** A grid of one value a row is given the axis of groups, of size 1. */
function perGroup(grid: ValueId, shape: readonly Size[], place: Place): ValueId {
  const { builder } = place.frame;
  const type = typeOf(builder, grid);
  if (type.shape.length === shape.length) return grid;
  const axes = [...type.shape, constantSize(1)].map((size, axis) => newAxis(builder, `i${axis}`, size));
  return addMap(
    builder,
    valueOf(builder, grid).name,
    null,
    type.dtype,
    axes,
    loadAt(builder, grid, axes.slice(0, -1).map(indexScalar)),
  );
}
