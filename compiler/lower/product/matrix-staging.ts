/** Slices of the sides of a product in workgroup memory, as f16 in vectors of eight. */
import { reorderHalves } from "../../formats/code/halves.js";
import type { Section } from "../../formats/format.js";
import * as k from "../../kernel/build.js";
import type { Expr, Statement } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import { withIndices, type Environment } from "../toolkit/scalar.js";
import { halvesOf } from "./halves.js";
import { live } from "./live.js";
import { run, type DenseSide, type MatrixSide, type StoredSide } from "./matrix-sides.js";
import { rowAt } from "./right.js";

/** A side's slices in workgroup memory. */
export interface Staged {
  readonly side: MatrixSide;
  /** First vector of the side in the array of all sides. */
  readonly base: number;
  /** Vectors from row to row of what lies side by side. */
  readonly stride: number;
  /** What an invocation loads for its share of the slice from column `from` on: values for `store`. */
  load(from: Expr): readonly Expr[];
  /** Vectors of a slice. */
  readonly vectors: number;
  /** Puts them into workgroup memory, from vector `offset` (u32) of the array on. */
  store(from: Expr, loaded: readonly Expr[], offset: Expr): void;
}

/** Where a slice is staged: by which invocations, and whose rows. */
export interface StagingPlace extends Slicing {
  /** Workgroup memory of vec4<u32> for all sides. */
  readonly array: string;
  readonly lowering: Lowering;
  readonly build: KernelBuilder;
  /** Rows of the tile, and the first of them. */
  readonly rows: number;
  readonly first: Expr;
  /** The environment of the batch. */
  readonly environment: Environment;
}

/** Where k ends before its axis does: for all of a tile, and for each row of a side. */
export interface Ends {
  readonly tile: Expr;
  readonly row: (outer: Expr) => Expr;
}

/** How slices are cut for a workgroup. */
export interface Slicing {
  readonly slice: number;
  /** Invocations of the workgroup. */
  readonly size: number;
  /** How far apart the columns of a word are. */
  readonly distance: number;
}

/**
 * Columns that one invocation takes at once: of a packed side as many as give each invocation a piece.
 */
export function pieceColumns(side: MatrixSide, rows: number, { slice, size, distance }: Slicing): number {
  if (side.kind === "dense") return Math.max(run, 2 * distance);
  let columns = side.most;
  while (columns > side.least && (rows * slice) / columns < size && (columns / 2) % side.least === 0) columns /= 2;
  return columns;
}

/** Vectors after which one is left out: as many as workgroup memory gives at a time. */
export const together = 8;

/**
 * Vector of a column, a multiple of eight, in its row. With one left out after every eight, invocations that store
 * pieces of any length at the same time do so to different banks.
 */
export function vectorOf(column: number): number {
  const vector = column / run;
  return vector + Math.floor(vector / together);
}

/** The same of a column that is known at run time. */
export function vectorAt(column: Expr): Expr {
  const vector = k.div(column, run);
  return k.add(vector, k.div(vector, together));
}

/** Whether the vectors of every `columns` columns lie as the first do. */
export function liesAlike(columns: number): boolean {
  return columns % (run * together) === 0 || (run * together) % columns === 0;
}

/** Whether the pieces that are stored at a time go to different banks where neighbours take those of a row. */
function inOtherBanks(units: number, columns: number, stride: number): boolean {
  const banks = upTo(together).map(
    (at) => (Math.floor(at / units) * stride + vectorOf((at % units) * columns)) % together,
  );
  return new Set(banks).size === together;
}

/** Whether neighbours take neighbouring rows: where their stores would else meet in a bank. */
export function linesFirst(units: number, columns: number, stride: number): boolean {
  return !inOtherBanks(units, columns, stride);
}

/** Vectors from row to row: an odd number, so that neighbours of a column lie in different banks. */
export function strideOf(side: MatrixSide, rows: number, slicing: Slicing): number {
  const length = side.along === "k" ? vectorOf(slicing.slice) : rows / run;
  return length % 2 === 0 ? length + 1 : length;
}

/** Vectors that a slice of a side takes. */
export function vectorsOf(side: MatrixSide, rows: number, slicing: Slicing): number {
  return (side.along === "k" ? rows : slicing.slice) * strideOf(side, rows, slicing);
}

