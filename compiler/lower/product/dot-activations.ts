/** Activations of a product of integers in workgroup memory, arranged as the codes of the weights are. */
import { codeOf } from "../../formats/code/registry.js";
import type { Codes } from "../../formats/code/code.js";
import { codeFactor } from "../../formats/code/codes.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import type { Environment } from "../toolkit/scalar.js";
import type { SlotActivations, TeamActivations } from "./team.js";
import { groupedPart, sumOfPairs } from "./dot-pairs.js";
import type { DotSides } from "./dot-sides.js";
import { entryPlaces, pairTable, spreadCodes, tableWords } from "./dot-sparse.js";
import { roundedMemory, roundedRow, stagedBytes, type RoundedRow } from "./dot-staging.js";
import { rowAt } from "./right.js";

/**
 * Where activations are arranged as the codes are: in the registers of each lane, in workgroup memory for all teams, or
 * there as a table of the pairs of each group, in which 2:4 codes look theirs up; else those are spread over the columns.
 * `table_by_dots`: places in the table are computed by dots, not shifts.
 */
export type KeptIn = "lanes" | "workgroup" | "table" | "table_by_dots";

/** How activations are kept. */
interface Keeping {
  readonly lanes: number;
  readonly slots: number;
  readonly memories: number;
  readonly keeps: KeptIn;
}

const isTable = (keeps: KeptIn): boolean => keeps === "table" || keeps === "table_by_dots";

/** Words that a lane can keep in registers besides all else. */
const heldWords = 40;

/** Bytes of workgroup memory. */
export function activationBytes(sides: DotSides, { lanes, slots, memories, keeps }: Keeping, tokens: number): number {
  if (keeps === "lanes") return 0;
  const parts = slots * (sides.columns / sides.part);
  const words = isTable(keeps) ? tableWords(parts, lanes) : parts * (sides.part / 4) * lanes;
  const rounded = sides.pack === null ? 0 : stagedBytes(sides.pack, slots * lanes * sides.columns);
  return memories * tokens * (4 * (words + slots * lanes) + rounded);
}

