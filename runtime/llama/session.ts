/** A Llama on a device: its weights, and the passes over them. */
import type { LlamaConfig } from "../model/config.js";
import type { Model } from "../model/model.js";
import type { DeviceTensor, TensorForm } from "../run/run.js";
import type { Arguments, Caller } from "./call.js";
import { LlamaError } from "./error.js";
import { ropeFrequencies } from "./rope.js";
import { first, many } from "./results.js";
import {
  loadBlock,
  loadTable,
  loadVector,
  releaseBlock,
  unpackBlock,
  type ActivationDtype,
  type BlockWeights,
  type Table,
  type WeightDtype,
} from "./weights.js";

export type { ActivationDtype } from "./weights.js";

/** Keys and values of the tokens seen, for each block: [B, capacity, groups, head]. */
export interface Cache {
  readonly batch: number;
  readonly capacity: number;
  readonly blocks: readonly { readonly keys: DeviceTensor; readonly values: DeviceTensor }[];
}

/** Everything of a model but its blocks. */
export interface Frame {
  readonly embedding: Table;
  readonly gain: DeviceTensor;
  /** The output head; the embedding itself where they are tied. */
  readonly head: Table;
  readonly frequency: DeviceTensor;
}

/**
 * Passes through a model. Every function records; `executor.read` or `flush` makes the device compute. Tensors given
 * stay the caller's, results become the caller's.
 */
export interface Session {
  readonly config: LlamaConfig;
  readonly caller: Caller;
  readonly dtype: ActivationDtype;
  readonly frame: Frame;
  readonly blocks: readonly BlockWeights[];
  /** Room for the keys and values of `capacity` tokens of each of `batch` sequences. */
  allocateCache(batch: number, capacity: number): Promise<Cache>;
  releaseCache(cache: Cache): void;
  /**
   * ids [B, T] at positions [B] and after -> activations [B, T, D] after the last block. The cache gets their keys and
   * values.
   */
  forward(ids: DeviceTensor, positions: DeviceTensor, cache: Cache): Promise<DeviceTensor>;
  /** Logits f32 [B, V] of token pick[b] of each sequence. */
  logits(x: DeviceTensor, pick: DeviceTensor): Promise<DeviceTensor>;
  /** Compiles what `forward` and `logits` need for B sequences of T tokens. */
  prepare(batch: number, tokens: number, capacity: number): Promise<void>;
  /** Gives all of its memory back. */
  release(): void;
}

