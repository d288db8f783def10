/** Sums of parts, added in pairs: neighbours first, then what they make, whoever has summed them. So are maxima. */
import type { Combination } from "../../../compiler/graph/analysis/combination.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import type { Statistics } from "./calibrate.js";
import { functionOf } from "../functions.js";

/** The sum of the parts `index * 2 ** level` and so many behind it. */
export interface Sum {
  readonly level: number;
  readonly index: number;
  readonly totals: Statistics;
}

export interface Sums {
  /** Takes the next sum, in the order of the parts, over: it adds what is whole. */
  push(sum: Sum): Promise<void>;
  /** What there is, as large as it can be without what is missing. */
  readonly found: readonly Sum[];
  /** The sum of all. */
  whole(): Promise<Statistics>;
}

/** The arena owns all sums. `combines`: how the parts of each observation make the whole; those it does not name add. */
export function createSums(caller: Caller, arena: Arena, combines: ReadonlyMap<number, Combination>): Sums {
  const dense = functionOf(caller.functions, "dense");
  const merging = { sum: accumulating(dense), max: accumulating(dense, "max"), min: accumulating(dense, "min") };
  const found: Sum[] = [];

  async function add(id: number, to: DeviceTensor, from: DeviceTensor): Promise<void> {
    const columns = to.shape.at(-1) ?? 1;
    const shape = [to.shape.slice(0, -1).reduce((rows, size) => rows * size, 1), columns];
    await caller.callGraph(merging[combines.get(id) ?? "sum"], {
      w: { ...from, shape },
      [totalName]: { ...to, shape },
    });
    arena.release(from);
  }
  async function merge(to: Statistics, from: Statistics): Promise<Statistics> {
    const merged = new Map<number, ReadonlyMap<string, DeviceTensor>>();
    for (const id of new Set([...to.keys(), ...from.keys()])) {
      const inputs = new Map(to.get(id));
      for (const [input, tensor] of from.get(id) ?? []) {
        const other = inputs.get(input);
        // what is observed of the first batches only has no more to add
        if (other === undefined) inputs.set(input, tensor);
        else await add(id, other, tensor);
      }
      merged.set(id, inputs);
    }
    return merged;
  }

  return {
    found,
    async push(sum) {
      found.push(sum);
      for (;;) {
        const [left, right] = found.slice(-2);
        if (left === undefined || right === undefined) return;
        if (left.level !== right.level || left.index % 2 !== 0 || right.index !== left.index + 1) return;
        const totals = await merge(left.totals, right.totals);
        found.splice(-2, 2, { level: left.level + 1, index: left.index / 2, totals });
      }
    },
    async whole() {
      let totals = found.pop()?.totals ?? new Map<number, ReadonlyMap<string, DeviceTensor>>();
      for (let left = found.pop(); left !== undefined; left = found.pop()) totals = await merge(left.totals, totals);
      return totals;
    },
  };
}