/** What the kernel of a product needs of its activations. */
export function activationsOf(given: {
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  readonly sides: DotSides;
  readonly schedule: Keeping;
  readonly lane: Expr;
  /** Invocations of the workgroup. */
  readonly size: number;
  readonly tokens: readonly Environment[];
}): TeamActivations<Codes> {
  const { lowering, build, sides, schedule, lane, size, tokens } = given;
  const { lanes, slots, memories, keeps } = schedule;
  const [table, shared] = [isTable(keeps), keeps !== "lanes"];
  const { left, columns, part, units, layout } = sides;
  const parts = columns / part;
  const perToken = table ? tableWords(slots * parts, lanes) : slots * parts * lanes;
  const vector = `vec${(part / 4) as 2 | 3 | 4}<u32>` as const;
  /** Of a memory. */
  const [perMemory, scalesPerMemory] = [perToken * tokens.length, slots * lanes * tokens.length];
  const array = !shared ? "" : build.array("left", table ? "u32" : vector, perMemory * memories);
  const scales = !shared ? "" : build.array("left_scale", "f32", scalesPerMemory * memories);
  // the words of a part in the order of the codes, unless those are spread
  const order = layout.dense ? sides.order : upTo(part / 4).map((word) => upTo(4).map((byte) => 4 * word + byte));
  const pairs = table ? pairTable(build, array, { lanes, layout, byDots: keeps === "table_by_dots" }) : null;
  // a table's groups are an item each, so that all invocations have as much to do
  const groups = table ? part / 4 : 1;
  const places = layout.dense ? null : entryPlaces(layout);

  /** A part of a token's activations as they are stored, at `index` (u32) among those of its row. */
  const read = (row: Expr, index: Expr): Codes =>
    codeOf(left.spec).codes!.read(
      left.spec,
      left.shape,
      build.words(lowering.storage[left.load.tensor]!),
      row,
      build.bind("part", index),
    );

  /** What reads a part of a token's row, `index` (u32) counted from the row's first; where but a word of it is wanted, `only` says which. */
  type PartReader = (index: Expr, only: Expr | null) => Codes;
  const packed = (): readonly PartReader[] =>
    tokens.map((token) => {
      const row = rowAt(lowering.graph, left, token);
      return (index) => read(row, index);
    });
  const staged = slots * lanes * columns;
  /** Rows that are rounded here, some columns at a time. */
  const rounding =
    sides.pack === null || !shared
      ? null
      : (() => {
          const { pack } = sides;
          const memory = roundedMemory(build, pack, size, staged, tokens.length * memories);
          return tokens.map((token, at) => {
            const inMemory = { memory, at, apart: tokens.length };
            return roundedRow({ build, pack, left, token, size, columns: staged, ...inMemory });
          });
        })();
  const firstColumn = (firstSlot: Expr): Expr => build.bind("first_column", k.mul(firstSlot, lanes * columns));
  const rounded = (rows: readonly RoundedRow[], firstSlot: Expr, memory: Expr | null): readonly PartReader[] => {
    const first = firstColumn(firstSlot);
    return rows.map(
      (row) => (index, only) =>
        row.read(build.bind("column", k.sub(k.mul(index, part), first)), part / 4, only, memory),
    );
  };

  const items = slots * parts * lanes * groups;
  const placeOf = (item: Expr, firstSlot: Expr): ItemPlace => {
    const owner = build.bind("owner", k.rem(item, lanes));
    const rest = build.bind("rest", k.div(item, lanes));
    const group = build.bind("group", k.rem(rest, groups));
    const place = build.bind("place", k.div(rest, groups));
    const slot = build.bind("slot", k.div(place, parts));
    // where there are no more units the last one fills what is read and not counted
    const unit = build.bind("unit", k.min(k.add(k.mul(k.add(firstSlot, slot), lanes), owner), units - 1));
    const piece = build.bind("piece", k.rem(place, parts));
    return { item, owner, group, place, slot, index: k.add(k.mul(unit, parts), piece), piece };
  };
  const readItem = ({ index, group }: ItemPlace, readPart: PartReader): Codes =>
    readPart(index, groups === 1 ? null : group);
  /** Puts the part of an item where the units of the weights look it up. */
  const put = (
    { item, owner, group, place, slot, piece }: ItemPlace,
    codes: Codes,
    t: number,
    memory: Expr | null,
  ): void => {
    const first = groups === 1 ? k.equal(piece, 0) : k.and(k.equal(piece, 0), k.equal(group, 0));
    build.when(first, () =>
      build.add(
        k.storeShared(
          scales,
          inMemory(k.add(k.add(k.mul(slot, lanes), owner), t * slots * lanes), memory, scalesPerMemory),
          k.mul(codes.scale, k.f32(layout.factor)),
        ),
      ),
    );
    if (pairs !== null) pairs.fill(codes.words, group, place, inMemory(owner, memory, perMemory), t * perToken);
    else
      build.add(
        k.storeShared(
          array,
          inMemory(k.add(item, t * perToken), memory, perMemory),
          k.vector(order.map((bytes) => gather(build, codes.words, bytes))),
        ),
      );
  };

  function stage(firstSlot: Expr): () => void {
    if (!shared) return () => {};
    const first = rounding === null ? null : firstColumn(firstSlot);
    // what several tokens load would not find registers
    const one = rounding?.length === 1 ? rounding[0]!.roundLater(first!, null) : null;
    return () => {
      if (one !== null) one();
      else for (const row of rounding ?? []) row.round(first!, null);
      if (rounding !== null) build.barrier();
      const readers = rounding === null ? packed() : rounded(rounding, firstSlot, null);
      readers.forEach((readPart, t) => {
        build.loop(
          "item",
          k.builtin("local_index"),
          k.u32(items),
          (item) => {
            const place = placeOf(item, firstSlot);
            put(place, readItem(place, readPart), t, null);
          },
          size,
        );
      });
      build.barrier();
    };
  }

  /** The items of this invocation, of each token: `work` for each, where there is one. */
  const eachItem = (work: (item: Expr) => void): void => {
    for (const turn of upTo(Math.ceil(items / size))) {
      const item = build.bind("item", k.add(k.builtin("local_index"), turn * size));
      if ((turn + 1) * size <= items) work(item);
      else build.when(k.less(item, items), () => work(item));
    }
  };
  const arrange = (firstSlot: Expr, memory: Expr, readers: readonly PartReader[]): void =>
    readers.forEach((readPart, t) =>
      eachItem((item) => {
        const place = placeOf(item, firstSlot);
        put(place, readItem(place, readPart), t, memory);
      }),
    );
  /** Loads the parts of this invocation; what is returned puts them into a memory. */
  const arrangeLoaded = (firstSlot: Expr, memory: Expr | null): (() => void) => {
    const loaded = packed().map((readPart) =>
      upTo(Math.ceil(items / size)).map((turn) => {
        const local = build.bind("item", k.add(k.builtin("local_index"), turn * size));
        const item = (turn + 1) * size <= items ? local : build.bind("item", k.min(local, items - 1));
        const place = placeOf(item, firstSlot);
        const codes = readItem(place, readPart);
        return {
          place,
          inside: item === local ? null : k.less(local, items),
          codes: { ...codes, scale: build.bind("x_scale", codes.scale) },
        };
      }),
    );
    return () =>
      loaded.forEach((own, t) =>
        own.forEach(({ place, inside, codes }) => {
          const store = (): void => put(place, codes, t, memory);
          if (inside === null) store();
          else build.when(inside, store);
        }),
      );
  };
  const turns: TeamActivations<Codes>["turns"] = {
    first() {
      if (rounding === null) return arrange(k.u32(0), k.u32(0), packed());
      for (const row of rounding) row.round(k.u32(0), k.u32(0));
      build.barrier();
      arrange(k.u32(0), k.u32(0), rounded(rounding, k.u32(0), k.u32(0)));
      for (const row of rounding) row.round(firstColumn(k.u32(slots)), k.u32(1));
    },
    all(chunks) {
      const memoryOf = upTo(chunks).map((chunk) => ({ first: k.u32(chunk * slots), memory: k.u32(chunk) }));
      if (rounding !== null) {
        for (const { first, memory } of memoryOf) for (const row of rounding) row.round(firstColumn(first), memory);
        build.barrier();
      }
      for (const { first, memory } of memoryOf)
        arrange(first, memory, rounding === null ? packed() : rounded(rounding, first, memory));
    },
    next(chunk, memory) {
      const after = build.bind("after", k.mul(k.add(chunk, 1), slots));
      // rounded are those of the chunk after the next meanwhile, where those are read that are multiplied now
      if (rounding !== null) {
        const first = firstColumn(k.add(after, slots));
        const rounds = rounding.map((row) => row.roundLater(first, k.sub(k.u32(1), memory)));
        return () => {
          arrange(after, memory, rounded(rounding, after, memory));
          for (const round of rounds) round();
        };
      }
      return arrangeLoaded(after, memory);
    },
  };

  function slot(at: number, memory: Expr | null): SlotActivations<Codes> {
    const own = shared ? null : ownParts(at);
    const here = pairs === null ? lane : build.bind("here", inMemory(lane, memory, perMemory));
    const scale = tokens.map((_, t) =>
      own !== null
        ? build.bind("x_scale", k.mul(own[t]![0]!.scale, k.f32(layout.factor)))
        : build.bind(
            "x_scale",
            k.loadShared(scales, "f32", inMemory(k.add(lane, (at + t * slots) * lanes), memory, scalesPerMemory)),
          ),
    );
    const add = (total: Expr, t: number, codes: Codes, sum: Expr, weights: Expr | null): void => {
      const value = k.convert("f32", total);
      const shifted = codes.zero === null || weights === null ? value : k.sub(value, k.mul(codes.zero, weights));
      build.assign(sum, k.fma(shifted, k.mul(codes.scale, scale[t]!), sum));
    };
    if (pairs !== null)
      return {
        add(codes, sums) {
          sums.forEach((sum, t) => {
            const { total, activations } = pairs.sum(codes, at * parts, parts, here, t * perToken);
            add(total, t, codes, sum, activations);
          });
        },
      };
    if (own !== null && pairsPay(lowering, sides)) {
      const grouped = own.map((held) =>
        held.map(({ words }) =>
          groupedPart(build, (place) => gather(build, words, [8 + place, 12 + place, place, 4 + place])),
        ),
      );
      return {
        add: (codes, sums) => sums.forEach((sum, t) => add(sumOfPairs(build, codes, grouped[t]!), t, codes, sum, null)),
      };
    }
    const words = tokens.map((_, t) =>
      upTo(parts).flatMap((piece) => {
        if (own !== null) return order.map((bytes) => gather(build, own[t]![piece]!.words, bytes));
        const four = build.bind(
          "x4",
          k.loadShared(
            array,
            vector,
            inMemory(k.add(lane, (at * parts + piece) * lanes + t * perToken), memory, perMemory),
          ),
        );
        return upTo(part / 4).map((word) => k.component(four, word));
      }),
    );
    const totals = words.map((some) => (layout.zero && layout.dense ? sumOf(build, some) : null));
    return {
      add(codes, sums) {
        const weights =
          places === null
            ? sides.words.flat().map((word) => codes.words[word]!)
            : spreadCodes(build, codes, places, columns / 4);
        // a zero point is taken off where there is an entry, and nowhere else
        const kept =
          places === null || codes.zero === null
            ? null
            : spreadCodes(build, { ...codes, words: codes.words.map(() => k.u32(ones)) }, places, columns / 4);
        sums.forEach((sum, t) => {
          const total = weights.reduce<Expr | null>((all, word, at) => {
            const one = k.call("dot4I8Packed", [word, words[t]![at]!]);
            return all === null ? one : k.add(all, one);
          }, null)!;
          add(total, t, codes, sum, kept === null ? totals[t]! : sumOf(build, words[t]!, kept));
        });
      },
    };
  }

  /** The parts of this lane's unit in a slot, of each token. */
  function ownParts(at: number): readonly (readonly Codes[])[] {
    const unit = build.bind("unit", k.min(k.add(lane, at * lanes), units - 1));
    return tokens.map((token) => {
      const row = rowAt(lowering.graph, left, token);
      return upTo(parts).map((piece) => read(row, k.add(k.mul(unit, parts), piece)));
    });
  }

  const words = slots * parts * (part / 4) * tokens.length;
  const begin = (): void => rounding?.forEach((row) => row.begin());
  return { begin, stage, slot, turns, holds: !table && (!shared || words + slots <= heldWords) };
}