/** How a session is opened. */
export interface SessionOptions {
  /** f16 where the device has it, else f32, unless told. */
  readonly dtype?: ActivationDtype | undefined;
  readonly weights?: WeightDtype | undefined;
  /** After each block that is loaded. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** f16 on a GPU that has it; a CPU gains nothing from it. */
export function defaultDtype(caller: Caller): ActivationDtype {
  return caller.target.f16 && caller.target.kind === "gpu" ? "f16" : "f32";
}

/**
 * Loads a model.
 * @throws LlamaError unsupported-model, ModelError, DeviceError
 */
export async function openSession(caller: Caller, model: Model, options: SessionOptions = {}): Promise<Session> {
  const keep = options.weights ?? "stored";
  const { layers } = model.config;
  const frame = await loadFrame(caller, model, keep);
  const blocks: BlockWeights[] = [];
  for (let at = 0; at < layers; at++) {
    blocks.push(await loadBlock(caller, model, at, keep));
    options.onProgress?.(at + 1, layers);
  }
  return makeSession(caller, model.config, frame, blocks, options.dtype ?? defaultDtype(caller));
}

/** Everything of a model but its blocks. */
export async function loadFrame(caller: Caller, model: Model, keep: WeightDtype): Promise<Frame> {
  const { config } = model;
  const embedding = await loadTable(caller, model, "model.embed_tokens.weight", keep);
  return {
    embedding,
    gain: await loadVector(caller, model, "model.norm.weight"),
    head: config.tiedEmbeddings ? embedding : await loadTable(caller, model, "lm_head.weight", keep),
    frequency: await caller.executor.fill(
      "f32",
      [config.headDim / 2],
      ropeFrequencies(config.headDim, config.rope),
      "rope frequencies",
    ),
  };
}

/** Gives a frame's memory back. */
export function releaseFrame(caller: Caller, frame: Frame): void {
  const tables = frame.head === frame.embedding ? [frame.embedding] : [frame.embedding, frame.head];
  for (const tensor of [
    ...tables.flatMap((table) => table.parts.map((part) => part.tensor)),
    frame.gain,
    frame.frequency,
  ])
    caller.executor.release(tensor);
}

/** A session over weights that are on the device already; `release` frees them. */
export function makeSession(
  caller: Caller,
  config: LlamaConfig,
  frame: Frame,
  blocks: readonly BlockWeights[],
  dtype: ActivationDtype,
): Session {
  const { executor } = caller;
  const sizes = { heads: config.heads, groups: config.keyValueHeads, head: config.headDim };

  async function forward(ids: DeviceTensor, positions: DeviceTensor, cache: Cache): Promise<DeviceTensor> {
    const { x: start, cosine, sine } = await embed(caller, frame, ids, positions, dtype);
    let x = start;
    for (const [at, weights] of blocks.entries()) {
      const kept = cache.blocks[at];
      if (kept === undefined) throw new Error(`the cache has no block ${at}`);
      const y = first(
        await caller.call("block", blockArguments(config, weights, { x, positions, cosine, sine, ...kept }), { sizes }),
      );
      executor.release(x);
      x = y;
    }
    executor.release(cosine);
    executor.release(sine);
    return x;
  }

  async function logits(x: DeviceTensor, pick: DeviceTensor): Promise<DeviceTensor> {
    const { head, gain } = frame;
    const args = { x, pick, gain, eps: config.normEpsilon };
    const [only, ...others] = head.parts;
    if (only !== undefined && others.length === 0)
      return first(await caller.call("logits", { ...args, w: only.tensor }));
    const whole = await executor.allocate(
      { dtype: "f32", shape: [x.shape[0] ?? 0, config.vocabSize], format: null },
      "logits",
    );
    for (const part of head.parts)
      await caller.call("logits_part", { ...args, w: part.tensor, whole, first: part.first });
    return whole;
  }

  async function allocateCache(batch: number, capacity: number): Promise<Cache> {
    const type: TensorForm = { dtype, shape: [batch, capacity, config.keyValueHeads, config.headDim], format: null };
    const kept: { keys: DeviceTensor; values: DeviceTensor }[] = [];
    for (let at = 0; at < blocks.length; at++) {
      kept.push({
        keys: await executor.allocate(type, `keys of block ${at}`),
        values: await executor.allocate(type, `values of block ${at}`),
      });
    }
    return { batch, capacity, blocks: kept };
  }

  async function prepare(batch: number, tokens: number, capacity: number): Promise<void> {
    const x: TensorForm = { dtype, shape: [batch, tokens, config.hiddenSize], format: null };
    const angle: TensorForm = { dtype: "f32", shape: [batch, tokens, config.headDim / 2], format: null };
    const ids: TensorForm = { dtype: "i32", shape: [batch, tokens], format: null };
    const positions: TensorForm = { dtype: "i32", shape: [batch], format: null };
    const kept: TensorForm = { dtype, shape: [batch, capacity, config.keyValueHeads, config.headDim], format: null };
    const work: Promise<void>[] = [];
    for (const [at, { tensor }] of frame.embedding.parts.entries()) {
      work.push(
        at === 0
          ? caller.prepare(embedName(dtype), { ids, table: tensor, first: 0 })
          : caller.prepare("embed_more", { x, ids, table: tensor, first: 0 }),
      );
    }
    work.push(caller.prepare("rope_angles", { positions, frequency: frame.frequency }, { sizes: { tokens } }));
    for (const weights of blocks)
      work.push(
        caller.prepare(
          "block",
          blockArguments<TensorForm>(config, weights, {
            x,
            positions,
            cosine: angle,
            sine: angle,
            keys: kept,
            values: kept,
          }),
          { sizes },
        ),
      );
    const [only, ...others] = frame.head.parts;
    if (only !== undefined && others.length === 0)
      work.push(caller.prepare("logits", { x, pick: positions, gain: frame.gain, w: only.tensor, eps: 0 }));
    await Promise.all(work);
  }

  function releaseCache(cache: Cache): void {
    for (const { keys, values } of cache.blocks) {
      executor.release(keys);
      executor.release(values);
    }
  }

  return {
    config,
    caller,
    dtype,
    frame,
    blocks,
    forward,
    logits,
    allocateCache,
    releaseCache,
    prepare,
    release() {
      for (const block of blocks) releaseBlock(caller, block);
      releaseFrame(caller, frame);
    },
  };
}

/**
 * The session with packed weights decoded to dense ones. `release` frees what was decoded; the session given lives on.
 */
export async function unpackSession(session: Session): Promise<{ readonly session: Session; release(): void }> {
  const { caller, config, frame, dtype } = session;
  const unpacked: Awaited<ReturnType<typeof unpackBlock>>[] = [];
  for (const block of session.blocks) unpacked.push(await unpackBlock(caller, block, dtype));
  return {
    session: makeSession(
      caller,
      config,
      frame,
      unpacked.map(({ weights }) => weights),
      dtype,
    ),
    release() {
      for (const block of unpacked) block.release();
    },
  };
}

/** Activations [B, T, D] of tokens and the angles [B, T, head / 2] of their positions. */
export async function embed(
  caller: Caller,
  frame: Frame,
  ids: DeviceTensor,
  positions: DeviceTensor,
  dtype: ActivationDtype,
): Promise<{ readonly x: DeviceTensor; readonly cosine: DeviceTensor; readonly sine: DeviceTensor }> {
  let x: DeviceTensor | null = null;
  for (const { tensor, first: row } of frame.embedding.parts) {
    const args: Arguments = { ids, table: tensor, first: row };
    const y: DeviceTensor = first(
      await (x === null ? caller.call(embedName(dtype), args) : caller.call("embed_more", { ...args, x })),
    );
    if (x !== null) caller.executor.release(x);
    x = y;
  }
  if (x === null) throw new LlamaError("unsupported-model", "The model's embedding table is empty.");
  const [cosine, sine] = many(
    await caller.call(
      "rope_angles",
      { positions, frequency: frame.frequency },
      { sizes: { tokens: ids.shape[1] ?? 0 } },
    ),
    2,
  );
  return { x, cosine, sine };
}

function embedName(dtype: ActivationDtype): string {
  return dtype === "f16" ? "embed_f16" : "embed";
}

function blockArguments<T extends TensorForm>(
  config: LlamaConfig,
  weights: BlockWeights,
  own: { readonly [name: string]: T },
): Arguments<T | DeviceTensor> {
  const { linears } = weights;
  return {
    ...own,
    eps: config.normEpsilon,
    attention_gain: weights.attentionGain,
    mlp_gain: weights.mlpGain,
    wq: linears.q_proj,
    wk: linears.k_proj,
    wv: linears.v_proj,
    wo: linears.o_proj,
    gate: linears.gate_proj,
    up: linears.up_proj,
    down: linears.down_proj,
  };
}
