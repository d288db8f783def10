import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import { withoutCasts, type Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { matrixSize } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { gridOf } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowestScore } from "../toolkit/reduction.js";
import { withIndices } from "../toolkit/scalar.js";
import { fixedSubgroup } from "../toolkit/team.js";
import {
  groupAt,
  isKey,
  keysOf,
  keysOfAll,
  rowsOf,
  rowPlace,
  rowWidth,
  scoreOf,
  storeMean,
  type Rows,
  type Widths,
} from "./sides.js";

/** An attention that subgroups can do by matrices: what the keys are multiplied by, and how many subgroups share them. */
export interface MatrixAttention {
  readonly query: Load<Concrete>;
  readonly subgroups: number;
  readonly lanes: number;
}

/** Vectors of 8 elements in the row of a matrix. */
const matrixVectors = matrixSize / 8;

/** Keys of a tile. */
const tile = 64;

/** Elements between the ends of staged rows, so that neighbours of a column lie in different banks. */
const pad = 8;

/** Fewer queries of a group leave most of the matrices empty. */
const fewQueries = 32;

/** Elements of a head that the registers of a subgroup hold, beside the scores of a tile. */
const mostElements = 128;

/** Weights times this are rounded to f16, for those of long texts are small: the largest is 2^12. */
const weightScale = 4096;

/**
 * How subgroups do an attention whose queries, keys and values lie in memory as f16; else null. The product of queries
 * and keys is exact in f32 as any of two f16. The weights are rounded to f16 for the second product.
 */
export function matrixAttentionOf(lowering: Lowering, attention: Attention, widths: Widths): MatrixAttention | null {
  const { target, graph, storage } = lowering;
  const lanes = fixedSubgroup(target);
  const { queries, key, value, product, sizes, queryCount } = attention;
  if (!target.matrices || !target.f16 || (lanes !== 16 && lanes !== 32 && lanes !== 64)) return null;
  const query = withoutCasts(queries[0]!);
  if (queries.length > 1 || query.kind !== "load" || query.guarded || product.dtype !== "f32") return null;
  if ([query, key, value].some((load) => graph.values[load.tensor]!.type.dtype !== "f16" || !storage[load.tensor]))
    return null;
  if (graph.values[query.tensor]!.type.format !== null || widths.key !== 8 || widths.value !== 8) return null;
  if (rowWidth(lowering, query, product.over[0]!.index, sizes.key) !== 8) return null;
  const isWhole = (size: number): boolean => size % matrixSize === 0 && size <= mostElements;
  if (!isWhole(sizes.key) || !isWhole(sizes.value) || queryCount < fewQueries) return null;
  const subgroups = Math.min(4, Math.ceil(queryCount / matrixSize));
  const found: MatrixAttention = { query, subgroups, lanes };
  return subgroups * lanes <= target.maxInvocations && bytesOf(attention, found) <= target.maxWorkgroupMemory
    ? found
    : null;
}

/** In vectors of 8 elements: odd, as sizes are multiples of 16. */
const rowStride = ({ sizes }: Attention): number => (Math.max(sizes.key, sizes.value) + pad) / 8;
const weightStride = tile + pad;
/** Whole vectors of 16 bytes. */
const scoreStride = tile + 4;

function bytesOf(attention: Attention, { subgroups }: MatrixAttention): number {
  const rows = subgroups * matrixSize;
  return 16 * tile * rowStride(attention) + 2 * rows * weightStride + 4 * rows * scoreStride + 4 * rows;
}

/**
 * Attention of many queries: a workgroup takes 16 of them a subgroup, and walks twice over tiles of the keys that any of
 * them has. First for the highest score and the sum of exponentials of each query; then, with those known, the weights
 * are final, and products with the values add up in matrices that never leave their registers.
 */
