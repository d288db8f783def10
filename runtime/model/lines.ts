/** Lines of a text file that may be compressed, of which nothing is believed: not its size, its lines nor its end. */
import { createGunzip } from "node:zlib";
import { formatBytes } from "../device/error.js";
import { ModelError, quoted, systemCode } from "./error.js";
import { accessError, openRegular } from "./files.js";

/** What is read at most, in bytes, after decompression. */
export interface LineLimits {
  readonly line: number;
  readonly file: number;
}

/** A line without its end, and where it stands: the first is 1. */
export interface Line {
  readonly text: string;
  readonly number: number;
}

const newline = 0x0a;

/**
 * The lines of a file in UTF-8; one that begins as gzip does is decompressed. No more than a line and what was last
 * decompressed is in memory.
 * @throws ModelError M100, M101 (the file), M170 (damaged gzip, not UTF-8, a line or a file above its limit)
 */
export async function* readLines(path: string, limits: LineLimits): AsyncGenerator<Line, void, void> {
  const { handle } = await openRegular(path);
  try {
    const magic = Buffer.alloc(2);
    const { bytesRead } = await handle.read(magic, 0, 2, 0).catch((error: unknown) => {
      throw accessError(path, error);
    });
    const packed = bytesRead === 2 && magic.readUInt16BE(0) === 0x1f8b;
    const source = handle.createReadStream({ start: 0, autoClose: false });
    const gunzip = packed ? createGunzip() : null;
    if (gunzip !== null) {
      source.once("error", (error) => gunzip.destroy(error));
      source.pipe(gunzip);
    }
    try {
      yield* linesOf(path, gunzip ?? source, limits);
    } finally {
      source.destroy();
      gunzip?.destroy();
    }
  } finally {
    await handle.close();
  }
}

async function* linesOf(
  path: string,
  chunks: AsyncIterable<Buffer>,
  limits: LineLimits,
): AsyncGenerator<Line, void, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let total = 0;
  let number = 1;
  /** The pieces of the line that is not over yet. */
  let pieces: Buffer[] = [];
  let length = 0;

  function fail(why: string, help: string | null): ModelError {
    return new ModelError("M170", `${quoted(path)}, line ${number}: ${why}.`, help);
  }

  function add(piece: Buffer): void {
    length += piece.length;
    if (length > limits.line)
      throw fail(`the line has more than ${formatBytes(limits.line)}`, "a request stands in a line of its own");
    pieces.push(piece);
  }

  function take(): Line {
    const bytes = Buffer.concat(pieces);
    pieces = [];
    length = 0;
    try {
      return { text: decoder.decode(bytes), number };
    } catch {
      throw fail("it is not text in UTF-8", null);
    }
  }

  try {
    for await (const chunk of chunks) {
      total += chunk.length;
      if (total > limits.file)
        throw fail(`the file has more than ${formatBytes(limits.file)} of text`, "split it into several files");
      let from = 0;
      for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, from)) {
        add(chunk.subarray(from, end));
        yield take();
        number++;
        from = end + 1;
      }
      // a copy: zlib uses its buffers again
      if (from < chunk.length) add(Buffer.from(chunk.subarray(from)));
    }
    if (length > 0) yield take();
  } catch (error) {
    if (error instanceof ModelError) throw error;
    // what was decompressed last before a fault is not always seen
    const code = systemCode(error);
    if (code === "Z_BUF_ERROR")
      throw fail("the compressed file ends here or soon after, within its text", "fetch it again");
    if (code?.startsWith("Z_"))
      throw fail(`the compressed file is damaged here or soon after (${messageOf(error)})`, "fetch it again");
    throw accessError(path, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
