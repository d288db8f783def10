/** Values of arguments: numbers and JSON on the command line, files of JSON and of NumPy. */
import { readFileSync, statSync } from "node:fs";
import { roundF16 } from "../../../compiler/float.js";
import type { Dtype } from "../../../compiler/types/dtype.js";
import { UsageError } from "../failure.js";
import { readNpy } from "./npy.js";

/** What was given for a parameter, before its dtype is known. */
export interface GivenValue {
  /** Empty for a single number. */
  readonly shape: readonly number[];
  /** Booleans as 0 and 1. */
  readonly values: ArrayLike<number>;
  /** Numbers as they are written adapt to what is wanted; those of a file have a dtype of NumPy, `float32`. */
  readonly dtype: "numbers" | "booleans" | "float16" | (string & {});
  /** Where they came from, for messages. */
  readonly from: string;
}

/** The largest file that is read, in bytes. */
const largestFile = 2 ** 31;
const mostAxes = 8;

/** Reads `VALUE` of `--arg NAME=VALUE`. */
export function readValue(name: string, text: string): GivenValue {
  const written = text.trim();
  if (/\.npy$/i.test(written)) {
    const read = readNpy(readBytes(written));
    if (typeof read === "string") throw new UsageError(`${name}: ${written} ${read}`);
    return { ...read, dtype: read.dtype === "bool" ? "booleans" : read.dtype, from: written };
  }
  const file = /\.json$/i.test(written);
  const json = file ? new TextDecoder().decode(readBytes(written)) : written;
  return fromJson(name, parsed(name, json, file ? written : null), file ? written : "--arg");
}

function readBytes(file: string): Uint8Array {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new UsageError(`there is no file ${file}`);
  if (!found.isFile()) throw new UsageError(`${file} is no regular file`);
  if (found.size > largestFile)
    throw new UsageError(`${file} has ${found.size} bytes; at most ${largestFile} are read`);
  return readFileSync(file);
}

/** NaN and the infinities, which JSON does not have, are written as text. */
const specials: Readonly<Record<string, number>> = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

function parsed(name: string, json: string, file: string | null): unknown {
  if (json in specials) return json;
  try {
    return JSON.parse(json) as unknown;
  } catch (error) {
    if (file !== null)
      throw new UsageError(`${name}: ${file} is no JSON: ${error instanceof Error ? error.message : String(error)}`);
    throw new UsageError(
      `${name} should be a number, true, false, JSON such as [[1, 2], [3, 4]], or a file that ends in .npy or .json, not "${json.slice(0, 60)}"`,
    );
  }
}

/** Nested lists of one length at each depth. */
function fromJson(name: string, json: unknown, from: string): GivenValue {
  const shape: number[] = [];
  for (let at = json; Array.isArray(at); at = (at as readonly unknown[])[0]) {
    if (shape.length === mostAxes) throw new UsageError(`${name}: lists are nested more than ${mostAxes} deep`);
    shape.push(at.length);
  }
  const values: number[] = [];
  const kinds = new Set<string>();
  const visit = (value: unknown, depth: number, path: string): void => {
    const length = shape[depth];
    if (length !== undefined) {
      if (!Array.isArray(value) || value.length !== length)
        throw new UsageError(
          `${name}${path} should be a list of ${length}, as the first of its neighbours is, and is ${Array.isArray(value) ? `one of ${value.length}` : JSON.stringify(value).slice(0, 40)}`,
        );
      (value as readonly unknown[]).forEach((inner, at) => visit(inner, depth + 1, `${path}[${at}]`));
      return;
    }
    const number = typeof value === "string" ? specials[value] : typeof value === "boolean" ? Number(value) : value;
    if (typeof number !== "number")
      throw new UsageError(`${name}${path} should be a number, and is ${JSON.stringify(value)?.slice(0, 40)}`);
    kinds.add(typeof value === "boolean" ? "booleans" : "numbers");
    values.push(number);
  };
  visit(json, 0, "");
  if (kinds.size > 1) throw new UsageError(`${name} mixes numbers with true and false`);
  return { shape, values, dtype: kinds.has("booleans") ? "booleans" : "numbers", from };
}

/** The dtype that a parameter of no certain one takes from what was given. */
export function ownDtype({ dtype }: GivenValue): "f16" | "f32" {
  return dtype === "float16" ? "f16" : "f32";
}

/** NumPy's names of what can be made a dtype without a change of kind. */
const fitting: { readonly [D in Dtype]: { readonly pattern: RegExp; readonly numpy: string } } = {
  f32: { pattern: /^(?:numbers|float\d+)$/, numpy: "float32" },
  f16: { pattern: /^(?:numbers|float\d+)$/, numpy: "float16" },
  i32: { pattern: /^(?:numbers|u?int\d+)$/, numpy: "int32" },
  u32: { pattern: /^(?:numbers|u?int\d+)$/, numpy: "uint32" },
  bool: { pattern: /^(?:numbers|booleans|u?int8)$/, numpy: "bool" },
};

/** What may stand in a dtype of whole numbers. */
const limits: { readonly [D in "i32" | "u32" | "bool"]: readonly [number, number] } = {
  i32: [-(2 ** 31), 2 ** 31 - 1],
  u32: [0, 2 ** 32 - 1],
  bool: [0, 1],
};

/** The values in a dtype: floats are rounded, all else must be of the kind wanted and fit. */
export function valuesOf(name: string, given: GivenValue, dtype: Dtype): ArrayLike<number> {
  const { pattern, numpy } = fitting[dtype];
  if (!pattern.test(given.dtype))
    throw new UsageError(
      `${name} should be ${dtype}, and ${given.from} has ${given.dtype === "booleans" ? "true or false" : given.dtype}${given.from.endsWith(".npy") ? `: write it with .astype("${numpy}")` : ""}`,
    );
  if (dtype === "f32") return Float32Array.from(given.values);
  if (dtype === "f16") return Float32Array.from(given.values, roundF16);
  const [least, most] = limits[dtype];
  const wrong = Array.from(given.values).find((value) => !Number.isInteger(value) || value < least || value > most);
  if (wrong !== undefined)
    throw new UsageError(
      `${name} should be ${dtype}, ${dtype === "bool" ? "true or false" : `whole numbers from ${least} to ${most}`}, and has ${wrong}`,
    );
  return given.values;
}
