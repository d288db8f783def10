import { InternalError } from "../../../compiler/diagnostic.js";
import type { RecipeStep } from "../../../compiler/recipe/recipe.js";
import { sizeSymbols } from "../../../compiler/types/size.js";
import type { Model } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import { openArena, withArena } from "../../run/arena.js";
import { defaultMemory, embedWindows, type ActivationOptions, type Activations } from "./activations.js";
import { comparesWithDense, passBlock, type DenseSide, type Observer, type Statistics } from "./calibrate.js";
import { receivedBy } from "../blocks.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { isFinite } from "../measure.js";
import { loadFrame } from "../inference/session.js";
import type { Seen } from "./treat.js";
import { unpackBlock, type BlockWeights } from "../weights.js";
import { checkContext, type Windows } from "../windows.js";
import type { WorkingModel } from "./working-model.js";

export type ObserveStep = RecipeStep & { readonly kind: "observe" };

/** Calibration activations on their way through a model, block by block. */
export interface CalibrationRun {
  readonly activations: Activations;
  /** Those of the model as it was given; null where nothing asked for them. */
  readonly given: Activations | null;
  /**
   * Runs the block as it is and sums the observed functions of what its layers receive.
   * @throws LlamaError not-finite, naming the layers that receive what is NaN or infinite
   */
  observe(block: number, steps: readonly ObserveStep[]): Promise<void>;
  /** What was observed of the current block. */
  seen(): Seen;
  /** Takes the activations on through the block as it is. */
  advance(block: number): Promise<void>;
  /** Frees the statistics of the current block. */
  forget(): void;
  release(): Promise<void>;
}

export interface CalibrationOptions extends ActivationOptions {
  /**
   * Whether to observe X^T X in the first pass over a block whose recipe does not: what layer errors are computed from.
   */
  readonly ownGram: boolean;
  /**
   * Whether something that is observed compares with the model as it was given: its activations are then taken along.
   */
  readonly withDense: boolean;
  readonly onPass: (pass: "observe" | "advance", block: number, done: number, total: number) => void;
}

/** The observer of X^T X that no recipe asked for. */
const ownId = -1;

/** Tokens that a CPU takes for a X^T X that is for the report only. */
const ownTokens = 4096;

/**
 * Embeds a calibration text.
 * @throws LlamaError bad-window; ModelError M153 (no room for activations on disk); DeviceError
 */
export async function calibrationRun(
  caller: Caller,
  model: Model,
  working: WorkingModel,
  windows: Windows,
  options: CalibrationOptions,
): Promise<CalibrationRun> {
  const { config } = model;
  checkContext(windows, config.contextLength);
  // two texts' worth of activations share the room of one
  const memory = options.withDense ? Math.floor((options.memory ?? defaultMemory(caller)) / 2) : options.memory;
  const { activations, given } = await withArena(caller.executor, async (arena) => {
    const frame = await loadFrame(caller, model, "stored", arena);
    const embedded = (): Promise<Activations> => embedWindows(caller, config, frame, windows, { ...options, memory });
    const first = await embedded();
    try {
      return { activations: first, given: options.withDense ? await embedded() : null };
    } catch (error) {
      await first.release();
      throw error;
    }
  });
  const own = options.ownGram ? ownGram(caller, activations) : null;
  const statistics = new Map<number, ReadonlyMap<string, DeviceTensor>>();
  /** Observations of the current block that are X^T X, the last first. */
  let grams: number[] = [];

  /** Owns the statistics. */
  const arena = openArena(caller.executor);

  function withBlock<T>(block: number, of: "model" | "dense", use: (weights: BlockWeights) => Promise<T>): Promise<T> {
    return withArena(caller.executor, async (weights) =>
      use(await unpackBlock(caller, await working.block(block, of, weights), options.dtype, weights)),
    );
  }

  function observeAll(block: number, observers: readonly Observer[]): Promise<Statistics> {
    const onProgress = (done: number, total: number): void => options.onPass("observe", block, done, total);
    const observed = (weights: BlockWeights, dense: DenseSide | null): Promise<Statistics> =>
      passBlock(caller, weights, activations, observers, arena, { onProgress, dense });
    const other = observers.some(({ graph }) => comparesWithDense(graph)) ? given : null;
    return withBlock(block, "model", (weights) =>
      other === null
        ? observed(weights, null)
        : withBlock(block, "dense", (dense) => observed(weights, { weights: dense, activations: other })),
    );
  }

  function forget(): void {
    statistics.clear();
    grams = [];
    arena.clear();
  }

  return {
    activations,
    given,
    forget,
    async observe(block, steps) {
      const observers: Observer[] = steps.map(({ id, graph }) => ({ id, graph }));
      const found = steps.filter(isGram).map(({ id }) => id);
      if (own !== null && !statistics.has(ownId) && grams.length === 0 && found.length === 0) observers.push(own);
      for (const [id, inputs] of await observeAll(block, observers)) statistics.set(id, inputs);
      grams = [...found.reverse(), ...grams];
      for (const { id } of observers) await refuseNotFinite(caller, model, block, statistics.get(id));
    },
    seen: () => ({
      windows: activations.windows,
      tokens: activations.windows * activations.tokens,
      statistics,
      gram: (input) =>
        [...grams, ownId].map((id) => statistics.get(id)?.get(input)).find((tensor) => tensor !== undefined) ?? null,
    }),
    async advance(block) {
      const onProgress = (done: number, total: number): void => options.onPass("advance", block, done, total);
      const how = { advance: true, onProgress };
      await withBlock(block, "model", (weights) => passBlock(caller, weights, activations, [], arena, how));
      if (given !== null)
        await withBlock(block, "dense", (weights) => passBlock(caller, weights, given, [], arena, how));
    },
    async release() {
      forget();
      await activations.release();
      await given?.release();
    },
  };
}

/** Whether what a recipe observes is X^T X: `gram` of the standard library, or a function of that name and type. */
export function isGram({ function: name, graph }: ObserveStep): boolean {
  const output = graph.outputs[0] === undefined ? undefined : graph.values[graph.outputs[0].value];
  return (
    name === "gram" && output?.type.shape.length === 2 && output.type.shape.every((size) => sizeSymbols(size).has("K"))
  );
}

/**
 * X^T X for layer errors; not of inputs so wide that the device cannot bind it, and on a CPU of the first windows only.
 */
function ownGram(caller: Caller, { batch, tokens }: Activations): Observer {
  const graph = caller.functions.get("gram");
  if (graph === undefined) throw new InternalError("the standard library has no function gram");
  const batches = caller.target.kind === "cpu" ? Math.max(1, Math.floor(ownTokens / (batch * tokens))) : undefined;
  return { id: ownId, graph, batches, widest: Math.floor(Math.sqrt(caller.target.maxBinding / 4)) };
}

async function refuseNotFinite(
  caller: Caller,
  model: Model,
  block: number,
  statistics: ReadonlyMap<string, DeviceTensor> | undefined,
): Promise<void> {
  const { layout, linears } = model.blocks[block]!;
  for (const { weights } of receivedBy(caller.functions, layout.function)) {
    const tensor = statistics?.get(weights[0] ?? "");
    if (tensor === undefined || tensor.dtype !== "f32" || (await isFinite(caller, tensor))) continue;
    const layers = linears.flatMap(({ name, parameter }) => (weights.includes(parameter) ? [name] : []));
    throw new LlamaError(
      "not-finite",
      `What ${layers.join(", ")} ${layers.length === 1 ? "receives" : "receive"} on the calibration text is NaN or infinite, or so large that its squares are. The model's weights before may hold such values, or be compressed too far.`,
    );
  }
}