/** What an invocation arranges: a part of a unit, or of a table a group of it. */
interface ItemPlace {
  readonly item: Expr;
  /** The lane that has the unit, and the slot that it is in. */
  readonly owner: Expr;
  readonly slot: Expr;
  /** The part among those of the row, of the slots, and of its unit. */
  readonly index: Expr;
  readonly place: Expr;
  readonly piece: Expr;
  readonly group: Expr;
}

/** A place in the memory of that number, each so long. */
function inMemory(place: Expr, memory: Expr | null, length: number): Expr {
  return memory === null ? place : k.add(place, k.mul(memory, length));
}

/** Whether 2:4 codes of four bits are multiplied by pairs: where four bytes at once are no instruction of the device. */
function pairsPay({ target }: Lowering, { layout, part }: DotSides): boolean {
  return target.kind === "cpu" && !layout.dense && !layout.zero && layout.factor === codeFactor(4) && part === 16;
}

/** Four bytes of 1. */
const ones = 0x01010101;

/** The sum of all bytes, each as often as `times` says, f32. */
function sumOf(build: KernelBuilder, words: readonly Expr[], times: readonly Expr[] = []): Expr {
  const total = words
    .map((word, at) => k.call("dot4I8Packed", [word, times[at] ?? k.u32(ones)]))
    .reduce((all, one) => k.add(all, one));
  return build.bind("x_sum", k.convert("f32", total));
}

/** A word of some bytes of others. */
function gather(build: KernelBuilder, words: readonly Expr[], bytes: readonly number[]): Expr {
  if (bytes.every((byte, at) => byte === bytes[0]! + at) && bytes[0]! % 4 === 0) return words[bytes[0]! / 4]!;
  const parts = bytes.map((byte, at) => {
    const [word, from] = [words[byte >> 2]!, byte & 3];
    const masked = k.bitAnd(word, (0xff << (8 * from)) >>> 0);
    return from > at ? k.shiftRight(masked, 8 * (from - at)) : k.shiftLeft(masked, 8 * (at - from));
  });
  return build.bind("gathered", parts.reduce(k.bitOr));
}
