/** Tensors that are trained, with what the optimiser keeps of each. */
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
  /** Takes the gradient by what is stored on to the weight that is trained. */
  readonly gradient: SymbolicGraph;
  /** The input of both that is the trained weight, and that of the gradient that is the adjoint. */
  readonly weight: string;
  readonly adjoint: string;
  readonly sizes: { readonly N: number; readonly K: number };
  /** All other inputs. Those that are stored in a format are decoded first. */
  readonly given: { readonly [input: string]: DeviceTensor | number };
}

/**
 * A tensor that is trained. Matrices are [N, K], gains [1, D]. Where the factors of a correction are trained, master,
 * moments and best are theirs, [N + K, rank], and gradient and total those of the weight.
 */
export interface Trained {
  /** The tensor's name in the model. */
  readonly name: string;
  /** The parameter of the function that it is given for. */
  readonly parameter: string;
  /** The weight in f32, its first and second moments, and what gradients are added to. */
  readonly master: DeviceTensor;
  readonly first: DeviceTensor;
  readonly second: DeviceTensor;
  readonly gradient: DeviceTensor;
  /** The best weight so far; null where none is kept. */
  readonly best: DeviceTensor | null;
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
  /** The weight [N, K] in any format, what it is made of in another shape, or a gain [D]. */
  readonly start: DeviceTensor;
  /** The shape of what passes use. */
  readonly shape: readonly number[];
  readonly rounding: Rounding | null;
}

/** Bytes that each element of a trained tensor takes: weight, moments, gradient, maybe the best, and what passes use. */
export function bytesOfTrained(elements: number, dtype: ActivationDtype, best: boolean): number {
  return elements * (4 * (best ? 5 : 4) + (dtype === "f16" ? 2 : 4));
}

/** Makes what training needs of a tensor; the arena owns it. Moments and gradients are zero. */
export async function beginTraining(
  arena: Arena,
  caller: Caller,
  { name, parameter, start, shape: used, rounding }: Beginning,
  dtype: ActivationDtype,
  keepsBest: boolean,
): Promise<Trained> {
  const isGain = start.shape.length === 1;
  const shape = isGain ? [1, start.shape[0] ?? 0] : start.shape;
  const zeros = async (label: string, of = shape): Promise<DeviceTensor> => {
    const form: TensorForm = { dtype: "f32", shape: of, format: null };
    const tensor = arena.own(await caller.executor.allocate(form, `${label} of ${name}`));
    await caller.call("clear_gradient", { x: tensor });
    return tensor;
  };
  const master = await zeros("the weight");
  if (isGain) await caller.call("copy_weights", { to: master, x: { ...start, shape } });
  else await caller.call("set_weights", { to: master, x: start });
  const gradient = await zeros("the gradient", isGain ? shape : used);
  return {
    name,
    parameter,
    master,
    gradient,
    rounding,
    first: await zeros("the first moment"),
    second: await zeros("the second moment"),
    best: keepsBest ? await zeros("the best") : null,
    forward: isGain ? { ...master, shape: start.shape } : await forwardTensor(arena, caller, used, dtype, name),
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