/** Prepares the staging of a side; what does not change from slice to slice is computed here. */
export function stagingOf(place: StagingPlace, side: MatrixSide, base: number, ends: Ends | null): Staged {
  const { rows } = place;
  const stride = strideOf(side, rows, place);
  const piece = pieceColumns(side, rows, place);
  const vectors = vectorsOf(side, rows, place);
  const memory = { base, stride };
  return {
    side,
    vectors,
    ...memory,
    ...(side.kind === "dense"
      ? denseStaging(place, side, memory, piece, ends)
      : storedStaging(place, side, memory, piece)),
  };
}

/** Pieces of a slice that an invocation takes: number, and whether there is such a one, null for always. */
export function sharesOf(
  { build, size }: Pick<StagingPlace, "build" | "size">,
  count: number,
): readonly { readonly at: Expr; readonly there: Expr | null }[] {
  const local = k.builtin("local_index");
  return upTo(Math.ceil(count / size)).map((piece) => {
    const at = build.bind("piece", k.add(local, piece * size));
    return { at, there: (piece + 1) * size > count ? build.bind("there", k.less(at, count)) : null };
  });
}

/** The conjunction of those that are there; null for none. */
export function all(conditions: readonly (Expr | null)[]): Expr | null {
  const some = conditions.filter((condition) => condition !== null);
  return some.length === 0 ? null : some.reduce(k.and);
}

/** Runs of eight neighbours of a tensor of f16, or of more where columns are put into another order. */
function denseStaging(
  place: StagingPlace,
  side: DenseSide,
  { base, stride }: Pick<Staged, "base" | "stride">,
  length: number,
  ends: Ends | null,
): Pick<Staged, "load" | "store"> {
  const { build, array, rows, slice, distance, first, environment } = place;
  const byColumns = side.along === "k";
  const vectors = upTo(byColumns ? length / run : 1);
  const [lines, runs] = byColumns ? [rows, slice / length] : [slice, rows / run];
  const buffer = build.view(side.storage, "vec4<u32>", "read");
  const step = byColumns ? k.mul(first, side.pitch) : first;
  const start = build.bind("start", k.div(k.add(side.start(environment), step), run));
  const pieces = sharesOf(place, lines * runs).map(({ at, there }) => {
    const line = build.bind("line", k.div(at, runs));
    const inLine = build.bind("run", k.rem(at, runs));
    const outer = build.bind("outer", k.add(first, byColumns ? line : k.mul(inLine, run)));
    return {
      there,
      // counted from the slice's first column
      column: build.bind("column", byColumns ? k.mul(inLine, length) : line),
      // of a row that there is
      whole: all([there, side.outer % rows === 0 ? null : build.bind("is_row", k.less(outer, side.outer))]),
      source: build.bind("source", k.add(k.add(start, k.mul(line, side.pitch / run)), k.mul(inLine, vectors.length))),
      target: build.bind(
        "target",
        k.add(k.add(k.mul(line, stride), base), byColumns ? vectorAt(k.mul(inLine, length)) : inLine),
      ),
      end: ends === null || !byColumns ? null : build.bind("own_end", ends.row(outer)),
    };
  });
  const perColumn = byColumns ? 1 / run : side.pitch / run;
  const insideOf = ({ whole, column }: (typeof pieces)[number], from: Expr): Expr | null => {
    const at = k.add(from, column);
    return all([
      whole,
      ends !== null ? k.less(at, ends.tile) : side.inner % slice === 0 ? null : k.less(at, side.inner),
    ]);
  };
  return {
    load: (from) =>
      pieces.flatMap((piece) => {
        const offset = perColumn < 1 ? k.div(from, run) : k.mul(from, perColumn);
        const address = k.add(piece.source, offset);
        const inside = insideOf(piece, from);
        const place = build.bind("address", inside === null ? address : k.select(inside, address, 0));
        return vectors.map((at) => build.bind("values", k.loadBuffer(buffer, "vec4<u32>", k.add(place, at))));
      }),
    store(from, loaded, offset) {
      pieces.forEach((piece, which) => {
        const inside = insideOf(piece, from);
        const zero = k.constant("vec4<u32>", 0);
        const given = vectors.map((at) => {
          const value = loaded[which * vectors.length + at]!;
          return inside === null ? value : build.bind("values", k.select(inside, value, zero));
        });
        if (distance > 1) {
          const ordered = reorderHalves(build, given, distance);
          const put = (): void =>
            ordered.forEach((four, at) =>
              build.add(k.storeShared(array, k.add(k.add(piece.target, offset), vectorOf(run * at)), four)),
            );
          if (piece.there === null) put();
          else build.when(piece.there, put);
          return;
        }
        let value = given[0]!;
        if (piece.end !== null) {
          // columns of the run that are before the row's end, counted so that a run past it has none
          const column = build.bind("column", k.add(from, piece.column));
          const left = build.bind("left", k.sub(k.max(piece.end, column), column));
          value = k.vector(
            upTo(run / 2).map((pair) =>
              k.bitAnd(
                k.component(value, pair),
                k.select(
                  k.greater(left, 2 * pair + 1),
                  k.u32(0xffffffff),
                  k.select(k.greater(left, 2 * pair), k.u32(0xffff), k.u32(0)),
                ),
              ),
            ),
          );
        }
        const put = (): void => build.add(k.storeShared(array, k.add(piece.target, offset), value));
        if (piece.there === null) put();
        else build.when(piece.there, put);
      });
    },
  };
}

