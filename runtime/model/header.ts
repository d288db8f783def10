import { counted } from "../../compiler/words.js";
import { byteCount, isElementType } from "./elements.js";
import { ModelError, quoted } from "./error.js";

/** Most bytes of a safetensors header; the format's own limit. */
export const headerLimit = 100_000_000;

/**
 * Most tensors of one file: ten times what the largest models have in one; bounds the memory a hostile header takes.
 */
export const tensorLimit = 262_144;

/** Most axes of a tensor. */
export const rankLimit = 32;

/** A tensor in a safetensors file: `begin .. end` are bytes counted from the first byte after the header. */
export interface StoredTensor {
  readonly name: string;
  /**
   * An element type, or the name of one that is not known; how many bytes an element of that has is not known either.
   */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface Header {
  /** In the order of the header. */
  readonly tensors: readonly StoredTensor[];
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Parses a safetensors header and checks it against the `bytes` that follow it in the file: tensors must cover these
 * exactly, without overlap. What says nothing of a tensor (`__metadata__`, fields that are not known) may be any JSON.
 * The grammar is read directly, not through JSON.parse, which keeps the last of duplicate keys, and builds whatever a
 * hostile file asks for before anything can be checked.
 * @throws ModelError M112 (not a header), M114 (offsets)
 */
export function parseHeader(path: string, text: string, bytes: number): Header {
  const tensors = new Map<string, StoredTensor>();
  let metadata: ReadonlyMap<string, string> = new Map();
  const scanner = new Scanner(path, text);
  scanner.object((name) => {
    if (name === "__metadata__") {
      metadata = scannedMetadata(scanner);
      return;
    }
    if (tensors.has(name)) scanner.fail(`the tensor ${quoted(name)} stands twice`);
    if (tensors.size === tensorLimit) scanner.fail(`there are more than ${tensorLimit} tensors`);
    tensors.set(name, scannedTensor(scanner, path, name));
  });
  scanner.finish();
  checkOffsets(path, [...tensors.values()], bytes);
  return { tensors: [...tensors.values()], metadata };
}

/** Writes a header, padded with spaces so that the data start at a multiple of 8 bytes. `metadata` comes first. */
export function printHeader(header: Header): string {
  const entries = header.tensors.map(
    ({ name, dtype, shape, begin, end }) =>
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`,
  );
  const metadata =
    header.metadata.size === 0 ? [] : [`"__metadata__":${JSON.stringify(Object.fromEntries(header.metadata))}`];
  const text = `{${[...metadata, ...entries].join(",")}}`;
  return text + " ".repeat((8 - (new TextEncoder().encode(text).length % 8)) % 8);
}

/** The entries that are strings; files have none else, but nothing rests on them. */
function scannedMetadata(scanner: Scanner): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  if (!scanner.isNext("{")) scanner.skip();
  else
    scanner.object((key) => {
      if (scanner.isNext('"')) metadata.set(key, scanner.string());
      else scanner.skip();
    });
  return metadata;
}

function scannedTensor(scanner: Scanner, path: string, name: string): StoredTensor {
  let dtype: string | null = null;
  let shape: readonly number[] | null = null;
  let offsets: readonly number[] | null = null;
  scanner.object((key) => {
    if (key === "dtype" && dtype === null) dtype = scanner.string();
    else if (key === "shape" && shape === null) shape = scanner.integers(rankLimit);
    else if (key === "data_offsets" && offsets === null) offsets = scanner.integers(2);
    else if (["dtype", "shape", "data_offsets"].includes(key))
      scanner.fail(`${quoted(name)} has two values of \`${key}\``);
    else scanner.skip();
  });
  return checkedTensor(scanner, path, name, dtype, shape, offsets);
}

// Its own function: TypeScript does not see assignments made inside closures.
function checkedTensor(
  scanner: Scanner,
  path: string,
  name: string,
  dtype: string | null,
  shape: readonly number[] | null,
  offsets: readonly number[] | null,
): StoredTensor {
  if (dtype === null) return scanner.fail(`${quoted(name)} has no \`dtype\``);
  if (shape === null) return scanner.fail(`${quoted(name)} has no \`shape\``);
  if (offsets === null) return scanner.fail(`${quoted(name)} has no \`data_offsets\``);
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined)
    return scanner.fail(`\`data_offsets\` of ${quoted(name)} has ${offsets.length} numbers; expected 2`);
  if (!isElementType(dtype)) {
    if (end >= begin) return { name, dtype, shape, begin, end };
    return scanner.fail(`\`data_offsets\` of ${quoted(name)} end before they begin`);
  }
  const needed = byteCount(dtype, shape);
  if (needed === null)
    throw new ModelError(
      "M114",
      `${quoted(path)}: the tensor ${quoted(name)} of shape [${shape.join(", ")}] and dtype ${dtype} has no whole number of bytes, or too many.`,
    );
  if (end - begin !== needed)
    throw new ModelError(
      "M114",
      `${quoted(path)}: the tensor ${quoted(name)} of shape [${shape.join(", ")}] and dtype ${dtype} needs ${needed} bytes, but its data_offsets [${begin}, ${end}] span ${end - begin}.`,
    );
  return { name, dtype, shape, begin, end };
}

