/**
 * What shares a scale of activations: all channels of a token, each so many of them, or `tensor`, all there is whenever
 * the model runs.
 */
export type ActivationGroup = number | "token" | "tensor";

/**
 * In what a linear layer takes what it multiplies: int8 with scales that are found as the model runs, or with one that is
 * stored.
 */
export type ActivationFormat =
  | { readonly name: "int8"; readonly group: Exclude<ActivationGroup, "tensor"> }
  | {
      readonly name: "int8";
      readonly group: "tensor";
      /** A value of f32, at least 2^-126 and finite. */
      readonly scale: number;
    };

/** The format as it is written in a recipe: `int8(token)`. */
export function printActivations({ name, group }: { readonly name: string; readonly group: ActivationGroup }): string {
  return `${name}(${group})`;
}

/** Whether this can be the scale of activations: a value of f32 that every device can divide by, not subnormal. */
export function isActivationScale(scale: unknown): scale is number {
  return typeof scale === "number" && scale >= 2 ** -126 && scale < Infinity && Math.fround(scale) === scale;
}
