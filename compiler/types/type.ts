import type { Dtype, DtypeRef } from "./dtype.js";
import { sameSize, type Size } from "./size.js";

/**
 * How the elements of a tensor lie in memory, as plain data: a format's name, its arguments and, for a composed
 * format, the format of its values. `nm(2, 4) of int4(128, symmetric)` is
 * `{ name: "nm", args: { n: 2, m: 4 }, of: { name: "int4", args: { group: 128, symmetric: true }, of: null } }`.
 * Only the file of that format in `compiler/formats/` knows what the arguments mean.
 */
export type FormatSpec = FormatOver<number>;

/**
 * A format whose arguments may still be symbolic sizes (`int4(group)` with `group: size`). Beside a correction of low
 * rank, `of` may be the name of a format parameter, without arguments.
 */
export type SymbolicFormat = FormatOver<Size>;

/** A format whose numbers are these. */
export interface FormatOver<S> {
  readonly name: string;
  readonly args: { readonly [name: string]: S | string | boolean };
  readonly of: FormatOver<S> | null;
}

/** A format, or the name of a format parameter of the enclosing function (`w: E[N, K] as F`). */
export type FormatRef = SymbolicFormat | { readonly parameter: string };

/** Types before specialisation: sizes, dtypes and formats may be parameters of the function. */
export interface Symbolic {
  readonly size: Size;
  readonly dtype: DtypeRef;
  readonly format: FormatRef;
}

/** Types after specialisation: every size a number, every dtype and format known. */
export interface Concrete {
  readonly size: number;
  readonly dtype: Dtype;
  readonly format: FormatSpec;
}

/** The two stages of a Graph. A pass that needs sizes takes a `Concrete` graph, so a symbolic one cannot reach it. */
export type Level = Symbolic | Concrete;

/**
 * Which elements of a tensor may be non-zero.
 * - `full`: any.
 * - `nm`: at most `n` of every `m` neighbours along `axis`.
 * - `masked`: those that the mask keeps; nothing is known of how many.
 * `mask` is the id of the mask value that decides, when known: two tensors with the same mask are zero at the same
 * places.
 */
export type Pattern<L extends Level = Symbolic> =
  | { readonly kind: "full" }
  | {
      readonly kind: "nm";
      readonly n: L["size"];
      readonly m: L["size"];
      readonly axis: number;
      readonly mask: number | null;
    }
  | { readonly kind: "masked"; readonly mask: number | null };

/** Type of a tensor value. A scalar has shape `[]`. A mask has dtype `bool`; its pattern says where it may be true. */
export interface TensorType<L extends Level = Symbolic> {
  readonly dtype: L["dtype"];
  readonly shape: readonly L["size"][];
  readonly pattern: Pattern<L>;
  /** null: dense, elements of the dtype, row-major; activations and intermediates are so. */
  readonly format: L["format"] | null;
}

export const full: Pattern<never> = { kind: "full" };

/** Whether two formats are the same. */
export function sameFormat(a: FormatRef | null, b: FormatRef | null): boolean {
  if (a === null || b === null) return a === b;
  if ("parameter" in a || "parameter" in b) return "parameter" in a && "parameter" in b && a.parameter === b.parameter;
  const names = new Set([...Object.keys(a.args), ...Object.keys(b.args)]);
  if (a.name !== b.name || !sameFormat(a.of, b.of)) return false;
  return [...names].every((name) => {
    const [x, y] = [a.args[name], b.args[name]];
    return typeof x === "object" && typeof y === "object" ? sameSize(x, y) : x === y;
  });
}

/** A format with the format parameters replaced that it is of; null where one is unknown. */
export function bindFormats<S>(
  format: FormatOver<S>,
  of: (parameter: string) => FormatOver<S> | null,
): FormatOver<S> | null {
  if (format.of === null) return format;
  const isParameter = /^[A-Z]/.test(format.of.name);
  const inner = isParameter ? of(format.of.name) : bindFormats(format.of, of);
  return inner === null ? null : inner === format.of ? format : { ...format, of: inner };
}

/** A format with the sizes in its arguments replaced. */
export function mapFormat<S>(format: SymbolicFormat, size: (size: Size) => S): FormatOver<S> {
  const args = Object.entries(format.args).map(
    ([name, value]) => [name, typeof value === "object" ? size(value) : value] as const,
  );
  return {
    name: format.name,
    args: Object.fromEntries(args),
    of: format.of === null ? null : mapFormat(format.of, size),
  };
}
