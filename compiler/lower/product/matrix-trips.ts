/**
 * Sides of a product by matrices whose words are loaded many columns at once, a trip, and unpacked a slice at a time: a
 * slice has the same few columns of each span of its trip, so that each invocation has a part of every slice in the words
 * that it holds.
 */
import { naturalHalves, reorderHalves } from "../../formats/code/halves.js";
import type { RowOrder } from "../../types/row-order.js";
import type { Section } from "../../formats/format.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { ofSpan, span } from "../toolkit/order.js";
import { withIndices } from "../toolkit/scalar.js";
import { halvesOf } from "./halves.js";
import { live } from "./live.js";
import { run, type DenseSide, type MatrixSide, type StoredSide } from "./matrix-sides.js";
import {
  addAll,
  all,
  liesAlike,
  linesFirst,
  loadsOf,
  sharesOf,
  strideOf,
  together,
  vectorAt,
  vectorOf,
} from "./matrix-staging.js";
import type { StagingPlace } from "./matrix-staging.js";
import { rowAt } from "./right.js";

/** How a trip is cut into slices, in columns. */
export interface Trip {
  readonly trip: number;
  readonly slice: number;
}

/**
 * The row of a block of rows side by side that stands at a place: 0, 1, 4, 5, 2, 3, 6, 7 and so on, as `stdlib/order.esp`
 * has them. Invocations that unpack neighbours then write to different banks of workgroup memory.
 */
function rowBesideAt(at: Expr): Expr {
  const low = k.add(k.rem(at, 2), k.mul(k.rem(k.div(at, 4), 2), 2));
  return k.add(k.mul(k.div(at, 8), 8), k.add(low, k.mul(k.rem(k.div(at, 2), 2), 4)));
}

/** Whether a side's words can be held for a trip, and unpacked slice by slice. */
export function holdsTrips(side: MatrixSide, own: Trip): boolean {
  const { trip, slice } = own;
  if (side.kind === "dense" || trip % span !== 0 || trip % slice !== 0 || span % side.most !== 0) return false;
  const columns = ofSpan(own);
  const together = side.reader === null ? run : Math.max(run, 2 * side.reader.distance);
  return columns % together === 0 && columns % matrixSize === 0 && liesAlike(columns);
}

/** Where the slices of a side stand in workgroup memory. */
interface Memory {
  readonly base: number;
  readonly stride: number;
}

/** Words of a packed side. */
export interface HeldWords {
  /** Those of an invocation of the trip from column `from` on. */
  load(from: Expr): readonly Expr[];
  /** Unpacks slice `phase` of the trip, into workgroup memory from vector `offset` of the side's on. */
  store(from: Expr, phase: number, loaded: readonly Expr[], offset: number): void;
}

/** `natural`: columns in workgroup memory are in their order, not in the reader's. */
export function heldWords(
  { build, ...place }: StagingPlace,
  side: StoredSide,
  { base, stride }: Memory,
  own: Trip,
  natural: boolean,
): HeldWords {
  const { lowering, array, rows, first, environment } = place;
  const columns = ofSpan(own);
  const units = own.trip / span;
  const inRow = side.inner / side.most;
  const ofUnit = span / side.most;
  const beside = lowering.orders.rows.get(side.term.rows!.load.tensor);
  const unpacking = { rows: side.term.rows!, reader: beside?.spread === true ? side.reader!.spread : side.reader };
  const inOrder = ({ at: share, there }: ReturnType<typeof sharesOf>[number], { rows: block }: RowOrder) => {
    // who has no share loads the last one
    const at = there === null ? share : build.bind("at", k.min(share, rows * units - 1));
    // those of a row that are of one trip are neighbours, and then come those of the next row
    const place = build.bind("place", k.rem(k.div(at, units), block));
    const before = build.bind("before", k.sub(k.div(at, units), place));
    const unit = build.bind("in_trip", k.rem(at, units));
    const blockAt = k.mul(k.div(k.add(first, before), block), (side.inner / own.trip) * block);
    return {
      there,
      unit: build.bind("beside", k.add(k.mul(k.add(blockAt, place), units), unit)),
      row: k.u32(0),
      target: build.bind(
        "target",
        k.add(k.add(k.mul(k.add(before, rowBesideAt(place)), stride), base), vectorAt(k.mul(unit, columns))),
      ),
    };
  };
  const pieces = sharesOf({ build, ...place }, rows * units).map((share) => {
    if (beside !== undefined) return inOrder(share, beside);
    const { at, there } = share;
    const [lineAt, unitAt] = linesFirst(units, columns, stride)
      ? [k.add(k.mul(k.div(at, together * units), together), k.rem(at, together)), k.rem(k.div(at, together), units)]
      : [k.div(at, units), k.rem(at, units)];
    const line = build.bind("line", lineAt);
    const unit = build.bind("in_trip", unitAt);
    const outer = build.bind("outer", k.min(k.add(first, line), side.outer - 1));
    return {
      there,
      unit,
      row: rowAt(lowering.graph, side.term.rows!, withIndices(environment, [[side.index, outer]])),
      target: build.bind("target", k.add(k.add(k.mul(line, stride), base), vectorAt(k.mul(unit, columns)))),
    };
  });
  const isWhole = side.inner % own.trip === 0;
  const unitOf = (piece: (typeof pieces)[number], from: Expr): Expr =>
    build.bind(
      "unit",
      k.mul(
        k.add(beside === undefined ? k.div(from, span) : k.mul(k.div(from, own.trip), units * beside.rows), piece.unit),
        ofUnit,
      ),
    );
  /** The words of f16 pairs of a span, with words that `read` gives. */
  const unpack = (
    piece: (typeof pieces)[number],
    from: Expr,
    read: (load: () => Expr) => Expr,
  ): readonly { readonly halves: readonly Expr[]; readonly inside: Expr | null }[] => {
    const words = build.words(lowering.storage[side.term.rows!.load.tensor]!);
    const reader = {
      ...words,
      word: (section: Section, index: Expr) => read(() => words.word(section, index)),
      words4: (section: Section, index: Expr) => read(() => words.words4(section, index)),
      words2: (section: Section, index: Expr) => read(() => words.words2(section, index)),
    };
    const start = unitOf(piece, from);
    return upTo(ofUnit).map((part) => {
      const unit = k.add(start, part);
      const at = isWhole ? unit : build.bind("unit", k.min(unit, inRow - 1));
      return {
        halves: halvesOf(unpacking, build, reader, piece.row, at, side.most),
        inside: isWhole ? null : k.less(unit, inRow),
      };
    });
  };
  return {
    load: (from) => pieces.flatMap((piece) => loadsOf(build, (read) => unpack(piece, from, read))),
    store(from, phase, loaded, offset) {
      let next = 0;
      for (const piece of pieces) {
        const vectors: Expr[] = [];
        const statements = build.collect(() => {
          const parts = unpack(piece, from, () => loaded[next++]!);
          const halves = parts.flatMap((part) => part.halves.map((word) => ({ word, inside: part.inside })));
          const own = halves.slice((phase * columns) / 2, ((phase + 1) * columns) / 2);
          const words = own.map(({ word }) => word);
          const ordered = natural && side.reader !== null ? naturalHalves(build, words, side.reader.distance) : words;
          for (let at = 0; at < ordered.length; at += 4) {
            const four = k.vector(ordered.slice(at, at + 4));
            const { inside } = own[at]!;
            vectors.push(
              build.bind("four", inside === null ? four : k.select(inside, four, k.constant("vec4<u32>", 0))),
            );
          }
        });
        const put = (): void => {
          addAll(build, live(statements, vectors));
          vectors.forEach((vector, at) =>
            build.add(k.storeShared(array, k.add(piece.target, offset + vectorOf(run * at)), vector)),
          );
        };
        if (piece.there === null) put();
        else build.when(piece.there, put);
      }
    },
  };
}

