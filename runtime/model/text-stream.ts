/** Decodes ids as they come. */
export interface TextStream {
  /** The text that an id completes; "" while a character is unfinished, and for special tokens. */
  push(id: number): string;
  /** What is left at the end: an unfinished character as U+FFFD. */
  end(): string;
}

/** Most bytes of a character, so most tokens that one can spread over. */
const longestCharacter = 4;

/**
 * Ids that are decoded again and again while none of them completes a character: a model may never stop to talk
 * nonsense.
 */
const longestRun = 64;

/**
 * A stream over a decoder of whole lists. A token's text may depend on the one before it (a leading space is dropped
 * at the start), so a text is always the difference of two decodings that start alike. A decoding that ends in U+FFFD
 * may end in the first bytes of a character: that end is held back until the character is complete, or cannot be any
 * more.
 * To go on after a prompt, push its last ids first and drop what they give.
 */
export function textStream(decode: (ids: readonly number[]) => string): TextStream {
  /** The last id whose text is given out completely, as context, and those after it. */
  let ids: number[] = [];
  /** How the decoding of `ids` starts: what of it is given out. */
  let given = "";

  function emit(text: string): string {
    // A decoder may change its mind about bytes that turn out to be no character; what was given stays.
    const fresh = text.startsWith(given) ? text.slice(given.length) : text.slice(Math.min(given.length, text.length));
    if (text.length >= given.length) given = text;
    return fresh;
  }

  return {
    push(id) {
      ids.push(id);
      const text = decode(ids);
      const held = text.length - text.replace(/\uFFFD+$/u, "").length;
      if (held === 0) {
        const fresh = emit(text);
        // The next decoding starts at this token, as context.
        ids = [id];
        given = decode(ids);
        return fresh;
      }
      const fresh = emit(text.slice(0, text.length - Math.min(held, longestCharacter - 1)));
      if (ids.length > longestRun) {
        ids = ids.slice(-2 * longestCharacter);
        given = decode(ids).slice(0, -Math.min(held, longestCharacter - 1));
      }
      return fresh;
    },
    end() {
      const fresh = emit(decode(ids));
      ids = [];
      given = "";
      return fresh;
    },
  };
}
