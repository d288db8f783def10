import { InternalError } from "../../../compiler/diagnostic.js";
import type { RecipeStep } from "../../../compiler/recipe/recipe.js";
import { sizeSymbols } from "../../../compiler/types/size.js";
import type { Model } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import { openArena } from "../../run/arena.js";
import type { Activations } from "./activations.js";
import type { Statistics } from "./calibrate.js";
import { receivedBy } from "../blocks.js";
import { combinations, openShare, ownId, type Observation, type ShareOptions } from "./calibration-share.js";
import type { Caller } from "../call.js";
import type { CalibrationHelper } from "./calibration-helper.js";
import { sharesOf } from "./division.js";
import { LlamaError } from "../error.js";
import { isFinite } from "../measure.js";
import { windowsAtOnce } from "../room.js";
import { scaledTensor } from "./scaled-tensor.js";
import { preparePass } from "./prepare-pass.js";
import { createSums } from "./sums.js";
import type { Seen } from "./treat.js";
import { uploadPieces } from "../weights.js";
import { checkContext, type Windows } from "../windows.js";
import type { WorkingModel } from "./working-model.js";

export type ObserveStep = RecipeStep & { readonly kind: "observe" };

/** Calibration activations on their way through a model, block by block. */
export interface CalibrationRun {
  readonly activations: Activations;
  /** Those of the model as it was given; null where nothing asked for them. */
  readonly given: Activations | null;
  /**
   * Runs the block as it is and sums the observed functions of what its layers receive, or takes their maxima.
   * @throws LlamaError not-finite, naming the layers that receive what is NaN or infinite
   */
  observe(block: number, steps: readonly ObserveStep[]): Promise<void>;
  /** What was observed of the current block. */
  seen(): Seen;
  /** What was observed of an input, X^T X, becomes that of the input with its channels multiplied. */
  rescale(input: string, factors: Float32Array): Promise<void>;
  /** Takes the activations on through the block as it is. */
  advance(block: number): Promise<void>;
  /** Frees the statistics of the current block. */
  forget(): void;
  release(): Promise<void>;
}

export interface CalibrationOptions extends ShareOptions {
  /**
   * Whether to observe X^T X in the first pass over a block whose recipe does not: what layer errors are computed from.
   */
  readonly ownGram: boolean;
  /** Other devices, which take a share of the windows each. */
  readonly helpers?: readonly CalibrationHelper[] | undefined;
}

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
  const batch = Math.min(options.batch ?? windowsAtOnce(caller.target, config, windows.tokens, true), windows.count);
  const [own, ...others] = sharesOf(config, windows, batch, 1 + (options.helpers?.length ?? 0));
  if (own === undefined) throw new InternalError("there are no windows");
  // those for which there is a share
  const helpers = (options.helpers ?? []).slice(0, others.length);
  const { dtype, memory, withDense } = options;
  // a CPU would compile on the cores that it computes on
  if (caller.target.kind === "gpu") preparePass(caller, model, { dtype, batch, tokens: windows.tokens });
  const opening = openShare(caller, model, working, own, options);
  const [share] = await together(
    opening,
    helpers.map((helper, at) => helper.embed(others[at]!, { dtype, memory, withDense })),
  ).catch(async (error: unknown) => {
    await opening.then((opened) => opened.release()).catch(() => {});
    throw error;
  });
  const statistics = new Map<number, ReadonlyMap<string, DeviceTensor>>();
  /** Observations of the current block that are X^T X, the last first. */
  let grams: number[] = [];

  /** Owns the statistics. */
  const arena = openArena(caller.executor);

  async function observed(block: number, what: Observation): Promise<Statistics> {
    // others compute while this device does; what they have is added when all of it is there
    const [here, there] = await together(
      share.observe(block, what, arena),
      helpers.map((helper) => helper.observe(block, what)),
    );
    const sums = createSums(caller, arena, combinations(what));
    for (const sum of here) await sums.push(sum);
    for (const sum of there.flat()) {
      const totals = new Map<number, Map<string, DeviceTensor>>();
      for (const { id, input, shape, bytes, read } of sum.totals) {
        const inputs = totals.get(id) ?? new Map<string, DeviceTensor>();
        totals.set(id, inputs);
        inputs.set(
          input,
          await uploadPieces(caller, { dtype: "f32", shape, format: null }, "sums", bytes, arena, read),
        );
      }
      await sum.release();
      await sums.push({ level: sum.level, index: sum.index, totals });
    }
    return sums.whole();
  }

  function forget(): void {
    statistics.clear();
    grams = [];
    arena.clear();
  }

  return {
    activations: share.activations,
    given: share.given,
    forget,
    async observe(block, steps) {
      const found = steps.filter(isGram).map(({ id }) => id);
      const ownGram = options.ownGram && !statistics.has(ownId) && grams.length === 0 && found.length === 0;
      const what = { steps: steps.map(({ id, graph, combines }) => ({ id, graph, combines })), ownGram };
      for (const [id, inputs] of await observed(block, what)) statistics.set(id, inputs);
      grams = [...found.reverse(), ...grams];
      for (const id of [...what.steps.map((step) => step.id), ...(ownGram ? [ownId] : [])])
        await refuseNotFinite(caller, model, block, statistics.get(id));
    },
    seen: () => ({
      windows: windows.count,
      tokens: windows.count * windows.tokens,
      statistics,
      gram: (input) =>
        [...grams, ownId].map((id) => statistics.get(id)?.get(input)).find((tensor) => tensor !== undefined) ?? null,
    }),
    async rescale(input, factors) {
      for (const id of [...grams, ownId]) {
        const gram = statistics.get(id)?.get(input);
        if (gram === undefined) continue;
        const half = await scaledTensor(caller, gram, 0, factors, arena);
        const whole = await scaledTensor(caller, half, 1, factors, arena);
        arena.release(half);
        statistics.set(id, new Map([...(statistics.get(id) ?? []), [input, whole]]));
      }
    },
    async advance(block) {
      await together(
        share.advance(block),
        helpers.map((helper) => helper.advance(block)),
      );
    },
    async release() {
      forget();
      await share.release();
      for (const helper of helpers) await helper.release();
    },
  };
}

/** All results, when all are there; the first fault when none goes on. */
async function together<A, B>(own: Promise<A>, others: readonly Promise<B>[]): Promise<readonly [A, readonly B[]]> {
  await Promise.allSettled([own, ...others]);
  return [await own, await Promise.all(others)];
}

/** Whether what a recipe observes is X^T X: `gram` of the standard library, or a function of that name and type. */
export function isGram({ function: name, graph }: ObserveStep): boolean {
  const output = graph.outputs[0] === undefined ? undefined : graph.values[graph.outputs[0].value];
  return (
    name === "gram" && output?.type.shape.length === 2 && output.type.shape.every((size) => sizeSymbols(size).has("K"))
  );
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
