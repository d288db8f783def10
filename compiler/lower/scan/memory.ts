/** Where the kernel of a block keeps what a row has: variables, workgroup memory, or the tensors' own storage. */
import { scalarKey, type Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, KernelType } from "../../kernel/kernel.js";
import type { Storage } from "../../graph/storage.js";
import { elementCount } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { bufferElement } from "../toolkit/builder.js";
import { flatten, lowerIndex, type Environment } from "../toolkit/scalar.js";
import type { Slot } from "./columnwise.js";
import { keptElements, rowPitch, type BlockContext } from "./blocking.js";

/** The memory of the slots of one kernel. */
export interface BlockMemory {
  /**
   * Runs `step` for each column of the block, counted from its first. States are brought in before, and `changed` ones
   * written back after; what a step has under way has come to its end when the next one begins.
   */
  walk(changed: ReadonlySet<Slot>, step: (column: Expr, memory: StepMemory) => void): void;
}

/**
 * The memory in one step. What is read is what was written before, and nothing is overwritten that is still being read:
 * each call waits for that where it has to, and its `body` runs then.
 */
export interface StepMemory {
  /** Reads slots. */
  reading<T>(reads: readonly Slot[], body: (reader: SlotReader) => T): T;
  /** Writes a slot, and reads some. */
  writing(slot: Slot, reads: readonly Slot[], body: (writer: SlotWriter) => void): void;
}

/** Reads the slots that were asked for. */
export interface SlotReader {
  /** How loads from slots are lowered. */
  readonly readers: Environment["readers"];
  /** An element at indices beside the row, which are in range. */
  element(slot: Slot, at: readonly Expr[]): Expr;
}

/** Writes the slot that was asked for. */
export interface SlotWriter extends SlotReader {
  /** Stores an element at indices beside the row; those out of range are dropped. With `add`, increases it. */
  store(at: readonly Expr[], value: Expr, add?: boolean): void;
  /** Gives a number its value in this step. */
  define(value: Expr): void;
}

