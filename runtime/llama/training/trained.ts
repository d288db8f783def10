/** Tensors that are trained, with what the optimiser keeps of each. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { TensorForm, DeviceTensor } from "../../run/run.js";
import { denseBytes } from "../../run/tensor.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import type { ActivationDtype } from "../weights.js";

/** What a recipe stores of a weight: what passes use of it in every step. */
export interface Rounding {
  /** Gives what is stored. */
  readonly stored: SymbolicGraph;
  /** Takes the gradient by what is stored on to each of its inputs that is trained. */
  readonly gradients: ReadonlyMap<string, SymbolicGraph>;
  /** The input that is the trained weight, or null; that of the gradients that is the adjoint. */
  readonly weight: string | null;
  readonly adjoint: string;
  /** The input that is the clock of the training, or null. */
  readonly clock: string | null;
  readonly sizes: { readonly N: number; readonly K: number };
  /** What it takes that is trained beside the weight: what each begins as, f32 of two axes. */
  readonly parameters: readonly { readonly input: string; readonly start: DeviceTensor }[];
  /** All other inputs. Those that are stored in a format are decoded first. */
  readonly given: { readonly [input: string]: DeviceTensor | number };
}

/** What the optimiser changes and keeps, f32 of two axes: a weight, gains as [1, D], a parameter of a recipe. */
export interface TrainedState {
  readonly name: string;
  /** The input of the rounding that it is; null where it is used as it is. */
  readonly input: string | null;
  /** The values, and their first and second moments. */
  readonly master: DeviceTensor;
  readonly first: DeviceTensor;
  readonly second: DeviceTensor;
  /** The best so far; null where none are kept. */
  readonly best: DeviceTensor | null;
}

/** A tensor of the model that is trained. Matrices are [N, K], gains [1, D]. */
export interface Trained {
  /** The tensor's name in the model. */
  readonly name: string;
  /** The parameter of the function that it is given for. */
  readonly parameter: string;
  /** What of it is trained: the tensor itself, parameters of what is stored of it, or both. */
  readonly states: readonly TrainedState[];
  /** What gradients by what passes use are added to. */
  readonly gradient: DeviceTensor;
  /** Null: the weight is used as it is. */
  readonly rounding: Rounding | null;
  /** What passes use. */
  readonly forward: DeviceTensor;
  /** The gradient's total in the shape of `forward`. */
  readonly total: DeviceTensor;
}

/** What a tensor to be trained begins as. */
export interface Beginning {
  readonly name: string;
  readonly parameter: string;
  /** The weight [N, K] in any format, or a gain [D]. */
  readonly start: DeviceTensor;
  readonly rounding: Rounding | null;
}

/** Elements of what a training changes, and of the tensors of the model that follow from it. */
export interface TrainedElements {
  readonly trained: number;
  readonly used: number;
}

/** Bytes that a training keeps: values, moments, maybe the best; a gradient of each tensor that passes use, and that. */
export function bytesOfTrained({ trained, used }: TrainedElements, dtype: ActivationDtype, best: boolean): number {
  return trained * 4 * (best ? 4 : 3) + used * (4 + (dtype === "f16" ? 2 : 4));
}

/** Makes what training needs of a tensor; the arena owns it. Moments and gradients are zero. */
export async function beginTraining(
  arena: Arena,
  caller: Caller,
  { name, parameter, start, rounding }: Beginning,
  dtype: ActivationDtype,
  keepsBest: boolean,
): Promise<Trained> {
  const isGain = start.shape.length === 1;
  const shape = isGain ? [1, start.shape[0] ?? 0] : start.shape;
  const zeros = async (label: string, of: readonly number[] = shape): Promise<DeviceTensor> => {
    const form: TensorForm = { dtype: "f32", shape: of, format: null };
    const tensor = arena.own(await caller.executor.allocate(form, `${label} of ${name}`));
    await caller.call("clear_gradient", { x: tensor });
    return tensor;
  };
  const stateOf = async (label: string, input: string | null, of: readonly number[]): Promise<TrainedState> => ({
    name: label,
    input,
    master: await zeros("the weight", of),
    first: await zeros("the first moment", of),
    second: await zeros("the second moment", of),
    best: keepsBest ? await zeros("the best", of) : null,
  });
  const states: TrainedState[] = [];
  if (rounding === null || rounding.weight !== null) {
    const state = await stateOf(name, rounding?.weight ?? null, shape);
    if (isGain) await caller.call("copy_weights", { to: state.master, x: { ...start, shape } });
    else await caller.call("set_weights", { to: state.master, x: start });
    states.push(state);
  }
  for (const { input, start: beginning } of rounding?.parameters ?? []) {
    const state = await stateOf(`${name}, ${input}`, input, beginning.shape);
    await caller.call("copy_weights", { to: state.master, x: beginning });
    arena.release(beginning);
    states.push(state);
  }
  const gradient = await zeros("the gradient");
  const [own] = states;
  if (own === undefined) throw new InternalError(`nothing of ${name} is trained`);
  return {
    name,
    parameter,
    states,
    gradient,
    rounding,
    forward: isGain ? { ...own.master, shape: start.shape } : await forwardTensor(arena, caller, shape, dtype, name),
    total: isGain ? { ...gradient, shape: start.shape } : gradient,
  };
}

async function forwardTensor(
  arena: Arena,
  caller: Caller,
  shape: readonly number[],
  dtype: ActivationDtype,
  name: string,
): Promise<DeviceTensor> {
  const form: TensorForm = { dtype: "f32", shape, format: { name: dtype, args: {}, of: null } };
  return arena.own(await caller.executor.allocate(form, `${name} as it is used`, denseBytes(dtype, shape)));
}
