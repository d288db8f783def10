/**
 * From tokens back to text, as they come. Each step of a decoder is told where a token starts, its text, which may come
 * in parts, and where it ends, and tells the step after it as soon as it is certain: what a stream gives together is
 * what it gives at once.
 */
import type { Fields } from "../fields.js";
import { byteOfToken, fromByteCharacters } from "./bytes.js";
import { replace } from "./normalizer.js";
import { parsePattern } from "./pattern.js";
import { parseMetaspace } from "./pre-tokenizer.js";

export type Decoder =
  | { readonly kind: "sequence"; readonly steps: readonly Decoder[] }
  | { readonly kind: "byte-level" }
  | { readonly kind: "byte-fallback" }
  | { readonly kind: "fuse" }
  | { readonly kind: "strip"; readonly content: string; readonly start: number; readonly stop: number }
  | { readonly kind: "replace"; readonly pattern: RegExp; readonly content: string }
  | { readonly kind: "metaspace"; readonly replacement: string; readonly dropsFirst: boolean }
  | { readonly kind: "word-pieces"; readonly prefix: string; readonly cleansUp: boolean }
  | { readonly kind: "suffix"; readonly suffix: string };

const types =
  "Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace, WordPiece or BPEDecoder, the others not being supported";

/** The field `decoder`; what of it is not supported is left with the fields' problems. */
export function parseDecoder(fields: Fields): Decoder {
  const decoder = parse(fields);
  fields.refuseRest();
  return decoder;
}

function parse(fields: Fields): Decoder {
  const type = fields.raw("type");
  switch (type) {
    case "Sequence":
      return { kind: "sequence", steps: fields.list("decoders").map(parseDecoder) };
    case "ByteLevel":
      // say how a text is cut, and nothing of how it is put together
      for (const name of ["add_prefix_space", "trim_offsets", "use_regex"]) fields.boolean(name, true);
      return { kind: "byte-level" };
    case "ByteFallback":
      return { kind: "byte-fallback" };
    case "Fuse":
      return { kind: "fuse" };
    case "Strip": {
      const content = fields.requiredString("content");
      if ([...content].length !== 1) fields.problem("content", "one character", content);
      const count = { integer: true, min: 0, max: 2 ** 20 };
      return { kind: "strip", content, start: fields.number("start", count, 0), stop: fields.number("stop", count, 0) };
    }
    case "Replace":
      return { kind: "replace", pattern: parsePattern(fields), content: fields.requiredString("content") };
    case "Metaspace": {
      const { replacement, prepends } = parseMetaspace(fields);
      fields.boolean("split", true); // says nothing of how tokens are put together
      return { kind: "metaspace", replacement, dropsFirst: prepends !== "never" };
    }
    case "WordPiece":
      return {
        kind: "word-pieces",
        prefix: fields.string("prefix") ?? "##",
        cleansUp: fields.boolean("cleanup", true),
      };
    case "BPEDecoder": {
      const suffix = fields.string("suffix") ?? "</w>";
      if (suffix === "") fields.problem("suffix", "a text that is not empty", suffix);
      return { kind: "suffix", suffix };
    }
    default:
      fields.problem("type", types, type);
      return { kind: "fuse" };
  }
}

/** What takes tokens: a step of a decoder, or what is given out. */
export interface Sink {
  /** A token starts. */
  open(): void;
  /** Some of its text. */
  text(part: string): void;
  /** It ends. */
  close(): void;
  /** There are no more. */
  end(): void;
}

/** A decoder that tells `next` of its tokens; without a decoder there are spaces between them. */
export function decodingSink(decoder: Decoder | null, next: Sink): Sink {
  return decoder === null ? spaced(next) : stepSink(decoder, next);
}

function stepSink(decoder: Decoder, next: Sink): Sink {
  switch (decoder.kind) {
    case "sequence":
      return decoder.steps.reduceRight((sink, step) => stepSink(step, sink), next);
    case "byte-level":
      return byteLevel(next);
    case "byte-fallback":
      return byteFallback(next);
    case "fuse":
      return fuse(next);
    case "strip":
      return strip(decoder.content, decoder.start, decoder.stop, next);
    case "replace":
      return whole(next, (token) => replace(token, decoder.pattern, decoder.content));
    case "metaspace":
      return whole(next, (token, isFirst) =>
        token.replaceAll(decoder.replacement, isFirst && decoder.dropsFirst ? "" : " "),
      );
    case "word-pieces":
      return whole(next, (token, isFirst) => {
        const part = isFirst
          ? token
          : token.startsWith(decoder.prefix)
            ? token.slice(decoder.prefix.length)
            : ` ${token}`;
        return decoder.cleansUp ? cleanUp(part) : part;
      });
    case "suffix":
      return suffixed(decoder.suffix, next);
    default:
      return decoder satisfies never;
  }
}

