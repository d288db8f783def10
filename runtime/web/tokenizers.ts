/** The tokenizers of Hugging Face, in JavaScript. */
import { Tokenizer } from "@huggingface/tokenizers";
import type { TokenizerLibrary } from "../model/tokenizer/from-json.js";

/** For pages: no native code. Its ids are those of the Rust library (test/web/tokenizers.test.ts). */
export const scriptTokenizers: TokenizerLibrary = {
  async load(json) {
    const tokenizer = new Tokenizer(json, {});
    let size = 0;
    for (const id of tokenizer.get_vocab(true).values()) size = Math.max(size, id + 1);
    return {
      size,
      encode: async (text, special) => tokenizer.encode(text, { add_special_tokens: special }).ids,
      tokenToId: (token) => tokenizer.token_to_id(token) ?? null,
      idToToken: (id) => tokenizer.id_to_token(id) ?? null,
      decode: (tokens) => (tokenizer.decoder === null ? tokens.join(" ") : tokenizer.decoder.decode([...tokens])),
    };
  },
};
