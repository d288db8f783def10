/**
 * A model while it is being compressed: the layers treated last on the device, those finished in files of a state, all
 * else on disk.
 */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import { byteCount } from "../../model/elements.js";
import type { Block, Linear, Model } from "../../model/opened.js";
import { embeddingName, headName, normName } from "../../model/layout.js";
import { storedLayout, type SavedRecipe } from "../../model/packed.js";
import { modelWriter, type OutputTensor } from "../../model/model-writer.js";
import { readAhead } from "../../model/read-ahead.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import { openArena, type Arena, type OpenArena } from "../../run/arena.js";
import { gainOffset } from "../../model/architectures/architecture.js";
import { architectureOf } from "../../model/architectures/registry.js";
import type { Announced } from "../long-runs/announced.js";
import type { Caller } from "../call.js";
import type { Place } from "./place.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { first } from "../results.js";
import { createFolds, type Fold, type Folds } from "./folds.js";
import { scaledTensor } from "./scaled-tensor.js";
import type { SavedState } from "../long-runs/saved-state.js";
import { loadEntry, loadFrame, type Entry, type Frame } from "../inference/session.js";
import { isUntied } from "./tied-head.js";
import {
  downloadPieces,
  loadVector,
  loadVectors,
  loadWeight,
  roundedIn,
  uploadPieces,
  type BlockWeights,
} from "../weights.js";

export interface WorkingModel {
  /** What became of the layers treated so far, by the tensor's name, in the order of treatment. */
  readonly treated: ReadonlyMap<string, WeightRecord>;
  /** A layer's weight as it is now, where it was treated, else null; the arena owns what was loaded for it. */
  now(name: string, arena: Arena): Promise<DeviceTensor | null>;
  /**
   * A layer's weight as it was given, as it is stored. It stays on the device until another block's is asked for; the
   * caller does not release it.
   */
  given(linear: Pick<Linear, "weight" | "block"> & { readonly source?: string }): Promise<DeviceTensor>;
  /** Begins to read a block's weights as they were given, beside those of the block that is worked on. */
  expect(block: Block): Promise<void>;
  /** Everything but the blocks, as it is now or as it was given; the arena owns what was loaded for it alone. */
  frame(of: "model" | "dense", arena: Arena): Promise<Frame>;
  /** The same of what tokens enter by. */
  entry(of: "model" | "dense", arena: Arena): Promise<Entry>;
  /** Replaces a layer's weight by one that is the model's from here on, and frees the one before. */
  replace(record: WeightRecord, tensor: DeviceTensor): void;
  /**
   * Replaces a tensor by one whose places of an axis are multiplied by what `fold` says; from here on the model that was
   * given has it so, too.
   */
  scale(record: WeightRecord, tensor: DeviceTensor, fold: Fold): void;
  /** A tensor as it is now, its values dense f32; the arena owns what was loaded for it. */
  dense(name: string, arena: Arena): Promise<DeviceTensor>;
  readonly folds: Folds;
  /** From here on what was given is taken rotated, as `rotated` makes it of a tensor, but for the dense model's passes. */
  rotate(rotated: RotatedGiven): void;
  /** A tensor as it was given, rotated, where the stream was. */
  readonly rotated: RotatedGiven;
  /** In what layers take what they multiply, by their names: as given, but for what was rounded since. */
  readonly activations: Map<string, ActivationFormat>;
  /** Gives a layer that is on the device its weight of before the treatment back. */
  restore(name: string): void;
  /** A block's weights, as they are now or as they were given; the arena owns what was loaded for it alone. */
  block(index: number, of: "model" | "dense", arena: Arena): Promise<BlockWeights>;
  /** A block's weights as they were given, scales included; the arena owns all of them, so that blocks may be there at once. */
  givenBlock(block: Block, arena: Arena): Promise<BlockWeights>;
  /** A block's gains and biases as they are now; the arena owns what was loaded. */
  vectors(block: Block, arena: Arena): Promise<BlockWeights["vectors"]>;
  /** A gain as it is now. */
  gain(name: string, arena: Arena): Promise<DeviceTensor>;
  /** Writes the weights that are on the device only to the state. */
  keep(): Promise<void>;
  /** Frees the weights on the device that the state has, and those as given but of a block that is expected. */
  unload(): void;
  /** The bytes of a treated weight as files have it, a piece at a time. */
  pieces(name: string): AsyncIterable<Uint8Array>;
  release(): void;
}

