/** Tries of treatments on groups of layers, one at a time, on a device that has the model as it was given. */
import { bitsPerWeight, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Combination } from "../../../compiler/graph/analysis/combination.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Linear, Model } from "../../model/model.js";
import { printPattern } from "../../model/packed.js";
import type { DeviceTensor } from "../../run/run.js";
import { openArena, withArena, type Arena } from "../../run/arena.js";
import { embedWindows, type Activations } from "./activations.js";
import { passBlock, runBlock, type Statistics } from "./calibrate.js";
import { isGram, type ObserveStep } from "./calibration-run.js";
import type { Caller } from "../call.js";
import { createSpill } from "../long-runs/spill.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { isSelected, treatmentOf } from "./names.js";
import { first } from "../results.js";
import { batchLoss, lossNotFinite } from "./score.js";
import { openSession, type Session } from "../inference/session.js";
import {
  linearSteps,
  type LayerGroup,
  type PlannedTry,
  type SensitivityOptions,
  type SensitivityRow,
  type Try,
} from "./sensitivity-plan.js";
import { createTreater, type Seen } from "./treat.js";
import type { BlockWeights } from "../weights.js";
import { countedTokens, type ScoredWindows, type Windows } from "../windows.js";
import { createWorkingModel, type WorkingModel } from "./working-model.js";
import { functionOf } from "../functions.js";

/** A device on which tries are made: each as if it were the only one. */
export interface Tries {
  /** Of the model as given. */
  readonly perplexity: number;
  /** @throws LlamaError not-finite, not-positive-definite; CompileError; DeviceError */
  run(planned: PlannedTry): Promise<SensitivityRow>;
  close(): Promise<void>;
}

/**
 * Puts the model on the device, dense in f32, observes what the recipes observe, and scores the model as given.
 * `onStep` hears of each block that is observed.
 * @throws LlamaError not-finite; ModelError; DeviceError
 */