export function matrixAttention(
  lowering: Lowering,
  eqn: AttentionEqn,
  attention: Attention,
  { query, subgroups, lanes }: MatrixAttention,
): Kernel {
  const build = lowering.builder();
  const { sizes, queryCount, groupCount, over, element, product } = attention;
  const rows = subgroups * matrixSize;
  const size = subgroups * lanes;
  const tiles = Math.ceil(queryCount / rows);
  const grid = gridOf(build, [tiles, groupCount, 1]);
  const stride = rowStride(attention);

  const body = (): void => {
    const staged = build.array("staged", "vec4<u32>", tile * stride);
    const weights = build.array("weights", "f16", rows * weightStride);
    const scores = build.array("scores", "f32", rows * scoreStride);
    const scales = build.array("scales", "f32", rows);
    const group = groupAt(lowering.environment(build), attention, grid.y);
    // late queries have the most keys: their workgroups begin first
    const first = build.bind("first", k.mul(k.sub(k.u32(tiles - 1), grid.x), rows));
    const all = keysOfAll(group, attention, first, rows);
    const [from, to] = [build.bind("first_key", all.from), build.bind("end", all.to)];
    const last = build.bind("last", k.sub(k.max(to, 1), 1));
    const there = (position: Expr) => group.query(build.bind("there", k.min(position, queryCount - 1)));
    const subgroup = build.bind("subgroup", k.builtin("subgroup_index"));
    const lane = build.bind("lane", k.builtin("subgroup_lane"));
    const strip = build.bind("strip", k.mul(subgroup, matrixSize));
    const ownRow = build.bind("own_row", k.add(strip, k.rem(lane, matrixSize)));
    const share = build.bind("share", k.div(lane, matrixSize));
    const shares = lanes / matrixSize;
    const ownEnvironment = there(k.add(first, ownRow));
    const ownKeys = keysOf(build, ownEnvironment, attention);
    const along = product.over[0]!.index;
    const keys = rowsOf(lowering, group, attention.key, { along, key: over.index, width: 8 });
    const values = rowsOf(lowering, group, attention.value, { along: element.index, key: over.index, width: 8 });

    // the queries, through the memory of a tile
    const halves = lowering.storage[query.tensor]!;
    stageRows(build, { size, rows, width: sizes.key, array: staged, stride }, (row, vector) => {
      const { start } = rowPlace(lowering, there(k.add(first, row)), query, along, 8);
      return k.loadBuffer(build.view(halves, "vec4<u32>", "read"), "vec4<u32>", k.add(start, vector));
    })();
    build.barrier();
    const queries = upTo(sizes.key / matrixSize).map((at) =>
      loadMatrix(build, "left", staged, k.add(k.mul(strip, stride), at * matrixVectors), stride, false),
    );
    build.barrier();

    const tileOf = (side: Rows, width: number, start: Expr): (() => void) =>
      stageRows(build, { size, rows: tile, width, array: staged, stride }, (row, vector) => {
        const key = build.bind("key", k.min(k.add(start, row), last));
        return side.load(side.at(key), vector);
      });
    /** The scores of the staged keys, each subgroup its own. */
    const multiply = (): void => {
      for (let j = 0; j < tile; j += matrixSize) {
        const sum = zeroMatrix(build);
        queries.forEach((left, at) => {
          const right = loadMatrix(build, "right", staged, k.u32(j * stride + at * matrixVectors), stride, true);
          build.add({ kind: "multiply_matrices", result: sum, left, right });
        });
        storeMatrix(build, sum, scores, k.add(k.mul(strip, scoreStride), j), scoreStride);
      }
    };
    /** A lane's share of its row of the tile: every other key, with whether the query has it and the score. */
    const own = (start: Expr) =>
      upTo(tile / shares).map((at) => {
        const column = build.bind("column", k.add(share, at * shares));
        const key = build.bind("key", k.add(start, column));
        const inside = build.bind("inside", isKey(ownKeys, key));
        const sum = k.loadShared(scores, "f32", k.add(k.mul(ownRow, scoreStride), column));
        const score = scoreOf(
          ownEnvironment,
          attention,
          build.bind("key_at", k.min(key, last)),
          build.bind("sum", sum),
        );
        return { column, inside, score: build.bind("score", k.select(inside, score, lowestScore)) };
      });

    const highest = build.variable("highest", k.f32(lowestScore));
    const total = build.variable("total", k.f32(0));
    build.loop(
      "tile",
      from,
      to,
      (start) => {
        tileOf(keys, sizes.key, start)();
        build.barrier();
        multiply();
        build.barrier();
        const row = own(start);
        const most = build.bind(
          "most",
          row.reduce<Expr>((most, { score }) => k.max(most, score), highest),
        );
        build.assign(total, k.mul(total, k.exp(k.sub(highest, most))));
        for (const { inside, score } of row)
          build.assign(total, k.add(total, k.select(inside, k.exp(k.sub(score, most)), 0)));
        build.assign(highest, most);
      },
      tile,
    );
    for (let other = matrixSize; other < lanes; other *= 2) {
      const theirs = build.bind("theirs", k.call("subgroupShuffleXor", [highest, k.u32(other)]));
      const most = build.bind("most", k.max(highest, theirs));
      const scaled = build.bind("scaled", k.mul(total, k.exp(k.sub(highest, most))));
      build.assign(total, k.add(scaled, k.call("subgroupShuffleXor", [scaled, k.u32(other)])));
      build.assign(highest, most);
    }
    build.barrier();

    const sums = upTo(sizes.value / matrixSize).map(() => zeroMatrix(build));
    build.loop(
      "tile",
      from,
      to,
      (start) => {
        const [putKeys, putValues] = [tileOf(keys, sizes.key, start), tileOf(values, sizes.value, start)];
        putKeys();
        build.barrier();
        multiply();
        build.barrier();
        putValues();
        for (const { column, inside, score } of own(start)) {
          const weight = k.select(inside, k.mul(k.exp(k.sub(score, highest)), weightScale), 0);
          build.add(k.storeShared(weights, k.add(k.mul(ownRow, weightStride), column), k.convert("f16", weight)));
        }
        build.barrier();
        for (let key = 0; key < tile; key += matrixSize) {
          const left = loadMatrix(build, "left", weights, k.add(k.mul(strip, weightStride), key), weightStride, false);
          sums.forEach((result, at) => {
            const right = loadMatrix(build, "right", staged, k.u32(key * stride + at * matrixVectors), stride, false);
            build.add({ kind: "multiply_matrices", result, left, right });
          });
        }
        build.barrier();
      },
      tile,
    );

    build.when(k.equal(share, 0), () => {
      const scale = k.select(k.equal(total, 0), k.f32(0), k.div(k.f32(1 / weightScale), total));
      build.add(k.storeShared(scales, ownRow, scale));
    });
    // the sums through the memory of the scores, as many at a time as a row of them has room for
    const atOnce = tile / matrixSize;
    for (let head = 0; head < sums.length; head += atOnce) {
      const some = sums.slice(head, head + atOnce);
      some.forEach((sum, at) =>
        storeMatrix(build, sum, scores, k.add(k.mul(strip, scoreStride), at * matrixSize), scoreStride),
      );
      build.barrier();
      const width = some.length * matrixSize;
      build.loop(
        "element",
        lane,
        k.u32(matrixSize * width),
        (at) => {
          const row = build.bind("row", k.add(strip, k.div(at, width)));
          const column = build.bind("column", k.rem(at, width));
          const position = build.bind("query", k.add(first, row));
          const store = (): void => {
            const environment = withIndices(group.query(position), [[element.index, k.add(column, head * matrixSize)]]);
            const sum = k.loadShared(scores, "f32", k.add(k.mul(row, scoreStride), column));
            storeMean(lowering, environment, eqn, attention, k.mul(sum, k.loadShared(scales, "f32", row)));
          };
          if (queryCount % rows === 0) store();
          else build.when(k.less(position, queryCount), store);
        },
        lanes,
      );
      build.barrier();
    }
  };
  if (grid.inside === null) body();
  else build.when(grid.inside, body);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [size, 1, 1],
    workgroups: grid.workgroups,
    schedule: "attention",
    values: lowering.valuesOf(eqn),
  });
}

