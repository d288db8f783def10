/** What a recipe does to one layer: its graph run on the device, and the change measured. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { completeFormat, formatWords, roundedGrid, shapeOf } from "../../../compiler/formats/registry.js";
import { joined, withCorrectionApart, type CorrectionApart } from "../../../compiler/graph/passes/correction.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { withFinite } from "../../../compiler/graph/passes/finite.js";
import { withPivots, type WatchedGraph } from "../../../compiler/graph/passes/pivots.js";
import { withScales } from "../../../compiler/graph/passes/scales.js";

import type { Computed, Recipe, Treatment } from "../../../compiler/recipe/recipe.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import type { Linear, Model } from "../../model/model.js";
import { allDone, mayBeLeft } from "../../run/outcomes.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import { factorsOf, packedOf } from "./correction.js";
import type { Statistics } from "./calibrate.js";
import { inputOf } from "../blocks.js";
import type { Arguments, Caller } from "../call.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { asMatrix, layerError, relativeError, sumOf } from "../measure.js";
import type { Measured } from "./measured.js";
import { notFiniteWeight } from "../inference/not-finite.js";
import { foundFactorizations, readPivots, refusePivots, type FoundFactorization } from "./pivots.js";
import { layerNumber } from "./names.js";
import { first } from "../results.js";
import { encoded, packsOnHost, roomier, sizesOf, type HostPack } from "./host-pack.js";
import { fitTensor } from "./scales.js";
import { patternOf } from "./stored-pattern.js";
import { isBeside } from "./tensors.js";
import { createSharedResults, partsOf, type Need, type Parts, type SharedResults } from "./shared.js";
import { storedBytes, type WorkingModel } from "./working-model.js";

/** A layer and what is done to it. */
export interface LayerTreatment {
  readonly linear: Linear;
  readonly treatment: Treatment;
  /** What a training of so many steps has made of inputs of the treatment; without, the weight is as it is. */
  readonly trained?: { readonly values: ReadonlyMap<string, DeviceTensor>; readonly steps: number } | undefined;
}

export interface Treater {
  /**
   * A number that a recipe computes of a layer as it is, to measure it or to choose by.
   * @throws LlamaError not-positive-definite; DeviceError
   */
  compute(computed: Computed, layer: Linear, seen: Seen | null): Promise<number>;
  /** The same for a tensor, which is there for as long as `use` takes. */
  using<T>(computed: Computed, layer: Linear, seen: Seen | null, use: (tensor: DeviceTensor) => Promise<T>): Promise<T>;
  /** The same for several numbers. */
  values(computed: Computed, layer: Linear, seen: Seen | null): Promise<ArrayLike<number>>;
  /**
   * Begins to compile what treatments take of layers, so that the first of them need not wait for it. What cannot be
   * known yet is compiled when it is asked for; so is what fails here.
   */
  prepare(layers: readonly LayerTreatment[]): Promise<void>;
  /**
   * Gives layers, each once, the weights that their treatments make for them, in order; `onDone` hears of each. Those
   * of
   * one input share what depends on that alone. `parameters` are those that a user may set.
   * @throws LlamaError not-finite, not-positive-definite; DeviceError
   */
  treat(
    layers: readonly LayerTreatment[],
    seen: Seen | null,
    parameters?: Recipe["parameters"],
    onDone?: (record: WeightRecord, at: number) => void,
  ): Promise<readonly WeightRecord[]>;
}

export interface TreaterOptions {
  /** Whether layers of one input share anything; they do by default. For tests: the weights are the same. */
  readonly share?: boolean | undefined;
  /** What earlier loops have measured. */
  readonly measured?: Measured | undefined;
}

/** What a treatment takes of a layer's weight. */
type WeightInput = "weight" | "start" | "original" | "packed" | "factors";

/** What was seen of the calibration text. */
export interface Seen {
  readonly windows: number;
  /** Of all windows. */
  readonly tokens: number;
  readonly statistics: Statistics;
  /** X^T X of what layers with this input receive, where that is known. */
  gram(input: string): DeviceTensor | null;
}

/** A layer's treatment as it is run. */
interface Plan extends LayerTreatment {
  readonly parts: Parts;
  /** How the result is packed, where that is done on the host. */
  readonly host: HostPack | null;
  /** The results that give a correction of low rank; null where there is none. */
  readonly factors: CorrectionApart["factors"];
  /** The result that gives the scales of a packed weight; null where it has none. */
  readonly scales: string | null;
  /** The result that counts values that are not finite and are lost in codes; null where none are. */
  readonly notFinite: string | null;
  readonly need: Need | null;
}

