/** Calibration: activations taken through a model block by block, and statistics of what its linear layers receive. */
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
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
  /** Inputs `x` [T, K] and maybe `dense`, the same in the model as it was given; one output whose shape depends on K only. */
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
  const found = (Object.keys(linearInputs) as LinearInput[]).find((input) => (linearInputs[input] as readonly LinearName[]).includes(linear));
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
  caller: Caller, config: LlamaConfig, weights: BlockWeights, activations: Activations, observers: readonly Observer[], advance: boolean,
  onProgress: (done: number, total: number) => void = () => {}, dense: DenseSide | null = null,
): Promise<Statistics> {
  const statistics = new Map(observers.map((observer) => [observer.id, new Map<LinearInput, DeviceTensor>()]));
  try {
    for (let at = 0; at < activations.batches; at++) {
      const watching = observers.filter(({ batches }) => batches === undefined || at < batches);
      if (!advance && watching.length === 0) break;
      const { batch, done } = await activations.load(at);
      const other = dense === null ? null : await dense.activations.load(at);
      let next: DeviceTensor | null = null;
      try {
        const steps = blockInputs(caller, config, weights, batch, advance);
        const others = dense === null || other === null ? null : blockInputs(caller, config, dense.weights, other.batch, false);
        for (let step = await steps.next(); ; step = await steps.next()) {
          const same = await others?.next();
          if (step.done === true) {
            next = step.value;
            break;
          }
          const { input, x } = step.value;
          for (const observer of watching) if ((x.shape[2] ?? 0) <= (observer.widest ?? Infinity)) await observe(caller, observer, x, same?.done === false ? same.value.x : x, input, statistics.get(observer.id) ?? new Map());
        }
      } finally {
        await other?.done(null);
        await done(next);
      }
      // one batch at a time: work that waits holds its memory
      await caller.executor.finish();
      onProgress(at + 1, activations.batches);
    }
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
async function* blockInputs(caller: Caller, config: LlamaConfig, weights: BlockWeights, batch: ActivationBatch, advance: boolean): AsyncGenerator<Received, DeviceTensor | null, void> {
  const { executor } = caller;
  const { linears } = weights;
  const { x, cosine, sine, positions } = batch;
  const eps = config.normEpsilon;
  const sizes = { heads: config.heads, groups: config.keyValueHeads, head: config.headDim };

  const attentionInput = first(await caller.call("rms_norm", { x, gain: weights.attentionGain, eps }));
  yield { input: "attention", x: attentionInput };
  const mixed = first(await caller.call("attend", { x: attentionInput, cosine, sine, positions, wq: linears.q_proj, wk: linears.k_proj, wv: linears.v_proj }, { sizes }));
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
export async function runBlock(caller: Caller, config: LlamaConfig, weights: BlockWeights, batch: ActivationBatch): Promise<DeviceTensor> {
  const steps = blockInputs(caller, config, weights, batch, true);
  for (let step = await steps.next(); ; step = await steps.next()) if (step.done === true && step.value !== null) return step.value;
}

async function observe(caller: Caller, observer: Observer, x: DeviceTensor, dense: DeviceTensor, input: LinearInput, totals: Map<LinearInput, DeviceTensor>): Promise<void> {
  const { executor } = caller;
  const flat = (tensor: DeviceTensor): DeviceTensor => {
    const [batch = 0, tokens = 0, width = 0] = tensor.shape;
    return { ...tensor, shape: [batch * tokens, width] };
  };
  const part = first(await caller.callGraph(observer.graph, { x: flat(x), ...(comparesWithDense(observer.graph) ? { dense: flat(dense) } : {}) }));
  const total = totals.get(input);
  if (total === undefined) {
    totals.set(input, part);
    return;
  }
  const length = part.shape.reduce((product, size) => product * size, 1);
  await caller.call("accumulate", { total: { ...total, shape: [length] }, part: { ...part, shape: [length] } });
  executor.release(part);
}
