/**
 * Activations that n:m units look up in workgroup memory: of each unit the columns of all lanes lie side by side, so that
 * lanes read different banks whatever columns they have kept.
 */
import type { Stored } from "../../formats/code/code.js";
import type { Product, ProductRows, ProductTerm } from "../../graph/analysis/product.js";
import { withoutCasts } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import { byteSize, type Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Target } from "../../target.js";
import { fixedSubgroup } from "../toolkit/team.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { Environment } from "../toolkit/scalar.js";
import { leftUnit } from "./left.js";
import { wholeRange } from "./right.js";
import { leftReduces } from "./staged.js";
import type { TeamActivations } from "./team.js";

/** Each token is a sum for each row, and takes as much workgroup memory. */
const lookupTokens = 4;

/** The columns of a unit of weights, where a product may look its activations up; else null. */
export function lookupColumns(product: Product, target: Target): number | null {
  const [first] = product.terms;
  if (target.kind !== "gpu" || (fixedSubgroup(target) ?? 0) < 4) return null;
  if (product.sizes.batch !== 1 || product.sizes.m > lookupTokens || leftReduces(product)) return null;
  const columns = first?.rows?.unit?.columns ?? null;
  const fits = product.terms.every(
    (term) =>
      term.rows !== null &&
      !term.rows.load.guarded &&
      term.rows.unit?.columns === columns &&
      term.rows.format.pattern(term.rows.spec)?.kind === "nm" &&
      term.leftKey === first?.leftKey &&
      wholeRange(term) &&
      term.rows.shape.columns === first.rows?.shape.columns,
  );
  return fits && columns !== null && columns % 4 === 0 ? columns : null;
}

/** Columns of a unit that an invocation arranges at once: so many, up to 16, that each has one such item. */
function columnsOfItem(columns: number, staged: number, size: number): number {
  const widths = [4, 8, 16].filter((width) => columns % width === 0);
  return widths.find((width) => staged / width <= size) ?? widths[widths.length - 1]!;
}

/** A unit of n:m weights as it is read, and whether it is one of its row's; null where it is. */
export interface LookupUnit {
  readonly stored: Stored;
  readonly inside: Expr | null;
}

/** How activations are kept. */
interface Keeping {
  readonly lanes: number;
  readonly slots: number;
  readonly memories: number;
  readonly element: LookupElement;
}

/** Bytes of workgroup memory, with units of so many columns. */
export function lookupBytes(columns: number, { lanes, slots, memories, element }: Keeping, tokens: number): number {
  return byteSize(element) * memories * tokens * slots * columns * lanes;
}

/** What activations are kept as. */
export type LookupElement = "f32" | "f16";

/** The narrowest that the activations of a product may be kept as: as they are stored, so that nothing is lost. */
export function lookupElement({ graph, target }: Pick<Lowering, "graph" | "target">, term: ProductTerm): LookupElement {
  const [only, ...others] = term.left;
  const left = only === undefined || others.length > 0 ? null : withoutCasts(only);
  const isHalf = left?.kind === "load" && graph.values[left.tensor]!.type.dtype === "f16";
  return target.f16 && isHalf && graph.values[left.tensor]!.type.format === null ? "f16" : "f32";
}

