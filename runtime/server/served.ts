/** What a server needs of a model. */
import type { ChatRenderer } from "../chat/renderer.js";
import type { Scheduler } from "../llama/serving/requests.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";

/** A model that is served: its words, and who continues them. */
export interface ServedModel {
  /** What requests call it. */
  readonly name: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly vocabulary: number;
  readonly tokenizer: Pick<Tokenizer, "encode" | "decode" | "spelling" | "special" | "stream">;
  readonly scheduler: Pick<Scheduler, "submit" | "state" | "contextLength">;
  /** Tokens that end a text. */
  readonly ends: readonly number[];
  /** Null for a model without a chat template. */
  readonly chat: {
    readonly renderer: Pick<ChatRenderer, "render">;
    /** Tokens that end an answer. */
    readonly ends: readonly number[];
  } | null;
}

/** What one request may ask for. */
export interface ServerLimits {
  /** Bytes of a body. */
  readonly body: number;
  /** Texts that a request may have made at once: prompts times `n`. */
  readonly choices: number;
  readonly messages: number;
  /** Stop strings, and characters of each. */
  readonly stops: number;
  readonly stopLength: number;
  /** Tokens whose logits are biased. */
  readonly biases: number;
  /** Bytes that a reader may lag behind before it is given up. */
  readonly unread: number;
}

/** Limits unless told otherwise. */
export const usualLimits: ServerLimits = {
  body: 8 * 2 ** 20,
  choices: 128,
  messages: 2048,
  stops: 16,
  stopLength: 1024,
  biases: 1024,
  unread: 2 ** 20,
};
