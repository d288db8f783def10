import type { FileHandle } from "node:fs/promises";
import { formatBytes } from "../../device/error.js";
import { ModelError, quoted } from "../error.js";
import { readFully } from "../files.js";

/** Most bytes of all that comes before the data; the largest vocabularies take some 20 MB. */
export const headerLimit = 256 * 1024 * 1024;

/** Most bytes of a string; the longest are chat templates. */
const stringLimit = 16 * 1024 * 1024;

/** Bytes that are read at once. */
const piece = 1024 * 1024;

/**
 * Reads a file's bytes in order, little-endian. Nothing is allocated by a length that was read until it is known that
 * the
 * file has as many bytes, and that such a thing may have.
 */
export interface ByteReader {
  /** Bytes read so far. */
  position(): number;
  /** Bytes that follow. */
  remaining(): number;
  /**
   * A copy of the next bytes. @throws ModelError M161 where the file ends before, M162 where the header gets too large
   */
  take(count: number, what: string): Promise<Uint8Array<ArrayBuffer>>;
  u32(what: string): Promise<number>;
  /** A u64 that is at most `most`. @throws ModelError M162 */
  count(what: string, most: number): Promise<number>;
  /** A string: its length as u64, then UTF-8. */
  string(what: string): Promise<string>;
  /**
   * As `string`, where its bytes are in memory already; else null. For long lists: waiting for each costs more than
   * reading it.
   */
  stringAtHand(what: string): string | null;
  /** @throws ModelError M162 that says what is wrong */
  fail(problem: string): never;
}

/** Makes a reader from the start of a file of `size` bytes; `path` is for messages. */
export function byteReader(handle: FileHandle, path: string, size: number): ByteReader {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let buffer = new Uint8Array(0);
  let view = new DataView(buffer.buffer);
  let at = 0;
  /** Where the buffer starts in the file. */
  let start = 0;

  function fail(problem: string): never {
    throw new ModelError("M162", `${quoted(path)} is damaged, or no GGUF file: ${problem}.`);
  }
  function requireBytes(count: number, what: string): void {
    const position = start + at;
    if (count > size - position)
      throw new ModelError(
        "M161",
        `${quoted(path)} ends at byte ${size}, within ${what} at byte ${position}, which takes ${count === 8 || count === 4 ? "" : "at least "}${count} bytes.`,
        "the file is cut short: fetch it again",
      );
    if (position + count > headerLimit) fail(`what comes before its data takes more than ${formatBytes(headerLimit)}`);
  }
  async function fill(count: number, what: string): Promise<void> {
    requireBytes(count, what);
    if (buffer.length - at >= count) return;
    const kept = buffer.subarray(at);
    const next = new Uint8Array(Math.min(size - start - at, Math.max(piece, count)));
    next.set(kept);
    await readFully(handle, path, next.subarray(kept.length), start + at + kept.length);
    start += at;
    at = 0;
    buffer = next;
    view = new DataView(buffer.buffer);
  }
  function lengthOf(value: bigint, what: string, most: number): number {
    if (value > BigInt(most)) fail(`${what} is ${value}, more than the ${most} that are possible`);
    return Number(value);
  }
  function text(length: number, what: string): string {
    const bytes = buffer.subarray(at, at + length);
    at += length;
    try {
      return decoder.decode(bytes);
    } catch {
      return fail(`${what} is not UTF-8`);
    }
  }
  async function count(what: string, most: number): Promise<number> {
    await fill(8, what);
    at += 8;
    return lengthOf(view.getBigUint64(at - 8, true), what, most);
  }
  return {
    position: () => start + at,
    remaining: () => size - start - at,
    count,
    fail,
    async take(wanted, what) {
      await fill(wanted, what);
      at += wanted;
      return buffer.slice(at - wanted, at);
    },
    async u32(what) {
      await fill(4, what);
      at += 4;
      return view.getUint32(at - 4, true);
    },
    async string(what) {
      const length = await count(`the length of ${what}`, stringLimit);
      await fill(length, what);
      return text(length, what);
    },
    stringAtHand(what) {
      if (buffer.length - at < 8) return null;
      const length = lengthOf(view.getBigUint64(at, true), `the length of ${what}`, stringLimit);
      if (buffer.length - at - 8 < length) return null;
      requireBytes(8 + length, what);
      at += 8;
      return text(length, what);
    },
  };
}
