/** Bytes as characters, in the manner of GPT-2: printable ones are themselves, the rest is from U+0100 on. */
const byteOf = new Map<string, number>();

/** The character of each byte. */
const characters: readonly string[] = (() => {
  const found: string[] = [];
  let more = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    const character = String.fromCodePoint(isPrintable ? byte : more++);
    found.push(character);
    byteOf.set(character, byte);
  }
  return found;
})();

const encoder = new TextEncoder();

/** The bytes of a text's UTF-8, each as its character. */
export function toByteCharacters(text: string): string {
  let result = "";
  for (const byte of encoder.encode(text)) result += characters[byte];
  return result;
}

/** The bytes that the characters stand for; of a text with another character, its own UTF-8. */
export function fromByteCharacters(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = byteOf.get(character);
    if (byte === undefined) return encoder.encode(text);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** The names of the tokens of a text's bytes: `<0x0A>`. */
export function byteTokens(text: string): readonly string[] {
  return Array.from(encoder.encode(text), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
}

/** The byte that a token of such a name stands for, null for any other. */
export function byteOfToken(token: string): number | null {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : null;
}