/** Units of a packed tensor, unpacked on the way. */
function storedStaging(
  { build, ...place }: StagingPlace,
  side: StoredSide,
  { base, stride }: Pick<Staged, "base" | "stride">,
  columns: number,
): Pick<Staged, "load" | "store"> {
  const { lowering, array, rows, slice, first, environment } = place;
  const units = slice / columns;
  const inRow = side.inner / columns;
  const byLines = linesFirst(units, columns, stride);
  const pieces = sharesOf({ build, ...place }, rows * units).map(({ at, there }) => {
    const [lineAt, unitAt] = byLines
      ? [k.add(k.mul(k.div(at, together * units), together), k.rem(at, together)), k.rem(k.div(at, together), units)]
      : [k.div(at, units), k.rem(at, units)];
    const line = build.bind("line", lineAt);
    const unit = build.bind("in_slice", unitAt);
    const outer = build.bind("outer", k.min(k.add(first, line), side.outer - 1));
    return {
      there,
      unit,
      row: rowAt(lowering.graph, side.term.rows!, withIndices(environment, [[side.index, outer]])),
      target: build.bind("target", k.add(k.add(k.mul(line, stride), base), vectorAt(k.mul(unit, columns)))),
    };
  });
  /** The words of f16 pairs of a piece, with words that `read` gives. */
  const unpack = (
    piece: (typeof pieces)[number],
    from: Expr,
    read: (load: () => Expr) => Expr,
  ): { readonly halves: readonly Expr[]; readonly inside: Expr | null } => {
    const unit = build.bind("unit", k.add(k.div(from, columns), piece.unit));
    const inside = side.inner % slice === 0 ? null : build.bind("inside", k.less(unit, inRow));
    const words = build.words(lowering.storage[side.term.rows!.load.tensor]!);
    const reader = {
      ...words,
      word: (section: Section, index: Expr) => read(() => words.word(section, index)),
      words4: (section: Section, index: Expr) => read(() => words.words4(section, index)),
      words2: (section: Section, index: Expr) => read(() => words.words2(section, index)),
    };
    const at = inside === null ? unit : build.bind("unit", k.min(unit, inRow - 1));
    return {
      halves: halvesOf({ rows: side.term.rows!, reader: side.reader }, build, reader, piece.row, at, columns),
      inside,
    };
  };
  return {
    load: (from) => pieces.flatMap((piece) => loadsOf(build, (read) => unpack(piece, from, read))),
    store(from, loaded, offset) {
      let next = 0;
      for (const piece of pieces) {
        const vectors: Expr[] = [];
        const statements = build.collect(() => {
          const { halves, inside } = unpack(piece, from, () => loaded[next++]!);
          for (let at = 0; at < halves.length; at += 4) {
            const four = k.vector(halves.slice(at, at + 4));
            vectors.push(inside === null ? four : k.select(inside, four, k.constant("vec4<u32>", 0)));
          }
        });
        const put = (): void => {
          addAll(build, live(statements, vectors));
          vectors.forEach((vector, at) =>
            build.add(k.storeShared(array, k.add(k.add(piece.target, offset), vectorOf(run * at)), vector)),
          );
        };
        if (piece.there === null) put();
        else build.when(piece.there, put);
      }
    },
  };
}

/** What `unpack` reads, each bound to a name; what it computes of that is left out. */
export function loadsOf(build: KernelBuilder, unpack: (read: (load: () => Expr) => Expr) => unknown): readonly Expr[] {
  const loads: Expr[] = [];
  const statements = build.collect(() => {
    unpack((load) => {
      const stored = build.bind("stored", load());
      loads.push(stored);
      return stored;
    });
  });
  addAll(build, live(statements, loads));
  return loads;
}

/** Adds statements that were collected. */
export function addAll(build: KernelBuilder, statements: readonly Statement[]): void {
  for (const statement of statements) build.add(statement);
}