/** Makes a treater over a working model. */
export function createTreater(
  caller: Caller,
  model: Model,
  working: WorkingModel,
  options: TreaterOptions = {},
): Treater {
  const { executor } = caller;
  // a graph is made ready once for all layers that it is computed for
  const watchedGraphs = new WeakMap<SymbolicGraph, WatchedGraph>();
  const parts = new WeakMap<Treatment, Pick<Plan, "parts" | "host" | "factors" | "scales" | "notFinite">>();

  function planOf({ linear, treatment, trained }: LayerTreatment): Plan {
    let known = parts.get(treatment);
    if (known === undefined) {
      const host = packsOnHost(treatment);
      const stores = treatment.stores ?? "";
      const apart = withCorrectionApart(treatment.graph, stores);
      const watched = withFinite(host?.graph ?? apart.graph, stores);
      const { graph, scales } = withScales(watched.graph, stores);
      known = {
        parts:
          options.share === false || isBeside(linear)
            ? { shared: null, rest: withPivots(graph) }
            : partsOf(graph, treatment.inputs),
        host,
        factors: apart.factors,
        scales,
        notFinite: watched.notFinite,
      };
      parts.set(treatment, known);
    }
    const { shared } = known.parts;
    return {
      linear,
      treatment,
      trained,
      ...known,
      need:
        shared === null
          ? null
          : { input: inputOf(caller.functions, model.blocks[linear.block]!, linear), shared, inputs: treatment.inputs },
    };
  }
  /** A weight [N, K], or a vector, as dense f32. */
  async function densified(arena: Arena, tensor: DeviceTensor): Promise<DeviceTensor> {
    const dense = arena.own(first(await caller.call("dense", { w: asMatrix(tensor) })));
    return { ...dense, shape: tensor.shape };
  }

  /** What the inputs of a treatment's graph stand for. */
  async function argumentsOf(
    inputs: Treatment["inputs"],
    linear: Linear,
    seen: Seen | null,
    arena: Arena,
    weights: Record<WeightInput, () => Promise<DeviceTensor>> & {
      readonly trained?: LayerTreatment["trained"] | null;
    },
  ): Promise<{ [name: string]: DeviceTensor | number }> {
    const args: { [name: string]: DeviceTensor | number } = {};
    const { measured } = options;
    for (const wanted of inputs) {
      switch (wanted.kind) {
        case "weight":
          args[wanted.name] = weights.trained?.values.get(wanted.name) ?? (await weights.weight());
          break;
        case "start":
        case "original":
        case "packed":
          args[wanted.name] = await weights[wanted.kind]();
          break;
        case "factors":
          args[wanted.name] = weights.trained?.values.get(wanted.name) ?? (await weights.factors());
          break;
        case "parameter": {
          const value = weights.trained?.values.get(wanted.name);
          if (value === undefined) throw new InternalError(`nothing was trained for ${linear.name}`);
          args[wanted.name] = value;
          break;
        }
        case "clock": {
          const steps = weights.trained?.steps ?? 0;
          args[wanted.name] = arena.own(await executor.fill("f32", [2], [steps, steps], "the clock"));
          break;
        }
        case "number":
          args[wanted.name] = layerNumber(model, linear.name);
          break;
        case "block":
          args[wanted.name] = linear.block;
          break;
        case "blocks":
          args[wanted.name] = model.blocks.length;
          break;
        case "windows":
          args[wanted.name] = seen?.windows ?? 0;
          break;
        case "tokens":
          args[wanted.name] = seen?.tokens ?? 0;
          break;
        case "measured": {
          if (measured === undefined) throw new InternalError("nothing was measured");
          const values = measured.all(wanted.measure);
          args[wanted.name] = arena.own(
            await executor.upload(
              { dtype: "f32", shape: [values.length], format: null },
              new Uint32Array(values.buffer),
              wanted.name,
            ),
          );
          break;
        }
        case "measured_here":
          if (measured === undefined) throw new InternalError("nothing was measured");
          args[wanted.name] = measured.of(wanted.measure, linear);
          break;
        case "statistic": {
          const statistic = seen?.statistics
            .get(wanted.observe)
            ?.get(inputOf(caller.functions, model.blocks[linear.block]!, linear));
          if (statistic === undefined) throw new InternalError(`nothing was observed for ${linear.name}`);
          args[wanted.name] = statistic;
          break;
        }
        default:
          wanted satisfies never;
      }
    }
    return args;
  }

  async function treatOne(
    plan: Plan,
    seen: Seen | null,
    results: SharedResults,
    parameters: Recipe["parameters"],
  ): Promise<WeightRecord> {
    const { linear, treatment, need } = plan;
    const started = performance.now();
    const input = isBeside(linear) ? null : inputOf(caller.functions, model.blocks[linear.block]!, linear);
    return withArena(executor, async (arena) => {
      const given = await densified(arena, await working.given(linear));
      // what is looked at as it is packed stays as long as the treatment runs
      const looksAtPacked = treatment.inputs.some(({ kind }) => kind === "packed" || kind === "factors");
      const stored = looksAtPacked
        ? ((await working.now(linear.weight, arena)) ?? (await working.given(linear)))
        : null;
      const start = await withArena(executor, async (before) => {
        const now = stored ?? (await working.now(linear.weight, before));
        return now === null ? given : densified(arena, now);
      });
      const args: { [name: string]: DeviceTensor | number } = await argumentsOf(treatment.inputs, linear, seen, arena, {
        weight: async () => start,
        start: async () => start,
        original: async () => given,
        packed: async () => packedOf(stored ?? given),
        factors: async () => factorsOf(caller, linear, stored ?? given, arena),
        trained: plan.trained ?? null,
      });
      const taken = need === null ? null : await results.take(need, args, linear.inputs, arena);
      Object.assign(args, taken?.results);
      const { tensor, format, factorizations, notFinite } = await run(arena, caller, plan, args);
      // before the measures, which need memory of their own
      if (need !== null) results.done(need);
      // read side by side, so that the device is waited for once
      const gram = input === null ? null : (seen?.gram(input) ?? null);
      const [change, pivots, lost, error] = await allDone([
        relativeError(caller, tensor, given),
        readPivots(arena, caller, [...(taken?.factorizations ?? []), ...factorizations]),
        notFinite === null ? Promise.resolve(0) : sumOf(caller, notFinite),
        gram === null ? Promise.resolve(null) : layerError(caller, tensor, given, gram),
      ]);
      refusePivots(pivots, { layer: linear.name, tokens: seen?.tokens ?? null, parameters });
      if (lost > 0 || !Number.isFinite(change)) throw await notFiniteWeight(caller, linear, given, format);
      const shape = isBeside(linear) && linear.isVector ? [linear.inputs] : [linear.outputs, linear.inputs];
      const record: WeightRecord = {
        name: linear.weight,
        format,
        shape,
        pattern: patternOf(linear, treatment),
        bytes: storedBytes(linear.weight, format, shape),
        relativeError: change,
        layerError: error !== null && Number.isFinite(error) ? error : null,
        seconds: (working.treated.get(linear.weight)?.seconds ?? 0) + (performance.now() - started) / 1000,
      };
      working.replace(record, arena.keep(tensor));
      return record;
    });
  }

  const treater: Treater = {
    compute: async (computed, linear, seen) => (await treater.values(computed, linear, seen))[0] ?? NaN,
    values: (computed, linear, seen) => treater.using(computed, linear, seen, (tensor) => executor.values(tensor)),
    async using({ graph, inputs }, linear, seen, use) {
      const watched = watchedGraphs.get(graph) ?? withPivots(graph);
      watchedGraphs.set(graph, watched);
      return withArena(executor, async (arena) => {
        const original = async (): Promise<DeviceTensor> => densified(arena, await working.given(linear));
        const weight = async (): Promise<DeviceTensor> => {
          const now = await working.now(linear.weight, arena);
          return now === null ? original() : densified(arena, now);
        };
        const stored = async (): Promise<DeviceTensor> =>
          (await working.now(linear.weight, arena)) ?? working.given(linear);
        const args = await argumentsOf(inputs, linear, seen, arena, {
          weight,
          start: weight,
          original,
          packed: async () => packedOf(await stored()),
          factors: async () => factorsOf(caller, linear, await stored(), arena),
        });
        const results = arena.ownAll(await caller.callGraph(watched.graph, args, { sizes: sizesOf(linear) }));
        const outputs = watched.graph.outputs.filter((output) => output.input === null);
        const pivots = await readPivots(arena, caller, foundFactorizations(watched.factorizations, outputs, results));
        refusePivots(pivots, { layer: linear.name, tokens: seen?.tokens ?? null, parameters: [] });
        return use(first(results));
      });
    },
    async prepare(layers) {
      for (const { parts, linear } of layers.map(planOf)) {
        const whole = [parts.rest.graph, sizesOf(linear)] as const;
        for (const [graph, sizes] of parts.shared === null
          ? [whole]
          : ([[parts.shared.graph, { K: linear.inputs }], whole] as const)) {
          const { parameters } = graph;
          if (parameters.dtypes.length + parameters.formats.length > 0) continue;
          if (!parameters.sizes.every((name) => Object.hasOwn(sizes, name))) continue;
          // lowering takes its time: what feeds the device comes in between
          await new Promise((resolve) => setTimeout(resolve, 0));
          mayBeLeft(Promise.resolve().then(() => caller.preparedGraph(graph, {}, { sizes })));
        }
      }
    },
    async treat(layers, seen, parameters = [], onDone = () => {}) {
      const plans = layers.map(planOf);
      const results = createSharedResults(
        caller,
        plans.flatMap(({ need }) => need ?? []),
      );
      const records: WeightRecord[] = [];
      try {
        for (const plan of plans) {
          const record = await treatOne(plan, seen, results, parameters);
          records.push(record);
          onDone(record, records.length - 1);
        }
      } finally {
        results.release();
      }
      return records;
    },
  };
  return treater;
}

