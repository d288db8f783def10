import type { Eqn, IndexId } from "../../graph/graph.js";
import { constantOf } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../builder.js";
import { spread, unflatten, workgroupPosition } from "../dispatch.js";
import type { Lowering } from "../lowering.js";
import { leftElement, leftUnit, type LeftSource } from "../left.js";
import type { Product, ProductRows, ProductTerm } from "../product.js";
import { flatten, lowerIndex, lowerScalar, withIndices, withKnown, type Scope } from "../scalar.js";
import { storeElement } from "../store.js";
import { combineWorkgroup, fixedSubgroup } from "../team.js";
import { extent, hullOf } from "../hull.js";

type MapEqn = Eqn<Concrete> & { readonly kind: "map" };

/** How a matvec is cut: a team of invocations shares `rows` weight rows; teams of one workgroup are independent. */
export interface MatvecShape {
  readonly lanes: number;
  readonly teams: number;
  readonly rows: number;
}

/** The most tokens a matvec takes: each is an accumulator a row. */
export const matvecTokens = 8;

/** Why it does not apply, or null: every right side must be a tensor read along k over the whole of it. */
export function matvecApplies(product: Product): boolean {
  return product.sizes.m <= matvecTokens && product.terms.every((term) => term.rows !== null && !term.rows.load.guarded && wholeRange(term));
}

/** Whether k runs over all columns of the rows. */
export function wholeRange(term: ProductTerm): boolean {
  const [range] = term.reduce.over;
  return range !== undefined && term.rows !== null && constantOf(range.low) === 0 && constantOf(range.high) === term.rows.shape.columns;
}

/** The cut for a device. */
export function matvecShape(product: Product, target: Target): MatvecShape {
  const subgroup = fixedSubgroup(target);
  // one invocation a row where invocations are SIMD lanes of a CPU: combining them costs more than it saves
  if (target.kind === "cpu") return { lanes: 1, teams: 16, rows: 1 };
  const lanes = subgroup !== null && subgroup >= 8 ? subgroup : 64;
  const accumulators = product.sizes.m * product.terms.length;
  const rows = accumulators <= 2 ? 4 : accumulators <= 4 ? 2 : 1;
  const teams = lanes === 64 && subgroup === null ? 1 : Math.max(1, Math.floor(Math.min(256, target.maxInvocations) / lanes));
  return { lanes, teams, rows };
}

/** A product for a few tokens: weights are read once, each unit by one lane, neighbours by neighbours. */
export function matvec(lowering: Lowering, eqn: MapEqn, product: Product, shape: MatvecShape): Kernel {
  const build = lowering.builder();
  const { target } = lowering;
  const size = shape.lanes * shape.teams;
  const nExtent = product.sizes.n;
  const rowTeams = Math.ceil(nExtent / shape.rows);
  const teamCount = rowTeams * product.sizes.batch;
  const workgroups = spread(Math.ceil(teamCount / shape.teams));
  const local = k.builtin("local_index");
  const lane = shape.lanes === 1 ? k.u32(0) : build.bind("lane", k.rem(local, shape.lanes));
  const team = build.bind("team", k.add(k.mul(workgroupPosition(workgroups), shape.teams), k.div(local, shape.lanes)));
  // teams past the end repeat the last one's work, so that all take part in barriers and subgroup operations
  const teamAt = build.bind("team_at", k.min(team, teamCount - 1));
  const batchPosition = product.sizes.batch === 1 ? k.u32(0) : build.bind("batch", k.div(teamAt, rowTeams));
  const first = build.bind("first_row", k.mul(product.sizes.batch === 1 ? teamAt : k.rem(teamAt, rowTeams), shape.rows));

  const axisIndex = (axis: number): IndexId => eqn.indices[axis]!.index;
  const base = (axis: number): Expr => k.u32(hullOf(eqn.indices[axis]!, lowering.bounds).low);
  const unpack = (position: Expr, axes: readonly number[]): (readonly [IndexId, Expr])[] =>
    unflatten(build, position, axes.map((axis) => extent(eqn.indices[axis]!, lowering.bounds)), axes.map((axis) => eqn.indices[axis]!.name)).map((at, i) => [axisIndex(axes[i]!), k.add(at, base(axes[i]!))] as const);

  const batched = withIndices(lowering.scope(build), unpack(batchPosition, product.batch));
  const tokens = Array.from({ length: product.sizes.m }, (_, token) => withIndices(batched, unpack(k.u32(token), product.m)));
  const rowIndices = Array.from({ length: shape.rows }, (_, row) => build.bind("n", k.min(k.add(first, row), nExtent - 1)));

  const results = new Map<ProductTerm, Expr[][]>();
  for (const term of product.terms) {
    results.set(term, rowIndices.map(() => tokens.map(() => build.variable("acc", k.f32(0)))));
  }
  // terms with the same left side share its reads
  for (const group of groupByLeft(product.terms)) {
    const rows = group[0]!.rows!;
    const unit = rows.unit;
    const columns = unit?.columns ?? 1;
    const units = rows.shape.columns / columns;
    build.loop("unit", lane, k.u32(units), (unitIndex) => {
      const left: LeftSource = { term: group[0]!, tokens, firstColumn: build.bind("column", k.mul(unitIndex, columns)) };
      const plain = group.every((term) => isStatic(term.rows!));
      const activations = plain ? leftUnit(lowering, build, left, columns) : null;
      for (const term of group) {
        rowIndices.forEach((n, r) => {
          const rowScope = withIndices(batched, [[axisIndex(product.n), n]]);
          accumulateUnit(lowering, build, term.rows!, rowScope, unitIndex, (column, token) =>
            activations !== null && typeof column === "number" ? activations[token]![column]! : leftElement(lowering, build, left, token, column), results.get(term)![r]!);
        });
      }
    }, shape.lanes);
  }

  const arrays = new Map<string, string>();
  for (const accumulators of results.values()) {
    for (const row of accumulators) for (const accumulator of row) if (shape.lanes > 1) combineTeam(build, target, shape, size, lane, accumulator, arrays);
  }
  const inRange = k.less(team, teamCount);
  build.when(shape.lanes === 1 ? inRange : k.and(inRange, k.equal(lane, 0)), () => {
    rowIndices.forEach((n, r) => {
      const finish = (): void => tokens.forEach((token, t) => {
        const scope = withKnown(withIndices(token, [[axisIndex(product.n), k.add(n, base(product.n))]]), product.terms.map((term) => [term.reduce, k.convert(term.reduce.dtype, results.get(term)![r]![t]!)] as const));
        storeElement(lowering, scope, eqn, lowerScalar(scope, eqn.body));
      });
      if (nExtent % shape.rows === 0) finish();
      else build.when(k.less(k.add(first, r), nExtent), finish);
    });
  });
  return build.finish({ name: lowering.nameOf(eqn), workgroupSize: [size, 1, 1], workgroups, schedule: "matvec", values: lowering.valuesOf(eqn) });
}

