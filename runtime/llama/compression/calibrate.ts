/** Calibration: activations taken through a model block by block, and statistics of what its linear layers receive. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { constantSize, printSize, sizeValue, substituteSize } from "../../../compiler/types/size.js";
import type { LlamaConfig } from "../../model/config.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import type { ActivationBatch, Activations } from "./activations.js";
import type { Caller } from "../call.js";
import { callsIn, type Calls } from "../inference/chain.js";
import { headSizes } from "../inference/pass.js";
import { first } from "../results.js";
import type { BlockWeights, LinearName } from "../weights.js";

/** A block as the model was given, and the activations that blocks so far, as they were given, have made. */
export interface DenseSide {
  readonly weights: BlockWeights;
  readonly activations: Activations;
}

/** Whether a statistic compares with the model as it was given. */
export function comparesWithDense(graph: SymbolicGraph): boolean {
  return graph.inputs.some(({ name }) => name === "dense");
}

/** A statistic to be summed over what the linear layers receive. */
export interface Observer {
  readonly id: number;
  /**
   * Inputs `x` [T, K] and maybe `dense`, the same in the model as it was given; one output whose shape depends on K
   * only.
   */
  readonly graph: SymbolicGraph;
  /** Only over so many batches, the first. */
  readonly batches?: number | undefined;
  /** Only of inputs with at most so many features. */
  readonly widest?: number | undefined;
}

/** The inputs that a block's linear layers receive, and which of them share one. */
export const linearInputs = {
  attention: ["q_proj", "k_proj", "v_proj"],
  mixed: ["o_proj"],
  mlp: ["gate_proj", "up_proj"],
  gated: ["down_proj"],
} as const satisfies { readonly [input: string]: readonly LinearName[] };

export type LinearInput = keyof typeof linearInputs;

/** The input that a linear layer receives. */
export function inputOf(linear: LinearName): LinearInput {
  const found = (Object.keys(linearInputs) as LinearInput[]).find((input) =>
    (linearInputs[input] as readonly LinearName[]).includes(linear),
  );
  if (found === undefined) throw new Error(`no input of ${linear}`);
  return found;
}

/** Statistics by observer, then by the input that was observed. */
export type Statistics = ReadonlyMap<number, ReadonlyMap<LinearInput, DeviceTensor>>;

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
  config: LlamaConfig,
  weights: BlockWeights,
  activations: Activations,
  observers: readonly Observer[],
  arena: Arena,
  { advance = false, onProgress = () => {}, dense = null, parts }: PassOptions = {},
): Promise<Statistics> {
  const { executor } = caller;
  const summed = observers.map((observer) => ({
    ...observer,
    graph: accumulating(observer.graph),
    totals: new Map<LinearInput, DeviceTensor>(),
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
      const calls = callsIn(own, caller);
      const steps = blockInputs(calls, config, weights, batch, advance);
      const others =
        dense === null ? null : blockInputs(calls, config, dense.weights, await dense.activations.load(at, own), false);
      for (let step = await steps.next(); ; step = await steps.next()) {
        const same = await others?.next();
        if (step.done === true) {
          if (step.value !== null) await activations.replace(at, own.keep(step.value));
          break;
        }
        const { input, x } = step.value;
        for (const { graph, widest = Infinity, totals } of watching)
          if ((x.shape[2] ?? 0) <= widest)
            await observe(arena, caller, graph, x, same?.done === false ? same.value.x : x, input, totals);
      }
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

/** What the linear layers that share an input receive. */
interface Received {
  readonly input: LinearInput;
  readonly x: DeviceTensor;
}

/**
 * Runs a block in stages on a batch, and stops at each linear layer's input, which is freed when it goes on. The result
 * is null unless asked for; the batch stays as it is. The arena of the calls owns what is made.
 */
async function* blockInputs(
  calls: Calls<DeviceTensor>,
  config: LlamaConfig,
  weights: BlockWeights,
  batch: ActivationBatch,
  advance: boolean,
): AsyncGenerator<Received, DeviceTensor | null, void> {
  const { linears } = weights;
  const { x, cosine, sine, positions } = batch;
  const eps = config.normEpsilon;

  const attentionInput = first(await calls.call("rms_norm", { x, gain: weights.attentionGain, eps }));
  yield { input: "attention", x: attentionInput };
  const mixed = first(
    await calls.call(
      "attend",
      { x: attentionInput, cosine, sine, positions, wq: linears.q_proj, wk: linears.k_proj, wv: linears.v_proj },
      { sizes: headSizes(config) },
    ),
  );
  calls.release(attentionInput);
  yield { input: "mixed", x: mixed };
  const middle = first(await calls.call("add_linear", { x, h: mixed, w: linears.o_proj }));
  calls.release(mixed);
  const mlpInput = first(await calls.call("rms_norm", { x: middle, gain: weights.mlpGain, eps }));
  yield { input: "mlp", x: mlpInput };
  const gated = first(await calls.call("gated", { x: mlpInput, gate: linears.gate_proj, up: linears.up_proj }));
  calls.release(mlpInput);
  yield { input: "gated", x: gated };
  const result = advance ? first(await calls.call("add_linear", { x: middle, h: gated, w: linears.down_proj })) : null;
  calls.release(gated);
  calls.release(middle);
  return result;
}

/** Runs a block on a batch, which stays as it is. */
export async function runBlock(
  caller: Caller,
  config: LlamaConfig,
  weights: BlockWeights,
  batch: ActivationBatch,
): Promise<DeviceTensor> {
  return withArena(caller.executor, async (arena) => {
    const steps = blockInputs(callsIn(arena, caller), config, weights, batch, true);
    for (let step = await steps.next(); ; step = await steps.next())
      if (step.done === true && step.value !== null) return arena.keep(step.value);
  });
}

/** Adds what an observer's function gives for an input, in place, to the total of the parts seen before. */
async function observe(
  arena: Arena,
  caller: Caller,
  graph: SymbolicGraph,
  x: DeviceTensor,
  dense: DeviceTensor,
  input: LinearInput,
  totals: Map<LinearInput, DeviceTensor>,
): Promise<void> {
  const flat = (tensor: DeviceTensor): DeviceTensor => {
    const [batch = 0, tokens = 0, width = 0] = tensor.shape;
    return { ...tensor, shape: [batch * tokens, width] };
  };
  const width = x.shape[2] ?? 0;
  let total = totals.get(input);
  if (total === undefined) {
    const shape = statisticShape(graph, width);
    const length = elementCount(shape);
    total = arena.own({ ...first(await caller.call("zeros", {}, { sizes: { length } })), shape });
    totals.set(input, total);
  }
  await caller.callGraph(graph, {
    x: flat(x),
    ...(comparesWithDense(graph) ? { dense: flat(dense) } : {}),
    [totalName]: total,
  });
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
