/** The arguments of the formats whose values have scales: groups of columns, and how scales are stored. */
import type { FormatSpec } from "../types/type.js";
import { mostShift } from "./fit.js";
import type { FormatParameter, Grid, ScaleType, Shape } from "./format.js";

const scaleTypes: readonly ScaleType[] = ["f16", "f32", "bf16", "fp8_e4m3", "int8"];

/** Those that say how scales are stored. */
export const scaleParameters: readonly FormatParameter[] = [
  { kind: "word", name: "scale", words: scaleTypes, fallback: "f16" },
  { kind: "label", name: "shift" },
];

/** What is wrong with a spec's group, as a sentence, or null. */
export function groupProblem({ name, args: { group } }: FormatSpec): string | null {
  return typeof group === "number" && (group <= 0 || group % 8 !== 0)
    ? `The group of ${name} must be a positive multiple of 8 or \`channel\`, and is ${group}.`
    : null;
}

/** What is wrong with how its scales are stored, or null. */
export function scaleProblem({ name, args: { shift, scale } }: FormatSpec): string | null {
  if (shift === undefined || shift === 0) return null;
  if (scale === "f32" || scale === "bf16" || scale === "int8")
    return `${name} shifts scales of f16 and fp8_e4m3 alone; those of ${scale} need no shift.`;
  return typeof shift === "number" && shift > mostShift
    ? `The argument \`shift\` of ${name} must be at most ${mostShift}, and is ${shift}.`
    : null;
}

/** Why a tensor of this shape has no whole groups, or null. */
export function checkGroup({ args: { group } }: FormatSpec, { columns }: Shape): string | null {
  return typeof group !== "number" || columns % group === 0
    ? null
    : `K = ${columns} is not a multiple of the group of ${group}`;
}

/** Those parts of a grid. */
export function gridOf({ args: { group, scale, shift } }: FormatSpec): Pick<Grid, "group" | "scale" | "shift"> {
  return {
    group: typeof group === "number" ? group : "channel",
    scale: scaleTypes.find((type) => type === scale) ?? "f16",
    shift: typeof shift === "number" ? shift : 0,
  };
}

/** The spec without a shift that shifts by nothing. */
export function withoutZeroShift(spec: FormatSpec): FormatSpec {
  const { shift, ...args } = spec.args;
  return shift === 0 ? { ...spec, args } : spec;
}
