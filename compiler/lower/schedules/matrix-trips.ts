/** The walk of a product by matrices over packed columns, a trip of several slices at a time. */
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { rolled, unknownOne } from "../../kernel/roll.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { run, type DenseSide, type MatrixProduct } from "../product/matrix-sides.js";
import { addAll, vectorAt, vectorOf, vectorsOf, type StagingPlace } from "../product/matrix-staging.js";
import { heldWords, memoryOf, stagedLeft } from "../product/matrix-trips.js";
import { ofSpan, span } from "../toolkit/order.js";
import type { Environment } from "../toolkit/scalar.js";
import { matricesOf, orderOf, slicesHeld, type TripTile } from "./matrix-tile.js";
import type { Results, TileContext } from "./matrix-context.js";
import { leftInMemory, leftInOrder } from "./matrix-left.js";

/** Columns whose words readers take apart together: slices that are fewer go by twos, so that it is done once. */
const sharedColumns = 32;

/**
 * Columns `begin` .. `end` (u32), trip by trip: the words of the packed sides lie in registers, of the trip after this one,
 * too, where the tile asks for it. Each slice is unpacked from them, and multiplied into the results.
 */
export function walkTrips(
  context: TileContext,
  tile: TripTile,
  environment: Environment,
  sides: MatrixProduct,
  results: Results,
  { begin, end }: { readonly begin: Expr; readonly end: Expr },
): void {
  const { lowering, build, array, size, firstM, firstN, ownM, ownN, partOfK } = context;
  const { slice, trip, subgroups } = tile;
  const columns = ofSpan(tile);
  const fromMemory = tile.left !== undefined;
  const held = slicesHeld(tile);
  const place = { lowering, build, array, size, slice, distance: sides.distance, environment };
  const rightPlaces = sides.right.map((): StagingPlace => ({ ...place, rows: tile.rows, first: firstN }));
  let base = 0;
  const room = (side: (typeof sides.right)[number] | DenseSide, rows: number) => {
    const memory = memoryOf(side, rows, place, base);
    const vectors = vectorsOf(side, rows, place);
    if (tile.apart === undefined) base += held * vectors;
    return { ...memory, vectors };
  };
  const leftMemory = fromMemory ? null : room(sides.left, tile.tokens);
  const left =
    leftMemory === null
      ? null
      : {
          ...leftMemory,
          ...stagedLeft({ ...place, rows: tile.tokens, first: firstM }, sides.left, leftMemory, tile),
        };
  const right = sides.right.flatMap((side, at) => {
    if (side.kind === "dense") return [];
    const memory = room(side, tile.rows);
    return [{ ...memory, ...heldWords(rightPlaces[at]!, side, memory, tile, tile.left === "memory") }];
  });
  const one = build.bind("one", unknownOne());
  const [matricesM, matricesN] = matricesOf(tile);
  const part = slice / subgroups[2];
  const partStart = partOfK === null ? null : build.bind("own_k", k.mul(partOfK, part));
  const startOf = ({ base: first, stride }: { readonly base: number; readonly stride: number }, own: Expr): Expr =>
    build.bind(
      "own",
      k.add(partStart === null ? k.mul(own, stride) : k.add(k.mul(own, stride), vectorAt(partStart)), first),
    );
  const leftStart = left === null ? null : startOf(left, ownM);
  const rightStarts = right.map((each) => startOf(each, ownN));

  const ordered = tile.left === "ordered" ? leftInOrder(context, sides.left, orderOf(tile, sides)) : null;
  const inMemory =
    tile.left === "memory"
      ? leftInMemory(
          context,
          environment,
          sides.left,
          partStart === null ? null : k.div(k.mul(k.div(partStart, columns), span), run),
        )
      : null;
  /** Left matrices of column `column` of the subgroup's part of a slice. */
  const leftsOf = (from: Expr, phase: number, column: number, offset: number): readonly string[] => {
    if (ordered !== null) {
      const inTrip = phase * slice + column;
      return ordered(partStart === null ? k.add(from, inTrip) : k.add(k.add(from, partStart), inTrip));
    }
    if (inMemory !== null) {
      const inSpan = Math.floor(column / columns) * span + phase * columns + (column % columns);
      return inMemory(k.add(k.div(from, run), inSpan / run));
    }
    return upTo(matricesM).map((i) => {
      const name = build.fresh("left");
      build.add({
        kind: "load_matrix",
        name,
        role: "left",
        array,
        index: k.add(leftStart!, offset * left!.vectors + i * matrixSize * left!.stride + vectorOf(column)),
        stride: k.u32(left!.stride),
        columns: false,
      });
      return name;
    });
  };
  const multiply = (lefts: (column: number) => readonly string[], offset: number, only: number | null = null): void => {
    for (let column = 0; column < part; column += matrixSize) {
      const own = lefts(column);
      right.forEach((side, term) => {
        if (only !== null && term !== only) return;
        upTo(matricesN).forEach((j) => {
          const name = build.fresh("right");
          build.add({
            kind: "load_matrix",
            name,
            role: "right",
            array,
            index: k.add(rightStarts[term]!, offset * side.vectors + j * matrixSize * side.stride + vectorOf(column)),
            stride: k.u32(side.stride),
            columns: true,
          });
          own.forEach((each, i) =>
            build.add({ kind: "multiply_matrices", result: results[term]![i]![j]!, left: each, right: name }),
          );
        });
      });
    }
  };

  const last = (Math.ceil(sides.left.inner / trip) - 1) * trip;
  const phases = trip / slice;
  const atBegin = tile.parts === 1 ? begin : build.bind("there", k.min(begin, last));
  const variables = (values: readonly Expr[]): readonly Expr[] => values.map((value) => build.variable("held", value));
  const move = (to: readonly Expr[], from: readonly Expr[]): void =>
    to.forEach((variable, at) => build.assign(variable, from[at]!));
  const heldRight = tile.ahead === 0 ? null : right.map((side) => variables(side.load(atBegin)));
  const heldLeft = left === null ? [] : variables(left.load(atBegin, 0));
  // several at a time, so that words that they share are taken apart once
  const each = phases > 2 && phases % 2 === 0 && 2 * columns <= sharedColumns ? 2 : 1;
  const count = phases / each;
  build.loop(
    "trip",
    begin,
    end,
    (from) => {
      // beyond the last trip it is loaded again
      const next = build.bind("next", k.min(k.add(from, trip), last));
      const words = heldRight ?? right.map((side) => side.load(from));
      const coming = heldRight === null ? null : right.map((side) => side.load(next));
      const slicesOf = (phase: number): void => {
        const offset = held === 1 ? 0 : phase % 2;
        // before the barrier, so that they are under way while words are unpacked
        const early = fromMemory
          ? new Map(
              upTo(part / matrixSize).map((step) => [step, leftsOf(from, phase, step * matrixSize, offset)] as const),
            )
          : null;
        if (tile.apart === "terms") {
          right.forEach((side, term) => {
            side.store(from, phase, words[term]!, 0);
            build.barrier();
            multiply((column) => early!.get(column / matrixSize)!, 0, term);
            build.barrier();
          });
          return;
        }
        right.forEach((side, at) => side.store(from, phase, words[at]!, offset * side.vectors));
        if (left !== null) {
          left.store(from, phase, heldLeft, offset * left.vectors);
          move(heldLeft, phase + 1 < phases ? left.load(from, phase + 1) : left.load(next, 0));
        }
        build.barrier();
        multiply((column) => early?.get(column / matrixSize) ?? leftsOf(from, phase, column, offset), offset);
        if (held === 1) build.barrier();
      };
      const copies = upTo(count).map((copy) =>
        build.collect(() => upTo(each).forEach((at) => slicesOf(copy * each + at))),
      );
      addAll(build, tile.slices === "unrolled" ? copies.flat() : rolled(copies, build.fresh, one));
      if (coming !== null) coming.forEach((values, at) => move(heldRight![at]!, values));
    },
    trip,
  );
  // results take the place of the slices
  if (held > 1) build.barrier();
}
