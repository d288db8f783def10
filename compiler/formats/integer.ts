/**
 * int8 and int4: codes on a grid per row and group of columns, or per row (`channel`). Symmetric: value = code * scale,
 * codes in two's complement. Asymmetric: value = (code - zero) * scale, codes and zero points unsigned. The scale is
 * stored as f16, or as f32 by `scale: f32`; with `shift: 16` as f16 times 2^16. A code is round(value / scale + zero) to
 * nearest, halves to even, saturating; where the scale is zero, the code of zero.
 */
import type { FormatSpec } from "../types/type.js";
import { normalizeArguments } from "./arguments.js";
import { mostShift } from "./fit.js";
import type { Format, FormatParameter, Shape } from "./format.js";
import { plainFormat } from "./plain.js";

const parameters: readonly FormatParameter[] = [
  { kind: "number", name: "group", words: ["channel"] },
  { kind: "flag", name: "symmetric", yes: "symmetric", no: "asymmetric", fallback: true },
  { kind: "word", name: "scale", words: ["f16", "f32"], fallback: "f16" },
  { kind: "label", name: "shift" },
];

function normalize(spec: FormatSpec): FormatSpec | string {
  if (spec.of !== null) return `${spec.name} stores single values; it takes no \`of\`.`;
  const group = spec.args["group"];
  if (typeof group === "number" && (group <= 0 || group % 8 !== 0))
    return `The group of ${spec.name} must be a positive multiple of 8 or \`channel\`, and is ${group}.`;
  const { shift, ...args } = spec.args;
  if (shift === undefined || shift === 0) return normalizeArguments({ ...spec, args }, parameters);
  if (args["scale"] === "f32") return `${spec.name} shifts scales of f16 alone; those of f32 need no shift.`;
  if (typeof shift === "number" && shift > mostShift)
    return `The argument \`shift\` of ${spec.name} must be at most ${mostShift}, and is ${shift}.`;
  return normalizeArguments(spec, parameters);
}

function check(spec: FormatSpec, shape: Shape): string | null {
  const group = spec.args["group"];
  if (typeof group !== "number" || shape.columns % group === 0) return null;
  return `K = ${shape.columns} is not a multiple of the group of ${group}`;
}

export const int4Format: Format = plainFormat("int4", parameters, normalize, check);
export const int8Format: Format = plainFormat("int8", parameters, normalize, check);
