import { counted } from "../../../compiler/words.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { formatBytes } from "../../device/error.js";
import { ModelError, quoted } from "../error.js";
import { openRegular, readFully } from "../files.js";
import { byteReader, type ByteReader } from "./bytes.js";
import {
  numberTypes,
  tensorTypeName,
  tensorTypes,
  type MetadataList,
  type MetadataValue,
  type TensorType,
} from "./types.js";

/** A tensor of a GGUF file: its bytes lie from `offset` of the data on. */
export interface GgufTensor {
  readonly name: string;
  readonly type: TensorType;
  /** The outermost axis first, as in all of Espalier; the file has it last. */
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

/** A tensor of a type that is not read. */
export interface UnreadTensor {
  readonly name: string;
  /** The type in words: `Q4_K`. */
  readonly type: string;
}

/** An open GGUF file: all before the data is read and checked, the data stay on disk. */
export interface GgufFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** In the order of the file. */
  readonly tensors: readonly GgufTensor[];
  /** Those of types that are not read. How many bytes they have is not known. */
  readonly unread: readonly UnreadTensor[];
  /** Where the data start in the file, in bytes. */
  readonly dataStart: number;
  /** The file that a tensor lies in, and where the data start there: this one, unless the model has several parts. */
  place(tensor: GgufTensor): { readonly path: string; readonly dataStart: number };
  /** Fills `target` from byte `begin` of a tensor on; the caller keeps to its bytes. @throws ModelError M115, M100 */
  read(tensor: GgufTensor, target: Uint8Array, begin: number): Promise<void>;
  close(): Promise<void>;
}

/** Most entries of the metadata, tensors, bytes of a tensor's name (llama.cpp: 64), axes of a tensor. */
const limits = { entries: 65_536, tensors: 262_144, name: 1024, axes: 4 } as const;

/** Bytes that an entry and a tensor take at least: they bound the counts by the size of the file. */
const least = { entry: 8 + 4 + 1, tensor: 8 + 4 + 8 + 4 + 8 } as const;

/**
 * Opens a GGUF file of version 3, little-endian, and checks everything before its data against its size.
 * @throws ModelError M100, M101 (see `openRegular`), M160 (no GGUF file, or another version), M161 (truncated), M162
 *   (damaged), M164 (offsets)
 */