/** What the kernel of a product needs of its activations. */
export function lookupActivations(given: {
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  readonly term: ProductTerm;
  readonly rows: ProductRows;
  /** Of a unit. */
  readonly columns: number;
  readonly keeping: Keeping;
  readonly lane: Expr;
  /** Invocations of the workgroup. */
  readonly size: number;
  readonly tokens: readonly Environment[];
}): TeamActivations<LookupUnit> {
  const { lowering, build, term, rows, columns, keeping, lane, size, tokens } = given;
  const { lanes, slots, memories, element } = keeping;
  const perToken = slots * columns * lanes;
  const perMemory = perToken * tokens.length;
  const array = build.array("left", element, perMemory * memories);
  const layout = element === "f16" && columns % 8 === 0 ? pairedColumns(lanes) : singleColumns(lanes, columns);
  const units = rows.shape.columns / columns;
  const perItem = columnsOfItem(columns, perToken, size);
  const items = perToken / perItem;
  const turnsOf = upTo(Math.ceil(items / size));

  /** What an invocation arranges in a turn, loaded. */
  const load = (turn: number, firstSlot: Expr): Loaded => {
    const local = build.bind("item", k.add(k.builtin("local_index"), turn * size));
    const item = (turn + 1) * size <= items ? local : build.bind("item", k.min(local, items - 1));
    const owner = build.bind("owner", k.rem(item, lanes));
    const place = build.bind("place", k.div(item, lanes));
    const slot = k.div(place, columns / perItem);
    // where there are no more units the last one fills what is read and not counted
    const unit = build.bind("unit", k.min(k.add(k.mul(k.add(firstSlot, slot), lanes), owner), units - 1));
    const within = k.mul(k.rem(place, columns / perItem), perItem);
    const firstColumn = build.bind("column", k.add(k.mul(unit, columns), within));
    return {
      inside: item === local ? null : k.less(local, items),
      first: build.bind("first", layout.groupAt(k.mul(place, perItem / 4), owner)),
      values: leftUnit(lowering, build, { term, tokens, firstColumn }, perItem, element).map((some) =>
        some.map((value) => build.bind("x", value)),
      ),
    };
  };
  const put = ({ inside, first, values }: Loaded, memory: Expr | null): void => {
    const store = (): void =>
      values.forEach((some, t) =>
        some.forEach((value, at) =>
          build.add(
            k.storeShared(
              array,
              k.add(inMemory(first, memory), t * perToken + layout.placeOf(at)),
              k.convert(element, value),
            ),
          ),
        ),
      );
    if (inside === null) store();
    else build.when(inside, store);
  };
  const inMemory = (place: Expr, memory: Expr | null): Expr =>
    memory === null ? place : k.add(place, k.mul(memory, perMemory));
  /** Loads what some slots' are made of, all at once; what is returned puts them into a memory. */
  const arrange = (firstSlot: Expr, memory: Expr | null): (() => void) => {
    const loaded = turnsOf.map((turn) => load(turn, firstSlot));
    return () => {
      for (const each of loaded) put(each, memory);
    };
  };

  return {
    begin() {},
    stage(firstSlot) {
      const put = arrange(firstSlot, null);
      return () => {
        put();
        build.barrier();
      };
    },
    holds: false,
    turns: {
      first: () => arrange(k.u32(0), k.u32(0))(),
      all(chunks) {
        const stores = upTo(chunks).map((chunk) => arrange(k.u32(chunk * slots), k.u32(chunk)));
        for (const store of stores) store();
      },
      next: (chunk, memory) => arrange(build.bind("after", k.mul(k.add(chunk, 1), slots)), memory),
    },
    slot(at, memory) {
      const base = layout.base(lane);
      const placeOf = layout.reader(
        build,
        memory === null ? base : build.bind("here", k.add(base, k.mul(memory, perMemory))),
      );
      const read = ({ fixed, moved }: Place, t: number): Expr =>
        k.convert("f32", k.loadShared(array, element, k.add(moved, at * columns * lanes + fixed + t * perToken)));
      return {
        add({ stored, inside }, sums) {
          if (inside === null) addUnit(stored, sums, placeOf, read);
          else build.when(inside, () => addUnit(stored, sums, placeOf, read));
        },
      };
    },
  };

  function addUnit(
    { entries, scale, zero }: Stored,
    sums: readonly Expr[],
    placeOf: (column: number | Expr) => Place,
    read: (place: Place, token: number) => Expr,
  ): void {
    const totals = scale === null ? sums : sums.map(() => build.variable("partial", k.f32(0)));
    for (const { column, value } of entries) {
      const place = placeOf(column);
      const weight = build.bind("w", zero === null ? value : k.sub(value, zero));
      totals.forEach((total, t) => build.assign(total, k.fma(weight, read(place, t), total)));
    }
    if (scale === null) return;
    const factor = build.bind("scale", scale);
    sums.forEach((sum, t) => build.assign(sum, k.fma(totals[t]!, factor, sum)));
  }
}

/** What an invocation arranges. */
interface Loaded {
  /** Whether there is something; null where there is. */
  readonly inside: Expr | null;
  /** Where the first column goes. */
  readonly first: Expr;
  /** Of each token. */
  readonly values: readonly (readonly Expr[])[];
}

/** A place in workgroup memory: a number, and what is data. */
interface Place {
  readonly fixed: number;
  readonly moved: Expr;
}

/** Where the columns of a unit stand for all lanes; a number of elements for each column and lane. */
interface ColumnLayout {
  /** Of the lane `owner` the first column of a group of four that is the `place`-th. */
  groupAt(place: Expr, owner: Expr): Expr;
  /** A column's, counted from the first of its group, or of the group before where that one begins a pair of them. */
  placeOf(column: number): number;
  /** Where a lane begins. */
  base(lane: Expr): Expr;
  /** What gives the place of a column of the unit, for what begins at `base`. */
  reader(build: KernelBuilder, base: Expr): (column: number | Expr) => Place;
}

