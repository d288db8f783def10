import { formatBytes, shapeOf } from "../../../compiler/formats/registry.js";
import { architectureOf } from "../architectures/registry.js";
import type { LlamaConfig } from "../config.js";
import { toFloats } from "../elements.js";
import { ModelError, problemsError, quoted } from "../error.js";
import type { PackedTensor } from "../packed.js";
import type { StoredTensor } from "../safetensors.js";
import type { TensorFile, Weights } from "../weights.js";
import { expectedTensors, ggufNames, type GgufName } from "../layout.js";
import { unknownTensors } from "../parts.js";
import type { GgufFile, GgufTensor, UnreadTensor } from "./container.js";
import { tensorTypeNames } from "./types.js";

/** The tensors of a GGUF file as those of a Hugging Face model: names, order of rows, formats. */
export interface GgufWeights {
  readonly weights: Weights;
  /** What the tensors that are not dense stand for. */
  readonly packed: ReadonlyMap<string, PackedTensor>;
}

/** What the frequencies of the rotary embedding are divided by: no weight, but a part of the config. */
const frequencyFactors = "rope_freqs.weight";

/** The name that a GGUF file has for a tensor of a model. @throws RangeError of another */
export function nameInFile(config: LlamaConfig, name: string): GgufName {
  const found = ggufNames(config).find((each) => each.name === name);
  if (found === undefined) throw new RangeError(`the model has no tensor ${name}`);
  return found;
}

/**
 * The values of `rope_freqs.weight`, null where the file has none. @throws ModelError M135 where it is no short f32
 * vector
 */
export async function readFrequencyFactors(file: GgufFile): Promise<Float32Array | null> {
  const tensor = file.tensors.find(({ name }) => name === frequencyFactors);
  if (tensor === undefined) return null;
  if (tensor.type.name !== "F32" || tensor.shape.length !== 1 || tensor.bytes > 4 * 4096) {
    throw new ModelError(
      "M135",
      `${quoted(file.path)}: the tensor \`${frequencyFactors}\` should be a list of at most 4096 F32, found ${tensor.type.name} [${tensor.shape.join(", ")}].`,
    );
  }
  const bytes = new Uint8Array(tensor.bytes);
  await file.read(tensor, bytes, 0);
  return toFloats("F32", bytes);
}

/**
 * The weights of a model. Of a Llama, the rows of q and k are put back in the order of Hugging Face as they are read: a GGUF file
 * has
 * the two halves of each head interleaved (row 2 i + j of a head for row j * headDim / 2 + i). Tensors in block formats
 * are followed by the zeros that fill their last words up.
 * @throws ModelError M135 (a block format where none can be), M163 (types that are not read, of tensors that are
 * needed)
 */
export function weightsOf(file: GgufFile, config: LlamaConfig): GgufWeights {
  const packed = new Map<string, PackedTensor>();
  const sources = new Map<string, { readonly stored: StoredTensor; readonly tensor: GgufTensor }>();
  const problems: string[] = [];
  const expected = expectedTensors(config);
  const { title } = architectureOf(config);
  const names = new Map(ggufNames(config).map((each) => [each.gguf, each]));
  const interleavedNames = new Set([...names.values()].flatMap((each) => (each.interleaved ? [each.name] : [])));
  const nameOf = (name: string): string | null => names.get(name)?.name ?? null;
  refuseTypes(
    file,
    file.unread.filter(({ name }) => expected.has(nameOf(name) ?? "")),
  );
  for (const { name } of [...file.unread, ...file.tensors])
    if (nameOf(name) === null && /\.(bias|scale)$/.test(name) && nameOf(name.replace(/\w+$/, "weight")) !== null)
      problems.push(`the tensor ${quoted(name)} has no place in a ${title}: it would change what is computed`);
  for (const { name } of file.tensors)
    if (/^rope_factors_(long|short)\.weight$/.test(name))
      problems.push(`the tensor ${quoted(name)} scales the rotary embedding in a way that is not read from GGUF files`);
  const warnings: string[] = [];
  const unknown = [...file.unread, ...file.tensors].filter(
    ({ name }) => name !== frequencyFactors && !expected.has(nameOf(name) ?? ""),
  );
  if (unknown.length > 0)
    warnings.push(
      unknownTensors(
        config,
        unknown.map(({ name }) => name),
      ),
    );
  for (const tensor of file.tensors) {
    const name = nameOf(tensor.name);
    if (name === null || !expected.has(name)) continue;
    const { stored } = tensor.type;
    if (stored.kind === "dense")
      sources.set(name, {
        tensor,
        stored: {
          name,
          dtype: stored.dtype,
          shape: tensor.shape,
          begin: tensor.offset,
          end: tensor.offset + tensor.bytes,
        },
      });
    else if (tensor.shape.length !== 2)
      problems.push(
        `the tensor ${quoted(tensor.name)} of shape [${tensor.shape.join(", ")}] should be of type F32, F16 or BF16, found ${tensor.type.name}`,
      );
    else {
      const bytes = formatBytes(stored.format, shapeOf(tensor.shape));
      sources.set(name, {
        tensor,
        stored: { name, dtype: "U32", shape: [bytes / 4], begin: tensor.offset, end: tensor.offset + bytes },
      });
      packed.set(name, { format: stored.format, pattern: { kind: "full" }, shape: tensor.shape, dtype: "F32" });
    }
  }
  if (problems.length > 0)
    throw problemsError(
      "M135",
      `The weights in ${quoted(file.path)} are not those of a ${title} that can be run`,
      problems,
    );
  const tensors = [...sources.values()].map(({ stored }) => stored);
  const source: TensorFile = {
    path: file.path,
    tensors,
    dataStart: file.dataStart,
    async read(stored, target, begin = 0) {
      const found = sources.get(stored.name);
      if (found === undefined || !(begin >= 0 && begin + target.length <= stored.end - stored.begin))
        throw new RangeError(`bytes ${begin} to ${begin + target.length} are outside of tensor ${stored.name}`);
      const { tensor } = found;
      const inFile = Math.min(target.length, Math.max(0, tensor.bytes - begin));
      const wanted = target.subarray(0, inFile);
      if (interleavedNames.has(stored.name)) await readHalves(file, tensor, config.headDim, wanted, begin);
      else if (inFile > 0) await file.read(tensor, wanted, begin);
      target.fill(0, inFile);
    },
    close: () => file.close(),
  };
  const entries = [...sources.values()].map(
    ({ stored, tensor }) => [stored.name, { file: { ...source, ...file.place(tensor) }, stored }] as const,
  );
  return { packed, weights: { files: [source], tensors: new Map(entries), warnings, close: () => source.close() } };
}

