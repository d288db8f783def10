import { counted } from "../../compiler/words.js";
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { bitsPerWeight, formatOfSpec, printFormat, shapeOf } from "../../compiler/formats/registry.js";
import { elementCount } from "../../compiler/types/shape.js";
import { countActivations, type ActivationCount } from "./activation-counts.js";
import { elementBits, isElementType, isFloatType, type ElementType } from "./elements.js";
import { ModelError } from "./error.js";
import { parseConfig } from "./config.js";
import { accessError, diskDirectory, exists, openFile, readJsonIfAny, sizeLimits, type JsonObject } from "./files.js";
import { isForeign, openCheckpoint, type Checkpoint } from "./interchange/checkpoint.js";
import type { Findings } from "./interchange/open.js";
import { expectedTensors } from "./layout.js";
import { denseFormat, parseSection, printPattern, type PackedTensor } from "./packed.js";
import { isGguf, openGguf } from "./gguf/open.js";
import { checkWeights } from "./parts.js";
import type { StoredTensor } from "./safetensors.js";
import { openFiles, openWeights, type TensorFile, type Weights } from "./weights.js";
import { countsPatterns, type PatternCounts } from "./zeros.js";

/** What `espalier inspect` says of one tensor. */
export interface TensorReport {
  readonly name: string;
  /** The dense shape. */
  readonly shape: readonly number[];
  /** As in safetensors: `BF16`. Of a packed tensor the type it had before. */
  readonly dtype: string;
  /**
   * Recorded, of a packed tensor; else found in the values: `1:4`, `2:4`, `4:8`, `masked` for 5% of zeros and more, or
   * `full`.
   */
  readonly pattern: string;
  /** As it is written in the language; the dtype where no format has these elements. */
  readonly format: string;
  /** Scales and indices included, padding not. */
  readonly bitsPerWeight: number;
  /** In the file; where another tool has packed the tensor, of its words as Espalier has them. */
  readonly bytes: number;
  /** Zeros among the dense values; null where they cannot be counted (types below a byte). */
  readonly zeros: number | null;
}

/** What `espalier inspect` says. */
export interface Inspection {
  readonly tensors: readonly TensorReport[];
  /** Dense elements of all tensors. */
  readonly parameters: number;
  readonly bytes: number;
  /** 8 * bytes / parameters; 0 where there are none. */
  readonly bitsPerWeight: number;
  /** In what linear layers take what they multiply, and how many. */
  readonly activations: readonly ActivationCount[];
  /** How another tool has stored the layers; null where none has. Tensors are then as Espalier has them. */
  readonly quantization: Findings | null;
  /** What is wrong with the files, but not with a tensor that is there: a sentence each, without a full stop. */
  readonly warnings: readonly string[];
}

/**
 * Looks at a model directory, at any safetensors file, or at a GGUF file of a Llama. Values are read through, in
 * pieces, to count zeros; a packed
 * tensor is decoded whole. `progress` receives the bytes done and the bytes of all.
 * @throws ModelError M100 to M122 (the files), M134 (a wrong section `espalier` beside them), M135 (a GGUF file's
 * tensors are not those of its config), M160 to M164
 */
export async function inspect(path: string, progress?: (done: number, all: number) => void): Promise<Inspection> {
  const found = await stat(path).catch((error: unknown) => {
    throw accessError(path, error);
  });
  const directory = found.isDirectory() ? path : dirname(path);
  const configPath = join(directory, "config.json");
  const config = await readJsonIfAny(configPath, sizeLimits.config).catch((error: unknown) => {
    // A lone file need not care what lies beside it.
    if (found.isDirectory() || !(error instanceof ModelError)) throw error;
    return null;
  });
  const gguf = found.isFile() && (await isGguf(path)) ? await openGguf(path) : null;
  const foreign = found.isDirectory() && config !== null ? await openForeign(path, configPath, config) : null;
  const checkpoint = foreign?.checkpoint ?? null;
  const section = gguf === null && checkpoint === null && config !== null ? parseSection(configPath, config) : null;
  const packed = gguf?.packed ?? checkpoint?.packed ?? section?.tensors;
  const activations = countActivations(section?.activations ?? checkpoint?.activations ?? new Map());
  const weights =
    gguf?.weights ??
    checkpoint?.weights ??
    (found.isDirectory()
      ? await openDirectory(path, needed(configPath, config))
      : await openFiles([() => openFile(path)]));
  try {
    // the rows of a GGUF file are put in order by what its config says of them
    if (gguf !== null) checkWeights(gguf);
    const entries = [...weights.tensors.values()];
    const all = entries.reduce((sum, { stored }) => sum + stored.end - stored.begin, 0);
    const tensors: TensorReport[] = [];
    let done = 0;
    for (const { file, stored } of entries) {
      tensors.push(await reportTensor(file, stored, packed?.get(stored.name)));
      done += stored.end - stored.begin;
      progress?.(done, all);
    }
    const parameters = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
    const bits = parameters === 0 ? 0 : (8 * all) / parameters;
    const warnings = [...weights.warnings, ...(checkpoint?.warnings ?? []), ...(foreign?.warnings ?? [])];
    const quantization = checkpoint?.findings ?? null;
    return { tensors, parameters, bytes: all, bitsPerWeight: bits, activations, quantization, warnings };
  } finally {
    await weights.close();
  }
}

/**
 * A model that another tool has packed. Null for others, and for what is no Llama; one whose packing is not supported is
 * shown as its files are, with a warning.
 */