/** Activations of a slice, on their way through workgroup memory. */
export interface StagedLeft {
  load(from: Expr, phase: number): readonly Expr[];
  store(from: Expr, phase: number, loaded: readonly Expr[], offset: number): void;
}

/** The columns of a span lie as the words of the other sides have them: `distance` apart in a word. */
export function stagedLeft(place: StagingPlace, side: DenseSide, { base, stride }: Memory, own: Trip): StagedLeft {
  const { build, array, rows, slice, distance, first, environment } = place;
  const columns = ofSpan(own);
  const length = Math.max(run, 2 * distance);
  const runs = slice / length;
  const buffer = build.view(side.storage, "vec4<u32>", "read");
  const start = build.bind("start", k.div(k.add(side.start(environment), k.mul(first, side.pitch)), run));
  const pieces = sharesOf(place, rows * runs).map(({ at, there }) => {
    const line = build.bind("line", k.div(at, runs));
    const inSlice = build.bind("in_slice", k.mul(k.rem(at, runs), length));
    const column = build.bind("column", k.add(k.mul(k.div(inSlice, columns), span), k.rem(inSlice, columns)));
    const outer = build.bind("outer", k.add(first, line));
    return {
      there,
      column,
      whole: all([there, side.outer % rows === 0 ? null : build.bind("is_row", k.less(outer, side.outer))]),
      source: build.bind("source", k.add(k.add(start, k.mul(line, side.pitch / run)), k.div(column, run))),
      target: build.bind("target", k.add(k.add(k.mul(line, stride), base), vectorAt(inSlice))),
    };
  });
  const insideOf = ({ whole, column }: (typeof pieces)[number], from: Expr, phase: number): Expr | null =>
    all([whole, side.inner % own.trip === 0 ? null : k.less(k.add(k.add(from, column), phase * columns), side.inner)]);
  const vectors = upTo(length / run);
  return {
    load: (from, phase) =>
      pieces.flatMap((piece) => {
        const address = k.add(k.add(piece.source, k.div(from, run)), (phase * columns) / run);
        const inside = insideOf(piece, from, phase);
        const place = build.bind("address", inside === null ? address : k.select(inside, address, 0));
        return vectors.map((at) => build.bind("values", k.loadBuffer(buffer, "vec4<u32>", k.add(place, at))));
      }),
    store(from, phase, loaded, offset) {
      pieces.forEach((piece, which) => {
        const inside = insideOf(piece, from, phase);
        const given = vectors.map((at) => {
          const value = loaded[which * vectors.length + at]!;
          return inside === null ? value : build.bind("values", k.select(inside, value, k.constant("vec4<u32>", 0)));
        });
        const put = (): void =>
          reorderHalves(build, given, distance).forEach((four, at) =>
            build.add(k.storeShared(array, k.add(piece.target, offset + vectorOf(run * at)), four)),
          );
        if (piece.there === null) put();
        else build.when(piece.there, put);
      });
    },
  };
}

/** Where a side's slices stand, of so many rows. */
export function memoryOf(
  side: MatrixSide,
  rows: number,
  place: Pick<StagingPlace, "slice" | "size" | "distance">,
  base: number,
): Memory {
  return { base, stride: strideOf(side, rows, place) };
}
