import type { Dtype, DtypeRef } from "./dtype.js";
import type { Size } from "./size.js";

/**
 * How the elements of a tensor lie in memory, as plain data: a format's name, its arguments and, for a composed
 * format, the format of its values. `nm(2, 4) of int4(128, symmetric)` is
 * `{ name: "nm", args: { n: 2, m: 4 }, of: { name: "int4", args: { group: 128, symmetric: true }, of: null } }`.
 * Only the file of that format in `compiler/formats/` knows what the arguments mean.
 */
export interface FormatSpec {
  readonly name: string;
  readonly args: { readonly [name: string]: number | string | boolean };
  readonly of: FormatSpec | null;
}

/** A format whose arguments may still be symbolic sizes (`int4(group)` with `group: size`). */
export interface SymbolicFormat {
  readonly name: string;
  readonly args: { readonly [name: string]: Size | string | boolean };
  readonly of: SymbolicFormat | null;
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
