/** Diagonal blocks of triangular factors, each by a workgroup: factored, or as they are, and inverted. */
import { indexOf } from "../../graph/build.js";
import type { Value } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { FactorizationEqn } from "../lowered.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { spread, whereWanted, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerIndex } from "../toolkit/scalar.js";
import type { Blocks } from "./blocks.js";

/** Invocations that share a block, at most: each step is over when the slowest has done its share. */
const teamSize = 1024;

/** Invocations of a workgroup that copies. */
const copying = 256;

/** A block in workgroup memory, rows one element longer than they are, so that columns lie in different banks. */
interface Tile {
  readonly build: KernelBuilder;
  readonly block: number;
  readonly lanes: number;
  readonly lane: Expr;
  /** Rows and columns that there are. */
  readonly count: Expr;
  readonly read: (i: Expr, j: Expr) => Expr;
  readonly write: (i: Expr, j: Expr, value: Expr) => void;
  readonly fence: () => void;
  /** For each element of the rows from `from` to `to`. */
  readonly each: (from: Expr, to: Expr, body: (i: Expr, j: Expr) => void) => void;
}

function tileOf(lowering: Lowering, build: KernelBuilder, block: number, count: Expr): Tile {
  // on a CPU driver a barrier costs more than the whole block does one invocation
  const lanes = lowering.target.kind === "cpu" ? 1 : Math.min(teamSize, lowering.target.maxInvocations);
  const lane = lanes === 1 ? k.u32(0) : k.builtin("local_index");
  const array = build.array("tile", "f32", block * (block + 1));
  const at = (i: Expr, j: Expr): Expr => k.add(k.mul(i, block + 1), j);
  return {
    build,
    block,
    lanes,
    lane,
    count,
    read: (i, j) => k.loadShared(array, "f32", at(i, j)),
    write: (i, j, value) => build.add(k.storeShared(array, at(i, j), value)),
    fence() {
      if (lanes > 1) build.barrier();
    },
    each(from, to, body) {
      const row = lanes > block ? build.bind("row", k.div(lane, block)) : k.u32(0);
      const column = lanes === 1 ? lane : build.bind("column", lanes > block ? k.rem(lane, block) : lane);
      build.loop(
        "i",
        k.add(from, row),
        to,
        (i) => {
          if (lanes >= block) body(i, column);
          else build.loop("j", column, k.u32(block), (j) => body(i, j), lanes);
        },
        Math.max(1, Math.floor(lanes / block)),
      );
    },
  };
}

/**
 * Walks a block whose lower triangle is in the tile: where l has 1 on its diagonal and column j below it is what `shareOf`
 * gives of a row, what row j takes off the rows below it is taken off the inverse, which grows above the diagonal with
 * rows for columns, and, with `factors`, off what is left of the block itself.
 */
function eliminate(tile: Tile, factors: boolean, shareOf: (j: Expr) => (i: Expr) => Expr): void {
  const { build, count, read, write, fence, each } = tile;
  build.loop("j", k.u32(0), count, (j) => {
    const share = shareOf(j);
    each(k.add(j, 1), count, (i, m) => {
      build.when(
        k.lessEqual(m, j),
        () => {
          const own = k.select(k.equal(m, j), k.f32(1), read(m, j));
          write(m, i, k.sub(read(m, i), k.mul(share(i), own)));
        },
        factors
          ? () => build.when(k.lessEqual(m, i), () => write(i, m, k.sub(read(i, m), k.mul(share(i), read(m, j)))))
          : undefined,
      );
    });
    fence();
  });
}

/** The lower triangle of a block of the matrix into the tile, and zeros above it. */
function load(tile: Tile, matrix: string, offset: (i: Expr, j: Expr) => Expr): void {
  const { build, block, count, write, fence, each } = tile;
  each(k.u32(0), k.u32(block), (i, j) => {
    const value = build.variable("value", k.f32(0));
    build.when(k.and(k.lessEqual(j, i), k.less(i, count)), () =>
      build.assign(value, k.loadBuffer(matrix, "f32", offset(i, j))),
    );
    write(i, j, value);
  });
  fence();
}

