/** Which layers mind being compressed: each layer, or group of layers, treated alone, and the model scored. */
import { counted } from "../../../compiler/words.js";
import { bitsPerWeight, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import type { Linear, Model } from "../../model/model.js";
import { printPattern } from "../../model/packed.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import { embedWindows, type Activations } from "./activations.js";
import { passBlock, runBlock, type Statistics } from "./calibrate.js";
import { isGram, type ObserveStep } from "./calibration-run.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import { createForecast } from "./forecast.js";
import { createSpill } from "../long-runs/spill.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { isSelected, treatmentOf } from "./names.js";
import { first } from "../results.js";
import { chanceWarning, type Warning } from "./outcome.js";
import { batchLoss, lossNotFinite } from "./score.js";
import { openSession, type Session } from "../inference/session.js";
import { checkRecipe } from "./fit.js";
import { createTreater, type Seen } from "./treat.js";
import { kindOf } from "../kind.js";
import type { BlockWeights } from "../weights.js";
import { checkContext, countedTokens, type ScoredWindows, type Windows } from "../windows.js";
import { createWorkingModel, type WorkingModel } from "./working-model.js";

/** A recipe to try, and what it is called. */
export interface Try {
  readonly name: string;
  readonly recipe: Recipe;
}

/** Layers that are treated together. */
export interface LayerGroup {
  /** A layer's name, `down_proj`, or `block 3`. */
  readonly name: string;
  readonly layers: readonly Linear[];
}

/** What came of a treatment of a group, all other layers as they were given. */
export interface SensitivityRow {
  readonly treatment: string;
  readonly group: string;
  readonly layers: readonly string[];
  /** NaN where what the model computes then is NaN or infinite; Infinity above every number. */
  readonly perplexity: number;
  /** What the perplexity grew by; NaN and Infinity as there. */
  readonly delta: number;
  /** ||W' - W|| / ||W||, the mean over the layers of the group. */
  readonly relativeError: number;
  /**
   * ||(W' - W) X|| / ||W X|| on the calibration windows, the mean over the layers; null where a device cannot measure
   * it.
   */
  readonly layerError: number | null;
  /** Of the new weight of the group's first layer. */
  readonly pattern: string;
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly seconds: number;
}

export interface Sensitivity {
  /** Perplexity of the model as given. */
  readonly perplexity: number;
  /** Tokens scored for each row. */
  readonly tokens: number;
  readonly windows: number;
  /** The worst first; worst of all are those that have no perplexity. */
  readonly rows: readonly SensitivityRow[];
  /** What makes the result worth less than it looks. */
  readonly warnings: readonly Warning[];
  readonly seconds: number;
}

export interface SensitivityOptions {
  /** What is scored. */
  readonly scored: ScoredWindows;
  /** What statistics are observed on. */
  readonly calibration: Windows;
  readonly by: "layer" | "kind" | "block";
  /** Gets a line for people now and then. */
  readonly note?: ((line: string) => void) | undefined;
  readonly onProgress?:
    | ((progress: {
        readonly subject: string;
        readonly done: number;
        readonly total: number;
        readonly share: number;
        readonly secondsLeft: number | null;
      }) => void)
    | undefined;
}

/** The groups of a model's layers, in order. */
export function groupsOf(model: Model, by: SensitivityOptions["by"]): readonly LayerGroup[] {
  const groups = new Map<string, Linear[]>();
  for (const linear of model.linears) {
    const name = by === "layer" ? linear.name : by === "block" ? `block ${linear.block}` : kindOf(linear.name);
    groups.set(name, [...(groups.get(name) ?? []), linear]);
  }
  return [...groups].map(([name, layers]) => ({ name, layers }));
}

/**
 * Tries each treatment on each group alone. The model stays on the device, dense in f32, and treated weights are
 * decoded
 * to that, so that all tries run the same kernels. A group is scored from its first block on, for
 * all before is as it was. Layers that a recipe leaves alone are left out.
 * @throws LlamaError recipe, bad-window, not-finite, not-positive-definite; CompileError; ModelError; DeviceError
 */
export async function findSensitivity(
  caller: Caller,
  model: Model,
  tries: readonly Try[],
  options: SensitivityOptions,
): Promise<Sensitivity> {
  const started = performance.now();
  const { scored, calibration, by } = options;
  for (const windows of [scored, calibration]) checkContext(windows, model.config.contextLength);
  for (const { recipe } of tries)
    if (trains(recipe.steps))
      throw new LlamaError(
        "recipe",
        `The recipe ${recipe.name} trains, which takes a whole block or model: a layer alone is treated in one shot. Leave the training out.`,
      );
  for (const line of new Set(tries.flatMap(({ recipe }) => checkRecipe(caller, model, recipe))))
    options.note?.(`note: ${line}`);
  const { blocks } = model;
  const groups = groupsOf(model, by);
  const wanted = tries.flatMap((one) =>
    groups.flatMap((group) => {
      const layers = group.layers.filter((linear) => treats(one.recipe, linear));
      return layers.length === 0 ? [] : [{ ...one, group: { ...group, layers } }];
    }),
  );
  if (wanted.length === 0) throw new LlamaError("recipe", "The treatments take no layer of the model.");

  const suffix = (layers: readonly Linear[]): number => blocks.length - Math.min(...layers.map(({ block }) => block));
  const perBlock = scored.count * scored.tokens;
  const observed = blocks.length * calibration.count * calibration.tokens;
  // the logits are worth about as much as a block
  const forecast = createForecast({
    observe: 4 * observed,
    score:
      (blocks.length + 1) * perBlock +
      wanted.reduce((sum, { group }) => sum + (suffix(group.layers) + 1) * perBlock, 0),
  });
  let done = 0;
  const report = (subject: string): void =>
    options.onProgress?.({ subject, done, total: wanted.length, ...forecast.now() });

  const { executor } = caller;
  return withArena(executor, async (arena) => {
    const session = await openSession(caller, model, { dtype: "f32", weights: "f32" });
    arena.defer(session.release);
    const working = createWorkingModel(caller, model);
    arena.defer(working.release);
    const treater = createTreater(caller, model, working);
    const seenOf = await observeAll(arena, caller, model, session, tries, calibration, (block) => {
      forecast.done("observe", (4 * observed) / blocks.length);
      report(`observing block ${block}`);
    });
    const start = await embedWindows(caller, model.config, session.frame, scored, {
      dtype: "f32",
      memory: Infinity,
      spill: createSpill,
    });
    try {
      const score = await createScorer(arena, caller, model, session, scored, start);
      const dense = await score(blocks.length, session.blocks);
      if (Number.isNaN(dense)) throw lossNotFinite("dense", "f32");
      forecast.done("score", (blocks.length + 1) * perBlock);
      report("the model as given");

      const rows: SensitivityRow[] = [];
      for (const { name, recipe, group } of wanted) {
        const began = performance.now();
        const records: WeightRecord[] = [];
        for (const linear of group.layers)
          records.push(
            await treatAlone(recipe, linear, async (treatment) =>
              first(await treater.treat([{ linear, treatment }], seenOf(recipe, linear.block))),
            ),
          );
        const perplexity = await withArena(executor, async (own) => {
          const replaced = await replaceLayers(own, caller, session.blocks, group.layers, working);
          return score(Math.min(...group.layers.map(({ block }) => block)), replaced);
        });
        for (const linear of group.layers) working.restore(linear.weight);
        rows.push(rowOf(model, name, group, records, perplexity, dense, (performance.now() - began) / 1000));
        done++;
        forecast.done("score", (suffix(group.layers) + 1) * perBlock);
        report(`${name}: ${group.name}`);
      }
      return {
        perplexity: dense,
        tokens: countedTokens(scored),
        windows: scored.count,
        rows: worstFirst(rows),
        warnings: warningsOf(dense, rows, model.config.vocabSize),
        seconds: (performance.now() - started) / 1000,
      };
    } finally {
      await start.release();
    }
  });
}

/** Rows by what they grow by, those without a perplexity before all others. */
export function worstFirst(rows: readonly SensitivityRow[]): readonly SensitivityRow[] {
  const order = ({ perplexity }: SensitivityRow): number =>
    Number.isNaN(perplexity) ? 2 : perplexity < Infinity ? 0 : 1;
  return [...rows].sort((a, b) => order(b) - order(a) || (order(a) === 0 ? b.delta - a.delta : 0));
}

/**
 * What makes a search worth less than it looks: tries that cannot be distinguished, and a model that is worth nothing.
 */
export function warningsOf(dense: number, rows: readonly SensitivityRow[], vocabulary: number): readonly Warning[] {
  const without = rows.filter(({ perplexity }) => Number.isNaN(perplexity)).length;
  return [
    ...[chanceWarning(dense, vocabulary, "the model as given", "scored")].filter((found) => found !== null),
    ...(without === 0
      ? []
      : [
          {
            kind: "no-perplexity" as const,
            tensor: null,
            value: without,
            message: `${without} of ${counted(rows.length, "try", "tries")} ${without === 1 ? "has" : "have"} no perplexity: what the model computes then is NaN or infinite`,
          },
        ]),
  ];
}

/** Whether a recipe stores anything for a layer. */
function treats(recipe: Recipe, linear: Linear): boolean {
  return linearSteps(recipe.steps).some(
    (step) => isSelected(step, linear.name) && treatmentOf(step.treatments, linear.name) !== null,
  );
}

function linearSteps(steps: readonly RecipeStep[]): readonly (RecipeStep & { readonly kind: "linears" })[] {
  return steps.flatMap((step) =>
    step.kind === "linears" ? [step] : step.kind === "blocks" ? linearSteps(step.body) : [],
  );
}

function trains(steps: readonly RecipeStep[]): boolean {
  return steps.some((step) => step.kind === "train" || (step.kind === "blocks" && trains(step.body)));
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
  const gram = caller.functions.get("gram");
  if (gram === undefined) throw new InternalError("the standard library has no function gram");
  const widest = Math.floor(Math.sqrt(caller.target.maxBinding / 4));
  const observers = [{ key: "gram", graph: gram, widest }];
  const observerOf = (step: ObserveStep): number =>
    isGram(step) ? 0 : observers.findIndex(({ key }) => key === JSON.stringify(step.graph));
  for (const step of tries.flatMap(({ recipe }) => observeSteps(recipe.steps))) {
    if (observerOf(step) < 0) observers.push({ key: JSON.stringify(step.graph), graph: step.graph, widest: Infinity });
  }
  const activations = await embedWindows(caller, model.config, session.frame, windows, {
    dtype: "f32",
    spill: createSpill,
  });
  const found: Statistics[] = [];
  try {
    for (const [at, weights] of session.blocks.entries()) {
      const watched = observers.map(({ graph, widest: most }, id) => ({ id, graph, widest: most }));
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
