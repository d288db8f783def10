/**
 * The element types a value can have while it is computed with. How elements lie in memory is a format, not a dtype.
 */
export type Dtype = "f32" | "f16" | "i32" | "u32" | "bool";

/** A dtype, or the name of a dtype parameter of the enclosing function (`x: E[T, K]`). */
export type DtypeRef = Dtype | { readonly parameter: string };

/** Every dtype, in the order of the specification. */
export const dtypes = ["f32", "f16", "i32", "u32", "bool"] as const satisfies readonly Dtype[];

/** Whether values of this dtype are floating point. A dtype parameter stands for f32 or f16 only. */
export function isFloat(dtype: DtypeRef): boolean {
  return typeof dtype !== "string" || dtype === "f32" || dtype === "f16";
}

/** Whether values of this dtype are integers. */
export function isInteger(dtype: DtypeRef): boolean {
  return dtype === "i32" || dtype === "u32";
}

/** Structural equality of two dtypes or dtype parameters. */
export function sameDtype(a: DtypeRef, b: DtypeRef): boolean {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.parameter === b.parameter;
}

/** The dtype as it is written in source. */
export function printDtype(dtype: DtypeRef): string {
  return typeof dtype === "string" ? dtype : dtype.parameter;
}
