import { readsAnywhere, type Product, type ProductTerm } from "../../graph/analysis/product.js";
import { boundingRange } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import { constantOf, withoutCasts } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { leftUnit, leftValue, vectorLoads } from "../product/left.js";
import { summedColumns, type Tokens } from "../product/summed-columns.js";
import { rowAt, storedUnit } from "../product/right.js";
import { tileInside } from "../product/tile.js";
import { joinAxes } from "../toolkit/axes.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { gridOf } from "../toolkit/dispatch.js";
import { axisBinder, boundsOf, insideRanges } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import {
  flatten,
  lowerIndex,
  lowerRange,
  lowerScalar,
  withIndices,
  withKnown,
  type Environment,
} from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { axisExtents, passes } from "./tiled.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * A product for many tokens on a CPU driver, where an invocation is a SIMD lane, loads cost ten times a
 * multiplication, and workgroup memory and barriers cost far more. Each lane keeps `tm` x `tn` sums. The four lanes of
 * a quad work on the same tokens: each loads a quarter of their activations and passes them on by quad swaps.
 */
export interface QuadShape {
  readonly kind: "quads";
  /** Tokens a lane; a multiple of 4. */
  readonly tm: number;
  /** Neighbouring outputs a lane. */
  readonly tn: number;
  /** Lanes a workgroup; a multiple of 4. */
  readonly lanes: number;
}

/** Whether lanes 4i .. 4i+3 of a workgroup form quads, and the product is large enough. */
export function quadsApply(product: Product, target: Target): boolean {
  const { sizes, terms } = product;
  return (
    target.kind === "cpu" &&
    target.subgroups !== null &&
    target.subgroups.min >= 4 &&
    sizes.m >= 4 &&
    terms.every(
      ({ reduce, left, rows }) =>
        constantOf(reduce.over[0]!.low) === 0 &&
        // lanes walk to the end of the farthest token of their tile
        (constantOf(reduce.over[0]!.high) !== null || readsAnywhere(left, reduce.over[0]!.index)) &&
        (rows?.unit == null || rows.unit.entries === rows.unit.columns),
    )
  );
}

/** What may be tried for a product, the best guess first. */
export function quadCuts(product: Product): readonly QuadShape[] {
  // registers are few: a gate and its product together take two outputs a lane instead of four
  const pair = product.terms.length > 1;
  const tn = pair ? 2 : product.sizes.n % 4 === 0 || product.sizes.n > 16 ? 4 : 1;
  let lanes = 4;
  while (lanes < 16 && lanes * tn < product.sizes.n) lanes *= 2;
  const best: QuadShape = { kind: "quads", tm: product.sizes.m <= 4 ? 4 : 8, tn, lanes };
  return [
    best,
    { ...best, tm: 12 - best.tm },
    ...[1, 2, 4].filter((each) => each !== tn).map((each) => ({ ...best, tn: each })),
    ...[4, 8, 16, 32].filter((each) => each !== lanes).map((each) => ({ ...best, lanes: each })),
  ];
}

