/** Where the kernel of a block keeps what a row has: variables, workgroup memory, or the tensors' own storage. */
import type { Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, KernelType } from "../../kernel/kernel.js";
import type { Storage } from "../../graph/storage.js";
import type { Concrete } from "../../types/type.js";
import { bufferElement, type KernelBuilder } from "../toolkit/builder.js";
import { flatten, lowerIndex, type Scope } from "../toolkit/scalar.js";
import type { Columnwise, Slot } from "./columnwise.js";
import { keptElements, type Cut } from "./cut.js";

/** What the kernel of a block knows at its start. */
export interface BlockPlace {
  readonly build: KernelBuilder;
  readonly shape: Columnwise;
  readonly cut: Cut;
  /**
   * The row that the invocation works on, in range; which of its lanes it is; which of the workgroup's rows it is. u32.
   */
  readonly row: Expr;
  readonly lane: Expr;
  readonly team: Expr;
  /** The first column of the block, u32. */
  readonly first: Expr;
  /** Whether the invocation has a row of its own; null where all have. */
  readonly inside: Expr | null;
}

/** The memory of the slots of one kernel. */
export interface BlockMemory {
  /** How loads from slots are lowered. */
  readonly held: Scope["held"];
  /** An element at indices beside the row, which are in range. */
  element(slot: Slot, at: readonly Expr[]): Expr;
  /** Stores an element at indices beside the row; those out of range are dropped. With `add`, increases it. */
  store(slot: Slot, at: readonly Expr[], value: Expr, add?: boolean): void;
  /** Gives a number its value in this step. */
  define(slot: Slot, value: Expr): void;
  /**
   * Makes sure that what was written before is seen, and what was read before is not overwritten. Call before an
   * equation.
   */
  prepare(reads: readonly Slot[], writes: readonly Slot[]): void;
  /** Ends a step: nothing is under way any more. */
  settle(): void;
  /** Brings in the states of the block. */
  load(): void;
  /** Writes the changed ones back. */
  save(changed: ReadonlySet<Slot>): void;
}