export async function openTries(
  caller: Caller,
  model: Model,
  tries: readonly Try[],
  { scored, calibration }: Pick<SensitivityOptions, "scored" | "calibration">,
  onBlock: (block: number) => void = () => {},
): Promise<Tries> {
  const { executor } = caller;
  const { blocks } = model;
  const arena = openArena(executor);
  let start: Activations | null = null;
  const close = async (): Promise<void> => {
    await start?.release();
    arena.close();
  };
  try {
    const session = await openSession(caller, model, { dtype: "f32", weights: "f32" });
    arena.defer(session.release);
    const working = createWorkingModel(caller, model);
    arena.defer(working.release);
    const treater = createTreater(caller, model, working);
    const seenOf = await observeAll(arena, caller, model, session, tries, calibration, onBlock);
    start = await embedWindows(caller, model.config, session.frame, scored, {
      dtype: "f32",
      memory: Infinity,
      spill: createSpill,
    });
    const score = await createScorer(arena, caller, model, session, scored, start);
    const perplexity = await score(blocks.length, session.blocks);
    if (Number.isNaN(perplexity)) throw lossNotFinite("dense", "f32");
    return {
      perplexity,
      close,
      async run({ name, recipe, group }) {
        const began = performance.now();
        const records: WeightRecord[] = [];
        for (const linear of group.layers)
          records.push(
            await treatAlone(recipe, linear, async (treatment) =>
              first(await treater.treat([{ linear, treatment }], seenOf(recipe, linear.block))),
            ),
          );
        const found = await withArena(executor, async (own) => {
          const replaced = await replaceLayers(own, caller, session.blocks, group.layers, working);
          return score(Math.min(...group.layers.map(({ block }) => block)), replaced);
        });
        for (const linear of group.layers) working.restore(linear.weight);
        return rowOf(model, name, group, records, found, perplexity, (performance.now() - began) / 1000);
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function observeSteps(steps: readonly RecipeStep[]): readonly ObserveStep[] {
  return steps.flatMap((step) =>
    step.kind === "observe" ? [step] : step.kind === "blocks" ? observeSteps(step.body) : [],
  );
}

/** All that a recipe does to a layer, in order; the last record. */
async function treatAlone(
  recipe: Recipe,
  linear: Linear,
  treat: (treatment: NonNullable<ReturnType<typeof treatmentOf>>) => Promise<WeightRecord>,
): Promise<WeightRecord> {
  let last: WeightRecord | null = null;
  for (const step of linearSteps(recipe.steps)) {
    const treatment = isSelected(step, linear.name) ? treatmentOf(step.treatments, linear.name) : null;
    if (treatment !== null) last = await treat(treatment);
  }
  if (last === null) throw new InternalError(`${recipe.name} does not treat ${linear.name}`);
  return last;
}

/**
 * What each recipe observes of each block of the model as given, and X^T X for all. Functions that are the same are
 * observed once.
 */
async function observeAll(
  arena: Arena,
  caller: Caller,
  model: Model,
  session: Session,
  tries: readonly Try[],
  windows: Windows,
  onBlock: (block: number) => void,
): Promise<(recipe: Recipe, block: number) => Seen> {
  const gram = functionOf(caller.functions, "gram");
  const widest = Math.floor(Math.sqrt(caller.target.maxBinding / 4));
  const observers: { key: string; graph: SymbolicGraph; combines: Combination; widest: number }[] = [
    { key: "gram", graph: gram, combines: "sum", widest },
  ];
  const observerOf = (step: ObserveStep): number =>
    isGram(step) ? 0 : observers.findIndex(({ key }) => key === JSON.stringify(step.graph));
  for (const step of tries.flatMap(({ recipe }) => observeSteps(recipe.steps))) {
    if (observerOf(step) < 0)
      observers.push({ key: JSON.stringify(step.graph), graph: step.graph, combines: step.combines, widest: Infinity });
  }
  const activations = await embedWindows(caller, model.config, session.frame, windows, {
    dtype: "f32",
    spill: createSpill,
  });
  const found: Statistics[] = [];
  try {
    for (const [at, weights] of session.blocks.entries()) {
      const watched = observers.map(({ graph, combines, widest: most }, id) => ({ id, graph, combines, widest: most }));
      const advance = { advance: true };
      found.push(await passBlock(caller, weights, activations, watched, arena, advance));
      onBlock(at);
    }
  } finally {
    await activations.release();
  }
  return (recipe, block) => {
    const statistics = found[block] ?? new Map<number, ReadonlyMap<string, DeviceTensor>>();
    return {
      windows: windows.count,
      tokens: windows.count * windows.tokens,
      statistics: new Map(
        observeSteps(recipe.steps).map((step) => [
          step.id,
          statistics.get(observerOf(step)) ?? new Map<string, DeviceTensor>(),
        ]),
      ),
      gram: (input) => statistics.get(0)?.get(input) ?? null,
    };
  };
}

/**
 * The perplexity of the scored windows with other weights from some block on. `start` has their activations before the
 * first block, the arena owns those before each other one.
 */
async function createScorer(
  arena: Arena,
  caller: Caller,
  model: Model,
  session: Session,
  windows: ScoredWindows,
  start: Activations,
): Promise<(from: number, blocks: readonly BlockWeights[]) => Promise<number>> {
  const { executor } = caller;
  /** By block, then by batch. */
  const before: DeviceTensor[][] = [[]];
  for (const [at, weights] of session.blocks.entries()) {
    const next: DeviceTensor[] = [];
    before.push(next);
    for (let batch = 0; batch < start.batches; batch++)
      await withArena(executor, async (own) => {
        const given = await start.load(batch, own);
        const x = before[at]?.[batch] ?? given.x;
        next.push(arena.own(await runBlock(caller, weights, { ...given, x })));
        await executor.finish();
      });
  }
  return async (from, blocks) => {
    let loss = 0;
    for (let batch = 0; batch < start.batches; batch++)
      loss += await withArena(executor, async (own) => {
        const given = await start.load(batch, own);
        const kept = before[from]?.[batch] ?? given.x;
        let x = kept;
        for (const weights of blocks.slice(from)) {
          const next = own.own(await runBlock(caller, weights, { ...given, x }));
          if (x !== kept) own.release(x);
          x = next;
        }
        return batchLoss(caller, model, session.frame, { x }, windows, batch * start.batch);
      });
    return Math.exp(loss / countedTokens(windows));
  };
}

/** The blocks with the treated weights of some layers, decoded; the arena owns what was. */
async function replaceLayers(
  arena: Arena,
  caller: Caller,
  blocks: readonly BlockWeights[],
  layers: readonly Linear[],
  working: WorkingModel,
): Promise<readonly BlockWeights[]> {
  const replaced = blocks.map((block) => {
    const linears: Record<string, DeviceTensor> = { ...block.linears };
    return { ...block, linears };
  });
  for (const { name, parameter, weight, block } of layers) {
    const dense = await withArena(caller.executor, async (packed) => {
      const now = await working.now(weight, packed);
      return now === null ? null : arena.own(first(await caller.call("dense", { w: now })));
    });
    const target = replaced[block];
    if (dense === null || target === undefined) throw new InternalError(`${name} was not treated`);
    target.linears[parameter] = dense;
  }
  return replaced;
}

function rowOf(
  model: Model,
  treatment: string,
  group: LayerGroup,
  records: readonly WeightRecord[],
  perplexity: number,
  dense: number,
  seconds: number,
): SensitivityRow {
  const mean = (value: (record: WeightRecord) => number): number =>
    records.reduce((sum, record) => sum + value(record), 0) / records.length;
  const [head] = records;
  const errors = records.map(({ layerError }) => layerError);
  return {
    treatment,
    group: group.name,
    layers: group.layers.map(({ name }) => name),
    perplexity,
    delta: perplexity - dense,
    relativeError: mean(({ relativeError }) => relativeError),
    layerError: errors.some((error) => error === null) ? null : mean(({ layerError }) => layerError ?? 0),
    pattern: head === undefined ? "" : printPattern(head.pattern),
    format: head === undefined ? "" : printFormat(head.format),
    bitsPerWeight: mean(({ format, shape }) => bitsPerWeight(format, shapeOf(shape))),
    bytesBefore: group.layers.reduce((sum, { weight }) => sum + model.tensor(weight).bytes, 0),
    bytesAfter: records.reduce((sum, { bytes }) => sum + bytes, 0),
    seconds,
  };
}