/** Rows of `width` f16 elements for an array of workgroup memory, loaded by all its invocations in vectors of 8. */
interface Staging {
  readonly size: number;
  readonly rows: number;
  readonly width: number;
  readonly array: string;
  readonly stride: number;
}

/** Loads an invocation's share of rows; the function returned puts it into workgroup memory. */
function stageRows(
  build: KernelBuilder,
  { size, rows, width, array, stride }: Staging,
  load: (row: Expr, vector: Expr) => Expr,
): () => void {
  const vectors = width / 8;
  const pieces = upTo(Math.ceil((rows * vectors) / size)).map((piece) => {
    const at = build.bind("piece", k.add(k.builtin("local_index"), piece * size));
    const inside = (piece + 1) * size > rows * vectors ? build.bind("inside", k.less(at, rows * vectors)) : null;
    const row = build.bind("row", inside === null ? k.div(at, vectors) : k.min(k.div(at, vectors), rows - 1));
    const vector = build.bind("vector", k.rem(at, vectors));
    return { row, vector, inside, loaded: build.bind("loaded", load(row, vector)) };
  });
  return () => {
    for (const { row, vector, inside, loaded } of pieces) {
      const put = (): void => build.add(k.storeShared(array, k.add(k.mul(row, stride), vector), loaded));
      if (inside === null) put();
      else build.when(inside, put);
    }
  };
}

function zeroMatrix(build: KernelBuilder): string {
  const name = build.fresh("sum");
  build.add({ kind: "matrix", name });
  return name;
}

function loadMatrix(
  build: KernelBuilder,
  role: "left" | "right",
  array: string,
  index: Expr,
  stride: number,
  columns: boolean,
): string {
  const name = build.fresh(role);
  build.add({ kind: "load_matrix", name, role, array, index: build.bind("at", index), stride: k.u32(stride), columns });
  return name;
}

function storeMatrix(build: KernelBuilder, name: string, array: string, index: Expr, stride: number): void {
  build.add({
    kind: "store_matrix",
    name,
    array,
    index: build.bind("at", index),
    stride: k.u32(stride),
    columns: false,
  });
}
