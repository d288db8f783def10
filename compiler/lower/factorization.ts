/** Factorisations of square matrices in blocks of columns: a small problem, a panel, and a product for the rest. */
import { binary, indexOf, integer, load, range, reduce, unary } from "../graph/build.js";
import type { FactorizationOp } from "../graph/ops.js";
import type { ConcreteGraph, Eqn, Range, Scalar, Value } from "../graph/graph.js";
import * as k from "../kernel/build.js";
import type { Expr, Kernel } from "../kernel/kernel.js";
import { storageBytes, type Storage } from "../graph/storage.js";
import type { Target } from "../target.js";
import { full, type Concrete } from "../types/type.js";
import { lowerEqn } from "./schedules/choose.js";
import { spread, workgroupPosition } from "./toolkit/dispatch.js";
import { eigenvectors } from "./eigenvectors.js";
import { kernelStep, type FactorizationEqn, type Lowered, type LoweredStep } from "./lowered.js";
import { createLowering, parameterName, type Lowering } from "./toolkit/lowering.js";
import { lowerIndex } from "./toolkit/scalar.js";

type S = Scalar<Concrete>;

/** Invocations of a workgroup that takes a row or a column each. */
const groupSize = 64;

/** Columns of a block. */
function blockSize(target: Target): number {
  return target.kind === "gpu" && target.maxWorkgroupMemory >= 32768 ? 64 : 32;
}

/** The steps of a factorisation. */
export function lowerFactorization(lowering: Lowering, eqn: FactorizationEqn): Lowered {
  const size = lowering.graph.values[eqn.out]!.type.shape[0]!;
  if (size === 0) return { steps: [], scratch: [], notes: [] };
  return factors[eqn.op](lowering, eqn, size);
}

/** The steps of each factorisation of a matrix of so many rows. */
const factors: {
  readonly [Op in FactorizationOp]: (lowering: Lowering, eqn: FactorizationEqn, size: number) => Lowered;
} = {
  cholesky,
  inverse_lower: inverseLower,
  eigenvectors,
};

/**
 * What both factorisations are made of: the graph with a panel as a tensor, and the index of the block's first column
 * as a parameter.
 */
interface Blocks {
  readonly size: number;
  readonly block: number;
  readonly parameter: string;
  /** The index whose value is the block's first column. */
  readonly start: Range<Concrete>;
  readonly fresh: () => number;
  /** [size, block] or [block, size]: a copy of the panel, so that a product does not read what it writes. */
  readonly panel: Value<Concrete>;
  readonly rest: Value<Concrete>;
  readonly scratch: readonly Storage[];
  /** The lowering for blocks that start at `low` .. `high`. */
  inner(low: number, high: number): Lowering;
}

function blocksOf(
  lowering: Lowering,
  eqn: FactorizationEqn,
  size: number,
  panelShape: (block: number) => readonly number[],
): Blocks {
  const block = blockSize(lowering.target);
  const out = lowering.graph.values[eqn.out]!;
  let next = 0;
  // indices need only be unique within an equation, and these are equations of their own
  const fresh = (): number => 1_000_000 + next++;
  const panel: Value<Concrete> = {
    id: lowering.graph.values.length,
    name: `${out.name}_panel`,
    span: null,
    type: { dtype: "f32", shape: panelShape(block), pattern: full, format: null },
  };
  const rest: Value<Concrete> = { ...out, id: panel.id + 1, name: `${out.name}_rest` };
  const scratch: Storage = {
    name: `${panel.name}.${panel.id}.${eqn.out}`,
    bytes: storageBytes(panel.type),
    role: "temporary",
  };
  const graph: ConcreteGraph = { ...lowering.graph, values: [...lowering.graph.values, panel, rest] };
  const storage = [...lowering.storage, scratch, lowering.storage[eqn.out]!];
  const start = range(fresh(), "first", 0, size);
  const parameter = parameterName(lowering, "block");
  return {
    size,
    block,
    parameter,
    start,
    fresh,
    panel,
    rest,
    scratch: [scratch],
    inner: (low, high) =>
      createLowering(graph, storage, lowering.target, [
        ...lowering.outer,
        { index: start.index, parameter, interval: { low, high } },
      ]),
  };
}

