/** Calibration: activations taken through a model block by block, and statistics of what its linear layers receive. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import type { Combination } from "../../../compiler/graph/analysis/combination.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { constantSize, printSize, sizeValue, substituteSize } from "../../../compiler/types/size.js";
import { mayBeLeft } from "../../run/outcomes.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import type { ActivationBatch, Activations } from "./activations.js";
import type { Caller } from "../call.js";
import { callsIn, type Calls } from "../inference/chain.js";
import { blockArguments, blockCall, receivedBy } from "../blocks.js";
import { first } from "../results.js";
import type { BlockWeights } from "../weights.js";

/** A block as the model was given, and the activations that blocks so far, as they were given, have made. */
export interface DenseSide {
  readonly weights: BlockWeights;
  readonly activations: Activations;
}

/** Whether a statistic compares with the model as it was given. */
export function comparesWithDense(graph: SymbolicGraph): boolean {
  return graph.inputs.some(({ name }) => name === "dense");
}

/** A statistic of what the linear layers receive. */
export interface Observer {
  readonly id: number;
  /**
   * Inputs `x` [T, K] and maybe `dense`, the same in the model as it was given; one output whose shape depends on K
   * only.
   */
  readonly graph: SymbolicGraph;
  /** How what it gives of parts makes what it gives of all; without it, they are added. */
  readonly combines?: Combination | undefined;
  /** Only over so many batches, the first. */
  readonly batches?: number | undefined;
  /** Only of inputs with at most so many features. */
  readonly widest?: number | undefined;
}

/** Statistics by observer, then by what was observed: the first weight that receives it stands for it. */
export type Statistics = ReadonlyMap<number, ReadonlyMap<string, DeviceTensor>>;

export interface PassOptions {
  /** Whether the activations go on to the next block; else they stay. */
  readonly advance?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
  /** What observers that compare with the model as it was given look at; without it, this is that model. */
  readonly dense?: DenseSide | null;
  /**
   * Sums are begun anew after so many batches, each time, and what was summed until then is handed over: a part of the
   * batches, counted from 0, each of which has the arena's sums. Without, all batches are one part, and the result.
   */
  readonly parts?: { readonly ends: readonly number[]; take(part: number, sums: Statistics): Promise<void> };
}

/**
 * Takes the activations through a block as it is. With observers, sums each over the inputs of the linear layers; the
 * arena owns the sums. The activations of `dense` stay.
 */
export async function passBlock(
  caller: Caller,
  weights: BlockWeights,
  activations: Activations,
  observers: readonly Observer[],
  arena: Arena,
  { advance = false, onProgress = () => {}, dense = null, parts }: PassOptions = {},
): Promise<Statistics> {
  const { executor } = caller;
  const summed = observers.map((observer) => ({
    ...observer,
    own: observer.graph,
    graph: accumulating(observer.graph, observer.combines),
    totals: new Map<string, DeviceTensor>(),
  }));
  const sums = (): Statistics => new Map(summed.map(({ id, totals }) => [id, totals]));
  let part = 0;
  const endPart = async (): Promise<void> => {
    const found = sums();
    for (const one of summed) one.totals = new Map();
    await parts?.take(part++, found);
  };
  let before: Promise<void> = Promise.resolve();
  for (let at = 0; at < activations.batches; at++) {
    const watching = summed.filter(({ batches }) => batches === undefined || at < batches);
    if (!advance && watching.length === 0) break;
    await withArena(executor, async (own) => {
      const batch = await activations.load(at, own);
      if (at === 0 && !advance && caller.target.kind === "gpu") prepareNext(caller, weights, batch, watching);
      const calls = callsIn(own, caller);
      const { received, result } = await blockPass(calls, weights, batch, {
        received: watching.length > 0,
        result: advance,
      });
      const others =
        dense === null || watching.length === 0
          ? null
          : await blockPass(calls, dense.weights, await dense.activations.load(at, own), {
              received: true,
              result: false,
            });
      for (const [place, { weights: readers }] of receivedBy(caller.functions, weights.layout.function).entries()) {
        const x = received[place];
        if (x === undefined) continue;
        const same = others?.received[place] ?? x;
        for (const observer of watching)
          if ((x.shape[2] ?? 0) <= (observer.widest ?? Infinity))
            await observe(arena, caller, observer, x, same, readers[0] ?? "");
      }
      if (result !== null) await activations.replace(at, own.keep(result));
    });
    // two batches at a time: the device is not to wait for the host, and work that waits holds memory
    const now = executor.finish();
    await before;
    before = now;
    if (at + 1 === parts?.ends[part]) await endPart();
    onProgress(at + 1, activations.batches);
  }
  if (summed.some(({ totals }) => totals.size > 0) && parts !== undefined) await endPart();
  await before;
  return sums();
}

/**
 * Begins to compile what a pass that observes comes to later: the statistics of what layers receive, and the pass that
 * takes the activations on. A CPU would compile on the cores that it computes on.
 */
