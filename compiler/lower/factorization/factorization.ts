/**
 * Factorisations of square matrices in blocks of columns: a small problem that a workgroup solves and inverts, and
 * products for all that is left.
 */
import { binary, indexOf, integer, load, range, reduce } from "../../graph/build.js";
import type { Range, Scalar, Value } from "../../graph/graph.js";
import type { FactorizationOp } from "../../graph/ops.js";
import type { Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { eigenvectors } from "../eigenvectors.js";
import type { FactorizationEqn, Lowered } from "../lowered.js";
import type { Lowering } from "../toolkit/lowering.js";
import { blocksOf, endOf, lowerOwn, subtract, walkBlocks, type Blocks } from "./blocks.js";
import { factorDiagonal, invertDiagonals, placePanel, placeRows } from "./diagonal.js";

type S = Scalar<Concrete>;

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

const number = (value: number): S => ({ kind: "constant", value, dtype: "f32" });

/** The result's elements [i, j]: one value where a condition holds, else another. */
function start(
  lowering: Lowering,
  blocks: Blocks,
  eqn: FactorizationEqn,
  op: "equal" | "less_equal",
  then: (i: Range<Concrete>, j: Range<Concrete>) => S,
): readonly Kernel[] {
  const [i, j] = [range(blocks.fresh(), "i", 0, blocks.size), range(blocks.fresh(), "j", 0, blocks.size)];
  return lowerOwn(lowering, {
    kind: "map",
    out: eqn.out,
    indices: [i, j],
    body: {
      kind: "select",
      condition: binary(op, indexOf(j), indexOf(i)),
      then: then(i, j),
      otherwise: number(0),
      dtype: "f32",
    },
  });
}

const product = (over: Range<Concrete>, a: S, b: S): S => reduce("sum", [over], binary("multiply", a, b));

/** Sets elements of a tensor between the kernels. */
function set(inner: Lowering, out: Value<Concrete>, indices: readonly Range<Concrete>[], body: S): readonly Kernel[] {
  return lowerOwn(inner, {
    kind: "update",
    out: out.id,
    base: out.id,
    indices,
    at: indices.map((each) => indexOf(each)),
    body,
    op: "set",
  });
}

/**
 * l l^T = a. The lower triangle is copied. Then each block on the diagonal is factored and inverted, and the rows below
 * are multiplied by its inverse: those are its columns of l. What they take off is taken off the rest of the panel at
 * once, and off the triangle that is left when the panel is done. Where a pivot is not positive the diagonal gets the
 * pivot itself, and the rest of the column is zero.
 */
function cholesky(lowering: Lowering, eqn: FactorizationEqn, size: number): Lowered {
  const blocks = blocksOf(lowering, eqn, size, (block, panel) => ({
    inverse: [block, block],
    columns: [size, block],
    across: [panel, size],
  }));
  const { fresh, block, panel, first, offset } = blocks;
  const [inverse, columns, across] = ["inverse", "columns", "across"].map((name) => blocks.scratch.get(name)!) as [
    Value<Concrete>,
    Value<Concrete>,
    Value<Concrete>,
  ];
  const copy = start(blocks.inner(0, 0, 0), blocks, eqn, "less_equal", (i, j) =>
    load(lowering.graph.values[eqn.source]!, [indexOf(i), indexOf(j)]),
  );
  const own = lowering.graph.values[eqn.out]!;
  /** Products of `count` columns from `from` of the panel on, taken off the elements from column `low` to `high`. */
  const takeOff = (inner: Lowering, low: S, high: S | null, from: S, count: number): readonly Kernel[] => {
    const row = range(fresh(), "i", low, size);
    const below = binary("add", indexOf(row), integer(1));
    const column = range(fresh(), "j", low, high === null ? below : binary("min", below, high));
    const over = range(fresh(), "m", 0, count);
    const at = binary("add", from, indexOf(over));
    return subtract(
      inner,
      blocks,
      eqn,
      [row, column],
      product(over, load(across, [at, indexOf(row)]), load(across, [at, indexOf(column)])),
    );
  };
  return {
    steps: walkBlocks(lowering, blocks, copy, {
      each: (inner) => [factorDiagonal(inner, blocks, eqn, inverse)],
      next(inner) {
        const row = range(fresh(), "i", binary("add", first, integer(block)), size);
        const column = range(fresh(), "j", 0, block);
        const over = range(fresh(), "m", 0, block);
        const solved = product(
          over,
          load(own, [indexOf(row), binary("add", first, indexOf(over))]),
          load(inverse, [indexOf(over), indexOf(column)]),
        );
        return [...set(inner, columns, [row, column], solved), placePanel(inner, blocks, eqn, columns, across)];
      },
      inPanel: (inner) => takeOff(inner, binary("add", first, integer(block)), endOf(blocks), indexOf(offset), block),
      after: (inner) => takeOff(inner, binary("add", indexOf(blocks.start), integer(panel)), null, integer(0), panel),
    }),
    scratch: blocks.storage,
    notes: [],
  };
}

/**
 * l x = 1. x starts as the identity matrix, and the blocks on the diagonal of l are inverted. Then each block of rows of x
 * is multiplied by its inverse, and what its products with the columns of l below are is taken off the rows below: of the
 * panel at once, of the others when the panel is done.
 */
function inverseLower(lowering: Lowering, eqn: FactorizationEqn, size: number): Lowered {
  const blocks = blocksOf(lowering, eqn, size, (block, panel) => ({
    inverses: [Math.ceil(size / block) * block, block],
    rows: [panel, size],
  }));
  const { fresh, block, panel, first, offset } = blocks;
  const [inverses, rows] = ["inverses", "rows"].map((name) => blocks.scratch.get(name)!) as [
    Value<Concrete>,
    Value<Concrete>,
  ];
  const outer = blocks.inner(0, 0, 0);
  const head = [...start(outer, blocks, eqn, "equal", () => number(1)), invertDiagonals(outer, blocks, eqn, inverses)];
  const [own, source] = [lowering.graph.values[eqn.out]!, lowering.graph.values[eqn.source]!];
  /** Products of `count` rows from `from` of the panel on, taken off the rows from `low` to `high`. */
  const takeOff = (inner: Lowering, low: S, high: S | number, from: S, count: number): readonly Kernel[] => {
    const row = range(fresh(), "i", low, high);
    const column = range(fresh(), "j", 0, low);
    const over = range(fresh(), "m", 0, count);
    const at = binary("add", from, indexOf(over));
    return subtract(
      inner,
      blocks,
      eqn,
      [row, column],
      product(
        over,
        load(source, [indexOf(row), binary("add", indexOf(blocks.start), at)]),
        load(rows, [at, indexOf(column)]),
      ),
    );
  };
  return {
    steps: walkBlocks(lowering, blocks, head, {
      each(inner) {
        const row = range(fresh(), "i", indexOf(offset), binary("add", indexOf(offset), integer(block)));
        // also the zeros above the diagonal, which the panel's product reads
        const column = range(fresh(), "j", 0, endOf(blocks));
        const over = range(fresh(), "m", 0, block);
        // the inverse of a shorter block has zeros for what is past its end
        const at = binary("add", first, indexOf(over));
        const there = size % block === 0 ? at : binary("min", at, integer(size - 1));
        const solved = product(
          over,
          load(inverses, [binary("add", indexOf(blocks.start), indexOf(row)), indexOf(over)]),
          load(own, [there, indexOf(column)]),
        );
        return [...set(inner, rows, [row, column], solved), placeRows(inner, blocks, eqn, rows)];
      },
      next: () => [],
      inPanel: (inner) => takeOff(inner, binary("add", first, integer(block)), endOf(blocks), indexOf(offset), block),
      after: (inner) => takeOff(inner, binary("add", indexOf(blocks.start), integer(panel)), size, integer(0), panel),
    }),
    scratch: blocks.storage,
    notes: [],
  };
}
