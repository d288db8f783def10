import { printFormat } from "../formats/registry.js";
import type { Span } from "../diagnostic.js";
import type { ValueId } from "../graph/graph.js";
import { type DtypeRef, isFloat, printDtype, sameDtype } from "../types/dtype.js";
import {
  constantSize,
  divideSizes,
  multiplySizes,
  printSize,
  type Size,
  sizeSymbols,
  subtractSizes,
} from "../types/size.js";
import { mapFormat, sameFormat, type FormatRef, type TensorType } from "../types/type.js";
import type { CheckedParam } from "./checked.js";
import { fail, type Place, printType } from "./frame.js";
import { bindDtype, bindSize, type CallBinding } from "./inline.js";
import { impliesPattern, printPattern, whereLost } from "./pattern.js";
import { equalSizes, soleSymbol } from "./sizes.js";

/** Binds what stands alone in a parameter's type; false where dtype class or rank cannot fit. */
export function bindParameters(
  want: TensorType,
  have: TensorType,
  sizes: Map<string, Size>,
  dtypes: Map<string, DtypeRef>,
  formats: Map<string, FormatRef | null>,
): boolean {
  if (want.shape.length !== have.shape.length) return false;
  if (typeof want.dtype !== "string") {
    if (!isFloat(have.dtype)) return false;
    if (!dtypes.has(want.dtype.parameter)) dtypes.set(want.dtype.parameter, have.dtype);
  }
  if (want.format !== null && "parameter" in want.format && !formats.has(want.format.parameter))
    formats.set(want.format.parameter, have.format);
  for (const [axis, size] of want.shape.entries()) {
    const symbol = soleSymbol(size);
    const found = have.shape[axis];
    if (symbol !== null && found !== undefined && !sizes.has(symbol)) sizes.set(symbol, found);
  }
  if (want.pattern.kind === "nm" && have.pattern.kind === "nm") {
    for (const [size, found] of [
      [want.pattern.n, have.pattern.n],
      [want.pattern.m, have.pattern.m],
    ] as const) {
      const symbol = soleSymbol(size);
      if (symbol !== null && !sizes.has(symbol)) sizes.set(symbol, found);
    }
  }
  return true;
}

/** Finds a symbol that is known only as part of a product, `H * D` with D given. */
export function solveSizes(want: TensorType, have: TensorType, sizes: Map<string, Size>, place: Place): void {
  for (const [axis, size] of want.shape.entries()) {
    const found = have.shape[axis];
    const open = [...sizeSymbols(size)].filter((symbol) => !sizes.has(symbol));
    const [symbol, ...others] = open;
    if (found === undefined || symbol === undefined || others.length > 0) continue;
    const at = (value: number): Size =>
      bindSize(size, { sizes: new Map([...sizes, [symbol, constantSize(value)]]) }, place.frame.builder);
    const rest = at(0);
    const factor = subtractSizes(at(1), rest);
    const solved = divideSizes(subtractSizes(found, rest), factor);
    if (equalSizes(multiplySizes(solved, factor), subtractSizes(found, rest), place.frame.builder.constraints))
      sizes.set(symbol, solved);
  }
}

/** A tensor that is given, and the types that the function wants and that it has. */
export interface TypedArgument {
  readonly want: TensorType;
  readonly have: TensorType;
  readonly value: ValueId;
  readonly param: CheckedParam;
  readonly span: Span;
}

/** Says that an argument has another kind or rank than its parameter; gives false. */
export function failKind(
  argument: TypedArgument | undefined,
  name: string,
  params: readonly CheckedParam[],
  place: Place,
): boolean {
  if (argument !== undefined)
    fail(
      place.frame,
      "E303",
      `\`${name}\` takes ${argument.param.name}: ${printType(argument.want)}, found ${printType(argument.have)}`,
      argument.span,
      printType(argument.have),
      {
        labels: [{ span: argument.param.span, message: "declared here" }],
        help: `the parameters are ${params.map((param) => param.name).join(", ")}, in this order`,
      },
    );
  return false;
}

/** Whether an argument has the type of the parameter, now that its sizes, dtypes and formats are bound. */
export function checkArgument(argument: TypedArgument, binding: CallBinding, name: string, place: Place): boolean {
  const { frame } = place;
  const { want, have, span, param } = argument;
  const declared = { span: param.span, message: "declared here" };
  const dtype = bindDtype(want.dtype, binding);
  const shape = want.shape.map((size) => bindSize(size, binding, frame.builder));
  const expected = printType({ ...want, dtype, shape, pattern: { kind: "full" }, format: null });
  if (!sameDtype(dtype, have.dtype)) {
    fail(
      frame,
      "E301",
      `\`${name}\` takes ${param.name}: ${expected}, found ${printType(have)}`,
      span,
      `${printDtype(have.dtype)}, expected ${printDtype(dtype)}`,
      {
        labels: [declared],
        help:
          dtype === "bool"
            ? "make a mask by comparing or with `top`"
            : "convert it in index notation: `let y[i] = f32(x[i])`",
      },
    );
    return false;
  }
  if (!shape.every((size, axis) => equalSizes(size, have.shape[axis] ?? constantSize(0), frame.builder.constraints))) {
    fail(
      frame,
      "E413",
      `\`${name}\` takes ${param.name}: ${expected}, found ${printType(have)}`,
      span,
      `expected [${shape.map(printSize).join(", ")}]`,
      { labels: [declared] },
    );
    return false;
  }
  const format =
    want.format === null || "parameter" in want.format
      ? want.format
      : mapFormat(want.format, (size) => bindSize(size, binding, frame.builder));
  const wanted = format !== null && "parameter" in format ? (binding.formats.get(format.parameter) ?? null) : format;
  if (!sameFormat(wanted, have.format)) {
    const [w, h] = [wanted, have.format].map((each) =>
      each === null ? "dense" : `stored as ${printFormat(each, "short")}`,
    );
    fail(frame, "E503", `\`${name}\` takes ${param.name} ${w}, found it ${h}`, span, `${h}`, {
      labels: [declared],
      help:
        wanted === null
          ? "`unpack` it, or let the function take any format: `as F`"
          : `pack it: \`pack ... as ${printFormat(wanted, "short")}\``,
    });
    return false;
  }
  const pattern =
    want.pattern.kind === "nm"
      ? {
          ...want.pattern,
          n: bindSize(want.pattern.n, binding, frame.builder),
          m: bindSize(want.pattern.m, binding, frame.builder),
        }
      : want.pattern;
  if (!impliesPattern(have.pattern, pattern)) {
    const lost = whereLost(argument.value, pattern, frame.builder.values, frame.builder.producer);
    const at = lost === null ? null : (frame.builder.values[lost.eqn.out]?.span ?? null);
    const labels = at === null ? [declared] : [declared, { span: at, message: "the pattern is lost here" }];
    fail(
      frame,
      "E505",
      `\`${name}\` takes ${param.name} with the pattern ${printPattern(pattern)}, and nothing guarantees that`,
      span,
      printPattern(have.pattern),
      { labels, help: "mask it: `... where keep`, with `keep` from `top`" },
    );
    return false;
  }
  return true;
}