/** The kernel. */
export function quads(lowering: Lowering, eqn: Elements, product: Product, shape: QuadShape): Kernel {
  const build = lowering.builder();
  const bounds = boundsOf(lowering, eqn);
  const { tm, tn, lanes } = shape;
  const { sizes } = product;
  const grid = gridOf(build, [Math.ceil(sizes.n / (lanes * tn)), Math.ceil(sizes.m / tm), sizes.batch]);
  const local = k.builtin("local_index");
  const q = build.bind("q", k.bitAnd(local, 3));
  const firstN = build.bind("first_n", k.mul(k.add(k.mul(grid.x, lanes), local), tn));
  const firstM = build.bind("first_m", k.mul(grid.y, tm));

  const bindAxes = axisBinder(eqn, bounds);
  const batched = bindAxes(lowering.environment(build), grid.z, product.batch);
  const inM = (at: Expr): Expr => k.min(at, sizes.m - 1);
  // lane q loads token 4i + q of the tile
  const loaded = upTo(tm / 4).map((i) =>
    bindAxes(batched, build.bind("m", inM(k.add(k.add(firstM, 4 * i), q))), product.m),
  );
  const columns = upTo(tn).map((j) =>
    bindAxes(batched, build.bind("n", k.min(k.add(firstN, j), sizes.n - 1)), [product.n]),
  );
  const sums = new Map<ProductTerm, Expr[][]>(
    product.terms.map((term) => [term, upTo(tm).map(() => upTo(tn).map(() => build.variable("acc", k.f32(0))))]),
  );

  const wanted = tileInside(batched, eqn, product, bounds, {
    firstM,
    rowsM: tm,
    firstN: k.mul(grid.x, lanes * tn),
    rowsN: lanes * tn,
  });
  const body = (): void => {
    for (const group of passes(lowering, product.terms)) {
      const term = group[0]!;
      const bound = loopBound(lowering, eqn, product, term, {
        first: firstM,
        count: tm,
        around: batched,
        at: (m) => bindAxes(batched, m, product.m),
      });
      const step = stepOf(group, bound.exact);
      const limits =
        bound.exact !== null
          ? null
          : loaded.map((environment) => build.bind("limit", k.min(lowerRange(environment, term.column).to, bound.end)));
      const last = bound.exact === null ? build.bind("last", k.sub(k.max(bound.end, 1), 1)) : null;
      build.loop(
        "column",
        k.u32(0),
        bound.end,
        (column) => {
          const aligned = boundingRange(eqn.indices[product.n]!, bounds).low % 4 === 0;
          const rights = group.map(
            (each) =>
              (aligned
                ? acrossColumns(lowering, build, each, columns, eqn.indices[product.n]!.index, column, step, last)
                : null) ??
              columns.map((environment) => rightColumns(lowering, build, each, environment, column, step, last)),
          );
          for (let chunk = 0; chunk < step; chunk += 4) {
            const width = Math.min(4, step - chunk);
            for (let i = 0; i < tm / 4; i++) {
              const left = leftChunk(
                lowering,
                build,
                term,
                loaded[i]!,
                k.add(column, chunk),
                width,
                last,
                limits?.[i] ?? null,
              );
              for (let r = 0; r < 4; r++) {
                const mine = r === 0 ? left : swap(build, left, r);
                group.forEach((each, g) =>
                  upTo(tn).forEach((j) => {
                    const sum = sums.get(each)![4 * i + r]![j]!;
                    let value = sum;
                    for (let at = 0; at < width; at++) value = k.fma(mine[at]!, rights[g]![j]![chunk + at]!, value);
                    build.assign(sum, value);
                  }),
                );
              }
            }
          }
        },
        step,
      );
    }

    for (let i = 0; i < tm / 4; i++) {
      for (let r = 0; r < 4; r++) {
        const m = build.bind("m", k.add(k.add(firstM, 4 * i), k.bitXor(q, r)));
        build.when(k.less(m, sizes.m), () => {
          const token = bindAxes(batched, m, product.m);
          for (let j = 0; j < tn; j++) {
            const finish = (): void => {
              const environment = withKnown(
                bindAxes(token, k.add(firstN, j), [product.n]),
                product.terms.map(
                  (term) => [term.reduce, k.convert(term.reduce.dtype, sums.get(term)![4 * i + r]![j]!)] as const,
                ),
              );
              const store = (): void => storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
              const inside = insideRanges(environment, eqn.indices, bounds);
              if (inside === null) store();
              else build.when(inside, store);
            };
            if (sizes.n % (lanes * tn) === 0) finish();
            else build.when(k.less(k.add(firstN, j), sizes.n), finish);
          }
        });
      }
    }
  };
  const conditions = [grid.inside, wanted].filter((condition) => condition !== null);
  if (conditions.length === 0) body();
  else build.when(conditions.reduce(k.and), body);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [lanes, 1, 1],
    workgroups: grid.workgroups,
    schedule: "quads",
    values: lowering.valuesOf(eqn),
  });
}

/** Where the walk over k ends, the same for all lanes: a constant, or what the farthest token of the tile needs. */
function loopBound(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  term: ProductTerm,
  tokens: Tokens,
): { readonly end: Expr; readonly exact: number | null } {
  const range = term.column;
  const high = constantOf(range.high);
  if (high !== null) return { end: k.u32(high), exact: high };
  const { to } = summedColumns(lowering, eqn, product, range, tokens);
  const size = axisExtents(lowering, term);
  return { end: size === null ? to : tokens.around.build.bind("end", k.min(to, size)), exact: null };
}

/** Columns of one turn of the loop: whole units of every term, eight where they divide k. */
function stepOf(group: readonly ProductTerm[], length: number | null): number {
  const unit = Math.max(...group.map((term) => term.rows?.unit?.columns ?? 1));
  if (length === null) return 4;
  for (const step of [unit, 2 * unit, 4 * unit, 8 * unit])
    if (step >= 8 && step % 4 === 0 && length % step === 0) return step;
  for (const step of [unit, 4 * unit]) if (step % 4 === 0 && length % step === 0) return step;
  return length % unit === 0 ? unit : 1;
}

