/** Calibration: activations taken through a model block by block, and statistics of what its linear layers receive. */
import { InternalError } from "../../compiler/diagnostic.js";
import { accumulating, totalName } from "../../compiler/graph/passes/accumulate.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { constantSize, printSize, sizeValue, substituteSize } from "../../compiler/types/size.js";
import type { LlamaConfig } from "../model/config.js";
import type { DeviceTensor } from "../run/run.js";
import type { ActivationBatch, Activations } from "./activations.js";
import type { Caller } from "./call.js";
import { first } from "./results.js";
import type { BlockWeights, LinearName } from "./weights.js";

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

/**
 * Takes the activations through a block as it is. With observers, sums each over the inputs of the linear layers; the
 * activations themselves go on only with `advance`. Observers that compare with the model as it was given look at
 * `dense`, whose activations stay; without it, this is that model.
 */
export async function passBlock(
  caller: Caller,
  config: LlamaConfig,
  weights: BlockWeights,
  activations: Activations,
  observers: readonly Observer[],
  advance: boolean,
  onProgress: (done: number, total: number) => void = () => {},
  dense: DenseSide | null = null,
): Promise<Statistics> {
  const summed = observers.map((observer) => ({
    ...observer,
    graph: accumulating(observer.graph),
    totals: new Map<LinearInput, DeviceTensor>(),
  }));
  const statistics = new Map(summed.map(({ id, totals }) => [id, totals]));
  let before: Promise<void> = Promise.resolve();
  try {
    for (let at = 0; at < activations.batches; at++) {
      const watching = summed.filter(({ batches }) => batches === undefined || at < batches);
      if (!advance && watching.length === 0) break;
      const { batch, done } = await activations.load(at);
      const other = dense === null ? null : await dense.activations.load(at);
      let next: DeviceTensor | null = null;
      try {
        const steps = blockInputs(caller, config, weights, batch, advance);
        const others =
          dense === null || other === null ? null : blockInputs(caller, config, dense.weights, other.batch, false);
        for (let step = await steps.next(); ; step = await steps.next()) {
          const same = await others?.next();
          if (step.done === true) {
            next = step.value;
            break;
          }
          const { input, x } = step.value;
          for (const { graph, widest = Infinity, totals } of watching)
            if ((x.shape[2] ?? 0) <= widest)
              await observe(caller, graph, x, same?.done === false ? same.value.x : x, input, totals);
        }
      } finally {
        await other?.done(null);
        await done(next);
      }
      // two batches at a time: the device is not to wait for the host, and work that waits holds memory
      const now = caller.executor.finish();
      now.catch(() => undefined);
      await before;
      before = now;
      onProgress(at + 1, activations.batches);
    }
    await before;
  } catch (error) {
    for (const inputs of statistics.values()) for (const tensor of inputs.values()) caller.executor.release(tensor);
    throw error;
  }
  return statistics;
}

/** What the linear layers that share an input receive. */
interface Received {
  readonly input: LinearInput;
  readonly x: DeviceTensor;
}

/**
 * Runs a block in stages on a batch, and stops at each linear layer's input, which is freed when it goes on. The result
 * is null unless asked for; the batch stays as it is.
 */
async function* blockInputs(
  caller: Caller,
  config: LlamaConfig,
  weights: BlockWeights,
  batch: ActivationBatch,
  advance: boolean,
): AsyncGenerator<Received, DeviceTensor | null, void> {
  const { executor } = caller;
  const { linears } = weights;
  const { x, cosine, sine, positions } = batch;
  const eps = config.normEpsilon;
  const sizes = { heads: config.heads, groups: config.keyValueHeads, head: config.headDim };

  const attentionInput = first(await caller.call("rms_norm", { x, gain: weights.attentionGain, eps }));
  yield { input: "attention", x: attentionInput };
  const mixed = first(
    await caller.call(
      "attend",
      { x: attentionInput, cosine, sine, positions, wq: linears.q_proj, wk: linears.k_proj, wv: linears.v_proj },
      { sizes },
    ),
  );
  executor.release(attentionInput);
  yield { input: "mixed", x: mixed };
  const middle = first(await caller.call("add_linear", { x, h: mixed, w: linears.o_proj }));
  executor.release(mixed);
  const mlpInput = first(await caller.call("rms_norm", { x: middle, gain: weights.mlpGain, eps }));
  yield { input: "mlp", x: mlpInput };
  const gated = first(await caller.call("gated", { x: mlpInput, gate: linears.gate_proj, up: linears.up_proj }));
  executor.release(mlpInput);
  yield { input: "gated", x: gated };
  const result = advance ? first(await caller.call("add_linear", { x: middle, h: gated, w: linears.down_proj })) : null;
  executor.release(gated);
  executor.release(middle);
  return result;
}

/** Runs a block on a batch, which stays as it is. */
export async function runBlock(
  caller: Caller,
  config: LlamaConfig,
  weights: BlockWeights,
  batch: ActivationBatch,
): Promise<DeviceTensor> {
  const steps = blockInputs(caller, config, weights, batch, true);
  for (let step = await steps.next(); ; step = await steps.next())
    if (step.done === true && step.value !== null) return step.value;
}

/** Adds what an observer's function gives for an input, in place, to the total of the parts seen before. */
async function observe(
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
    const length = shape.reduce((product, size) => product * size, 1);
    total = { ...first(await caller.call("zeros", {}, { sizes: { length } })), shape };
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
