/** A Llama on a device: its weights, and the passes over them. */
import { embeddingName, headName, normName } from "../../model/layout.js";
import { upTo } from "../../../compiler/types/shape.js";
import type { LlamaConfig } from "../../model/config.js";
import type { Model } from "../../model/model.js";
import { allDone } from "../../run/outcomes.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import { building, withArena, type Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { callsIn } from "./chain.js";
import { embedName, forward, logits, type Cache, type Entry, type Frame, type Layers } from "./pass.js";
import { blockArguments, blockCall } from "../blocks.js";
import { allocateCache, growCache, pagesForm, releaseCache, tableRoom } from "./pages.js";
import { loadRotary, prepareAngles } from "./rope.js";
import { checkActivations, roundingFor, type ActivationChoice } from "../rounding.js";
import {
  heldByProducts,
  loadBlock,
  loadTable,
  loadVector,
  unpackBlock,
  type ActivationDtype,
  type BlockWeights,
  type Table,
  type WeightDtype,
} from "../weights.js";

export type { Cache, Entry, Frame, Layers } from "./pass.js";
export type { ActivationDtype } from "../weights.js";

/**
 * Passes through a model. Every function records; `executor.read` or `flush` makes the device compute. Tensors given
 * stay the caller's, results become the caller's.
 */
export interface Session {
  readonly config: LlamaConfig;
  readonly caller: Caller;
  readonly dtype: ActivationDtype;
  readonly activations: ActivationChoice;
  readonly target: Caller["target"];
  readonly frame: Frame;
  readonly blocks: readonly BlockWeights[];
  /** Room for the keys and values of `capacity` tokens of each of `batch` sequences; of the first `held` to begin with. */
  allocateCache(batch: number, capacity: number, held?: number): Promise<Cache>;
  /** The cache of one sequence with room for so many tokens, in place of the one given; nothing is compiled for it. */
  growCache(cache: Cache, tokens: number): Promise<Cache>;
  releaseCache(cache: Cache): void;
  /**
   * ids [B, T] at positions [B] and after -> activations [B, T, D] after the last block. The cache gets their keys and
   * values.
   */
  forward(ids: DeviceTensor, positions: DeviceTensor, cache: Cache): Promise<DeviceTensor>;
  /** Logits f32 [B, V] of token pick[b] of each sequence. */
  logits(x: DeviceTensor, pick: DeviceTensor): Promise<DeviceTensor>;
  /**
   * Compiles what `forward` and `logits` need for B sequences of T tokens, in a cache for `capacity` tokens of texts that
   * have room for so many, or for `room`.
   */
  prepare(batch: number, tokens: number, capacity: number, room?: number): Promise<void>;
  /** Gives all of its memory back. */
  release(): void;
}

