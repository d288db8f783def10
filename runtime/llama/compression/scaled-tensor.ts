/** A tensor whose rows or columns are multiplied, on the device. */
import type { Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Caller } from "../call.js";
import { first } from "../results.js";

/** A tensor with the places of one axis multiplied, as a matrix, f32; the arena owns it. */
export async function scaledTensor(
  { executor, call }: Pick<Caller, "executor" | "call">,
  tensor: DeviceTensor,
  axis: number,
  factors: Float32Array,
  arena: Arena,
): Promise<DeviceTensor> {
  const [rows = 1, columns = 1] = tensor.shape.length === 2 ? tensor.shape : [1, ...tensor.shape];
  const byColumn = tensor.shape.length === 1 || axis === 1;
  const own = arena.own(await executor.fill("f32", [factors.length], factors, "scales"));
  const ones = arena.own(
    await executor.fill(
      "f32",
      [byColumn ? rows : columns],
      new Float32Array(byColumn ? rows : columns).fill(1),
      "ones",
    ),
  );
  return arena.own(
    first(
      await call("scaled", {
        w: { ...tensor, shape: [rows, columns] },
        rows: byColumn ? ones : own,
        columns: byColumn ? own : ones,
      }),
    ),
  );
}