function checkOffsets(path: string, tensors: readonly StoredTensor[], bytes: number): void {
  const sorted = [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  let before = "";
  for (const { name, begin, end } of sorted) {
    if (end > bytes) {
      throw new ModelError(
        "M114",
        `${quoted(path)}: the tensor ${quoted(name)} ends at byte ${end} of the data, but the file holds ${bytes} bytes of data.`,
        "the file is cut short: fetch it again",
      );
    }
    if (begin < reached)
      throw new ModelError(
        "M114",
        `${quoted(path)}: the tensors ${quoted(before)} and ${quoted(name)} overlap at byte ${begin} of the data.`,
      );
    if (begin > reached)
      throw new ModelError(
        "M114",
        `${quoted(path)}: the bytes ${reached} to ${begin} of the data, before ${quoted(name)}, belong to no tensor.`,
      );
    reached = end;
    before = name;
  }
  if (reached !== bytes)
    throw new ModelError(
      "M114",
      `${quoted(path)}: ${counted(bytes - reached, "byte")} after the last tensor ${bytes - reached === 1 ? "belongs" : "belong"} to no tensor.`,
      "the file may be damaged, or two files run together",
    );
}

/** Reads the little of JSON that a header consists of: objects, strings, lists of integers. */
class Scanner {
  private at = 0;

  constructor(
    private readonly path: string,
    private readonly text: string,
  ) {}

  fail(what: string): never {
    throw new ModelError(
      "M112",
      `${quoted(this.path)} has no valid safetensors header: ${what} (character ${this.at} of the header).`,
      "the file may be damaged, or be no safetensors file",
    );
  }

  /** An object; `member` reads the value of each key. */
  object(member: (key: string) => void): void {
    this.expect("{");
    if (this.accept("}")) return;
    do {
      const key = this.string();
      this.expect(":");
      member(key);
    } while (this.accept(","));
    this.expect("}");
  }

  string(): string {
    this.expect('"');
    const start = this.at;
    let escaped = false;
    for (; ; this.at++) {
      const unit = this.text.charCodeAt(this.at);
      if (unit === 0x22) break;
      if (unit === 0x5c) {
        escaped = true;
        this.at++;
      } else if (!(unit >= 0x20)) this.fail("a string is not ended");
    }
    const raw = this.text.slice(start, this.at++);
    if (!escaped) return raw;
    try {
      return String(JSON.parse(`"${raw}"`));
    } catch {
      return this.fail("a string has an invalid escape");
    }
  }

  /** Whether the next mark is this one. */
  isNext(mark: string): boolean {
    this.space();
    return this.text.charAt(this.at) === mark;
  }

  /** Passes over any JSON value: strings, and what stands between brackets that match. */
  skip(): void {
    const open: string[] = [];
    do {
      this.space();
      const mark = this.text.charAt(this.at);
      if (mark === '"') this.string();
      else if (mark === "{" || mark === "[") {
        open.push(mark === "{" ? "}" : "]");
        this.at++;
      } else if (mark === "}" || mark === "]") {
        if (mark !== open.pop()) this.fail(`found ${quoted(mark)} where a value should be`);
        this.at++;
      } else if (open.length > 0 && (mark === "," || mark === ":")) this.at++;
      else this.word();
    } while (open.length > 0);
  }

  /** A list of at most `limit` non-negative integers. */
  integers(limit: number): readonly number[] {
    const values: number[] = [];
    this.expect("[");
    if (this.accept("]")) return values;
    do {
      if (values.length === limit) this.fail(`a list has more than ${limit} numbers`);
      values.push(this.integer());
    } while (this.accept(","));
    this.expect("]");
    return values;
  }

  /** Only spaces may follow. */
  finish(): void {
    this.space();
    if (this.at < this.text.length) this.fail("there is text after the closing brace");
  }

  /** `true`, `null` or a number; its spelling is not looked at. */
  private word(): void {
    const start = this.at;
    while (/[\w.+-]/.test(this.text.charAt(this.at))) this.at++;
    if (this.at === start) {
      const found = this.text.charAt(this.at);
      this.fail(`expected a value, found ${found === "" ? "the end" : quoted(found)}`);
    }
  }

  private integer(): number {
    this.space();
    const start = this.at;
    while (this.text.charCodeAt(this.at) >= 0x30 && this.text.charCodeAt(this.at) <= 0x39) this.at++;
    const digits = this.text.slice(start, Math.min(this.at, start + 20));
    const value = Number(digits);
    if (digits === "" || (digits.length > 1 && digits.startsWith("0")) || !Number.isSafeInteger(value))
      this.fail("expected a non-negative integer below 2^53");
    return value;
  }

  private expect(mark: string): void {
    if (this.accept(mark)) return;
    const found = this.text.charAt(this.at);
    this.fail(`expected \`${mark}\`, found ${found === "" ? "the end" : quoted(found)}`);
  }

  private accept(mark: string): boolean {
    this.space();
    if (this.text.charAt(this.at) !== mark) return false;
    this.at++;
    return true;
  }

  private space(): void {
    for (; this.at < this.text.length; this.at++) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
    }
  }
}