/** A tensor as it is given, rotated; the arena owns what is made. */
export type RotatedGiven = (name: string, tensor: DeviceTensor, arena: Arena) => Promise<DeviceTensor>;

/** Weights of a block as they were given, those that were asked for. */
interface GivenWeights {
  readonly block: number;
  readonly tensors: Map<string, Promise<DeviceTensor>>;
  readonly arena: OpenArena;
}

/** Bytes that are read from a state at once. */
const piece = 16 * 2 ** 20;

/**
 * A model of which nothing is treated yet but what the state has. Without a state weights stay on the device. `dense` is
 * the model as it was given, where `model` is what was left of it.
 */
export function createWorkingModel(
  caller: Caller,
  model: Model,
  state: Pick<SavedState, "weights" | "read" | "add"> | null = null,
  folds: Folds = createFolds(),
  dense = model,
  rounded: Iterable<readonly [string, ActivationFormat]> = model.activations,
): WorkingModel {
  const activations = new Map(rounded);
  const treated = new Map<string, WeightRecord>(state?.weights);
  const onDevice = new Map<string, DeviceTensor>();
  /** Names of weights that the state has not got as they are. */
  const fresh = new Set<string>();
  /** Weights as given, of one block: what a pass over it has read, its treatments need again. And those of the next. */
  let current: GivenWeights | null = null;
  let next: GivenWeights | null = null;
  let rotated: RotatedGiven | null = null;

  function drop(weights: GivenWeights | null): void {
    weights?.arena.close();
  }
  function dropGivens(): void {
    drop(current);
    drop(next);
    [current, next] = [null, null];
  }
  const givensOf = (block: number): GivenWeights => ({ block, tensors: new Map(), arena: openArena(caller.executor) });
  /** Those of a block that is worked on from now on. */
  function givensFor(block: number): GivenWeights {
    if (current?.block === block) return current;
    drop(current);
    if (next?.block !== block) {
      drop(next);
      next = givensOf(block);
    }
    [current, next] = [next, null];
    return current;
  }
  /** A weight as given, read once. */
  function read({ tensors, arena }: GivenWeights, weight: string, source = weight): Promise<DeviceTensor> {
    const known = tensors.get(weight);
    if (known !== undefined) return known;
    const load = async (): Promise<DeviceTensor> => {
      const isOffset = gainOffset(architectureOf(model.config), weight) !== 0;
      const loaded = isOffset
        ? await loadVector(caller, model, weight, arena)
        : await loadWeight(caller, model, source, "stored", arena);
      return folded(weight, loaded, arena);
    };
    const loading = load();
    tensors.set(weight, loading);
    loading.catch(() => tensors.delete(weight));
    return loading;
  }
  const given: WorkingModel["given"] = ({ weight, block, source }) => read(givensFor(block), weight, source);

  /** What was given, with the scales that were multiplied into it since. */
  async function folded(name: string, tensor: DeviceTensor, arena: Arena): Promise<DeviceTensor> {
    let result = rotated === null ? tensor : await rotated(name, tensor, arena);
    for (const axis of [0, 1]) {
      const factors = folds.of(name, axis);
      if (factors === null) continue;
      const { shape } = result;
      result = { ...(await scaledTensor(caller, result, axis, factors, arena)), shape };
    }
    return result;
  }
  const givenVector = async (name: string, arena: Arena): Promise<DeviceTensor> =>
    folded(name, await loadVector(caller, model, name, arena), arena);

  async function load(name: string, arena: Arena): Promise<DeviceTensor | null> {
    const here = onDevice.get(name);
    if (here !== undefined) return here;
    const record = treated.get(name);
    if (record === undefined) return null;
    if (state === null) throw new InternalError(`${name} is neither on the device nor in a state`);
    const form: TensorForm = { dtype: "f32", shape: record.shape, format: record.format };
    return uploadPieces(caller, form, name, record.bytes, arena, (part, begin) => state.read(name, part, begin));
  }
  function forget(name: string): void {
    const tensor = onDevice.get(name);
    if (tensor !== undefined) caller.executor.release(tensor);
    onDevice.delete(name);
  }

  let kept: Promise<void> = Promise.resolve();
  async function writeFresh(): Promise<void> {
    if (state === null) throw new InternalError("there is no state to keep weights in");
    for (const name of fresh) {
      const [record, tensor] = [treated.get(name), onDevice.get(name)];
      if (record !== undefined && tensor !== undefined)
        await state.add(record, readAhead(downloadPieces(caller, tensor, record.bytes)));
    }
    fresh.clear();
  }

  // a gain that was trained is f32, which is how all are given to blocks
  const gain = async (name: string, arena: Arena): Promise<DeviceTensor> => {
    const now = await load(name, arena);
    return now === null ? givenVector(name, arena) : { ...now, format: null };
  };
  const vectors: WorkingModel["vectors"] = (block, arena) =>
    loadVectors(caller, model, block, arena, (name) => gain(name, arena));

  return {
    treated,
    given,
    async expect(block) {
      if (current?.block === block.index || next?.block === block.index) return;
      drop(next);
      const expected = (next = givensOf(block.index));
      for (const { weight } of block.linears) await read(expected, weight);
    },
    gain,
    vectors,
    async frame(of, arena) {
      if (of === "dense") return loadFrame(caller, model, "stored", arena);
      return { ...(await loadFrame(caller, model, "stored", arena, load)), gain: await gain(normName, arena) };
    },
    entry: (of, arena) => loadEntry(caller, model, "stored", arena, of === "dense" ? undefined : load),
    now: load,
    replace(record, tensor) {
      forget(record.name);
      treated.set(record.name, record);
      onDevice.set(record.name, tensor);
      fresh.add(record.name);
    },
    folds,
    rotated: async (name, tensor, arena) => (rotated === null ? tensor : rotated(name, tensor, arena)),
    rotate(by) {
      rotated = by;
      dropGivens();
    },
    activations,
    scale(record, tensor, fold) {
      folds.multiply(fold);
      // it is loaded again when it is asked for
      current?.tensors.delete(record.name);
      this.replace(record, tensor);
    },
    async dense(name, arena) {
      const linear = model.linears.find(({ weight }) => weight === name);
      if (linear === undefined) return gain(name, arena);
      const now = (await load(name, arena)) ?? (await given(linear));
      return arena.own(first(await caller.call("dense", { w: now })));
    },
    restore(name) {
      forget(name);
      treated.delete(name);
      fresh.delete(name);
    },
    async givenBlock(block, arena) {
      const linears: Record<string, DeviceTensor> = {};
      for (const { parameter, weight } of block.linears) {
        const loaded = await loadWeight(caller, model, weight, "stored", arena);
        const tensor = await folded(weight, loaded, arena);
        if (tensor !== loaded) arena.release(loaded);
        linears[parameter] = tensor;
      }
      const own = await loadVectors(caller, model, block, arena, (name) => givenVector(name, arena));
      return { layout: block.layout, vectors: own, linears };
    },
    async block(index, of, arena) {
      const source = of === "model" ? model : dense;
      const block = source.blocks[index];
      if (block === undefined) throw new RangeError(`the model has no block ${index}`);
      const linears: Record<string, DeviceTensor> = {};
      for (const linear of block.linears) {
        const now = of === "model" ? await load(linear.weight, arena) : null;
        linears[linear.parameter] =
          now ??
          (await (source === model && !(of === "dense" && rotated !== null)
            ? given(linear)
            : loadWeight(caller, source, linear.weight, "stored", arena)));
      }
      const own = await (of === "model"
        ? vectors(block, arena)
        : source === model && rotated === null
          ? loadVectors(caller, model, block, arena, (name) => givenVector(name, arena))
          : loadVectors(caller, source, block, arena));
      const rounded = roundedIn(block, of === "model" ? activations : dense.activations);
      return { layout: block.layout, vectors: own, linears, ...rounded };
    },
    keep() {
      // one after the other: a state takes one weight at a time
      const next = kept.then(writeFresh);
      kept = next.catch(() => {});
      return next;
    },
    unload() {
      for (const name of [...onDevice.keys()]) if (!fresh.has(name)) forget(name);
      drop(current);
      current = null;
    },
    async *pieces(name) {
      const record = treated.get(name);
      if (record === undefined) throw new RangeError(`${name} was not treated`);
      const offset = gainOffset(architectureOf(model.config), name);
      const here = onDevice.get(name);
      if (here !== undefined) {
        for await (const part of downloadPieces(caller, here, record.bytes)) yield less(part, offset);
        return;
      }
      for (let done = 0; done < record.bytes; done += piece) {
        const part = new Uint8Array(Math.min(piece, record.bytes - done));
        await state?.read(name, part, done);
        yield less(part, offset);
      }
    },
    release() {
      for (const name of [...onDevice.keys()]) forget(name);
      dropGivens();
      treated.clear();
      fresh.clear();
    },
  };
}

