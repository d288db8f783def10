import { formatBytes } from "../device/error.js";
import { ModelError, quoted } from "./error.js";
import type { ByteFile } from "./directory.js";
import { headerLimit, parseHeader, type StoredTensor } from "./header.js";

export type { StoredTensor } from "./header.js";

/** An open safetensors file: its header is read and checked, its data stay on disk. */
export interface SafetensorsFile {
  readonly path: string;
  /** In the order of the header. */
  readonly tensors: readonly StoredTensor[];
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the data start in the file, in bytes: the offsets of tensors count from here. */
  readonly dataStart: number;

  /**
   * Fills `target` with bytes of the tensor from byte `begin` of it on. A range that leaves the tensor is a RangeError.
   * @throws ModelError M115 when the file has shrunk since, M100 on an input error
   */
  read(tensor: StoredTensor, target: Uint8Array, begin?: number): Promise<void>;

  close(): Promise<void>;
}

/**
 * Reads a safetensors file that is being opened (`u64 length | JSON header | data`, little endian) and checks the whole header against the
 * size of the file, before anything is allocated by it.
 * @throws ModelError M100, M101 (see `openRegular`), M110 (truncated), M111 (header too large), M112 (no header),
 *   M114 (offsets)
 */
export async function readSafetensors(opening: Promise<ByteFile>): Promise<SafetensorsFile> {
  const file = await opening;
  const { path, size } = file;
  try {
    if (size < 8)
      throw new ModelError(
        "M110",
        `${quoted(path)} has ${size} bytes; a safetensors file has at least 8 and a header.`,
        truncationHelp,
      );
    const length = new Uint8Array(8);
    await file.read(length, 0);
    const declared = new DataView(length.buffer).getBigUint64(0, true);
    if (declared > BigInt(headerLimit)) {
      throw new ModelError(
        "M111",
        `${quoted(path)} declares a header of ${declared} bytes; a safetensors header has at most ${headerLimit}.`,
        "this is no safetensors file (perhaps a Git LFS pointer, a PyTorch file or a web page), or it is damaged",
      );
    }
    const dataStart = 8 + Number(declared);
    if (dataStart > size)
      throw new ModelError(
        "M110",
        `${quoted(path)} declares a header of ${declared} bytes, but the file has only ${formatBytes(size)}.`,
        truncationHelp,
      );
    const bytes = new Uint8Array(Number(declared));
    await file.read(bytes, 8);
    const { tensors, metadata } = parseHeader(path, headerText(path, bytes), size - dataStart);
    return {
      path,
      tensors,
      metadata,
      dataStart,
      async read(tensor, target, begin = 0) {
        if (!(begin >= 0 && begin + target.length <= tensor.end - tensor.begin)) {
          throw new RangeError(
            `bytes ${begin} to ${begin + target.length} are outside of tensor ${tensor.name} of ${tensor.end - tensor.begin} bytes`,
          );
        }
        await file.read(target, dataStart + tensor.begin + begin);
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

const truncationHelp = "the file is cut short: fetch it again";

function headerText(path: string, bytes: Uint8Array): string {
  if (bytes[0] !== 0x7b)
    throw new ModelError(
      "M112",
      `${quoted(path)} has no valid safetensors header: it does not start with \`{\`.`,
      "the file may be damaged, or be no safetensors file",
    );
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ModelError(
      "M112",
      `${quoted(path)} has no valid safetensors header: it is not UTF-8.`,
      "the file may be damaged, or be no safetensors file",
    );
  }
}
