import { formatOfSpec, formatWords, normalizeFormat, shapeOf } from "../../compiler/formats/registry.js";
import { isActivationScale, type ActivationFormat } from "../../compiler/types/activation-format.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { isElementType, type ElementType } from "./elements.js";
import { problemsError, quoted } from "./error.js";
import { describe, isObject, type JsonObject } from "./json.js";
import type { TensorLayout } from "./safetensors-writer.js";

/** Which elements of a stored tensor may be non-zero; `nm`: at most `n` of every `m` neighbours along `axis`. */
export type StoredPattern =
  | { readonly kind: "full" }
  | { readonly kind: "nm"; readonly n: number; readonly m: number; readonly axis: number }
  | { readonly kind: "masked" };

/** What is recorded of a compressed tensor: what it stands for, and how its words hold it. */
export interface PackedTensor {
  readonly format: FormatSpec;
  readonly pattern: StoredPattern;
  /** The dense shape. */
  readonly shape: readonly number[];
  /** The element type the tensor had before it was packed. */
  readonly dtype: ElementType;
}

/** Which recipe made a model. Hashes are `sha256:` and a hex digest of a text. */
export interface RecipeRecord {
  readonly name: string;
  /** Of the recipe's own text as it was given. */
  readonly hash: string;
  /** Values of all of its parameters. */
  readonly parameters: { readonly [name: string]: number | boolean | string };
  /** Hashes of the files of modules that are saved beside it, by name; none where there are none. */
  readonly modules?: { readonly [file: string]: string };
  /** What it used of the standard library: the version of Espalier, and hashes of the modules by name. */
  readonly library?: { readonly version: string; readonly modules: { readonly [name: string]: string } };
}

/** A recipe as it is written beside a model: what `config.json` says of it, and its files by name. */
export interface SavedRecipe {
  readonly record: RecipeRecord;
  readonly files: ReadonlyMap<string, string>;
}

/**
 * The section `espalier` of a compressed model's `config.json`; its version is 2 where activations are rounded, which
 * readers of 1 would leave out, and 3 where scales of them are stored, which readers of 2 do not know.
 */
export interface PackedSection {
  readonly version: 1 | 2 | 3;
  readonly tensors: ReadonlyMap<string, PackedTensor>;
  /** In what linear layers take what they multiply, by their names; as it is where there is none. */
  readonly activations: ReadonlyMap<string, ActivationFormat>;
  readonly recipe: RecipeRecord | null;
  /** The recipes that made the model this one was made from, the oldest first. */
  readonly history: readonly RecipeRecord[];
}

const denseTypes: { readonly [name: string]: ElementType | undefined } = { f32: "F32", f16: "F16", bf16: "BF16" };

/** The dense format whose words are the bytes of tensors of this type, or null where there is none. */
export function denseFormat(dtype: string): FormatSpec | null {
  const name = Object.keys(denseTypes).find((key) => denseTypes[key] === dtype);
  return name === undefined ? null : { name, args: {}, of: null };
}

/**
 * How a tensor lies in a file: dense floats as such, in their shape, so that any reader of safetensors can read them;
 * any
 * other format as one U32 tensor of its words.
 */
export function storedLayout(name: string, format: FormatSpec, shape: readonly number[]): TensorLayout {
  const dense = Object.hasOwn(denseTypes, format.name) ? denseTypes[format.name] : undefined;
  return dense === undefined
    ? { name, dtype: "U32", shape: [formatWords(format, shapeOf(shape))] }
    : { name, dtype: dense, shape };
}

/** The pattern in a word: `full`, `2:4`, `masked`. */
export function printPattern(pattern: StoredPattern): string {
  return pattern.kind === "nm" ? `${pattern.n}:${pattern.m}` : pattern.kind;
}

/** The section as JSON. */
export function printSection(section: PackedSection): JsonObject {
  return {
    version: section.version,
    tensors: Object.fromEntries(section.tensors),
    ...(section.activations.size === 0 ? {} : { activations: Object.fromEntries(section.activations) }),
    recipe: section.recipe,
    history: section.history,
  };
}

/**
 * The section `espalier` of a parsed `config.json`, null where it has none; `path` is for messages.
 * @throws ModelError M134, with all that is wrong
 */
export function parseSection(path: string, config: JsonObject): PackedSection | null {
  if (!Object.hasOwn(config, "espalier")) return null;
  const raw = config["espalier"];
  const problems: string[] = [];
  const heading = `The section \`espalier\` of ${quoted(path)} cannot be used`;
  if (!isObject(raw)) throw problemsError("M134", heading, [`it should be an object, found ${describe(raw)}`]);
  const { version } = raw;
  if (version !== 1 && version !== 2 && version !== 3)
    throw problemsError(
      "M134",
      heading,
      [`its version should be 1, 2 or 3, found ${describe(raw["version"])}`],
      "the model may be written by a newer espalier",
    );
  if (!isObject(raw["tensors"]))
    throw problemsError("M134", heading, [`\`tensors\` should be an object, found ${describe(raw["tensors"])}`]);
  const tensors = new Map<string, PackedTensor>();
  for (const [name, entry] of Object.entries(raw["tensors"])) {
    const tensor = parseTensor(entry);
    if (typeof tensor === "string") problems.push(`the tensor ${quoted(name)}: ${tensor}`);
    else tensors.set(name, tensor);
  }
  const activations = parseActivations(raw["activations"], problems);
  if (problems.length > 0) throw problemsError("M134", heading, problems);
  const history: readonly unknown[] = Array.isArray(raw["history"]) ? raw["history"] : [];
  return {
    version,
    tensors,
    activations,
    recipe: parseRecipe(raw["recipe"]),
    history: history.map(parseRecipe).filter((recipe) => recipe !== null),
  };
}