/** Puts a token that is there as a whole. */
function put(sink: Sink, token: string): void {
  sink.open();
  sink.text(token);
  sink.close();
}

/** Turns each token as a whole into another; it is told whether it is the first. */
function whole(next: Sink, turn: (token: string, isFirst: boolean) => string): Sink {
  let token = "";
  let isFirst = true;
  return {
    open() {
      token = "";
    },
    text(part) {
      token += part;
    },
    close() {
      put(next, turn(token, isFirst));
      isFirst = false;
    },
    end: () => next.end(),
  };
}

function spaced(next: Sink): Sink {
  return whole(next, (token, isFirst) => (isFirst ? token : ` ${token}`));
}

/** All tokens as one. There is one even where there are none. */
function fuse(next: Sink): Sink {
  let isOpen = false;
  const open = (): void => {
    if (!isOpen) next.open();
    isOpen = true;
  };
  return {
    open,
    text: (part) => next.text(part),
    close: () => undefined,
    end() {
      open();
      next.close();
      next.end();
    },
  };
}

/** All tokens as one, of the bytes that their characters stand for; bytes that are no text become U+FFFD. */
function byteLevel(next: Sink): Sink {
  const fused = fuse(next);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let token = "";
  const give = (part: string): void => {
    if (part !== "") fused.text(part);
  };
  return {
    open() {
      token = "";
      fused.open();
    },
    text(part) {
      token += part;
    },
    close: () => give(decoder.decode(fromByteCharacters(token), { stream: true })),
    end() {
      fused.open();
      give(decoder.decode());
      fused.end();
    },
  };
}

/**
 * Tokens of bytes in a row become one of their text, or where they are no text, one of U+FFFD for each. Which of them
 * is known at the end of the row, or at a byte that can be in no text.
 */
function byteFallback(next: Sink): Sink {
  let token = "";
  let held: number[] = [];
  let isText = true;
  let decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** The text of the bytes held, as far as it is complete. */
  let text = "";

  function spoil(): void {
    isText = false;
    for (const _ of held) put(next, "\uFFFD");
    held = [];
  }
  function addByte(byte: number): void {
    if (!isText) return put(next, "\uFFFD");
    held.push(byte);
    try {
      text += decoder.decode(Uint8Array.of(byte), { stream: true });
    } catch {
      spoil();
    }
  }
  function endRow(): void {
    if (held.length > 0) {
      try {
        put(next, text + decoder.decode());
      } catch {
        spoil();
      }
    }
    held = [];
    isText = true;
    text = "";
    decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  }
  return {
    open() {
      token = "";
    },
    text(part) {
      token += part;
    },
    close() {
      const byte = byteOfToken(token);
      if (byte !== null) return addByte(byte);
      endRow();
      put(next, token);
    },
    end() {
      endRow();
      next.end();
    },
  };
}

/** Each token without some of the content at its start and its end: what may be its end is held back. */
function strip(content: string, start: number, stop: number, next: Sink): Sink {
  let dropped = 0;
  let isStart = true;
  let held = 0;
  return {
    open() {
      [dropped, isStart, held] = [0, true, 0];
      next.open();
    },
    text(part) {
      let given = "";
      for (const character of part) {
        if (isStart && character === content && dropped < start) {
          dropped++;
          continue;
        }
        isStart = false;
        if (character !== content) {
          given += content.repeat(held) + character;
          held = 0;
        } else if (held < stop) held++;
        else given += content;
      }
      if (given !== "") next.text(given);
    },
    close: () => next.close(),
    end: () => next.end(),
  };
}

/** Each token with a space for the suffix, the last one with nothing. */
function suffixed(suffix: string, next: Sink): Sink {
  let last: string | null = null;
  let token = "";
  return {
    open() {
      if (last !== null) put(next, last.replaceAll(suffix, " "));
      last = null;
      token = "";
    },
    text(part) {
      token += part;
    },
    close() {
      last = token;
    },
    end() {
      if (last !== null) put(next, last.replaceAll(suffix, ""));
      next.end();
    },
  };
}

/** What is left of the spaces that a text was cut at. */
function cleanUp(text: string): string {
  return [
    [" .", "."],
    [" ?", "?"],
    [" !", "!"],
    [" ,", ","],
    [" ' ", "'"],
    [" n't", "n't"],
    [" 'm", "'m"],
    [" do not", " don't"],
    [" 's", "'s"],
    [" 've", "'ve"],
    [" 're", "'re"],
  ].reduce((result, [from = "", to = ""]) => result.replaceAll(from, to), text);
}
