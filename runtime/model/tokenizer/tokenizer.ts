/** Tokenizers in Node. */
import { diskDirectory } from "../files.js";
import type { JsonObject } from "../json.js";
import { tokenizerFrom, tokenizerIn, type Tokenizer, type TokenizerExpectation } from "./from-json.js";
import { nativeTokenizers } from "./native.js";

export { tokenizerFile, type Tokenizer, type TokenizerExpectation } from "./from-json.js";

/** As `tokenizerIn`, of a directory of the disk, by the Rust library. */
export function readTokenizer(directory: string, expected: TokenizerExpectation): Promise<Tokenizer> {
  return tokenizerIn(diskDirectory(directory), expected, nativeTokenizers);
}

/** As `tokenizerFrom`, by the Rust library. */
export function makeTokenizer(
  path: string,
  json: JsonObject,
  settings: JsonObject,
  expected: TokenizerExpectation,
): Promise<Tokenizer> {
  return tokenizerFrom(path, json, settings, expected, nativeTokenizers);
}
