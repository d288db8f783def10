/** Vocabularies of the two kinds that GGUF files have. */
import type { Value } from "./support.js";

/** Every byte as the character that byte-level tokenizers have for it. */
const byteCharacters: readonly string[] = (() => {
  const shown = (byte: number): boolean => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let hidden = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(shown(byte) ? byte : hidden++));
})();

/** A byte-level vocabulary in which any two neighbours of digits merge, as do some letters. */
export function byteLevel(pre: string | null): Readonly<Record<string, Value | null>> {
  const digits = [..."0123456789"];
  const pairs = [
    ...digits.flatMap((a) => digits.map((b) => `${a} ${b}`)),
    "' s",
    "' S",
    "h e",
    "Ġ h",
    "Ġ 1",
    "! !",
    "Ċ Ċ",
  ];
  const triples = digits.map((a) => `12 ${a}`);
  const merges = [...pairs, ...triples];
  const tokens = ["<s>", "</s>", ...byteCharacters, ...merges.map((merge) => merge.replace(" ", ""))];
  return {
    "tokenizer.ggml.pre": pre === null ? null : { type: "string", value: pre },
    "tokenizer.ggml.tokens": { type: "strings", value: tokens },
    "tokenizer.ggml.token_type": { type: "i32s", value: tokens.map((_, id) => (id < 2 ? 3 : 1)) },
    "tokenizer.ggml.merges": { type: "strings", value: merges },
  };
}

export const pieces = ["▁", "a", "b", "c", "▁a", "ab", "bc", "abc", "aa", "▁aa", "ca", "▁b", "bca", "é"];
export const scores = [-9, -8, -8.5, -7.5, -1, -3, -2, -1.5, -4, -0.5, -2.5, -6, -5, -7];

/** A SentencePiece vocabulary: unknown, two control tokens, all bytes, pieces; `added` is a user-defined one. */
export function sentencePiece(
  changes: Readonly<Record<string, Value | null>> = {},
): Readonly<Record<string, Value | null>> {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...pieces, "[INST]"];
  return {
    "tokenizer.ggml.model": { type: "string", value: "llama" },
    "tokenizer.ggml.pre": null,
    "tokenizer.ggml.merges": null,
    "tokenizer.ggml.tokens": { type: "strings", value: tokens },
    "tokenizer.ggml.scores": { type: "f32s", value: [0, 0, 0, ...bytes.map(() => 0), ...scores, 0] },
    "tokenizer.ggml.token_type": { type: "i32s", value: [2, 3, 3, ...bytes.map(() => 6), ...pieces.map(() => 1), 4] },
    "tokenizer.ggml.bos_token_id": { type: "u32", value: 1 },
    "tokenizer.ggml.eos_token_id": { type: "u32", value: 2 },
    "tokenizer.ggml.unknown_token_id": { type: "u32", value: 0 },
    ...changes,
  };
}
