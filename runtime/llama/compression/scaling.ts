/** `scale w by s`: the columns of weights multiplied, what makes their input divided, on the device. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { elementCount } from "../../../compiler/types/shape.js";
import type { Computed, ScaleStep } from "../../../compiler/recipe/recipe.js";
import type { Block } from "../../model/layout.js";
import { withArena } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import { inputOf } from "../blocks.js";
import type { Caller } from "../call.js";
import { LlamaError } from "../error.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { first } from "../results.js";
import { scaledTensor } from "./scaled-tensor.js";
import { inputsOf, pairOf, type LayerInput } from "./pairs.js";
import type { Seen } from "./treat.js";
import type { WorkingModel } from "./working-model.js";

/** Where what is computed of an input comes from. */
export interface InputPlace {
  readonly caller: Caller;
  readonly working: WorkingModel;
  readonly seen: Seen | null;
}

/** What a scale changes, and where it says so. */
export interface ScalingPlace extends InputPlace {
  /** Hears of each input by the first layer that reads it, and of what its channels are divided by. */
  readonly onScaled: (input: string, inverse: Float32Array) => Promise<void>;
}

/**
 * Scales the inputs of a block that a step selects, in the order of the block.
 * @throws LlamaError not-finite for a scale that is not above 0
 */
export async function scaleInputs(place: ScalingPlace, step: ScaleStep, block: Block): Promise<void> {
  for (const input of inputsOf(place.caller.functions, block, step)) await scaleInput(place, step, block, input);
}

async function scaleInput(place: ScalingPlace, step: ScaleStep, block: Block, input: LayerInput): Promise<void> {
  const { caller } = place;
  const pair = pairOf(caller.functions, block, input, step.through);
  if (pair.kind === "none") throw new InternalError("a scale that does not cancel was not refused");
  const given = await valuesOfInput(place, step.computed, block, input);
  const names = input.layers.map(({ name }) => name).join(", ");
  const wrong = given.findIndex((value) => !(value > 0 && value < Infinity));
  if (wrong >= 0)
    throw new LlamaError(
      "not-finite",
      `The scale of ${names} is ${given[wrong]} for channel ${wrong}: it is multiplied and divided by, and must be above 0 and finite. Bound it from below, \`max(s, 1e-4)\`.`,
    );
  const scale = oneForEach(given, pair.columns);
  const inverse = scale.map((value) => 1 / value);
  for (const { weight, outputs, inputs } of input.layers) await multiply(place, weight, [outputs, inputs], 1, scale);
  for (const { input: parameter, axis, channels } of pair.producers) {
    const tensor = block.layout.tensors.find((each) => each.parameter === parameter);
    // what this model has not is zero
    if (tensor === undefined) continue;
    const factors = Float32Array.from(channels, (channel) => (channel < 0 ? 1 : (inverse[channel] ?? 1)));
    await multiply(place, `${block.name}.${tensor.name}`, tensor.shape, axis, factors);
  }
  await place.onScaled(inputOf(caller.functions, block, input.layers[0]!), inverse);
}

/** The columns that share a channel get one scale: the geometric mean of theirs. */
export function oneForEach(scale: Float32Array, channels: Int32Array): Float32Array {
  const logs = new Map<number, { sum: number; count: number }>();
  for (const [column, channel] of channels.entries()) {
    const known = logs.get(channel) ?? { sum: 0, count: 0 };
    logs.set(channel, { sum: known.sum + Math.log(scale[column] ?? 1), count: known.count + 1 });
  }
  return scale.map((value, column) => {
    const { sum, count } = logs.get(channels[column] ?? 0)!;
    return count === 1 ? value : Math.fround(Math.exp(sum / count));
  });
}

/** What a graph gives for an input of a block, a tensor or a number. */
export async function valuesOfInput(
  { caller, working, seen }: InputPlace,
  { graph, inputs }: Computed,
  block: Block,
  { layers }: LayerInput,
): Promise<Float32Array> {
  const columns = layers[0]?.inputs ?? 0;
  const rows = layers.reduce((sum, { outputs }) => sum + outputs, 0);
  return withArena(caller.executor, async (arena) => {
    const args: { [name: string]: DeviceTensor | number } = {};
    for (const wanted of inputs) {
      if (wanted.kind === "windows") args[wanted.name] = seen?.windows ?? 0;
      else if (wanted.kind === "tokens") args[wanted.name] = seen?.tokens ?? 0;
      else if (wanted.kind === "statistic") {
        const found = seen?.statistics.get(wanted.observe)?.get(inputOf(caller.functions, block, layers[0]!));
        if (found === undefined) throw new InternalError(`nothing was observed for ${layers[0]?.name}`);
        args[wanted.name] = found;
      } else if (wanted.kind === "weight") {
        const form: TensorForm = { dtype: "f32", shape: [rows, columns], format: null };
        const whole = arena.own(await caller.executor.allocate(form, "the weights of an input"));
        let at = 0;
        for (const linear of layers) {
          const now = (await working.now(linear.weight, arena)) ?? (await working.given(linear));
          await caller.call("rows_into", { w: now, whole, start: at });
          at += linear.outputs;
        }
        args[wanted.name] = whole;
      } else throw new InternalError(`an input has no ${wanted.kind}`);
    }
    const result = arena.own(first(await caller.callGraph(graph, args, { sizes: { N: rows, K: columns } })));
    return Float32Array.from(await caller.executor.values(result));
  });
}

/** Multiplies the places of a tensor's axis, in the model as it is and as it was given: both give what they gave. */
async function multiply(
  { caller, working }: ScalingPlace,
  name: string,
  shape: readonly number[],
  axis: number,
  factors: Float32Array,
): Promise<void> {
  const scaled = await withArena(caller.executor, async (arena) => {
    const now = await working.dense(name, arena);
    return arena.keep(await scaledTensor(caller, { ...now, shape }, axis, factors, arena));
  });
  const format = { name: "f32", args: {}, of: null };
  const elements = elementCount(shape);
  const before = working.treated.get(name);
  const record: WeightRecord = {
    name,
    format,
    pattern: { kind: "full" },
    shape,
    bytes: 4 * elements,
    relativeError: before?.relativeError ?? 0,
    layerError: before?.layerError ?? null,
    seconds: before?.seconds ?? 0,
  };
  working.scale(record, { ...scaled, format, shape }, { name, axis, factors });
}