export async function openContainer(path: string): Promise<GgufFile> {
  const { handle, size } = await openRegular(path);
  try {
    await checkStart(path, byteReader(handle, path, size));
    const reader = byteReader(handle, path, size);
    await reader.take(8, "the magic and version");
    const tensorCount = await reader.count("the count of tensors", limits.tensors);
    const entryCount = await reader.count("the count of metadata entries", limits.entries);
    if (tensorCount * least.tensor + entryCount * least.entry > reader.remaining()) {
      reader.fail(
        `it declares ${counted(entryCount, "metadata entry", "metadata entries")} and ${counted(tensorCount, "tensor")}, but ${follow(reader.remaining())}`,
      );
    }
    const metadata = await readMetadata(reader, entryCount);
    const infos = await readTensorInfos(reader, tensorCount);
    const alignment = alignmentOf(reader, metadata);
    const dataStart = Math.ceil(reader.position() / alignment) * alignment;
    const tensors = checkTensors(
      path,
      infos.filter(({ type }) => tensorTypes[type] !== undefined),
    );
    const unread = infos
      .filter(({ type }) => tensorTypes[type] === undefined)
      .map(({ name, type }) => ({ name, type: tensorTypeName(type) }));
    checkOffsets(path, tensors, alignment, size - dataStart);
    return {
      path,
      metadata,
      tensors,
      unread,
      dataStart,
      place: () => ({ path, dataStart }),
      async read(tensor, target, begin) {
        if (!(begin >= 0 && begin + target.length <= tensor.bytes))
          throw new RangeError(
            `bytes ${begin} to ${begin + target.length} are outside of ${tensor.name} of ${tensor.bytes} bytes`,
          );
        await readFully(handle, path, target, dataStart + tensor.offset + begin);
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function checkStart(path: string, reader: ByteReader): Promise<void> {
  if (reader.remaining() < 4)
    throw new ModelError("M160", `${quoted(path)} has ${reader.remaining()} bytes and is no GGUF file.`, startHelp);
  const magic = new TextDecoder("latin1").decode(await reader.take(4, "the magic"));
  if (magic !== "GGUF")
    throw new ModelError(
      "M160",
      `${quoted(path)} is no GGUF file: it starts with ${JSON.stringify(magic)}; expected "GGUF".`,
      startHelp,
    );
  const version = await reader.u32("the version");
  if (version === 0x03000000)
    throw new ModelError("M160", `${quoted(path)} is a big-endian GGUF file; expected a little-endian one.`);
  if (version !== 3)
    throw new ModelError(
      "M160",
      `${quoted(path)} is a GGUF file of version ${version}; expected version 3.`,
      "convert the model again with a current llama.cpp",
    );
}

const startHelp =
  "give a GGUF file, or the directory of a Hugging Face model; the file may also be a Git LFS pointer or a web page instead";

async function readMetadata(reader: ByteReader, count: number): Promise<ReadonlyMap<string, MetadataValue>> {
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < count; i++) {
    const key = await reader.string(`the key of metadata entry ${i}`);
    if (metadata.has(key)) reader.fail(`the metadata has ${quoted(key)} twice`);
    metadata.set(key, await readValue(reader, `the value of ${quoted(key)}`));
  }
  return metadata;
}

async function readValue(reader: ByteReader, what: string): Promise<MetadataValue> {
  const type = await reader.u32(`the type of ${what}`);
  if (type === 8) return reader.string(what);
  if (type === 9) return readList(reader, what);
  const number = numberTypes[type];
  if (number === undefined) return reader.fail(`${what} has the unknown type ${type}`);
  return number.one(viewOf(await reader.take(number.bytes, what)));
}

async function readList(reader: ByteReader, what: string): Promise<MetadataList> {
  const type = await reader.u32(`the element type of ${what}`);
  const number = numberTypes[type];
  if (type !== 8 && number === undefined)
    return reader.fail(type === 9 ? `${what} is a list of lists` : `${what} is a list of the unknown type ${type}`);
  const count = await reader.count(`the length of the list ${what}`, 2 ** 32);
  const bytes = count * (number?.bytes ?? 8);
  if (bytes > reader.remaining())
    reader.fail(`the list ${what} declares ${counted(count, "element")}, but ${follow(reader.remaining())}`);
  if (number !== undefined) return number.list((await reader.take(bytes, what)).buffer);
  const items: string[] = [];
  for (let i = 0; i < count; i++)
    items.push(reader.stringAtHand(what) ?? (await reader.string(`element ${i} of ${what}`)));
  return { kind: "strings", items };
}

interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly offset: number;
}

async function readTensorInfos(reader: ByteReader, count: number): Promise<readonly TensorInfo[]> {
  const infos = new Map<string, TensorInfo>();
  for (let i = 0; i < count; i++) {
    const name = await reader.string(`the name of tensor ${i}`);
    if (name.length > limits.name)
      reader.fail(`the name of tensor ${i} has ${name.length} characters; at most ${limits.name} are possible`);
    if (infos.has(name)) reader.fail(`the tensor ${quoted(name)} stands twice`);
    const axes = await reader.u32(`the rank of ${quoted(name)}`);
    if (axes < 1 || axes > limits.axes)
      reader.fail(`the tensor ${quoted(name)} has ${axes} axes; expected 1 to ${limits.axes}`);
    const sizes: number[] = [];
    for (let axis = 0; axis < axes; axis++)
      sizes.push(await reader.count(`the size of axis ${axis} of ${quoted(name)}`, 2 ** 40));
    if (sizes.some((size) => size === 0)) reader.fail(`the tensor ${quoted(name)} has an axis of size 0`);
    const type = await reader.u32(`the type of ${quoted(name)}`);
    infos.set(name, {
      name,
      shape: sizes.reverse(),
      type,
      offset: await reader.count(`the offset of ${quoted(name)}`, Number.MAX_SAFE_INTEGER),
    });
  }
  return [...infos.values()];
}

function alignmentOf(reader: ByteReader, metadata: ReadonlyMap<string, MetadataValue>): number {
  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment === "number" && alignment >= 8 && alignment <= 2 ** 20 && Number.isInteger(Math.log2(alignment)))
    return alignment;
  return reader.fail(
    `\`general.alignment\` should be a power of two from 8 to ${2 ** 20}, found ${typeof alignment === "object" ? "a list" : String(alignment)}`,
  );
}

/** The tensors with their types, each a whole number of blocks. */
function checkTensors(path: string, infos: readonly TensorInfo[]): readonly GgufTensor[] {
  return infos.map(({ name, shape, type, offset }) => {
    const found = tensorTypes[type]!;
    const columns = shape.at(-1) ?? 1;
    if (columns % found.columns !== 0)
      throw new ModelError(
        "M162",
        `${quoted(path)} is damaged: the rows of the tensor ${quoted(name)} have ${columns} elements, no multiple of the ${found.columns} of a block of ${found.name}.`,
      );
    const bytes = (elementCount(shape) / found.columns) * found.bytes;
    if (!Number.isSafeInteger(bytes))
      throw new ModelError(
        "M162",
        `${quoted(path)} is damaged: the tensor ${quoted(name)} of shape [${shape.join(", ")}] is too large.`,
      );
    return { name, type: found, shape, offset, bytes };
  });
}

/** Tensors begin where the alignment wants them, lie in the file, and do not overlap. */
function checkOffsets(path: string, tensors: readonly GgufTensor[], alignment: number, bytes: number): void {
  let before: GgufTensor | null = null;
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset)) {
    const { name, offset } = tensor;
    if (offset % alignment !== 0)
      throw new ModelError(
        "M164",
        `${quoted(path)}: the tensor ${quoted(name)} begins at byte ${offset} of the data, no multiple of the alignment ${alignment}.`,
      );
    if (offset + tensor.bytes > bytes)
      throw new ModelError(
        "M164",
        `${quoted(path)}: the tensor ${quoted(name)} ends at byte ${offset + tensor.bytes} of the data, but the file holds ${bytes < 0 ? "no" : formatBytes(bytes)} data.`,
        "the file is cut short: fetch it again",
      );
    if (before !== null && before.offset + before.bytes > offset)
      throw new ModelError(
        "M164",
        `${quoted(path)}: the tensors ${quoted(before.name)} and ${quoted(name)} overlap at byte ${offset} of the data.`,
      );
    before = tensor;
  }
}

function viewOf(bytes: Uint8Array<ArrayBuffer>): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function follow(bytes: number): string {
  return `only ${counted(bytes, "byte")} ${bytes === 1 ? "follows" : "follow"}`;
}