/** f32 values less a number. */
function less(part: Uint8Array, offset: number): Uint8Array {
  if (offset === 0) return part;
  const values = new Float32Array(part.buffer, part.byteOffset, part.byteLength / 4).map((value) => value - offset);
  return new Uint8Array(values.buffer);
}

/** Bytes that a tensor in this format takes in a file. */
export function storedBytes(name: string, format: FormatSpec, shape: readonly number[]): number {
  const layout = storedLayout(name, format, shape);
  return byteCount(layout.dtype, layout.shape) ?? 0;
}

/**
 * Writes the model as it is now; gives the directory. `announced` receives it when all is written but the name is not
 * given.
 * @throws ModelError
 */
export async function saveModel(
  place: Pick<Place, "createDirectory" | "announce">,
  model: Model,
  working: WorkingModel,
  directory: string,
  options: {
    readonly recipe: SavedRecipe;
    readonly force: boolean;
    readonly announced: (what: Announced) => Promise<void>;
  },
  onProgress: (name: string, done: number, total: number, bytes: number) => void,
): Promise<string> {
  const tensors = model.tensors.map((stored): OutputTensor => {
    const now = working.treated.get(stored.name);
    const { format, pattern } = now ?? stored;
    return { name: stored.name, shape: stored.shape, dtype: stored.dtype, format, pattern };
  });
  const untied = await isUntied(model, working);
  const head = working.treated.get(headName);
  if (untied && head !== undefined) tensors.push({ ...head, dtype: model.tensor(embeddingName).dtype });
  const { activations } = working;
  const writer = await modelWriter(
    { source: model, tensors, untied, activations, recipe: options.recipe, force: options.force },
    (plan) => place.createDirectory(directory, plan),
  );
  try {
    for (const [at, { name }] of tensors.entries()) {
      const now = working.treated.get(name);
      if (now === undefined) await writer.copy(name);
      else for await (const part of readAhead(working.pieces(name))) await writer.append(name, part);
      onProgress(name, at + 1, tensors.length, now?.bytes ?? model.tensor(name).bytes);
    }
    return (await writer.finish(async (target, staging) => options.announced(await place.announce(target, staging))))
      .directory;
  } catch (error) {
    await writer.discard();
    throw error;
  }
}
