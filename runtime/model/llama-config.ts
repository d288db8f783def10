/** What a config says, whatever files it comes from. */
import type { ElementType } from "./elements.js";
import type { JsonObject } from "./json.js";
import type { Rope } from "./rope.js";

/** What only some architectures have; `null` and `false` where a model has it not. */
export interface Particulars {
  /** How many tokens, itself among them, a token of each block sees; null for all. */
  readonly windows: readonly (number | null)[];
  /** Numbers that only the blocks of this architecture take, by the names that they have in configs. */
  readonly numbers?: { readonly [name: string]: number };
  /** Whether linear layers have biases: q, k and v; o; those of the feed-forward. */
  readonly biases: { readonly qkv: boolean; readonly o: boolean; readonly mlp: boolean };
}

/** The shape of a Llama or one of its kin, from `config.json`. */
export interface LlamaConfig extends Particulars {
  /** `model_type`: which architecture it is. */
  readonly modelType: string;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly keyValueHeads: number;
  /** Even; `heads * headDim` need not be the hidden size. */
  readonly headDim: number;
  readonly vocabSize: number;
  /** Most tokens of a sequence (`max_position_embeddings`). */
  readonly contextLength: number;
  readonly normEpsilon: number;
  readonly rope: Rope;
  /** Whether the embedding is the output head too. */
  readonly tiedEmbeddings: boolean;
  /** Type of the weights as declared, null where it is not. */
  readonly dtype: ElementType | null;
  readonly bosToken: number | null;
  readonly eosTokens: readonly number[];
  /** Where the file contradicts itself, and what is not used of it: a sentence each, without a full stop. */
  readonly warnings: readonly string[];
  /** The file as parsed. */
  readonly raw: JsonObject;
}