/** What a treatment has made of a weight. */
interface TreatedWeight {
  readonly tensor: DeviceTensor;
  readonly format: FormatSpec;
  readonly factorizations: readonly FoundFactorization[];
  readonly notFinite: DeviceTensor | null;
}

/**
 * Runs a treatment; formats that are packed on the host only are read back dense, and encoded there. The arena owns the
 * results.
 */
async function run(
  arena: Arena,
  caller: Caller,
  { linear, treatment, parts, host, factors, scales, notFinite }: Plan,
  args: Arguments,
): Promise<TreatedWeight> {
  const { executor } = caller;
  const { graph, factorizations: watched } = parts.rest;
  const outputs = graph.outputs.filter((output) => output.input === null);
  const results = arena.ownAll(await caller.callGraph(graph, args, { sizes: sizesOf(linear) }));
  const at = outputs.findIndex(({ name }) => name === treatment.stores);
  const stored = results[at];
  if (stored === undefined) throw new InternalError(`a treatment of ${linear.name} stores nothing`);
  const factorizations = foundFactorizations(watched, outputs, results);
  const resultOf = (wanted: string | null): DeviceTensor | undefined =>
    results[outputs.findIndex(({ name }) => name === wanted)];
  const [grid, counted] = [resultOf(scales), resultOf(notFinite)];
  const [hostScale, hostZero] = [resultOf(host?.scale ?? null), resultOf(host?.zero ?? null)];
  const [left, right] = [resultOf(factors?.left ?? null), resultOf(factors?.right ?? null)];
  const watchedToo = factorizations.map(({ tensor }) => tensor);
  const kept = new Set([stored, grid, counted, hostScale, hostZero, left, right, ...watchedToo]);
  /** The weight with its correction beside it; as it is where it has none. */
  const corrected = async (
    tensor: DeviceTensor,
    format: FormatSpec,
  ): Promise<Pick<TreatedWeight, "tensor" | "format">> => {
    if (left === undefined || right === undefined) return { tensor, format };
    const join = joined(format, [linear.outputs, linear.inputs], left.shape[1] ?? 1);
    const whole = arena.own(first(await caller.callGraph(join, { packed: tensor, left, right })));
    for (const part of [tensor, left, right]) arena.release(part);
    return { tensor: whole, format: whole.format ?? format };
  };
  for (const tensor of results) if (!kept.has(tensor)) arena.release(tensor);
  if (host === null) {
    const tensor = grid === undefined ? stored : await fitTensor(arena, caller, stored, grid, linear.weight);
    const format = tensor.format ?? { name: tensor.dtype, args: {}, of: null };
    return { ...(await corrected(tensor, format)), factorizations, notFinite: counted ?? null };
  }

  const read = async (tensor: DeviceTensor): Promise<Float32Array> => {
    const values = Float32Array.from(await executor.values(tensor));
    arena.release(tensor);
    return values;
  };
  const dense = await read(stored);
  const given =
    hostScale === undefined
      ? null
      : { scale: await read(hostScale), zero: hostZero === undefined ? null : await read(hostZero) };
  const dims = [linear.outputs, linear.inputs];
  const shape = shapeOf(dims);
  const rounded = given === null ? null : roundedGrid(host.format, shape, given);
  const format = roomier(completeFormat(host.format, shape, dense, rounded), dense.length);
  const words = encoded(linear, format, dense, rounded);
  if (words.length !== formatWords(format, shape)) throw new InternalError(`${format.name} has ${words.length} words`);
  const tensor = arena.own(await executor.upload({ dtype: "f32", shape: dims, format }, words, linear.weight));
  return { ...(await corrected(tensor, format)), factorizations, notFinite: null };
}