function combineTeam(build: KernelBuilder, target: Target, shape: MatvecShape, size: number, lane: Expr, accumulator: Expr, arrays: Map<string, string>): void {
  if (fixedSubgroup(target) === shape.lanes) build.assign(accumulator, k.call("subgroupAdd", [accumulator]));
  else combineWorkgroup(build, target, size, lane, "sum", [accumulator], arrays);
}

/** Terms whose left sides are the same and whose units are as wide, together. */
export function groupByLeft(terms: readonly ProductTerm[]): readonly (readonly ProductTerm[])[] {
  const groups = new Map<string, ProductTerm[]>();
  for (const term of terms) {
    const key = `${term.leftKey} ${term.rows?.unit?.columns ?? 1} ${term.rows?.shape.columns ?? 0}`;
    groups.set(key, [...(groups.get(key) ?? []), term]);
  }
  return [...groups.values()];
}

/** Whether the columns of a unit's entries are known, so that activations can be read ahead. */
function isStatic(rows: ProductRows): boolean {
  return rows.unit !== null && rows.unit.entries === rows.unit.columns;
}

/** Adds one unit of one row to the accumulators of the tokens. */
export function accumulateUnit(lowering: Lowering, build: KernelBuilder, rows: ProductRows, scope: Scope, unit: Expr, activation: (column: number | Expr, token: number) => Expr, accumulators: readonly Expr[]): void {
  const storage = lowering.storage[rows.load.tensor]!;
  const words = build.words(storage);
  const shape = lowering.graph.values[rows.load.tensor]!.type.shape;
  const row = build.bind("row", flatten(shape.slice(0, -1), rows.load.at.slice(0, -1).map((at) => lowerIndex(scope, at))));
  if (rows.unit === null) {
    const value = build.bind("w", rows.format.locate(rows.spec, rows.shape, words, row, unit));
    accumulators.forEach((accumulator, token) => build.assign(accumulator, k.fma(value, activation(0, token), accumulator)));
    return;
  }
  const stored = rows.format.stored(rows.spec, rows.shape, words, row, unit);
  const entries = stored.entries.map((entry) => ({
    column: typeof entry.column === "number" ? entry.column : build.bind("at", entry.column),
    value: build.bind("w", stored.zero === null ? entry.value : k.sub(entry.value, stored.zero)),
  }));
  const scale = stored.scale === null ? null : build.bind("scale", stored.scale);
  accumulators.forEach((accumulator, token) => {
    if (scale === null) {
      for (const entry of entries) build.assign(accumulator, k.fma(entry.value, activation(entry.column, token), accumulator));
      return;
    }
    const partial = build.variable("partial", k.f32(0));
    for (const entry of entries) build.assign(partial, k.fma(entry.value, activation(entry.column, token), partial));
    build.assign(accumulator, k.fma(partial, scale, accumulator));
  });
}
