/** Decodes ids as they come. To go on after a prompt, push its ids first. */
export interface TextStream {
  /** The text that an id makes certain; "" while a character is unfinished, and for special tokens. */
  push(id: number): string;
  /** What is left at the end: an unfinished character as U+FFFD. */
  end(): string;
}

/** Ids that stand before those that are decoded: what a token's text may depend on (a space that is left out first). */
const context = 8;

/**
 * Ids that are decoded again before some of them become context: an unfinished row of bytes may be as long as it likes.
 */
const window = 20;

/**
 * A stream over a decoder of whole lists: all that it gives together is what `decode` gives. Held back are an ending in
 * U+FFFD, which may be the first bytes of a character, and a row of bytes (`isByte`), which one that is no text spoils.
 * Ids without a text are as if they were not there.
 */
export function textStream(
  decode: (ids: readonly number[]) => string,
  { isByte, hasText }: { readonly isByte: (id: number) => boolean; readonly hasText: (id: number) => boolean },
): TextStream {
  let ids: number[] = [];
  /** Of the decoding of `ids`, how much is given out. */
  let given = 0;
  const give = (text: string, upTo: number): string => {
    const fresh = text.slice(given, Math.max(given, upTo));
    given = Math.max(given, upTo);
    return fresh;
  };
  return {
    push(id) {
      if (!hasText(id)) return "";
      ids.push(id);
      if (isByte(id)) return "";
      const text = decode(ids);
      const certain = text.length - (text.endsWith("\uFFFD") ? 1 : 0);
      const fresh = give(text, certain);
      // where a row of bytes would be cut, later
      if (ids.length >= window && !isByte(ids.at(-context)!)) {
        ids = ids.slice(-context);
        given = decode(ids).length - (text.length - certain);
      }
      return fresh;
    },
    end() {
      const text = decode(ids);
      const fresh = give(text, text.length);
      ids = [];
      given = 0;
      return fresh;
    },
  };
}
