/** Results of a tile of matrices on their way to their places. */
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { four } from "../toolkit/vector-store.js";
import type { Results, TileContext } from "./matrix-context.js";
import type { VectorElements } from "./matrix-parts.js";
import { matricesOf, stripMatrices, stripStride } from "./matrix-tile.js";

/** Where results go. */
export interface Writing {
  /** Null where results go one by one. */
  readonly vectors: VectorElements | null;
  readonly m: number;
  readonly n: number;
  /** Index of the subgroup. */
  readonly group: Expr;
  /** Whether each element stands at its mirror place, too; null for never. */
  readonly mirrored: Expr | null;
  /** Stores the element of row m and column n, given the sums of all terms. */
  readonly finish: (sums: readonly Expr[], m: Expr, n: Expr) => void;
}

/** A strip of each subgroup's results in workgroup memory. */
interface Strip {
  readonly context: TileContext;
  /** Where that of the invocation's results begins for each term, and how far apart those of the parts of k are. */
  readonly starts: readonly Expr[];
  readonly apart: number;
  /** The invocation among those that share a strip, and their number. */
  readonly own: Expr;
  readonly lanes: number;
  /** Matrices side by side, and vectors of four from row to row. */
  readonly together: number;
  readonly stride: number;
}

/**
 * The results through workgroup memory, a strip of each subgroup's matrices at a time, and from there to their places,
 * four neighbours at a time where they lie so. Subgroups that took parts of k share the strip that they all add to.
 */
export function writeResults(context: TileContext, results: Results, writing: Writing): void {
  const { build, array, tile, size, lanes, firstM, firstN, ownM, ownN, partOfK } = context;
  const { group, mirrored } = writing;
  const together = stripMatrices(tile);
  const stride = stripStride(tile);
  const alike = tile.subgroups[0] * tile.subgroups[1];
  const [matricesM, matricesN] = matricesOf(tile);
  const offsets = upTo(results.length).map((term) => term * (size / lanes) * matrixSize * stride);
  const start = build.bind("strip_start", k.mul(group, matrixSize * stride));
  const shared = partOfK === null ? start : build.bind("shared_strip", k.mul(k.rem(group, alike), matrixSize * stride));
  const lane = build.bind("lane", k.builtin("subgroup_lane"));
  const strip: Strip = {
    context,
    starts: offsets.map((offset) => build.bind("strip", k.add(shared, offset))),
    apart: alike * matrixSize * stride,
    own: partOfK === null ? lane : build.bind("first", k.add(lane, k.mul(partOfK, lanes))),
    lanes: lanes * tile.subgroups[2],
    together,
    stride,
  };
  for (const i of upTo(matricesM))
    for (let j = 0; j < matricesN; j += together) {
      /** The matrices into the strip, each with rows for columns or as it is. */
      const put = (columns: boolean): void => {
        results.forEach((term, t) =>
          upTo(together).forEach((next) =>
            build.add({
              kind: "store_matrix",
              name: term[i]![j + next]!,
              array,
              index: build.bind("at", k.add(start, offsets[t]! + (next * matrixSize) / four)),
              stride: k.u32(stride),
              columns,
            }),
          ),
        );
        build.barrier();
      };
      put(false);
      const top = build.bind("top", k.add(k.add(firstM, ownM), i * matrixSize));
      const side = build.bind("side", k.add(k.add(firstN, ownN), j * matrixSize));
      if (writing.vectors === null) eachElement(strip, writing, top, side);
      else {
        eachVector(strip, writing, top, side, false);
        // its neighbours there are those of another row here
        if (mirrored !== null)
          build.when(mirrored, () => {
            build.barrier();
            put(true);
            eachVector(strip, writing, top, side, true);
          });
      }
      build.barrier();
    }
}

