/** Calibration: the activations of a text, taken through a model block by block, and statistics of what its linear layers receive. */
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { LlamaConfig } from "../model/config.js";
import type { DeviceTensor } from "../run/run.js";
import type { Caller } from "./call.js";
import { first } from "./results.js";
import { embed, type ActivationDtype, type Frame } from "./session.js";
import type { BlockWeights, LinearName } from "./weights.js";
import type { Windows } from "./windows.js";

/** Activations of windows before a block, some windows at a time. */
export interface Activations {
  readonly windows: number;
  readonly tokens: number;
  readonly batches: readonly ActivationBatch[];
}

/** x [B, T, D], with angles [B, T, head / 2] and positions [B] that several batches may share. */
export interface ActivationBatch {
  readonly x: DeviceTensor;
  readonly cosine: DeviceTensor;
  readonly sine: DeviceTensor;
  readonly positions: DeviceTensor;
}

/** A statistic to be summed over what the linear layers receive. */
export interface Observer {
  readonly id: number;
  /** One input `x` [T, K]; one output whose shape depends on K only. */
  readonly graph: SymbolicGraph;
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

/** Embeds the windows, `batch` at a time. */
export async function embedWindows(caller: Caller, frame: Frame, windows: Windows, batch: number, dtype: ActivationDtype): Promise<Activations> {
  const { executor } = caller;
  const batches: ActivationBatch[] = [];
  for (let from = 0; from < windows.count; from += batch) {
    const count = Math.min(batch, windows.count - from);
    const ids = await executor.fill("i32", [count, windows.tokens], windows.ids.slice(from * windows.tokens, (from + count) * windows.tokens), "calibration ids");
    const positions = await executor.fill("i32", [count], new Int32Array(count), "positions");
    batches.push({ ...(await embed(caller, frame, ids, positions, dtype)), positions });
    executor.release(ids);
    executor.flush();
  }
  return { windows: windows.count, tokens: windows.tokens, batches };
}

/** Gives the memory of activations back. */
export function releaseActivations(caller: Caller, activations: Activations): void {
  for (const { x, cosine, sine, positions } of activations.batches) for (const tensor of [x, cosine, sine, positions]) caller.executor.release(tensor);
}

/**
 * Takes the activations through a block as it is. With observers, sums each over the inputs of the linear layers; the
 * activations themselves go on only with `advance`.
 */
export async function passBlock(
  caller: Caller, config: LlamaConfig, weights: BlockWeights, activations: Activations, observers: readonly Observer[], advance: boolean,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<{ readonly activations: Activations; readonly statistics: Statistics }> {
  const statistics = new Map(observers.map((observer) => [observer.id, new Map<LinearInput, DeviceTensor>()]));
  const batches: ActivationBatch[] = [];
  for (const [at, batch] of activations.batches.entries()) {
    const seen = async (input: LinearInput, x: DeviceTensor): Promise<void> => {
      for (const observer of observers) await observe(caller, observer, x, input, statistics.get(observer.id) ?? new Map());
    };
    const x = await blockStages(caller, config, weights, batch, seen, advance);
    batches.push(x === null ? batch : { ...batch, x });
    // one batch at a time: work that waits holds its memory
    await caller.executor.finish();
    onProgress(at + 1, activations.batches.length);
  }
  return { activations: { ...activations, batches }, statistics };
}

/** The block in stages, each linear layer's input shown to `seen`. The result is null unless asked for; then x is released. */
async function blockStages(
  caller: Caller, config: LlamaConfig, weights: BlockWeights, batch: ActivationBatch,
  seen: (input: LinearInput, x: DeviceTensor) => Promise<void>, advance: boolean,
): Promise<DeviceTensor | null> {
  const { executor } = caller;
  const { linears } = weights;
  const { x, cosine, sine, positions } = batch;
  const eps = config.normEpsilon;
  const sizes = { heads: config.heads, groups: config.keyValueHeads, head: config.headDim };

  const attentionInput = first(await caller.call("rms_norm", { x, gain: weights.attentionGain, eps }));
  await seen("attention", attentionInput);
  const mixed = first(await caller.call("attend", { x: attentionInput, cosine, sine, positions, wq: linears.q_proj, wk: linears.k_proj, wv: linears.v_proj }, { sizes }));
  executor.release(attentionInput);
  await seen("mixed", mixed);
  const middle = first(await caller.call("add_linear", { x, h: mixed, w: linears.o_proj }));
  executor.release(mixed);
  const mlpInput = first(await caller.call("rms_norm", { x: middle, gain: weights.mlpGain, eps }));
  await seen("mlp", mlpInput);
  const gated = first(await caller.call("gated", { x: mlpInput, gate: linears.gate_proj, up: linears.up_proj }));
  executor.release(mlpInput);
  await seen("gated", gated);
  const result = advance ? first(await caller.call("add_linear", { x: middle, h: gated, w: linears.down_proj })) : null;
  for (const tensor of [gated, middle, ...(advance ? [x] : [])]) executor.release(tensor);
  return result;
}

async function observe(caller: Caller, observer: Observer, x: DeviceTensor, input: LinearInput, totals: Map<LinearInput, DeviceTensor>): Promise<void> {
  const { executor } = caller;
  const [batch = 0, tokens = 0, width = 0] = x.shape;
  const part = first(await caller.callGraph(observer.graph, { x: { ...x, shape: [batch * tokens, width] } }));
  const total = totals.get(input);
  if (total === undefined) {
    totals.set(input, part);
    return;
  }
  const length = part.shape.reduce((product, size) => product * size, 1);
  await caller.call("accumulate", { total: { ...total, shape: [length] }, part: { ...part, shape: [length] } });
  executor.release(part);
}