function prepareNext(
  caller: Caller,
  weights: BlockWeights,
  { x, cosine, sine, positions }: ActivationBatch,
  observers: readonly Summed[],
): void {
  const { graph, sizes } = blockCall(caller.functions, weights, {
    whole: true,
    rounding: weights.activations === undefined ? null : "stored",
  });
  const form = (dtype: DeviceTensor["dtype"], shape: readonly number[]): TensorForm => ({ dtype, shape, format: null });
  const rows = (x.shape[0] ?? 0) * (x.shape[1] ?? 0);
  const widths = receivedBy(caller.functions, weights.layout.function).map(
    ({ weights: readers }) => weights.linears[readers[0] ?? ""]?.shape[1] ?? 0,
  );
  const begin = (prepare: () => Promise<unknown>): void => {
    mayBeLeft(Promise.resolve().then(prepare));
  };
  for (const { graph: adding, widest } of observers)
    for (const width of new Set(widths.filter((each) => each > 0 && each <= (widest ?? Infinity)))) {
      const seen = form(x.dtype, [rows, width]);
      const args = { x: seen, ...(comparesWithDense(adding) ? { dense: seen } : {}) };
      begin(async () =>
        caller.preparedGraph(adding, { ...args, [totalName]: form("f32", statisticShape(adding, width)) }),
      );
    }
  const args = blockArguments<DeviceTensor>(graph, weights, { x, cosine, sine, positions });
  begin(async () => caller.preparedGraph(graph, args, { sizes }));
}

/** A block on a batch. */
interface BlockPass {
  /** What its weights receive, in the order of `receivedBy`. */
  readonly received: readonly DeviceTensor[];
  /** What it gives; null where that is not asked for. */
  readonly result: DeviceTensor | null;
}

/** Runs a block on a batch, which stays as it is; the arena of the calls owns what is made. */
async function blockPass(
  calls: Calls<DeviceTensor>,
  weights: BlockWeights,
  { x, cosine, sine, positions }: ActivationBatch,
  asked: { readonly received: boolean; readonly result: boolean },
): Promise<BlockPass> {
  const received = !asked.received ? undefined : asked.result ? "with-result" : "alone";
  const { graph, sizes } = blockCall(calls.functions, weights, {
    whole: true,
    rounding: weights.activations === undefined ? null : "stored",
    ...(received === undefined ? {} : { received }),
  });
  const args = blockArguments<DeviceTensor>(graph, weights, { x, cosine, sine, positions });
  const results = await calls.callGraph(graph, args, { sizes });
  return asked.result
    ? { received: results.slice(0, -1), result: results.at(-1) ?? null }
    : { received: results, result: null };
}

/** Runs a block on a batch, which stays as it is. */
export async function runBlock(caller: Caller, weights: BlockWeights, batch: ActivationBatch): Promise<DeviceTensor> {
  return withArena(caller.executor, async (arena) => {
    const { result } = await blockPass(callsIn(arena, caller), weights, batch, { received: false, result: true });
    if (result === null) throw new InternalError("a block gave nothing");
    return arena.keep(result);
  });
}

/** An observer at work: `own` gives the statistic of a part, `graph` puts it to the total. */
interface Summed extends Observer {
  readonly own: SymbolicGraph;
  readonly totals: Map<string, DeviceTensor>;
}

/**
 * Adds what an observer's function gives for an input, in place, to the total of the parts seen before; or takes the
 * larger or the smaller.
 */
async function observe(
  arena: Arena,
  caller: Caller,
  { own, graph, combines = "sum", totals }: Summed,
  x: DeviceTensor,
  dense: DeviceTensor,
  input: string,
): Promise<void> {
  const flat = (tensor: DeviceTensor): DeviceTensor => {
    const [batch = 0, tokens = 0, width = 0] = tensor.shape;
    return { ...tensor, shape: [batch * tokens, width] };
  };
  const width = x.shape[2] ?? 0;
  const args = { x: flat(x), ...(comparesWithDense(graph) ? { dense: flat(dense) } : {}) };
  let total = totals.get(input);
  if (total === undefined && combines !== "sum") {
    totals.set(input, arena.own(first(await caller.callGraph(own, args))));
    return;
  }
  if (total === undefined) {
    const shape = statisticShape(graph, width);
    const length = elementCount(shape);
    total = arena.own({ ...first(await caller.call("zeros", {}, { sizes: { length } })), shape });
    totals.set(input, total);
  }
  await caller.callGraph(graph, { ...args, [totalName]: total });
}

/** The shape of the total, for a layer of so many inputs. */
function statisticShape(graph: SymbolicGraph, inputs: number): readonly number[] {
  const total = graph.values[graph.outputs[0]?.value ?? -1];
  return (total?.type.shape ?? []).map((size) => {
    const value = sizeValue(substituteSize(size, (symbol) => (symbol === "K" ? constantSize(inputs) : null)));
    if (value === null) throw new InternalError(`a statistic's size is ${printSize(size)}`);
    return value;
  });
}