/** Four neighbours of a strip's rows at a time. */
function eachVector(strip: Strip, writing: Writing, top: Expr, side: Expr, swap: boolean): void {
  const { context, starts, apart, own, lanes, together, stride } = strip;
  const { build, array, tile } = context;
  const { m, n, vectors } = writing;
  const inRow = (together * matrixSize) / four;
  const inMatrix = matrixSize / four;
  const count = matrixSize * inRow;
  const isWhole = m % tile.tokens === 0 && n % tile.rows === 0;
  /** The vector `at` of the strip: what stores it, when all that it takes is there. */
  const prepared = (at: Expr): { readonly isThere: Expr | null; readonly prepare: () => () => void } => {
    const row = build.bind("row", k.div(at, inRow));
    const column = build.bind("column", k.rem(at, inRow));
    const [atM, atN] = swap
      ? [
          k.add(top, k.mul(k.rem(column, inMatrix), four)),
          k.add(side, k.add(k.mul(k.div(column, inMatrix), matrixSize), row)),
        ]
      : [k.add(top, row), k.add(side, k.mul(column, four))];
    const [placeM, placeN] = [build.bind("m", atM), build.bind("n", atN)];
    return {
      isThere: isWhole ? null : k.and(k.less(placeM, m), k.less(placeN, n)),
      prepare() {
        const place = build.bind("at", k.add(k.mul(row, stride), column));
        const sums = starts.map((start) =>
          build.bind(
            "sums",
            upTo(tile.subgroups[2])
              .map((part) =>
                k.bitcast("vec4<f32>", k.loadShared(array, "vec4<u32>", k.add(k.add(place, start), part * apart))),
              )
              .reduce((a, b) => k.add(a, b)),
          ),
        );
        return vectors!.prepare(sums, swap ? placeN : placeM, swap ? placeM : placeN);
      },
    };
  };
  const one = (at: Expr): void => {
    const { isThere, prepare } = prepared(at);
    if (isThere === null) prepare()();
    else build.when(isThere, () => prepare()());
  };
  if (vectors!.loads && isWhole && count % lanes === 0) {
    // all loads before the first store, so that they are under way together
    const stores = upTo(count / lanes).map((piece) =>
      prepared(build.bind("element", k.add(own, piece * lanes))).prepare(),
    );
    for (const store of stores) store();
  } else if (count === lanes) one(own);
  else build.loop("element", own, k.u32(count), one, lanes);
}

/** Each element of a strip for itself. */
function eachElement(strip: Strip, { m, n, mirrored, finish }: Writing, top: Expr, side: Expr): void {
  const { context, starts, apart, own, lanes, together, stride } = strip;
  const { build, array, tile } = context;
  const width = together * matrixSize;
  const each = (rowOf: (element: Expr) => Expr, columnOf: (element: Expr) => Expr, swap: boolean): void => {
    build.loop(
      "element",
      own,
      k.u32(matrixSize * width),
      (element) => {
        const [row, column] = [build.bind("row", rowOf(element)), build.bind("column", columnOf(element))];
        const [atM, atN] = [build.bind("m", k.add(top, row)), build.bind("n", k.add(side, column))];
        build.when(k.and(k.less(atM, m), k.less(atN, n)), () => {
          const at = build.bind("at", k.add(k.mul(row, stride), k.div(column, four)));
          const which = build.bind("which", k.rem(column, four));
          const sums = starts.map((start) =>
            build.bind(
              "sum",
              upTo(tile.subgroups[2])
                .map((part) => {
                  const index = k.add(k.add(at, start), part * apart);
                  const loaded = build.bind("four", k.loadShared(array, "vec4<u32>", index));
                  const [a, b, c, d] = upTo(four).map((at) => k.component(loaded, at)) as [Expr, Expr, Expr, Expr];
                  const low = k.select(k.equal(which, 0), a, b);
                  const high = k.select(k.equal(which, 2), c, d);
                  return k.bitcast("f32", k.select(k.less(which, 2), low, high));
                })
                .reduce((a, b) => k.add(a, b)),
            ),
          );
          if (swap) finish(sums, atN, atM);
          else finish(sums, atM, atN);
        });
      },
      lanes,
    );
  };
  each(
    (element) => k.div(element, width),
    (element) => k.rem(element, width),
    false,
  );
  // neighbours write neighbours there, too
  if (mirrored !== null)
    build.when(mirrored, () =>
      each(
        (element) => k.rem(element, matrixSize),
        (element) => k.div(element, matrixSize),
        true,
      ),
    );
}
