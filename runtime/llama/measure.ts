/** What a change of a layer's weight amounts to, measured on the device. */
import type { ScaleRange } from "../../compiler/formats/fit.js";
import { shapeOf } from "../../compiler/formats/registry.js";
import { allDone } from "../run/outcomes.js";
import type { DeviceTensor } from "../run/run.js";
import { withArena } from "../run/arena.js";
import type { Arguments, Caller } from "./call.js";
import { first, many } from "./results.js";

/**
 * ||now - given|| / ||given||, Frobenius, of weights [N, K] or vectors; 0 for a weight of zeros that stays. NaN where a weight is.
 */
export async function relativeError(caller: Caller, now: DeviceTensor, given: DeviceTensor): Promise<number> {
  return quotient(caller, "squared_error", { w: asMatrix(now), original: asMatrix(given) });
}

/**
 * ||(now - given) X|| / ||given X|| of weights [N, K], with `gram` = X^T X [K, K] of the layer's inputs X. Null where
 * the
 * device binds no tensor that large.
 */
export async function layerError(
  caller: Caller,
  now: DeviceTensor,
  given: DeviceTensor,
  gram: DeviceTensor,
): Promise<number | null> {
  const [outputs = 0, inputs = 0] = given.shape;
  if (4 * inputs * Math.max(inputs, outputs) > caller.target.maxBinding) return null;
  return withArena(caller.executor, async (arena) => {
    const d = arena.own(first(await caller.call("difference", { w: now, original: given })));
    const squared = async (w: DeviceTensor): Promise<DeviceTensor> =>
      arena.own(first(await caller.call("squared_output", { w, h: gram })));
    const [change, whole] = [await squared(d), await squared(given)];
    const [difference, size] = await allDone([sumOf(caller, change), sumOf(caller, whole)]);
    return rootOf(difference, size);
  });
}

/** The largest magnitude of a tensor's elements, however they are stored. NaN may be left out. */
export async function largest(caller: Caller, tensor: DeviceTensor): Promise<number> {
  return extreme(caller, "largest_magnitude", tensor, Math.max);
}

/** The range of the magnitudes of a tensor's elements. */
export async function magnitudes(caller: Caller, tensor: DeviceTensor): Promise<ScaleRange> {
  const [least, most] = await allDone([
    extreme(caller, "smallest_magnitude", tensor, Math.min),
    largest(caller, tensor),
  ]);
  return { least, most };
}

/** The extreme of those of a tensor's rows. */
async function extreme(
  caller: Caller,
  name: "largest_magnitude" | "smallest_magnitude",
  tensor: DeviceTensor,
  of: (a: number, b: number) => number,
): Promise<number> {
  return withArena(caller.executor, async (arena) => {
    const rows = arena.own(first(await caller.call(name, { w: asMatrix(tensor) })));
    const values = await caller.executor.values(rows);
    let found = values[0] ?? 0;
    for (const value of values) found = of(found, value);
    return found;
  });
}

/** A vector as a matrix of one row; a matrix as it is. */
export function asMatrix(tensor: DeviceTensor): DeviceTensor {
  const { rows, columns } = shapeOf(tensor.shape);
  return { ...tensor, shape: [rows, columns] };
}

/** Whether all elements of a tensor are finite, however they are stored. */
export async function isFinite(caller: Caller, tensor: DeviceTensor): Promise<boolean> {
  return withArena(caller.executor, async (arena) => {
    const found = arena.own(first(await caller.call("not_finite", { w: asMatrix(tensor) })));
    return (await sumOf(caller, found)) === 0;
  });
}

/** The square root of the quotient of the sums of what a function gives. */
async function quotient(caller: Caller, name: string, args: Arguments): Promise<number> {
  return withArena(caller.executor, async (arena) => {
    const [change, whole] = many(arena.ownAll(await caller.call(name, args)), 2);
    // asked side by side, so that the device is waited for once
    const [difference, size] = await allDone([sumOf(caller, change), sumOf(caller, whole)]);
    return rootOf(difference, size);
  });
}

/** The square root of a quotient; of rounded sums, which may come out a little below zero where nothing has changed. */
function rootOf(difference: number, size: number): number {
  return size === 0 ? (difference > 0 ? Infinity : 0) : Math.sqrt(Math.max(0, difference) / size);
}

/** The sum of a tensor's values. */
export async function sumOf(caller: Caller, tensor: DeviceTensor): Promise<number> {
  let sum = 0;
  for (const value of await caller.executor.values(tensor)) sum += value;
  return sum;
}