/** Makes the memory; `storageOf` gives the tensor of a slot. */
export function createMemory(place: BlockPlace, storageOf: (slot: Slot) => Storage): BlockMemory {
  const { build, shape, cut, row, lane, team, first } = place;
  const shared = cut.memory === "workgroup";
  const arrays = new Map<Slot, string>();
  const numbers = new Map<Slot, Expr>();
  const elementOf = (slot: Slot): KernelType => bufferElement(slot.dtype);
  const size = (slot: Slot): number => slot.shape.reduce((product, extent) => product * extent, 1);
  const inArray = (slot: Slot): boolean => shared && slot.keep !== "number";
  const all = [...shape.states, ...shape.values];
  for (const slot of all)
    if (inArray(slot))
      arrays.set(slot, build.array(slot.name, elementOf(slot), cut.rows * keptElements(slot, cut.block)));

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
  /** The place of an element in the array of a slot; `column` is in the block. */
  const arrayAt = (slot: Slot, position: Expr): Expr => k.add(k.mul(team, keptElements(slot, cut.block)), position);
  const read = (slot: Slot, position: Expr): Expr => {
    if (!inArray(slot))
      return decode(slot, k.loadBuffer(global(slot, "read"), elementOf(slot), globalAt(slot, position)));
    const local = slot.keep === "columns" ? k.sub(position, first) : position;
    return decode(slot, k.loadShared(arrays.get(slot)!, elementOf(slot), arrayAt(slot, local)));
  };

  const holder =
    (slot: Slot) =>
    (scope: Scope, load: Load<Concrete>): Expr => {
      if (slot.keep === "number") return numbers.get(slot)!;
      let within: Expr | null = null;
      const at = load.at.slice(1).map((scalar, axis) => {
        let index = lowerIndex(scope, scalar);
        if (load.guarded) {
          index = scope.build.bind("at", index);
          const inside = k.less(index, slot.shape[axis]!);
          within = within === null ? inside : k.and(within, inside);
          index = k.select(inside, index, 0);
        }
        return index;
      });
      // what a condition excludes may be read all the same: anywhere in the block
      if (inArray(slot) && slot.keep === "columns" && (load.guarded || !shape.sure.has(load)))
        at[0] = k.add(first, k.min(k.sub(at[0]!, first), cut.block - 1));
      const element = read(slot, flatten(slot.shape, at));
      return within === null ? element : k.select(within, element, k.literal(load.dtype, 0));
    };

  /** Runs `body` for each position below `count`, shared among the lanes. */
  const each = (count: number, body: (position: Expr) => void): void => {
    if (count === 1) cut.lanes === 1 ? body(k.u32(0)) : build.when(k.equal(lane, 0), () => body(k.u32(0)));
    else build.loop("element", lane, k.u32(count), body, cut.lanes);
  };
  const guarded = (condition: Expr | null, then: () => void): void => {
    if (condition === null) then();
    else build.when(condition, then);
  };
  const and = (a: Expr | null, b: Expr | null): Expr | null => (a === null ? b : b === null ? a : k.and(a, b));
  /** Whether a column counted from the block's first is one of the tensor. */
  const inTensor = (slot: Slot, local: Expr): Expr | null =>
    slot.keep === "columns" ? k.less(k.add(first, local), slot.shape[0]!) : null;

  return {
    held: new Map(
      [...shape.slots].flatMap(([id, slot]) =>
        inArray(slot) || slot.keep === "number" ? [[id, holder(slot)] as const] : [],
      ),
    ),
    element: (slot, at) => (slot.keep === "number" ? numbers.get(slot)! : read(slot, flatten(slot.shape, at))),
    store(slot, at, value, add = false) {
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
    },
    define(slot, value) {
      if (slot.state !== null) {
        build.assign(numbers.get(slot)!, value);
        return;
      }
      // a name of its own even for a variable, which may change before the value is read
      const name = build.fresh(slot.name);
      build.add(k.letIs(name, value));
      numbers.set(slot, k.local(name, value.type));
    },
    prepare(reads, writes) {
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
    },
    settle: fence,
    load() {
      const initial = (slot: Slot, position: Expr): Expr =>
        k.loadBuffer(global(slot, "read"), elementOf(slot), globalAt(slot, position));
      const starts = new Map<Slot, string>();
      for (const slot of shape.states) {
        if (slot.keep === "number" && cut.lanes === 1)
          numbers.set(slot, build.variable(slot.name, decode(slot, initial(slot, k.u32(0)))));
        else if (slot.keep === "number") starts.set(slot, build.array(`${slot.name}_start`, elementOf(slot), cut.rows));
        if (!shared) continue;
        // only the lane that writes a tensor's element reads it; an invocation without a row of its own gets zeros
        const array = starts.get(slot) ?? arrays.get(slot)!;
        const count = slot.keep === "number" ? 1 : keptElements(slot, cut.block);
        each(count, (local) => {
          const inside = and(place.inside, inTensor(slot, local));
          const to = (value: Expr): void => build.add(k.storeShared(array, k.add(k.mul(team, count), local), value));
          const from = (): void => to(initial(slot, slot.keep === "columns" ? k.add(first, local) : local));
          if (inside === null) from();
          else build.when(inside, from, () => to(k.constant(elementOf(slot), 0)));
        });
        writing.add(slot);
      }
      fence();
      for (const [slot, array] of starts)
        numbers.set(slot, build.variable(slot.name, decode(slot, k.loadShared(array, elementOf(slot), team))));
    },
    save(changed) {
      for (const slot of shape.states) {
        if (!changed.has(slot)) continue;
        if (slot.keep === "number") {
          const mine = and(place.inside, cut.lanes === 1 ? null : k.equal(lane, 0));
          guarded(mine, () => build.add(k.store(global(slot, "read_write"), row, encode(slot, numbers.get(slot)!))));
        } else if (inArray(slot)) {
          each(keptElements(slot, cut.block), (local) => {
            guarded(and(place.inside, inTensor(slot, local)), () =>
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
    },
  };
}
