/** A model while it is being compressed: the layers treated so far on the device, all else on disk. */
import type { FormatSpec } from "../../compiler/types/type.js";
import { byteCount } from "../model/elements.js";
import type { Model } from "../model/model.js";
import { storedLayout, type StoredPattern } from "../model/packed.js";
import { createModel, type OutputTensor } from "../model/write.js";
import type { DeviceTensor } from "../run/run.js";
import type { Caller } from "./call.js";
import { loadFrame, releaseFrame, type Frame } from "./session.js";
import { linearName, loadGains, loadWeight, type BlockWeights, type LinearName } from "./weights.js";

/** A layer's new weight. */
export interface TreatedWeight {
  readonly tensor: DeviceTensor;
  readonly format: FormatSpec;
  readonly pattern: StoredPattern;
  readonly shape: readonly number[];
  readonly relativeError: number;
}

export interface WorkingModel {
  /** By the tensor's name, in the order of treatment. */
  readonly treated: ReadonlyMap<string, TreatedWeight>;
  /** Replaces a layer's weight, and frees the one before. */
  replace(name: string, weight: TreatedWeight): void;
  /** A block's weights as they are now; `release` frees what was loaded for it. */
  block(index: number): Promise<{ readonly weights: BlockWeights; release(): void }>;
  /** All weights, as they are now or as they were given. */
  load(of: "model" | "dense"): Promise<{ readonly frame: Frame; readonly blocks: readonly BlockWeights[]; release(): void }>;
  release(): void;
}

/** A model of which nothing is treated yet. */
export function createWorkingModel(caller: Caller, model: Model): WorkingModel {
  const treated = new Map<string, TreatedWeight>();

  async function loadBlock(index: number, of: "model" | "dense"): Promise<{ readonly weights: BlockWeights; release(): void }> {
    const block = model.blocks[index];
    if (block === undefined) throw new RangeError(`the model has no block ${index}`);
    const own: DeviceTensor[] = [];
    const linears: Partial<Record<LinearName, DeviceTensor>> = {};
    for (const { name, weight } of block.linears) {
      const now = of === "model" ? treated.get(weight)?.tensor : undefined;
      const tensor = now ?? (await loadWeight(caller, model, weight, "stored"));
      if (now === undefined) own.push(tensor);
      linears[linearName(name)] = tensor;
    }
    const gains = await loadGains(caller, model, block.name);
    return {
      weights: { ...gains, linears: linears as Record<LinearName, DeviceTensor> },
      release() {
        for (const tensor of [...own, gains.attentionGain, gains.mlpGain]) caller.executor.release(tensor);
      },
    };
  }

  return {
    treated,
    replace(name, weight) {
      const before = treated.get(name);
      if (before !== undefined) caller.executor.release(before.tensor);
      treated.set(name, weight);
    },
    block: (index) => loadBlock(index, "model"),
    async load(of) {
      const frame = await loadFrame(caller, model, "stored");
      const loaded: Awaited<ReturnType<typeof loadBlock>>[] = [];
      for (const block of model.blocks) loaded.push(await loadBlock(block.index, of));
      return {
        frame, blocks: loaded.map(({ weights }) => weights),
        release() {
          for (const block of loaded) block.release();
          releaseFrame(caller, frame);
        },
      };
    },
    release() {
      for (const { tensor } of treated.values()) caller.executor.release(tensor);
      treated.clear();
    },
  };
}

/** Bytes that a tensor in this format takes in a file. */
export function storedBytes(name: string, format: FormatSpec, shape: readonly number[]): number {
  const layout = storedLayout(name, format, shape);
  return byteCount(layout.dtype, layout.shape) ?? 0;
}

const piece = 16 * 2 ** 20;

/**
 * Writes the model as it is now; gives the directory.
 * @throws ModelError
 */
export async function saveModel(
  caller: Caller, model: Model, working: WorkingModel, directory: string,
  options: { readonly recipe: { readonly name: string; readonly source: string; readonly parameters: { readonly [name: string]: number | boolean } }; readonly force: boolean },
  onProgress: (name: string, done: number, total: number) => void,
): Promise<string> {
  const tensors = model.tensors.map((stored): OutputTensor => {
    const now = working.treated.get(stored.name);
    const { format, pattern } = now ?? stored;
    return { name: stored.name, shape: stored.shape, dtype: stored.dtype, format, pattern };
  });
  const writer = await createModel(directory, { source: model, tensors, recipe: options.recipe, force: options.force });
  try {
    for (const [at, { name }] of tensors.entries()) {
      const now = working.treated.get(name);
      if (now === undefined) await writer.copy(name);
      else {
        const bytes = storedBytes(name, now.format, now.shape);
        await caller.executor.finish();
        for (let done = 0; done < bytes; done += piece) await writer.append(name, await caller.executor.device.read(now.tensor.buffer, now.tensor.offset + done, Math.min(piece, bytes - done)));
      }
      onProgress(name, at + 1, tensors.length);
    }
    return (await writer.finish()).directory;
  } catch (error) {
    await writer.discard();
    throw error;
  }
}