/** @throws ModelError M163 where there are any, with each of their types */
function refuseTypes(file: GgufFile, unread: readonly UnreadTensor[]): void {
  if (unread.length === 0) return;
  const problems = [...new Set(unread.map(({ type }) => type))].map((type) => {
    const names = unread.filter((tensor) => tensor.type === type).map(({ name }) => quoted(name));
    return names.length === 1
      ? `1 tensor is of type ${type}, ${names[0]} it is`
      : `${names.length} tensors are of type ${type}, ${names[0]} the first`;
  });
  throw problemsError(
    "M163",
    `${quoted(file.path)} has tensors of types that are not supported`,
    problems,
    `the types that are read are ${tensorTypeNames}: take a file of these, such as Q8_0 or F16`,
  );
}

/** Where a row of Hugging Face's lies among those of a file, which takes the halves of a head by turns. */
function interleavedRow(row: number, headDim: number): number {
  const within = row % headDim;
  const half = headDim / 2;
  return row - within + 2 * (within % half) + Math.floor(within / half);
}

/** Rows in the order of a file, from that of Hugging Face: what `readHalves` takes back. */
export function interleaved(bytes: Uint8Array, rows: number, headDim: number): Uint8Array<ArrayBuffer> {
  const rowBytes = bytes.length / rows;
  const result = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row += 1) {
    const to = interleavedRow(row, headDim);
    result.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return result;
}

/** Bytes that are read at once. */
const piece = 4 * 1024 * 1024;

/**
 * Bytes from `begin` on of a tensor whose rows are interleaved in the file, in the order of Hugging Face. Every other
 * row of what is read is wanted.
 */
async function readHalves(
  file: GgufFile,
  tensor: GgufTensor,
  headDim: number,
  target: Uint8Array,
  begin: number,
): Promise<void> {
  const [rows = 1] = tensor.shape;
  const rowBytes = tensor.bytes / rows;
  const half = headDim / 2;
  const atOnce = Math.max(1, Math.floor(piece / (2 * rowBytes)));
  const end = begin + target.length;
  let row = Math.floor(begin / rowBytes);
  while (row * rowBytes < end) {
    const within = row % headDim;
    const count = Math.min(half - (within % half), atOnce, Math.ceil(end / rowBytes) - row);
    const first = interleavedRow(row, headDim);
    const bytes = new Uint8Array((2 * count - 1) * rowBytes);
    await file.read(tensor, bytes, first * rowBytes);
    for (let i = 0; i < count; i++, row++) {
      const from = Math.max(0, begin - row * rowBytes);
      const to = Math.min(rowBytes, end - row * rowBytes);
      target.set(bytes.subarray(2 * i * rowBytes + from, 2 * i * rowBytes + to), row * rowBytes + from - begin);
    }
  }
}
