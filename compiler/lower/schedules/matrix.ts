import type { Product } from "../../graph/analysis/product.js";
import { hasSymmetricBody } from "../../graph/analysis/symmetric.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { asOne } from "../../kernel/unify.js";
import { passesOf, type MatrixProduct } from "../product/matrix-sides.js";
import { addAll } from "../product/matrix-staging.js";
import { summedColumns } from "../product/summed-columns.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { spread, whereWanted, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { fixedSubgroup } from "../toolkit/team.js";
import { elementsOf, partialSums, type Elements, type MatrixKernels } from "./matrix-parts.js";
import { workgroupVectors, type MatrixTile } from "./matrix-tile.js";
import type { Results, TileContext } from "./matrix-context.js";
import { eachResult, writeResults } from "./matrix-results.js";
import { accumulate, resultsOf } from "./matrix-walk.js";

/** Tokens from which on a tile that is mostly padding costs less than reading the activations again for every row. */
const leastTokens = 5;

/** Products of fewer tokens are bound by memory, and of fewer outputs or columns by their start. */
export function matrixPays(product: Product): boolean {
  return (
    product.sizes.m >= leastTokens &&
    product.sizes.n >= 32 &&
    product.sizes.m * product.sizes.n >= 4096 &&
    (constantOf(product.terms[0]!.column.high) ?? Infinity) >= 32
  );
}

/**
 * A product by matrices of 16 x 16: slices of both sides are staged in workgroup memory as they lie, packed ones
 * unpacked to f16, and each subgroup keeps a few result matrices. Where the result is symmetric, tiles above the diagonal are left to those below it.
 * Where workgroups divide the columns of a tile, each leaves its sums in memory, and a second kernel adds them up.
 */
export function matrix(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  sides: MatrixProduct,
  tile: MatrixTile,
): MatrixKernels {
  const build = lowering.builder();
  const lanes = fixedSubgroup(lowering.target)!;
  const [subgroupsM, subgroupsN, subgroupsK] = tile.subgroups;
  const size = lanes * subgroupsM * subgroupsN * subgroupsK;
  const [rowsM, rowsN] = [tile.tokens, tile.rows];
  const { m, n, batch } = product.sizes;
  // of tiles that are one term's each, those of all terms of a part follow one another
  const each = tile.apart === "tiles" ? sides.right.length : 1;
  const counts = [batch * tile.parts * each, Math.ceil(m / rowsM), Math.ceil(n / rowsN)];
  const count = counts.reduce((a, b) => a * b, 1);
  const workgroups = spread(count);
  const position = build.bind("tile", workgroupPosition(workgroups));
  const symmetric =
    tile.parts === 1 &&
    rowsM === rowsN &&
    product.terms.length === 1 &&
    eqn.indices.length === 2 &&
    batch === 1 &&
    hasSymmetricBody(eqn);
  const partial = tile.parts === 1 ? null : partialSums(lowering, eqn, product, sides.right.length, tile);

  const body = (): void => {
    const [outer, tileM, tileN] = tileAt(build, position, counts);
    const work = (): void => {
      const part = each === 1 ? outer : build.bind("part", k.div(outer, each));
      const around = elementsOf(lowering, eqn, product, build, partial === null ? part : k.u32(0));
      const firstM = build.bind("first_m", k.mul(tileM, rowsM));
      const firstN = build.bind("first_n", k.mul(tileN, rowsN));
      const group = build.bind("group", k.builtin("subgroup_index"));
      const inPart = subgroupsK === 1 ? group : build.bind("in_part", k.rem(group, subgroupsM * subgroupsN));
      const context: TileContext = {
        lowering,
        build,
        array: build.array("tiles", "vec4<u32>", workgroupVectors(tile, sides, size)),
        tile,
        size,
        lanes,
        firstM,
        firstN,
        ownM: build.bind("own_m", k.mul(k.div(inPart, subgroupsN), rowsM / subgroupsM)),
        ownN: build.bind("own_n", k.mul(k.rem(inPart, subgroupsN), rowsN / subgroupsN)),
        partOfK: subgroupsK === 1 ? null : build.bind("part", k.div(group, subgroupsM * subgroupsN)),
        partOfTile: partial === null ? null : part,
      };
      const walk = (own: MatrixProduct): Results => {
        let made: Results | null = null;
        const results = (): Results => (made ??= resultsOf(context, own.right.length));
        for (const pass of passesOf(own)) {
          const summed =
            pass.bound === null
              ? null
              : summedColumns(lowering, eqn, product, pass.bound, {
                  first: firstM,
                  count: rowsM,
                  around: around.batch,
                  at: around.token,
                });
          accumulate(context, around.batch, pass, { summed, tokenEnvironment: around.token, results });
        }
        return results();
      };
      if (partial !== null && tile.strip === "none") {
        const leave = (own: MatrixProduct, firstTerm: number): void =>
          eachResult(context, walk(own), (term, name, m, n) =>
            partial.leaveMatrix(build, part, firstTerm + term, name, m, n),
          );
        if (each === 1) leave(sides, 0);
        else {
          const which = build.bind("term", k.rem(outer, each));
          const copies = sides.right.map((side, term) => build.collect(() => leave({ ...sides, right: [side] }, term)));
          addAll(build, asOne(copies, which, build.fresh));
        }
        return;
      }
      const results = walk(sides);
      const finish = (sums: readonly Expr[], atM: Expr, atN: Expr): void => {
        if (partial === null) around.store(sums, atM, atN);
        else partial.leave(build, part, sums, atM, atN);
      };
      const mirrored = symmetric ? k.notEqual(tileM, tileN) : null;
      const vectors = partial === null && tile.store === "vectors" ? around.vectors() : null;
      writeResults(context, results, { m, n, group, mirrored, finish, vectors });
    };
    if (symmetric) build.when(k.lessEqual(tileN, tileM), work);
    else work();
  };
  whereWanted(build, workgroups, count, position, body);
  const kernel = build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [size, 1, 1],
    workgroups,
    schedule: "matrix",
    values: lowering.valuesOf(eqn),
  });
  if (partial === null) return { kernels: [kernel], scratch: [] };
  const adding = partial.adding();
  return { kernels: [kernel, adding.kernel], scratch: [partial.storage], adding };
}

/** Tile rows that are walked together, so that what workgroups under way at one time read stays in a cache. */
const bandRows = 8;

/**
 * The batch, and the tile along m and n, of a position: in bands of a few tile rows, column by column within a band.
 */
function tileAt(
  build: KernelBuilder,
  position: Expr,
  [, rows = 1, columns = 1]: readonly number[],
): readonly [Expr, Expr, Expr] {
  const inBatch = rows * columns;
  const at = build.bind("at", k.rem(position, inBatch));
  const band = build.bind("band", k.div(at, bandRows * columns));
  const inBand = build.bind("in_band", k.rem(at, bandRows * columns));
  const height =
    rows % bandRows === 0
      ? k.u32(bandRows)
      : build.bind("height", k.min(k.sub(k.u32(rows), k.mul(band, bandRows)), bandRows));
  return [
    build.bind("batch", k.div(position, inBatch)),
    build.bind("tile_m", k.add(k.mul(band, bandRows), k.rem(inBand, height))),
    build.bind("tile_n", k.div(inBand, height)),
  ];
}