async function openForeign(
  path: string,
  configPath: string,
  raw: JsonObject,
): Promise<{ readonly checkpoint: Checkpoint | null; readonly warnings: readonly string[] } | null> {
  if (!isForeign({ raw })) return null;
  try {
    const config = parseConfig(configPath, raw);
    return { checkpoint: await openCheckpoint(diskDirectory(path), config, new Map()), warnings: [] };
  } catch (error) {
    if (!(error instanceof ModelError) || !["M130", "M131", "M132", "M133"].includes(error.code)) throw error;
    return { checkpoint: null, warnings: error.code === "M133" ? [error.message.replace(/\.$/, "")] : [] };
  }
}

/** Which tensors an index has to be right about: those of the config, or all where that is no Llama's. */
function needed(path: string, config: JsonObject | null): (name: string) => boolean {
  try {
    if (config === null) return () => true;
    const expected = expectedTensors(parseConfig(path, config));
    return (name) => expected.has(name);
  } catch (error) {
    if (error instanceof ModelError) return () => true;
    throw error;
  }
}

/** The weights of a model directory, or whatever safetensors files a directory has. */
async function openDirectory(path: string, isNeeded: (name: string) => boolean): Promise<Weights> {
  const isModel =
    (await exists(join(path, "model.safetensors"))) || (await exists(join(path, "model.safetensors.index.json")));
  const names = isModel ? [] : (await readdir(path)).filter((name) => name.endsWith(".safetensors")).sort();
  return names.length === 0
    ? openWeights(diskDirectory(path), isNeeded)
    : openFiles(names.map((name) => () => openFile(join(path, name))));
}

async function reportTensor(
  file: TensorFile,
  stored: StoredTensor,
  packed: PackedTensor | undefined,
): Promise<TensorReport> {
  const bytes = stored.end - stored.begin;
  // Dense formats are stored as such, whatever the section says; a record of words must fit to be believed.
  if (packed !== undefined && denseFormat(stored.dtype) === null)
    return { name: stored.name, ...(await reportPacked(file, stored, packed)), bytes };
  const { dtype } = stored;
  if (!isElementType(dtype)) return reportUnknown(stored);
  const counts = await countZeros(file, { ...stored, dtype });
  const format = denseFormat(dtype);
  return {
    name: stored.name,
    shape: stored.shape,
    dtype: stored.dtype,
    pattern:
      packed !== undefined && packed.pattern.kind !== "full"
        ? printPattern(packed.pattern)
        : isFloatType(stored.dtype) && stored.shape.length > 1
          ? foundPattern(counts, elementCount(stored.shape))
          : "full",
    format: format === null ? stored.dtype.toLowerCase() : printFormat(format),
    bitsPerWeight: elementBits[dtype],
    bytes,
    zeros: counts.zeros,
  };
}

/** A tensor of a type that is not known. */
function reportUnknown({ name, dtype, shape, begin, end }: StoredTensor): TensorReport {
  const elements = elementCount(shape);
  return {
    name,
    shape,
    dtype,
    pattern: "full",
    format: dtype.toLowerCase(),
    bitsPerWeight: elements === 0 ? 0 : (8 * (end - begin)) / elements,
    bytes: end - begin,
    zeros: null,
  };
}

async function reportPacked(
  file: TensorFile,
  stored: StoredTensor,
  packed: PackedTensor,
): Promise<Omit<TensorReport, "name" | "bytes">> {
  const shape = shapeOf(packed.shape);
  const format = formatOfSpec(packed.format);
  const sections = format.sections(packed.format, shape);
  const needed = sections.reduce((end, section) => Math.max(end, section.offset + section.words), 0);
  if (stored.dtype !== "U32" || elementCount(stored.shape) < needed) {
    throw new ModelError(
      "M135",
      `The tensor \`${stored.name}\`, packed as ${printFormat(packed.format)}, should be stored as U32 of ${counted(needed, "word")} or more, found ${stored.dtype} [${stored.shape.join(", ")}].`,
    );
  }
  const words = new Uint32Array(elementCount(stored.shape));
  await file.read(stored, new Uint8Array(words.buffer));
  const dense = format.decode(packed.format, shape, words);
  let zeros = 0;
  for (let i = 0; i < dense.length; i++) if (dense[i] === 0) zeros++;
  return {
    shape: packed.shape,
    dtype: packed.dtype,
    pattern: printPattern(packed.pattern),
    format: printFormat(packed.format),
    bitsPerWeight: dense.length === 0 ? 0 : bitsPerWeight(packed.format, shape),
    zeros,
  };
}

async function countZeros(
  file: TensorFile,
  stored: StoredTensor & { readonly dtype: ElementType },
): Promise<PatternCounts> {
  const counter = countsPatterns(stored.dtype, stored.shape.at(-1) ?? 1);
  const bytes = stored.end - stored.begin;
  const buffer = new Uint8Array(Math.min(bytes, pieceBytes(stored.dtype)));
  for (let begin = 0; begin < bytes; begin += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, bytes - begin));
    await file.read(stored, piece, begin);
    counter.add(piece);
  }
  return counter.counts();
}

/** About 4 MiB, a whole number of groups of 8 elements. */
function pieceBytes(dtype: ElementType): number {
  return elementBits[dtype] * 2 ** 19;
}

function foundPattern(counts: PatternCounts, elements: number): string {
  const zeros = counts.zeros ?? 0;
  if (zeros < elements) {
    if (counts.mostOf4 !== null && counts.mostOf4 <= 1) return "1:4";
    if (counts.mostOf4 !== null && counts.mostOf4 <= 2) return "2:4";
    if (counts.mostOf8 !== null && counts.mostOf8 <= 4) return "4:8";
  }
  return zeros > 0 && zeros >= 0.05 * elements ? "masked" : "full";
}
