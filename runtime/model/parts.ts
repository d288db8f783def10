/** What a model is made of, and whether it is all there. */
import { counted } from "../../compiler/words.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { ActivationFormat } from "../../compiler/types/activation-format.js";
import type { Companion } from "./companions.js";
import type { LlamaConfig } from "./config.js";
import { isFloatType, toFloats } from "./elements.js";
import { problemsError, quoted } from "./error.js";
import type { GenerationConfig } from "./generation.js";
import { partOf } from "./interchange/open.js";
import { blocksOf, embeddingName, expectedTensors, headName } from "./layout.js";
import { storedLayout, type PackedSection, type PackedTensor } from "./packed.js";
import type { Tokenizer } from "./tokenizer/tokenizer.js";
import type { WeightEntry, Weights } from "./weights.js";

/** What a model is made of, whatever files it comes from. */
export interface ModelParts {
  readonly path: string;
  readonly config: LlamaConfig;
  readonly generation: GenerationConfig;
  /** The section `espalier` of the config. */
  readonly section: PackedSection | null;
  /** What tensors of words stand for. */
  readonly packed: ReadonlyMap<string, PackedTensor>;
  /** In what linear layers take what they multiply, by their names. */
  readonly activations: ReadonlyMap<string, ActivationFormat>;
  readonly weights: Weights;
  /** What a user should know of the files, a sentence each, without a full stop. */
  readonly warnings: readonly string[];
  tokenizer(): Promise<Tokenizer>;
  companions(): Promise<readonly Companion[]>;
}

/** A tensor that lies in the files of a model and is no part of it. */
export interface UnusedTensor {
  readonly name: string;
  /**
   * - `computed`: frequencies of the rotary embedding, which old files hold
   * - `tied`: the output head of a model whose head is its embedding
   * - `unknown`: a Llama of this config has no such tensor
   */
  readonly kind: "computed" | "tied" | "unknown";
}

/**
 * Checks that the weights are those of the config: their names, shapes and types.
 * @throws ModelError M135, with all that is wrong
 */
export function checkWeights({ path, config, packed, weights }: ModelParts): void {
  const problems: string[] = [];
  const expected = expectedTensors(config);
  for (const [name, shape] of expected) {
    const stored = weights.tensors.get(name)?.stored;
    if (stored === undefined) problems.push(`the tensor ${quoted(name)} is missing`);
    else problems.push(...tensorProblems(name, shape, packed.get(name), stored));
  }
  for (const name of packed.keys())
    if (!weights.tensors.has(name) && !expected.has(name))
      problems.push(`the packed tensor ${quoted(name)} is missing`);
  if (problems.length > 0)
    throw problemsError(
      "M135",
      `The weights in ${quoted(path)} are not those of its config`,
      problems,
      packedUnsaid(config, weights),
    );
}

/** What to do where layers lie there as another tool packs them, and nothing says so; null where none do. */
function packedUnsaid(config: LlamaConfig, { tensors }: Weights): string | null {
  const layers = new Map(blocksOf(config).flatMap(({ linears }) => linears.map(({ name }) => [name, true])));
  const found = [...tensors.keys()].find((name) => {
    const [layer, part] = partOf(name, layers) ?? [];
    return layer !== undefined && part !== "weight" && part !== "bias";
  });
  if (found === undefined) return null;
  const what = `${quoted(found)} is of a layer that another tool has packed`;
  return config.raw["espalier"] === undefined
    ? `${what}: \`config.json\` should say how, as \`quantization_config\`; what old files of GPTQ say in \`quantize_config.json\` belongs there, with \`"quant_method": "gptq"\``
    : `${what}, but by \`config.json\`, which has a section \`espalier\`, Espalier has`;
}

/**
 * Checks that activations are rounded of layers that there are, in groups that they have.
 * @throws ModelError M134, with all that is wrong
 */
export function checkActivations({ path, config, activations }: ModelParts): void {
  if (activations.size === 0) return;
  const layers = new Map(blocksOf(config).flatMap(({ linears }) => linears.map((layer) => [layer.name, layer])));
  const problems = [...activations].flatMap(([name, { group }]) => {
    const layer = layers.get(name);
    if (layer === undefined) return [`there is no linear layer ${quoted(name)}, whose activations are rounded`];
    if (typeof group !== "number" || layer.inputs % group === 0) return [];
    return [`the ${layer.inputs} inputs of ${quoted(name)} are no groups of ${group}`];
  });
  if (problems.length > 0)
    throw problemsError("M134", `The activations of the model in ${quoted(path)} cannot be rounded`, problems);
}