/** The kernels of an equation that the graph has not got. */
function lowerOwn(inner: Lowering, eqn: Eqn<Concrete>): readonly Kernel[] {
  return lowerEqn(inner.including(eqn), eqn);
}

/** Takes a value off the elements that the blocks to come begin with. */
function subtract(
  inner: Lowering,
  { rest }: Blocks,
  eqn: FactorizationEqn,
  indices: readonly Range<Concrete>[],
  value: Scalar<Concrete>,
): readonly Kernel[] {
  return lowerOwn(inner, {
    kind: "update",
    out: rest.id,
    base: eqn.out,
    indices,
    at: indices.map((each) => indexOf(each)),
    body: unary("negate", value),
    op: "add",
  });
}

/** `head`, then for each block `each`, with `after` for those that are not the last. */
function repeatBlocks(
  blocks: Blocks,
  head: readonly Kernel[],
  each: (inner: Lowering) => readonly Kernel[],
  after: (inner: Lowering) => readonly Kernel[],
): readonly LoweredStep[] {
  const { size, block, parameter } = blocks;
  const last = Math.floor((size - 1) / block) * block;
  const one = (low: number, high: number, rest: boolean): LoweredStep => {
    const inner = blocks.inner(low, high);
    return {
      kind: "repeat",
      parameter,
      from: low,
      to: high + 1,
      by: block,
      steps: [...each(inner), ...(rest ? after(inner) : [])].map(kernelStep),
    };
  };
  return [...head.map(kernelStep), ...(last > 0 ? [one(0, last - block, true)] : []), one(last, last, false)];
}

/**
 * l l^T = a. The lower triangle is copied, then for each block: the diagonal block is factored by one workgroup, the
 * rows below are solved for, and their products are taken off the triangle that is left. Where a pivot is not positive
 * the diagonal gets the pivot itself, and the rest of the column is zero.
 */
function cholesky(lowering: Lowering, eqn: FactorizationEqn, size: number): Lowered {
  const blocks = blocksOf(lowering, eqn, size, (block) => [size, block]);
  const { start, fresh, panel, block } = blocks;
  const first = indexOf(start);
  const [i, j] = [range(fresh(), "i", 0, size), range(fresh(), "j", 0, size)];
  const copy = lowerOwn(blocks.inner(0, size), {
    kind: "map",
    out: eqn.out,
    indices: [i, j],
    body: {
      kind: "select",
      condition: binary("less_equal", indexOf(j), indexOf(i)),
      then: load(lowering.graph.values[eqn.source]!, [indexOf(i), indexOf(j)]),
      otherwise: { kind: "constant", value: 0, dtype: "f32" },
      dtype: "f32",
    },
  });
  const product = (inner: Lowering): readonly Kernel[] => {
    const below = binary("add", first, integer(block));
    const row = range(fresh(), "i", below, size);
    const column = range(fresh(), "j", below, binary("add", indexOf(row), integer(1)));
    const over = range(fresh(), "m", 0, block);
    const sum = reduce(
      "sum",
      [over],
      binary("multiply", load(panel, [indexOf(row), indexOf(over)]), load(panel, [indexOf(column), indexOf(over)])),
    );
    return subtract(inner, blocks, eqn, [row, column], sum);
  };
  return {
    steps: repeatBlocks(
      blocks,
      copy,
      (inner) => [factorDiagonal(inner, blocks, eqn), solveRows(inner, blocks, eqn)],
      product,
    ),
    scratch: blocks.scratch,
    notes: [],
  };
}

