/** A pass through a Llama, by calls that run at once or are recorded in a chain. */
import type { LlamaConfig } from "../../model/config.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Arguments, Caller } from "../call.js";
import type { Calls } from "./chain.js";
import { LlamaError } from "../error.js";
import { first } from "../results.js";
import { angles, type Rotary } from "./rope.js";
import { blockArguments, blockCall } from "../blocks.js";
import { roundingFor, type ActivationChoice } from "../rounding.js";
import type { ActivationDtype, BlockWeights, Table } from "../weights.js";

/** Everything of a model but its blocks. */
export interface Frame {
  readonly embedding: Table;
  readonly gain: DeviceTensor;
  /** The output head; the embedding itself where they are tied. */
  readonly head: Table;
  readonly rotary: Rotary;
}

/** What tokens enter a model by. */
export type Entry = Pick<Frame, "embedding" | "rotary">;

/** What a pass goes through. */
export interface Layers {
  readonly config: LlamaConfig;
  readonly dtype: ActivationDtype;
  readonly activations: ActivationChoice;
  readonly target: Caller["target"];
  readonly frame: Frame;
  readonly blocks: readonly BlockWeights[];
}

/** Keys and values of the tokens seen, for each block: [pages of all, tokens of a page, groups, head]. */
export interface Cache {
  readonly batch: number;
  /** Tokens that a sequence may come to. */
  readonly capacity: number;
  /** Where they are. */
  readonly table: {
    /** i32 [B, L]: the pages of each row by its tokens' positions, -1 where there is none; or [S, L] with `places`. */
    readonly pages: DeviceTensor;
    /** i32 [B]: which of S sequences each row is of; null where row b is sequence b. */
    readonly places: DeviceTensor | null;
    /** Pages that there may be at most: programs are made for so many, and serve any number of them. */
    readonly most: number;
  };
  readonly blocks: readonly { readonly keys: DeviceTensor; readonly values: DeviceTensor }[];
}

/**
 * Activations [B, T, D] of tokens and the angles [B, T, head / 2] of their positions, in sequences with room for so many.
 */
export async function embed<T extends TensorForm>(
  calls: Calls<T>,
  { frame, dtype }: Pick<Layers, "dtype"> & { readonly frame: Entry },
  ids: T | DeviceTensor,
  positions: T | DeviceTensor,
  room: number,
): Promise<{ readonly x: T; readonly cosine: T; readonly sine: T }> {
  const x = await embedTokens(calls, { frame, dtype }, ids);
  const [cosine, sine] = await angles(calls, frame.rotary, positions, ids.shape[1] ?? 0, room);
  return { x, cosine, sine };
}

/** Activations [B, T, D] of tokens. */
export async function embedTokens<T extends TensorForm>(
  calls: Calls<T>,
  { frame, dtype }: Pick<Layers, "dtype"> & { readonly frame: Pick<Frame, "embedding"> },
  ids: T | DeviceTensor,
): Promise<T> {
  let x: T | null = null;
  for (const { tensor, first: row } of frame.embedding.parts) {
    const args: Arguments<T | DeviceTensor> = { ids, table: tensor, first: row };
    const y: T = first(
      await (x === null ? calls.call(embedName(dtype), args) : calls.call("embed_more", { ...args, x })),
    );
    if (x !== null) calls.release(x);
    x = y;
  }
  if (x === null) throw new LlamaError("unsupported-model", "The model's embedding table is empty.");
  return x;
}

/**
 * ids [B, T] at positions [B] and after -> activations [B, T, D] after the last block; the cache gets their keys and
 * values.
 */
export async function forward<T extends TensorForm>(
  calls: Calls<T>,
  layers: Layers,
  ids: T | DeviceTensor,
  positions: T | DeviceTensor,
  cache: Cache,
): Promise<T> {
  const { blocks, activations, target } = layers;
  const tokens = (ids.shape[0] ?? 0) * (ids.shape[1] ?? 0);
  const { x: start, cosine, sine } = await embed(calls, layers, ids, positions, cache.capacity);
  const { pages, places, most } = cache.table;
  let x = start;
  for (const [at, weights] of blocks.entries()) {
    const kept = cache.blocks[at];
    if (kept === undefined) throw new Error(`the cache has no block ${at}`);
    const own = { x, positions, cosine, sine, ...kept, pages, ...(places === null ? {} : { places }) };
    const rounding = roundingFor(activations, weights, target, tokens);
    const { graph, sizes } = blockCall(calls.functions, weights, {
      pages: places === null ? "own" : "shared",
      pool: most,
      rounding,
    });
    const y = first(await calls.callGraph(graph, blockArguments(graph, weights, own), { sizes }));
    calls.release(x);
    x = y;
  }
  calls.release(cosine);
  calls.release(sine);
  return x;
}

/** Logits f32 [B, V] of token pick[b] of each sequence. */
export async function logits<T extends TensorForm>(
  calls: Calls<T>,
  { config, frame }: Layers,
  x: T | DeviceTensor,
  pick: T | DeviceTensor,
): Promise<T> {
  const { head, gain } = frame;
  const args = { x, pick, gain, eps: config.normEpsilon };
  const [only, ...others] = head.parts;
  if (only !== undefined && others.length === 0) return first(await calls.call("logits", { ...args, w: only.tensor }));
  const shape = [x.shape[0] ?? 0, config.vocabSize];
  const whole = await calls.empty({ dtype: "f32", shape, format: null }, "logits");
  for (const part of head.parts) await calls.call("logits_part", { ...args, w: part.tensor, whole, first: part.first });
  return whole;
}

/** The function of the language that begins a pass. */
export function embedName(dtype: ActivationDtype): string {
  return dtype === "f16" ? "embed_f16" : "embed";
}