/** Makes the memory; `storageOf` gives the tensor of a slot. */
export function createMemory(context: BlockContext, storageOf: (slot: Slot) => Storage): BlockMemory {
  const { build, shape, blocking, row, lane, team, first } = context;
  const shared = blocking.memory === "workgroup";
  const arrays = new Map<Slot, string>();
  const numbers = new Map<Slot, Expr>();
  const elementOf = (slot: Slot): KernelType => bufferElement(slot.dtype);
  const size = (slot: Slot): number => elementCount(slot.shape);
  const inArray = (slot: Slot): boolean => shared && slot.keep !== "number";
  const all = [...shape.states, ...shape.values];
  for (const slot of all)
    if (inArray(slot))
      arrays.set(slot, build.array(slot.name, elementOf(slot), blocking.rows * rowPitch(slot, blocking)));

  const reading = new Set<Slot>();
  const writing = new Set<Slot>();
  const fence = (): void => {
    if (reading.size + writing.size === 0) return;
    build.barrier();
    reading.clear();
    writing.clear();
  };

  const decode = (slot: Slot, raw: Expr): Expr => (slot.dtype === "bool" ? k.notEqual(raw, 0) : raw);
  const encode = (slot: Slot, value: Expr): Expr =>
    slot.dtype === "bool" ? k.select(value, k.u32(1), k.u32(0)) : k.convert(elementOf(slot), value);
  const global = (slot: Slot, access: "read" | "read_write"): string =>
    build.view(storageOf(slot), elementOf(slot), access);
  const globalAt = (slot: Slot, position: Expr): Expr => k.add(k.mul(row, size(slot)), position);
  /** The offset of an element in the array of a slot; `column` is in the block. */
  const arrayAt = (slot: Slot, position: Expr): Expr => k.add(k.mul(team, rowPitch(slot, blocking)), position);
  const read = (slot: Slot, position: Expr): Expr => {
    if (!inArray(slot))
      return decode(slot, k.loadBuffer(global(slot, "read"), elementOf(slot), globalAt(slot, position)));
    const local = slot.keep === "columns" ? k.sub(position, first) : position;
    return decode(slot, k.loadShared(arrays.get(slot)!, elementOf(slot), arrayAt(slot, local)));
  };

  const readerOf =
    (slot: Slot) =>
    (environment: Environment, load: Load<Concrete>): Expr => {
      if (slot.keep === "number") return numbers.get(slot)!;
      let within: Expr | null = null;
      const at = load.at.slice(1).map((scalar, axis) => {
        let index = lowerIndex(environment, scalar);
        if (load.guarded) {
          index = environment.build.bind("at", index);
          const inside = k.less(index, slot.shape[axis]!);
          within = within === null ? inside : k.and(within, inside);
          index = k.select(inside, index, 0);
        }
        return index;
      });
      // what a condition excludes may be read all the same: anywhere in the block
      if (inArray(slot) && slot.keep === "columns" && (load.guarded || !shape.unconditional.has(scalarKey(load))))
        at[0] = k.add(first, k.min(k.sub(at[0]!, first), blocking.block - 1));
      const element = read(slot, flatten(slot.shape, at));
      return within === null ? element : k.select(within, element, k.literal(load.dtype, 0));
    };

  /** Runs `body` for each position below `count`, shared among the lanes. */
  const each = (count: number, body: (position: Expr) => void): void => {
    if (count === 1) blocking.lanes === 1 ? body(k.u32(0)) : build.when(k.equal(lane, 0), () => body(k.u32(0)));
    else build.loop("element", lane, k.u32(count), body, blocking.lanes);
  };
  const guarded = (condition: Expr | null, then: () => void): void => {
    if (condition === null) then();
    else build.when(condition, then);
  };
  const and = (a: Expr | null, b: Expr | null): Expr | null => (a === null ? b : b === null ? a : k.and(a, b));
  /** Whether a column counted from the block's first is one of the tensor. */
  const inTensor = (slot: Slot, local: Expr): Expr | null =>
    slot.keep === "columns" ? k.less(k.add(first, local), slot.shape[0]!) : null;

  const readers: Environment["readers"] = new Map(
    [...shape.slots].flatMap(([id, slot]) =>
      inArray(slot) || slot.keep === "number" ? [[id, readerOf(slot)] as const] : [],
    ),
  );
  const element = (slot: Slot, at: readonly Expr[]): Expr =>
    slot.keep === "number" ? numbers.get(slot)! : read(slot, flatten(slot.shape, at));
  const store = (slot: Slot, at: readonly Expr[], value: Expr, add = false): void => {
    const within = at.map((index, axis) => k.less(index, slot.shape[axis]!)).reduce(k.and, k.bool(true));
    build.when(within, () => {
      const position = build.bind("place", flatten(slot.shape, at));
      const stored = encode(slot, add ? k.add(read(slot, position), value) : value);
      if (!inArray(slot)) build.add(k.store(global(slot, "read_write"), globalAt(slot, position), stored));
      else
        build.add(
          k.storeShared(
            arrays.get(slot)!,
            arrayAt(slot, slot.keep === "columns" ? k.sub(position, first) : position),
            stored,
          ),
        );
    });
  };
  const define = (slot: Slot, value: Expr): void => {
    if (slot.state !== null) {
      build.assign(numbers.get(slot)!, value);
      return;
    }
    // a name of its own even for a variable, which may change before the value is read
    const name = build.fresh(slot.name);
    build.add(k.letIs(name, value));
    numbers.set(slot, k.local(name, value.type));
  };
  const prepare = (reads: readonly Slot[], writes: readonly Slot[]): void => {
    const kept = (slots: readonly Slot[]): readonly Slot[] => slots.filter(inArray);
    if (
      kept(reads).some((slot) => writing.has(slot)) ||
      kept(writes).some((slot) => writing.has(slot) || reading.has(slot))
    )
      fence();
    for (const slot of kept(reads)) reading.add(slot);
    for (const slot of kept(writes)) {
      writing.add(slot);
      // an equation reads what it writes before its own barrier only
      reading.add(slot);
    }
  };
  const load = (): void => {
    const initial = (slot: Slot, position: Expr): Expr =>
      k.loadBuffer(global(slot, "read"), elementOf(slot), globalAt(slot, position));
    const starts = new Map<Slot, string>();
    for (const slot of shape.states) {
      if (slot.keep === "number" && blocking.lanes === 1)
        numbers.set(slot, build.variable(slot.name, decode(slot, initial(slot, k.u32(0)))));
      else if (slot.keep === "number")
        starts.set(slot, build.array(`${slot.name}_start`, elementOf(slot), blocking.rows));
      if (!shared) continue;
      // only the lane that writes a tensor's element reads it; an invocation without a row of its own gets zeros
      const array = starts.get(slot) ?? arrays.get(slot)!;
      const count = slot.keep === "number" ? 1 : keptElements(slot, blocking.block);
      each(count, (local) => {
        const inside = and(context.inside, inTensor(slot, local));
        const to = (value: Expr): void =>
          build.add(k.storeShared(array, slot.keep === "number" ? team : arrayAt(slot, local), value));
        const from = (): void => to(initial(slot, slot.keep === "columns" ? k.add(first, local) : local));
        if (inside === null) from();
        else build.when(inside, from, () => to(k.constant(elementOf(slot), 0)));
      });
      writing.add(slot);
    }
    fence();
    for (const [slot, array] of starts)
      numbers.set(slot, build.variable(slot.name, decode(slot, k.loadShared(array, elementOf(slot), team))));
  };
  const save = (changed: ReadonlySet<Slot>): void => {
    for (const slot of shape.states) {
      if (!changed.has(slot)) continue;
      if (slot.keep === "number") {
        const mine = and(context.inside, blocking.lanes === 1 ? null : k.equal(lane, 0));
        guarded(mine, () => build.add(k.store(global(slot, "read_write"), row, encode(slot, numbers.get(slot)!))));
      } else if (inArray(slot)) {
        each(keptElements(slot, blocking.block), (local) => {
          guarded(and(context.inside, inTensor(slot, local)), () =>
            build.add(
              k.store(
                global(slot, "read_write"),
                globalAt(slot, slot.keep === "columns" ? k.add(first, local) : local),
                k.loadShared(arrays.get(slot)!, elementOf(slot), arrayAt(slot, local)),
              ),
            ),
          );
        });
      }
    }
  };
  const step: StepMemory = {
    reading(reads, body) {
      prepare(reads, []);
      return body({ readers, element });
    },
    writing(slot, reads, body) {
      prepare(reads, [slot]);
      body({
        readers,
        element,
        store: (at, value, add) => store(slot, at, value, add),
        define: (value) => define(slot, value),
      });
    },
  };
  return {
    walk(changed, body) {
      load();
      const columns = build.bind("columns", k.min(k.sub(k.u32(shape.to), first), blocking.block));
      build.loop("column", k.u32(0), columns, (column) => {
        body(column, step);
        fence();
      });
      save(changed);
    },
  };
}