/** How a session is opened. */
export interface SessionOptions {
  /** f16 where the device has it, else f32, by default. */
  readonly dtype?: ActivationDtype | undefined;
  readonly weights?: WeightDtype | undefined;
  /** `auto` unless told. */
  readonly activations?: ActivationChoice | undefined;
  /** The blocks that are loaded, by their numbers; all of the model by default. */
  readonly blocks?: readonly number[] | undefined;
  /** After each block that is loaded. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** f16 on a GPU that has it; a CPU gains nothing from it. */
export function defaultDtype(caller: Caller): ActivationDtype {
  return caller.target.f16 && caller.target.kind === "gpu" ? "f16" : "f32";
}

/**
 * Loads a model.
 * @throws LlamaError unsupported-model, bad-option, ModelError, DeviceError
 */
export async function openSession(caller: Caller, model: Model, options: SessionOptions = {}): Promise<Session> {
  const keep = options.weights ?? "stored";
  const wanted = options.blocks ?? upTo(model.config.layers);
  return building(caller.executor, async (arena) => {
    const dtype = options.dtype ?? defaultDtype(caller);
    const frame = await heldFrame(caller, await loadFrame(caller, model, keep, arena), dtype, arena);
    const blocks: BlockWeights[] = [];
    for (const at of wanted) {
      blocks.push(await loadBlock(caller, model, at, keep, dtype, arena));
      options.onProgress?.(blocks.length, wanted.length);
    }
    checkActivations(options.activations ?? "auto", blocks, caller.target);
    return makeSession(caller, model.config, frame, blocks, dtype, arena.close, options.activations);
  });
}

/** Everything of a model but its blocks. `now` gives tables that are others by now, null for those that are not. */
export async function loadFrame(
  caller: Caller,
  model: Model,
  keep: WeightDtype,
  arena: Arena,
  now: (name: string, arena: Arena) => Promise<DeviceTensor | null> = () => Promise.resolve(null),
): Promise<Frame> {
  const own = async (name: string): Promise<Table | null> => {
    const tensor = await now(name, arena);
    return tensor === null ? null : { parts: [{ tensor, first: 0 }] };
  };
  const { embedding, rotary } = await loadEntry(caller, model, keep, arena, now);
  const head = await own(headName);
  return {
    embedding,
    gain: await loadVector(caller, model, normName, arena),
    head: head ?? (model.config.tiedEmbeddings ? embedding : await loadTable(caller, model, headName, keep, arena)),
    rotary,
  };
}

/** What tokens enter a model by. */
export async function loadEntry(
  caller: Caller,
  model: Model,
  keep: WeightDtype,
  arena: Arena,
  now: (name: string, arena: Arena) => Promise<DeviceTensor | null> = () => Promise.resolve(null),
): Promise<Entry> {
  const tensor = await now(embeddingName, arena);
  return {
    embedding:
      tensor === null ? await loadTable(caller, model, embeddingName, keep, arena) : { parts: [{ tensor, first: 0 }] },
    rotary: await loadRotary(caller, arena, model.config),
  };
}

/** The same with a head that products with activations of `dtype` may take. */
async function heldFrame(caller: Caller, frame: Frame, dtype: ActivationDtype, arena: Arena): Promise<Frame> {
  const { parts } = frame.head;
  const tensors = parts.map(({ tensor }) => tensor);
  const held = await heldByProducts(caller, tensors, dtype, arena);
  if (held.every((tensor, at) => tensor === tensors[at])) return frame;
  const head = { parts: parts.map(({ first }, at) => ({ tensor: held[at]!, first })) };
  return { ...frame, head, embedding: frame.embedding === frame.head ? head : frame.embedding };
}

/** A session over weights that are on the device already; `release` gives them back. */
export function makeSession(
  caller: Caller,
  config: LlamaConfig,
  frame: Frame,
  blocks: readonly BlockWeights[],
  dtype: ActivationDtype,
  release: () => void,
  activations: ActivationChoice = "auto",
): Session {
  const { executor } = caller;
  const sized = { caller, config, dtype, blocks };
  const layers: Layers = { config, dtype, activations, target: caller.target, frame, blocks };

  async function prepare(batch: number, tokens: number, capacity: number, angles = capacity): Promise<void> {
    const x: TensorForm = { dtype, shape: [batch, tokens, config.hiddenSize], format: null };
    const angle: TensorForm = { dtype: "f32", shape: [batch, tokens, config.headDim / 2], format: null };
    const ids: TensorForm = { dtype: "i32", shape: [batch, tokens], format: null };
    const positions: TensorForm = { dtype: "i32", shape: [batch], format: null };
    const room = tableRoom(sized, batch, capacity);
    const kept = pagesForm(sized, room.most);
    const pages: TensorForm = { dtype: "i32", shape: [batch, room.length], format: null };
    const work: Promise<unknown>[] = [];
    for (const [at, { tensor }] of frame.embedding.parts.entries()) {
      work.push(
        at === 0
          ? caller.prepare(embedName(dtype), { ids, table: tensor, first: 0 })
          : caller.prepare("embed_more", { x, ids, table: tensor, first: 0 }),
      );
    }
    work.push(prepareAngles(caller, frame.rotary, positions, tokens, angles));
    for (const weights of blocks) {
      const rounding = roundingFor(activations, weights, caller.target, batch * tokens);
      const { graph, sizes } = blockCall(caller.functions, weights, { pages: "own", pool: room.most, rounding });
      const own = { x, positions, cosine: angle, sine: angle, keys: kept, values: kept, pages };
      work.push(caller.preparedGraph(graph, blockArguments<TensorForm>(graph, weights, own), { sizes }));
    }
    const last = { x, pick: positions, gain: frame.gain, eps: 0 };
    const whole: TensorForm = { dtype: "f32", shape: [batch, config.vocabSize], format: null };
    const [only, ...others] = frame.head.parts;
    if (only !== undefined && others.length === 0) work.push(caller.prepare("logits", { ...last, w: only.tensor }));
    else
      for (const { tensor } of frame.head.parts)
        work.push(caller.prepare("logits_part", { ...last, w: tensor, whole, first: 0 }));
    await allDone(work);
  }

  return {
    config,
    caller,
    dtype,
    activations,
    target: caller.target,
    frame,
    blocks,
    forward: (ids, positions, cache) =>
      withArena(executor, async (arena) =>
        arena.keep(await forward(callsIn(arena, caller), layers, ids, positions, cache)),
      ),
    logits: (x, pick) =>
      withArena(executor, async (arena) => arena.keep(await logits(callsIn(arena, caller), layers, x, pick))),
    allocateCache: (batch, capacity, held = capacity) => allocateCache(sized, batch, capacity, held),
    growCache: (cache, tokens) => growCache(sized, cache, tokens),
    releaseCache: (cache) => releaseCache(sized, cache),
    prepare,
    release,
  };
}

/**
 * The session with packed weights decoded to dense ones. `release` frees what was decoded; the session given lives on.
 */
export async function unpackSession(session: Session): Promise<Session> {
  const { caller, config, frame, dtype } = session;
  const activations = session.activations === "f16" ? "f16" : "auto";
  return building(caller.executor, async (arena) => {
    const blocks: BlockWeights[] = [];
    for (const block of session.blocks) blocks.push(await unpackBlock(caller, block, dtype, arena));
    return makeSession(caller, config, frame, blocks, dtype, arena.close, activations);
  });
}