/** The right side at `step` columns from `column` on, for the output of an environment. */
function rightColumns(
  lowering: Lowering,
  build: KernelBuilder,
  term: ProductTerm,
  environment: Environment,
  column: Expr,
  step: number,
  last: Expr | null,
): Expr[] {
  const { rows } = term;
  const unit = rows?.unit ?? null;
  if (rows !== null && unit !== null && last === null && !rows.load.guarded && step % unit.columns === 0) {
    const row = rowAt(lowering.graph, rows, environment);
    const values: Expr[] = [];
    for (let at = 0; at < step; at += unit.columns) {
      const stored = storedUnit(
        lowering,
        build,
        rows,
        row,
        build.bind("unit", k.add(k.div(column, unit.columns), at / unit.columns)),
      );
      for (const entry of stored.entries) {
        const shifted = stored.zero === null ? entry.value : k.sub(entry.value, stored.zero);
        values[at + (entry.column as number)] = build.bind(
          "w",
          stored.scale === null ? shifted : k.mul(shifted, stored.scale),
        );
      }
    }
    return values;
  }
  return upTo(step).map((at) => {
    const position = k.add(column, at);
    const inner = withIndices(environment, [
      [term.column.index, last === null ? position : build.bind("at", k.min(position, last))],
    ]);
    return build.bind(
      "w",
      term.right.map((factor) => k.convert("f32", lowerScalar(inner, factor))).reduce((a, b) => k.mul(a, b)),
    );
  });
}

/**
 * The right side as one vector of four neighbouring outputs a column, where it is a dense tensor whose last index is n
 * (the values of an attention); else null. Result [output][column].
 */
function acrossColumns(
  lowering: Lowering,
  build: KernelBuilder,
  term: ProductTerm,
  columns: readonly Environment[],
  n: number,
  column: Expr,
  step: number,
  last: Expr | null,
): Expr[][] | null {
  const [only, ...rest] = term.right;
  const load = only === undefined ? undefined : withoutCasts(only);
  if (load?.kind !== "load" || rest.length > 0 || load.guarded || columns.length !== 4) return null;
  const { type } = lowering.graph.values[load.tensor]!;
  const storage = lowering.storage[load.tensor];
  if (
    storage === null ||
    storage === undefined ||
    type.format !== null ||
    (type.dtype !== "f32" && type.dtype !== "f16")
  )
    return null;
  const { shape, at } = joinAxes(type.shape, load.at);
  const end = at[at.length - 1];
  const size = shape[shape.length - 1]!;
  if (end?.kind !== "index" || end.index !== n || size % 4 !== 0) return null;
  const element = `vec4<${type.dtype}>` as const;
  const buffer = build.view(storage, element, "read");
  const result: Expr[][] = columns.map(() => []);
  for (let each = 0; each < step; each++) {
    const position = k.add(column, each);
    const environment = withIndices(columns[0]!, [
      [term.column.index, last === null ? position : build.bind("at", k.min(position, last))],
    ]);
    // the size is a multiple of four, so the four of a lane are in range or all past the end, and then clamped
    const start = flatten(
      [...shape.slice(0, -1), size / 4],
      [...at.slice(0, -1).map((index) => lowerIndex(environment, index)), k.div(lowerIndex(environment, end), 4)],
    );
    const four = build.bind("w4", k.convert("vec4<f32>", k.loadBuffer(buffer, element, start)));
    result.forEach((row, j) => row.push(k.component(four, j)));
  }
  return result;
}

/** The left side at `width` columns for the token that this lane loads; zero past the token's own limit. */
function leftChunk(
  lowering: Lowering,
  build: KernelBuilder,
  term: ProductTerm,
  environment: Environment,
  column: Expr,
  width: number,
  last: Expr | null,
  limit: Expr | null,
): Expr[] {
  if (last === null) return leftUnit(lowering, build, { term, tokens: [environment], firstColumn: column }, width)[0]!;
  // the walk ends at a multiple of the width or before the axis does, so a whole vector is in range
  const vectors = vectorLoads(
    lowering,
    build,
    environment,
    { term, tokens: [environment], firstColumn: column },
    width,
  );
  if (vectors !== null)
    return vectors.map((value, at) => build.bind("x", k.select(k.less(k.add(column, at), limit!), value, 0)));
  return upTo(width).map((at) => {
    const position = build.bind("at", k.add(column, at));
    const inner = withIndices(environment, [[term.column.index, k.min(position, last)]]);
    return build.bind("x", k.select(k.less(position, limit!), leftValue(inner, term), 0));
  });
}

/** The values that lane q ^ r of the quad holds. */
function swap(build: KernelBuilder, values: readonly Expr[], r: number): Expr[] {
  return values.map((value) => build.bind("from", k.call("subgroupShuffleXor", [value, k.u32(r)])));
}