/** The diagonal block in workgroup memory: column by column, invocation i has row i. */
function factorDiagonal(lowering: Lowering, blocks: Blocks, eqn: FactorizationEqn): Kernel {
  const { size, block, start } = blocks;
  const build = lowering.builder();
  // on a CPU driver a barrier costs more than the whole block does one invocation
  const lanes = lowering.target.kind === "cpu" ? 1 : block;
  const lane = lanes === 1 ? k.u32(0) : k.builtin("local_index");
  const first = build.bind("first", lowerIndex(lowering.environment(build), indexOf(start)));
  const count = build.bind("count", k.min(k.sub(k.u32(size), first), block));
  const matrix = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
  const tile = build.array("tile", "f32", block * block);
  const at = (i: Expr, j: Expr): Expr => k.add(k.mul(i, block), j);
  const offset = (i: Expr, j: Expr): Expr => k.add(k.mul(k.add(first, i), size), k.add(first, j));
  const fence = (): void => {
    if (lanes > 1) build.barrier();
  };
  const read = (index: Expr): Expr => k.loadShared(tile, "f32", index);
  /** For each element of the lower triangle: neighbours take neighbouring columns. */
  const triangle = (body: (i: Expr, j: Expr) => void): void =>
    build.loop(
      "element",
      lane,
      k.mul(count, block),
      (element) => {
        const i = build.bind("i", k.div(element, block));
        const j = build.bind("j", k.rem(element, block));
        build.when(k.lessEqual(j, i), () => body(i, j));
      },
      lanes,
    );

  triangle((i, j) => build.add(k.storeShared(tile, at(i, j), k.loadBuffer(matrix, "f32", offset(i, j)))));
  fence();
  build.loop("j", k.u32(0), count, (j) => {
    const pivot = build.bind("pivot", read(at(j, j)));
    const positive = build.bind("positive", k.greater(pivot, 0));
    const root = build.bind("root", k.sqrt(k.select(positive, pivot, k.f32(1))));
    fence();
    build.loop(
      "i",
      k.add(j, lane),
      count,
      (i) => {
        const value = build.bind("value", k.div(read(at(i, j)), root));
        const own = k.select(k.equal(i, j), k.select(positive, root, pivot), k.select(positive, value, k.f32(0)));
        build.add(k.storeShared(tile, at(i, j), own));
      },
      lanes,
    );
    fence();
    // what is left of the triangle, a row an invocation
    build.loop(
      "i",
      k.add(k.add(j, 1), lane),
      count,
      (i) => {
        const factor = build.bind("factor", read(at(i, j)));
        build.loop("m", k.add(j, 1), k.add(i, 1), (m) => {
          const below = read(at(m, j));
          build.add(k.storeShared(tile, at(i, m), k.sub(read(at(i, m)), k.mul(factor, below))));
        });
      },
      lanes,
    );
    fence();
  });
  triangle((i, j) => build.add(k.store(matrix, offset(i, j), read(at(i, j)))));
  return build.finish({
    name: `${lowering.nameOf(eqn)}_diagonal`,
    workgroupSize: [lanes, 1, 1],
    workgroups: [1, 1, 1],
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

/** The rows below the diagonal block, one an invocation: x l^T = a, column by column; also into the panel. */
function solveRows(lowering: Lowering, blocks: Blocks, eqn: FactorizationEqn): Kernel {
  const { size, panel, block } = blocks;
  const build = lowering.builder();
  const first = build.bind("first", lowerIndex(lowering.environment(build), indexOf(blocks.start)));
  const matrix = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
  const copy = build.view(lowering.storage[panel.id]!, "f32", "read_write");
  const workgroups = spread(Math.ceil(Math.max(1, size - block) / groupSize));
  const row = build.bind(
    "row",
    k.add(k.add(first, block), k.add(k.mul(workgroupPosition(workgroups), groupSize), k.builtin("local_index"))),
  );
  build.when(k.less(row, size), () => {
    const mine = build.bind("mine", k.add(k.mul(row, size), first));
    const kept = build.bind("kept", k.mul(row, block));
    build.loop("j", k.u32(0), k.u32(block), (j) => {
      const theirs = build.bind("theirs", k.add(k.mul(k.add(first, j), size), first));
      const sum = build.variable("sum", k.loadBuffer(matrix, "f32", k.add(mine, j)));
      build.loop("m", k.u32(0), j, (m) => {
        build.assign(
          sum,
          k.sub(sum, k.mul(k.loadBuffer(copy, "f32", k.add(kept, m)), k.loadBuffer(matrix, "f32", k.add(theirs, m)))),
        );
      });
      const pivot = build.bind("pivot", k.loadBuffer(matrix, "f32", k.add(theirs, j)));
      const positive = k.greater(pivot, 0);
      const value = build.bind("value", k.select(positive, k.div(sum, k.select(positive, pivot, k.f32(1))), k.f32(0)));
      build.add(k.store(matrix, k.add(mine, j), value));
      build.add(k.store(copy, k.add(kept, j), value));
    });
  });
  return build.finish({
    name: `${lowering.nameOf(eqn)}_panel`,
    workgroupSize: [groupSize, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

/**
 * l x = 1. x starts as the identity matrix, then for each block of rows: it is solved for, every column by itself, and
 * its products with the columns of l below are taken off the rows below.
 */
function inverseLower(lowering: Lowering, eqn: FactorizationEqn, size: number): Lowered {
  const blocks = blocksOf(lowering, eqn, size, (block) => [block, size]);
  const { start, fresh, panel, block } = blocks;
  const first = indexOf(start);
  const source = lowering.graph.values[eqn.source]!;
  const [i, j] = [range(fresh(), "i", 0, size), range(fresh(), "j", 0, size)];
  const number = (value: number): S => ({ kind: "constant", value, dtype: "f32" });
  const identity = lowerOwn(blocks.inner(0, size), {
    kind: "map",
    out: eqn.out,
    indices: [i, j],
    body: {
      kind: "select",
      condition: binary("equal", indexOf(j), indexOf(i)),
      then: number(1),
      otherwise: number(0),
      dtype: "f32",
    },
  });
  const product = (inner: Lowering): readonly Kernel[] => {
    const below = binary("add", first, integer(block));
    const row = range(fresh(), "i", below, size);
    const column = range(fresh(), "j", 0, below);
    const over = range(fresh(), "m", 0, block);
    const sum = reduce(
      "sum",
      [over],
      binary(
        "multiply",
        load(source, [indexOf(row), binary("add", first, indexOf(over))]),
        load(panel, [indexOf(over), indexOf(column)]),
      ),
    );
    return subtract(inner, blocks, eqn, [row, column], sum);
  };
  return {
    steps: repeatBlocks(blocks, identity, (inner) => [solveColumns(inner, blocks, eqn)], product),
    scratch: blocks.scratch,
    notes: [],
  };
}

/** A block of rows of the inverse, one column an invocation; also into the panel. */
function solveColumns(lowering: Lowering, blocks: Blocks, eqn: FactorizationEqn): Kernel {
  const { size, panel, block } = blocks;
  const build = lowering.builder();
  const first = build.bind("first", lowerIndex(lowering.environment(build), indexOf(blocks.start)));
  const matrix = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
  const copy = build.view(lowering.storage[panel.id]!, "f32", "read_write");
  const factor = build.view(lowering.storage[eqn.source]!, "f32", "read");
  const workgroups = spread(Math.ceil(size / groupSize));
  const column = build.bind("column", k.add(k.mul(workgroupPosition(workgroups), groupSize), k.builtin("local_index")));
  const count = build.bind("count", k.min(k.sub(k.u32(size), first), block));
  build.when(k.less(column, k.add(first, count)), () => {
    build.loop("i", k.u32(0), count, (i) => {
      const row = build.bind("row", k.mul(k.add(first, i), size));
      const sum = build.variable("sum", k.loadBuffer(matrix, "f32", k.add(row, column)));
      build.loop("m", k.u32(0), i, (m) => {
        build.assign(
          sum,
          k.sub(
            sum,
            k.mul(
              k.loadBuffer(factor, "f32", k.add(row, k.add(first, m))),
              k.loadBuffer(copy, "f32", k.add(k.mul(m, size), column)),
            ),
          ),
        );
      });
      const value = build.bind("value", k.div(sum, k.loadBuffer(factor, "f32", k.add(row, k.add(first, i)))));
      build.add(k.store(matrix, k.add(row, column), value));
      build.add(k.store(copy, k.add(k.mul(i, size), column), value));
    });
  });
  return build.finish({
    name: `${lowering.nameOf(eqn)}_rows`,
    workgroupSize: [groupSize, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}