/**
 * The block that begins at the blocks' `first`: l in place of it, and l^-1 in `inverse` [block, block] with rows for
 * columns. Columns of pivots that are not positive are zero below the diagonal, and such rows of the inverse are zero.
 */
export function factorDiagonal(
  lowering: Lowering,
  blocks: Blocks,
  eqn: FactorizationEqn,
  inverse: Value<Concrete>,
): Kernel {
  const { size, block } = blocks;
  const build = lowering.builder();
  const first = build.bind("first", lowerIndex(lowering.environment(build), blocks.first));
  const tile = tileOf(lowering, build, block, build.bind("count", k.min(k.sub(k.u32(size), first), block)));
  const { count, read, each } = tile;
  const matrix = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
  const out = build.view(lowering.storage[inverse.id]!, "f32", "read_write");
  const offset = (i: Expr, j: Expr): Expr => k.add(k.mul(k.add(first, i), size), k.add(first, j));
  load(tile, matrix, offset);
  // columns stay unscaled on the way: l l^T = a with l = m sqrt(d), where m has 1 on its diagonal
  eliminate(tile, true, (j) => {
    const pivot = build.bind("pivot", read(j, j));
    const reciprocal = build.bind("reciprocal", positiveOr(pivot, k.div(k.f32(1), orOne(pivot)), k.f32(0)));
    return (i) => k.mul(read(i, j), reciprocal);
  });
  each(k.u32(0), count, (i, j) => {
    build.when(k.less(j, count), () => {
      // column j: of l below the diagonal, and above it of the inverse with rows for columns
      const pivot = build.bind("pivot", read(j, j));
      const scaled = (value: Expr): Expr => positiveOr(pivot, k.div(value, k.sqrt(orOne(pivot))), k.f32(0));
      build.when(k.lessEqual(j, i), () => {
        const own = k.select(k.equal(i, j), positiveOr(pivot, k.sqrt(orOne(pivot)), pivot), scaled(read(i, j)));
        build.add(k.store(matrix, offset(i, j), own));
      });
      const above = scaled(k.select(k.equal(i, j), k.f32(1), read(i, j)));
      const value = k.select(k.lessEqual(i, j), above, k.f32(0));
      build.add(k.store(out, k.add(k.mul(i, block), j), value));
    });
  });
  return build.finish({
    name: `${lowering.nameOf(eqn)}_diagonal`,
    workgroupSize: [tile.lanes, 1, 1],
    workgroups: [1, 1, 1],
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

const positiveOr = (pivot: Expr, then: Expr, otherwise: Expr): Expr => k.select(k.greater(pivot, 0), then, otherwise);
const orOne = (pivot: Expr): Expr => positiveOr(pivot, pivot, k.f32(1));

/** The inverses of all diagonal blocks of a lower triangular matrix, [size, block] of whole blocks. */
export function invertDiagonals(
  lowering: Lowering,
  { size, block }: Blocks,
  eqn: FactorizationEqn,
  inverses: Value<Concrete>,
): Kernel {
  const build = lowering.builder();
  const blocks = Math.ceil(size / block);
  const workgroups = spread(blocks);
  const position = workgroupPosition(workgroups);
  const first = build.bind("first", k.mul(k.min(position, blocks - 1), block));
  const tile = tileOf(lowering, build, block, build.bind("count", k.min(k.sub(k.u32(size), first), block)));
  const { count, read, each } = tile;
  const matrix = build.view(lowering.storage[eqn.source]!, "f32", "read");
  const out = build.view(lowering.storage[inverses.id]!, "f32", "read_write");
  load(tile, matrix, (i, j) => k.add(k.mul(k.add(first, i), size), k.add(first, j)));
  eliminate(tile, false, (j) => {
    const pivot = build.bind("pivot", read(j, j));
    return (i) => k.div(read(i, j), pivot);
  });
  const store = (): void =>
    each(k.u32(0), k.u32(block), (i, j) => {
      const there = k.and(k.lessEqual(j, i), k.less(i, count));
      const value = k.div(k.select(k.equal(i, j), k.f32(1), read(j, i)), read(i, i));
      build.add(k.store(out, k.add(k.mul(k.add(first, i), block), j), k.select(there, value, k.f32(0))));
    });
  whereWanted(build, workgroups, blocks, position, store);
  return build.finish({
    name: `${lowering.nameOf(eqn)}_inverses`,
    workgroupSize: [tile.lanes, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

/**
 * Puts a tensor [size, block], of which the rows from the one after the block on are read, into the block's columns of
 * the result, and with rows for columns into `across` [panel, size].
 */
export function placePanel(
  lowering: Lowering,
  blocks: Blocks,
  eqn: FactorizationEqn,
  panel: Value<Concrete>,
  across: Value<Concrete>,
): Kernel {
  const { size, block, offset } = blocks;
  const build = lowering.builder();
  const environment = lowering.environment(build);
  const first = build.bind("first", lowerIndex(environment, blocks.first));
  const inPanel = build.bind("in_panel", lowerIndex(environment, indexOf(offset)));
  const rows = Math.min(copying, lowering.target.maxInvocations);
  const workgroups = spread(Math.ceil((Math.max(1, size - block) * block) / rows));
  const element = build.bind("element", k.add(k.mul(workgroupPosition(workgroups), rows), k.builtin("local_index")));
  const row = build.bind("row", k.add(k.add(first, block), k.div(element, block)));
  const column = build.bind("column", k.rem(element, block));
  build.when(k.less(row, size), () => {
    const value = build.bind(
      "value",
      k.loadBuffer(build.view(lowering.storage[panel.id]!, "f32", "read"), "f32", k.add(k.mul(row, block), column)),
    );
    const put = (to: number, at: Expr): void =>
      build.add(k.store(build.view(lowering.storage[to]!, "f32", "read_write"), at, value));
    put(eqn.out, k.add(k.mul(row, size), k.add(first, column)));
    put(across.id, k.add(k.mul(k.add(inPanel, column), size), row));
  });
  return build.finish({
    name: `${lowering.nameOf(eqn)}_placed`,
    workgroupSize: [rows, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

/** Puts the block's rows of a tensor [panel, size] into the result, up to the block's last column. */
export function placeRows(lowering: Lowering, blocks: Blocks, eqn: FactorizationEqn, panel: Value<Concrete>): Kernel {
  const { size, block, offset } = blocks;
  const build = lowering.builder();
  const environment = lowering.environment(build);
  const first = build.bind("first", lowerIndex(environment, blocks.first));
  const inPanel = build.bind("in_panel", lowerIndex(environment, indexOf(offset)));
  const columns = Math.min(copying, lowering.target.maxInvocations);
  const workgroups = spread(Math.ceil((size * block) / columns));
  const element = build.bind("element", k.add(k.mul(workgroupPosition(workgroups), columns), k.builtin("local_index")));
  const row = build.bind("row", k.div(element, size));
  const column = build.bind("column", k.rem(element, size));
  const inBlock = k.and(k.less(row, block), k.less(k.add(first, row), size));
  build.when(k.and(inBlock, k.less(column, k.add(first, block))), () => {
    const from = build.view(lowering.storage[panel.id]!, "f32", "read");
    const value = k.loadBuffer(from, "f32", k.add(k.mul(k.add(inPanel, row), size), column));
    const to = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
    build.add(k.store(to, k.add(k.mul(k.add(first, row), size), column), value));
  });
  return build.finish({
    name: `${lowering.nameOf(eqn)}_placed`,
    workgroupSize: [columns, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}
