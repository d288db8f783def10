/** The tokenizers of Hugging Face, in Rust. */
import type { TokenizerLibrary } from "./from-json.js";

/** For Node: native code, loaded where there is a text. */
export const nativeTokenizers: TokenizerLibrary = {
  async load(json) {
    const { Tokenizer } = await import("tokenizers");
    const tokenizer = Tokenizer.fromString(JSON.stringify(json));
    const decoder = tokenizer.getDecoder();
    return {
      size: Object.values(tokenizer.getVocab(true)).reduce((most, id) => Math.max(most, id), -1) + 1,
      encode: async (text, addSpecialTokens) => (await tokenizer.encode(text, null, { addSpecialTokens })).getIds(),
      tokenToId: (token) => tokenizer.tokenToId(token),
      idToToken: (id) => tokenizer.idToToken(id),
      decode: (tokens) => (decoder === null ? tokens.join(" ") : decoder.decode([...tokens])),
    };
  },
};