/** Elements of a word each: those of all lanes side by side. */
function singleColumns(lanes: number, columns: number): ColumnLayout {
  return {
    groupAt: (place, owner) => k.add(k.mul(place, 4 * lanes), owner),
    placeOf: (column) => column * lanes,
    base: (lane) => lane,
    reader: (_build, base) => (column) => {
      const { first, position } = partsOf(column);
      const fixed = first * lanes;
      if (position === null) return { fixed, moved: base };
      const field = fieldOf(position);
      if (field === null) return { fixed, moved: k.add(k.mul(position, lanes), base) };
      const bits = timesPower(field, Math.log2(lanes));
      // what begins at multiples of all that a field may be has none of its bits
      return { fixed, moved: columns % (field.mask + 1) === 0 ? k.bitOr(bits, base) : k.add(bits, base) };
    },
  };
}

/**
 * Elements of half a word: columns 0 and 1 of a group of four in one, 2 and 3 in another, each lane's in its own bank. The
 * first words of two groups come before their second ones: so the two bits of a position stand where a mask takes both at
 * once out of a word whose bits have been spread once for all its positions.
 */
function pairedColumns(lanes: number): ColumnLayout {
  const pair = 2 * lanes;
  const placeIn = (column: number): number => {
    const group = column >> 2;
    return (group >> 1) * 4 * pair + (group & 1) * pair + ((column >> 1) & 1) * 2 * pair + (column & 1);
  };
  const high = Math.log2(2 * pair);
  return {
    groupAt: (place, owner) =>
      k.add(k.add(k.mul(k.div(place, 2), 4 * pair), k.mul(k.rem(place, 2), pair)), k.mul(owner, 2)),
    placeOf: placeIn,
    base: (lane) => k.mul(lane, 2),
    reader(build, base) {
      const start = build.bind("start", base);
      const spread = new Map<string, Expr>();
      /** A word whose odd bits are `high - 1` further up. */
      const spreadOf = (word: Expr): Expr => {
        const key = JSON.stringify(word);
        const known = spread.get(key);
        if (known !== undefined) return known;
        const odd = k.bitAnd(k.shiftLeft(word, high - 1), (0xaaaaaaaa << (high - 1)) >>> 0);
        const made = build.bind("spread", k.bitOr(k.bitAnd(word, 0x55555555), odd));
        spread.set(key, made);
        return made;
      };
      return (column) => {
        const { first, position } = partsOf(column);
        if (position === null) return { fixed: placeIn(first), moved: start };
        const field = fieldOf(position);
        const fits = field !== null && field.mask === 3 && field.by % 2 === 0 && field.by + high < 32;
        if (fits && first % 4 === 0 && high % 2 === 1) {
          const bits = k.bitAnd(k.shiftRight(spreadOf(field.word), field.by), (1 << high) | 1);
          return { fixed: placeIn(first), moved: k.bitOr(bits, start) };
        }
        const at = build.bind("at", k.add(position, first));
        const group = k.shiftRight(at, 2);
        const parts = [
          k.mul(k.shiftRight(group, 1), 4 * pair),
          k.mul(k.bitAnd(group, 1), pair),
          k.mul(k.bitAnd(k.shiftRight(at, 1), 1), 2 * pair),
          k.bitAnd(at, 1),
        ];
        return { fixed: 0, moved: k.add(parts.reduce(k.add), start) };
      };
    },
  };
}

/** A column of a unit: the first of its group, and its position among those; null where it is not data. */
function partsOf(column: number | Expr): { readonly first: number; readonly position: Expr | null } {
  if (typeof column === "number") return { first: column, position: null };
  return column.kind === "binary" && column.op === "add" && column.b.kind === "literal"
    ? { first: column.b.value, position: column.a }
    : { first: 0, position: column };
}

/** `(word >> by) & mask`. */
interface Field {
  readonly word: Expr;
  readonly by: number;
  readonly mask: number;
}

/** The field of a word that an expression is; null for other expressions. */
function fieldOf(value: Expr): Field | null {
  if (value.kind !== "binary" || value.op !== "bit_and" || value.b.kind !== "literal") return null;
  const { a: from, b: mask } = value;
  return from.kind === "binary" && from.op === "shift_right" && from.b.kind === "literal"
    ? { word: from.a, by: from.b.value, mask: mask.value }
    : { word: from, by: 0, mask: mask.value };
}

/** A field times a power of two, by one shift and one mask. */
function timesPower({ word, by, mask }: Field, amount: number): Expr {
  const shifted = by >= amount ? k.shiftRight(word, by - amount) : k.shiftLeft(word, amount - by);
  return k.bitAnd(shifted, (mask << amount) >>> 0);
}