function parseActivations(raw: unknown, problems: string[]): ReadonlyMap<string, ActivationFormat> {
  const found = new Map<string, ActivationFormat>();
  if (raw === undefined) return found;
  if (!isObject(raw)) problems.push(`\`activations\` should be an object, found ${describe(raw)}`);
  else
    for (const [layer, given] of Object.entries(raw)) {
      const format = parseActivation(given);
      if (typeof format === "string") problems.push(`the activations of ${quoted(layer)} ${format}`);
      else found.set(layer, format);
    }
  return found;
}

/** A format of activations, or what is wrong with it. */
function parseActivation(raw: unknown): ActivationFormat | string {
  const { name, group, scale } = isObject(raw) ? raw : {};
  if (name === "int8") {
    if (group === "token") return { name, group };
    if (typeof group === "number" && Number.isSafeInteger(group) && group > 0 && group % 4 === 0)
      return { name, group };
    if (group === "tensor") {
      const nearest = typeof scale === "number" ? Math.fround(scale) : null;
      return isActivationScale(nearest)
        ? { name, group, scale: nearest }
        : `have one scale, \`scale\`, which should be a number of at least 2^-126 that f32 holds, found ${scale === undefined ? "none" : describe(scale)}`;
    }
  }
  return `should be \`int8\` with a \`group\` of "token", of "tensor" with a \`scale\`, or of a multiple of 4 channels, found ${describe(raw)}`;
}

function parseTensor(raw: unknown): PackedTensor | string {
  if (!isObject(raw)) return `expected an object, found ${describe(raw)}`;
  const { shape, dtype } = raw;
  if (
    !Array.isArray(shape) ||
    shape.length > 8 ||
    !shape.every((size) => Number.isSafeInteger(size) && size >= 0) ||
    !(elementCount(shape) < 2 ** 40)
  )
    return `\`shape\` should be a list of sizes, found ${describe(shape)}`;
  if (typeof dtype !== "string" || !isElementType(dtype))
    return `\`dtype\` should be an element type, found ${describe(dtype)}`;
  const pattern = parsePattern(raw["pattern"], shape.length);
  if (pattern === null) return `\`pattern\` is no pattern of such a tensor: ${describe(raw["pattern"])}`;
  const spec = parseSpec(raw["format"], 4);
  if (spec === null)
    return `\`format\` should be an object with \`name\`, \`args\` and \`of\`, found ${describe(raw["format"])}`;
  const format = normalizeFormat(spec);
  if (typeof format === "string") return format;
  const problem = formatOfSpec(format).check(format, shapeOf(shape));
  return problem ?? { format, pattern, shape, dtype };
}

function parsePattern(raw: unknown, rank: number): StoredPattern | null {
  if (!isObject(raw)) return null;
  const { kind, n, m, axis } = raw;
  if (kind === "full" || kind === "masked") return { kind };
  if (kind !== "nm" || typeof n !== "number" || typeof m !== "number" || typeof axis !== "number") return null;
  return [n, m, axis].every(Number.isInteger) && n > 0 && n <= m && axis >= 0 && axis < rank
    ? { kind, n, m, axis }
    : null;
}

function parseSpec(raw: unknown, depth: number): FormatSpec | null {
  if (!isObject(raw) || depth === 0 || typeof raw["name"] !== "string") return null;
  const args: { [name: string]: number | string | boolean } = {};
  const given = raw["args"] ?? {};
  if (!isObject(given)) return null;
  for (const [name, value] of Object.entries(given)) {
    if (typeof value !== "number" && typeof value !== "string" && typeof value !== "boolean") return null;
    args[name] = value;
  }
  if (raw["of"] === null || raw["of"] === undefined) return { name: raw["name"], args, of: null };
  const of = parseSpec(raw["of"], depth - 1);
  return of === null ? null : { name: raw["name"], args, of };
}

function parseRecipe(raw: unknown): RecipeRecord | null {
  if (!isObject(raw) || typeof raw["name"] !== "string" || typeof raw["hash"] !== "string") return null;
  const parameters: { [name: string]: number | boolean | string } = {};
  for (const [name, value] of Object.entries(isObject(raw["parameters"]) ? raw["parameters"] : {})) {
    if (["number", "boolean", "string"].includes(typeof value)) parameters[name] = value as number | boolean | string;
  }
  const library = raw["library"];
  const modules = parseHashes(raw["modules"]);
  return {
    name: raw["name"],
    hash: raw["hash"],
    parameters,
    ...(modules === null ? {} : { modules }),
    ...(isObject(library) && typeof library["version"] === "string"
      ? { library: { version: library["version"], modules: parseHashes(library["modules"]) ?? {} } }
      : {}),
  };
}

function parseHashes(raw: unknown): { readonly [name: string]: string } | null {
  if (!isObject(raw)) return null;
  const entries = Object.entries(raw).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(entries);
}
