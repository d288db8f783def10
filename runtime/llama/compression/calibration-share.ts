/** Calibration activations of some windows on one device: what is summed over them, part by part. */
import type { Combination } from "../../../compiler/graph/analysis/combination.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { Model } from "../../model/model.js";
import { withArena, type Arena } from "../../run/arena.js";
import { defaultMemory, embedWindows, type ActivationOptions, type Activations } from "./activations.js";
import { comparesWithDense, passBlock, type DenseSide, type Observer } from "./calibrate.js";
import type { Caller } from "../call.js";
import type { Share } from "./division.js";
import { createSums, type Sum } from "./sums.js";
import { unpackBlock, type BlockWeights } from "../weights.js";
import type { WorkingModel } from "./working-model.js";
import { functionOf } from "../functions.js";

/** What is observed of a block. */
export interface Observation {
  readonly steps: readonly {
    readonly id: number;
    readonly graph: SymbolicGraph;
    readonly combines: Combination;
  }[];
  /** Whether also X^T X, under `ownId`. */
  readonly ownGram: boolean;
}

export interface ShareOptions extends ActivationOptions {
  /**
   * Whether something that is observed compares with the model as it was given: its activations are then taken along.
   */
  readonly withDense: boolean;
  readonly onPass: (pass: "observe" | "advance", block: number, done: number, total: number) => void;
}

export interface CalibrationShare {
  readonly activations: Activations;
  readonly given: Activations | null;
  /** Sums over the windows of the share; the arena owns them. */
  observe(block: number, observed: Observation, arena: Arena): Promise<readonly Sum[]>;
  advance(block: number): Promise<void>;
  release(): Promise<void>;
}

/** How what is observed combines, by observation. */
export function combinations({ steps }: Observation): ReadonlyMap<number, Combination> {
  return new Map(steps.map(({ id, combines }) => [id, combines]));
}

/** The observer of X^T X that no recipe asked for. */
export const ownId = -1;

/** Tokens that a CPU takes for a X^T X that is for the report only. */
const ownTokens = 4096;

/** Embeds the windows of a share. @throws ModelError M153 (no room for activations on disk); DeviceError */
export async function openShare(
  caller: Caller,
  model: Model,
  working: Pick<WorkingModel, "block" | "entry">,
  share: Share,
  options: ShareOptions,
): Promise<CalibrationShare> {
  const { config } = model;
  // two texts' worth of activations share the room of one
  const memory = options.withDense ? Math.floor((options.memory ?? defaultMemory(caller)) / 2) : options.memory;
  const { activations, given } = await withArena(caller.executor, async (arena) => {
    const embedded = async (of: "model" | "dense"): Promise<Activations> =>
      embedWindows(caller, config, await working.entry(of, arena), share.windows, {
        ...options,
        memory,
        batch: share.batch,
      });
    const first = await embedded("model");
    try {
      return { activations: first, given: options.withDense ? await embedded("dense") : null };
    } catch (error) {
      await first.release();
      throw error;
    }
  });

  function withBlock<T>(block: number, of: "model" | "dense", use: (weights: BlockWeights) => Promise<T>): Promise<T> {
    return withArena(caller.executor, async (weights) =>
      use(await unpackBlock(caller, await working.block(block, of, weights), options.dtype, weights)),
    );
  }

  return {
    activations,
    given,
    async observe(block, what, arena) {
      const { steps, ownGram } = what;
      const observers: Observer[] = [...steps];
      if (ownGram) observers.push(gramObserver(caller, share));
      const sums = createSums(caller, arena, combinations(what));
      const onProgress = (done: number, total: number): void => options.onPass("observe", block, done, total);
      const parts = {
        ends: share.ends,
        take: (part: number, totals: Sum["totals"]) => sums.push({ level: 0, index: share.partsBefore + part, totals }),
      };
      const observed = async (weights: BlockWeights, dense: DenseSide | null): Promise<void> => {
        await passBlock(caller, weights, activations, observers, arena, { onProgress, dense, parts });
      };
      const other = observers.some(({ graph }) => comparesWithDense(graph)) ? given : null;
      await withBlock(block, "model", (weights) =>
        other === null
          ? observed(weights, null)
          : withBlock(block, "dense", (dense) => observed(weights, { weights: dense, activations: other })),
      );
      return sums.found;
    },
    async advance(block) {
      const onProgress = (done: number, total: number): void => options.onPass("advance", block, done, total);
      await withArena(caller.executor, async (arena) => {
        const pass = (of: "model" | "dense", through: Activations): Promise<unknown> =>
          withBlock(block, of, (weights) =>
            passBlock(caller, weights, through, [], arena, { advance: true, onProgress }),
          );
        await pass("model", activations);
        if (given !== null) await pass("dense", given);
      });
    },
    async release() {
      await activations.release();
      await given?.release();
    },
  };
}

/**
 * X^T X for layer errors; not of inputs so wide that the device cannot bind it, and on a CPU of the first windows only.
 */
function gramObserver(caller: Caller, { batch, batchesBefore, windows }: Share): Observer {
  const graph = functionOf(caller.functions, "gram");
  const batches = Math.max(1, Math.floor(ownTokens / (batch * windows.tokens)));
  return {
    id: ownId,
    graph,
    batches: caller.target.kind === "cpu" ? Math.max(0, batches - batchesBefore) : undefined,
    widest: Math.floor(Math.sqrt(caller.target.maxBinding / 4)),
  };
}