function tensorProblems(
  name: string,
  shape: readonly number[],
  record: PackedTensor | undefined,
  stored: WeightEntry["stored"],
): readonly string[] {
  const dense = record?.shape ?? stored.shape;
  if (!sameShape(dense, shape))
    return [`the tensor ${quoted(name)} has the shape [${dense.join(", ")}]; expected [${shape.join(", ")}]`];
  if (record === undefined)
    return isFloatType(stored.dtype)
      ? []
      : [`the tensor ${quoted(name)} has the dtype ${quoted(stored.dtype)}; expected BF16, F16 or F32`];
  const layout = storedLayout(name, record.format, shape);
  if (stored.dtype === layout.dtype && sameShape(stored.shape, layout.shape)) return [];
  return [
    `the tensor ${quoted(name)}, packed, should be stored as ${layout.dtype} [${layout.shape.join(", ")}], found ${quoted(stored.dtype)} [${stored.shape.join(", ")}]`,
  ];
}

/** What lies in the files and is no part of the model, in the order of the files. */
export function unusedTensors({ config, weights }: ModelParts): readonly UnusedTensor[] {
  const expected = expectedTensors(config);
  return [...weights.tensors.keys()]
    .filter((name) => !expected.has(name))
    .map((name) => ({
      name,
      kind: name.endsWith(".rotary_emb.inv_freq") ? "computed" : name === headName ? "tied" : "unknown",
    }));
}

/** The warning of tensors that no Llama of this config has, null where there are none. */
export function unknownWarning(config: LlamaConfig, unused: readonly UnusedTensor[]): string | null {
  const unknown = unused.filter(({ kind }) => kind === "unknown").map(({ name }) => name);
  return unknown.length === 0 ? null : unknownTensors(config, unknown);
}

/** That these tensors, one or more, are no part of a model. */
export function unknownTensors(config: LlamaConfig, unknown: readonly string[]): string {
  const place = `no place in a Llama with ${counted(config.layers, "block")}`;
  return unknown.length === 1
    ? `the tensor ${listNames(unknown)} has ${place} and is left out`
    : `${unknown.length} tensors have ${place} and are left out: ${listNames(unknown)}`;
}

/** What of the files a model that is made from this one does not get, null for nothing. */
export function leftOut(unused: readonly UnusedTensor[]): string | null {
  const groups = (["unknown", "tied", "computed"] as const).flatMap((kind) => {
    const names = unused.filter((tensor) => tensor.kind === kind).map(({ name }) => name);
    return names.length === 0 ? [] : [`${listNames(names)} (${reasons[kind]})`];
  });
  return groups.length === 0 ? null : `not carried over: ${groups.join("; ")}`;
}

const reasons = {
  unknown: "no part of the model",
  tied: "the embedding again",
  computed: "computed from the config",
} as const;

/** Most names that are listed. */
const mostNames = 4;

function listNames(names: readonly string[]): string {
  const shown = names.slice(0, mostNames).map(quoted).join(", ");
  return names.length > mostNames ? `${shown} and ${names.length - mostNames} more` : shown;
}

/**
 * The parts with the output head that the Hugging Face library takes. Where a config ties it to the embedding and both
 * are there, it is tied only if they are equal; the one that is there stands for both.
 */
export async function withHead(parts: ModelParts): Promise<ModelParts> {
  const { config, weights } = parts;
  const head = weights.tensors.get(headName);
  if (!config.tiedEmbeddings || head === undefined) return parts;
  const embedding = weights.tensors.get(embeddingName);
  if (embedding === undefined) {
    const moved: WeightEntry = { ...head, stored: { ...head.stored, name: embeddingName } };
    const tensors = [...weights.tensors].map((pair) =>
      pair[0] === headName ? ([embeddingName, moved] as const) : pair,
    );
    return { ...parts, weights: { ...weights, tensors: new Map(tensors) } };
  }
  if (await haveSameValues(head, embedding)) return parts;
  return {
    ...parts,
    config: { ...config, tiedEmbeddings: false, raw: { ...config.raw, tie_word_embeddings: false } },
    warnings: [
      ...parts.warnings,
      `\`tie_word_embeddings\` is true, but \`${headName}\` is there and is not the embedding: it is taken for the output head, as the Hugging Face library does`,
    ],
  };
}

/** Elements that are compared at once. */
const pieceElements = 2 ** 20;

async function haveSameValues(a: WeightEntry, b: WeightEntry): Promise<boolean> {
  const [left, right] = [a.stored, b.stored];
  if (!sameShape(left.shape, right.shape) || !isFloatType(left.dtype) || !isFloatType(right.dtype)) return false;
  const count = elementCount(left.shape);
  const [leftWidth, rightWidth] = [(left.end - left.begin) / count, (right.end - right.begin) / count];
  for (let first = 0; first < count; first += pieceElements) {
    const elements = Math.min(pieceElements, count - first);
    const [leftBytes, rightBytes] = [new Uint8Array(elements * leftWidth), new Uint8Array(elements * rightWidth)];
    await a.file.read(left, leftBytes, first * leftWidth);
    await b.file.read(right, rightBytes, first * rightWidth);
    if (left.dtype === right.dtype && leftBytes.every((byte, i) => byte === rightBytes[i])) continue;
    const [x, y] = [toFloats(left.dtype, leftBytes), toFloats(right.dtype, rightBytes)];
    if (x.some((value, at) => value !== y[at])) return false;
  }
  return true;
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
