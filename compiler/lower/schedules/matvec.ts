import type { Eqn, IndexId } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { spread, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { leftUnit, type LeftSource } from "../product/left.js";
import type { Product, ProductRows, ProductTerm } from "../../graph/analysis/product.js";
import { rowAt, storedElement, storedUnit, wholeRange } from "../product/right.js";
import { lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { followedRows, type Follower } from "../product/follower.js";
import { canStage, leftReduces, stageLeft } from "../product/staged.js";
import { combineTeam, fixedSubgroup, soleTeam } from "../toolkit/team.js";
import { atPosition, axisBinder } from "../toolkit/positions.js";
import { quadsApply } from "./quads.js";

type MapEqn = Eqn<Concrete> & { readonly kind: "map" };

/** How a matvec is cut: a team of invocations shares `rows` weight rows; teams of one workgroup are independent. */
export interface MatvecShape {
  readonly kind: "matvec";
  readonly lanes: number;
  readonly teams: number;
  readonly rows: number;
  /** Units a lane takes in one turn of the loop, so that their loads are under way together. */
  readonly unroll: number;
  /**
   * How many times a team takes rows, one after the other: more than once where the workgroup has computed its
   * activations for itself.
   */
  readonly turns: number;
}

/**
 * Workgroups that compute their activations for themselves: some for each multiprocessor of a large GPU, that it may
 * hide their start.
 */
const stagedWorkgroups = 528;

/** The most tokens a matvec takes: each is an accumulator a row. */
const matvecTokens = 16;

/** Activations that a lane can hold in registers: those of a unit, or of a part of it, for every token. */
const registerActivations = 256;

/** From more tokens than this on, a unit's activations are read this many columns at a time. */
const chunkedTokens = 2;
const chunkColumns = 8;

/** Whether it applies: few tokens, and every right side is a tensor read along k over the whole of it. */
export function matvecApplies(product: Product, target: Target): boolean {
  const { m } = product.sizes;
  if (quadsApply(product, target)) return false;
  // many tokens of a packed weight with enough rows that tiles fill the chip: a tile unpacks each weight once for all
  if (m > 8 && product.sizes.n >= 16384 && product.terms.some((term) => (term.rows?.unit?.columns ?? 1) > 16))
    return false;
  if (
    leftReduces(product) &&
    !(canStage(product, target) && product.terms.every((term) => (term.rows?.unit?.columns ?? 1) % 4 === 0))
  )
    return false;
  return (
    m <= matvecTokens &&
    product.terms.every(
      (term) =>
        term.rows !== null &&
        !term.rows.load.guarded &&
        wholeRange(term) &&
        m * Math.min(m > chunkedTokens ? chunkColumns : Infinity, term.rows.unit?.columns ?? 1) <= registerActivations,
    )
  );
}

/** Whether `matvec` computes reductions in the left side once a workgroup, and keeps it in workgroup memory. */
export function matvecKeepsLeft(product: Product, target: Target): boolean {
  return canStage(product, target) && matvecApplies(product, target);
}

/** What may be tried for a product, the best guess first. */
export function matvecCuts(product: Product, target: Target): readonly MatvecShape[] {
  const subgroup = fixedSubgroup(target);
  const staged = leftReduces(product);
  const accumulators = product.sizes.m * product.terms.length;
  const most = Math.max(1, Math.floor(32 / accumulators));
  const make = (lanes: number, teams: number, rows: number, unroll: number): MatvecShape => ({
    kind: "matvec",
    lanes,
    teams,
    rows,
    unroll,
    turns: staged ? Math.max(1, Math.floor(product.sizes.n / (rows * teams * stagedWorkgroups))) : 1,
  });
  // one invocation a row where invocations are SIMD lanes of a CPU: combining them costs more than it saves
  if (target.kind === "cpu")
    return [
      { kind: "matvec", lanes: 1, teams: 16, rows: 1, unroll: 1, turns: 1 },
      ...[4, 8, 32, 64].map((teams) => make(1, teams, 1, 1)),
      ...[2, 4].filter((rows) => rows <= most).map((rows) => make(1, 16, rows, 1)),
    ];
  const lanes = subgroup !== null && subgroup >= 8 ? subgroup : 64;
  // measured on an H100 (bench/h100.md): a unit of many columns needs many activations, which rows then share; dense
  // floats are bound by memory and want many small teams with two loads under way each
  const columns = Math.max(...product.terms.map((term) => term.rows?.unit?.columns ?? 1));
  const wanted = columns <= 16 ? (product.sizes.m > 4 ? 2 : 1) : columns <= 32 ? (product.sizes.n >= 16384 ? 4 : 2) : 4;
  const rows = Math.min(wanted, most);
  // without subgroups of that size a team is the workgroup
  const alone = subgroup !== lanes;
  const teams = alone ? 1 : Math.max(1, Math.floor(Math.min(staged ? 256 : 128, target.maxInvocations) / lanes));
  const unroll = columns <= 32 && product.sizes.m === 1 ? 2 : 1;
  const mostTeams = alone ? 1 : Math.floor(target.maxInvocations / lanes);
  return [
    make(lanes, teams, rows, unroll),
    ...[1, 2, 4, 8].filter((each) => each !== rows && each <= most).map((each) => make(lanes, teams, each, unroll)),
    ...[1, 2, 4, 8, 16]
      .filter((each) => each !== teams && each <= mostTeams)
      .map((each) => make(lanes, each, rows, unroll)),
    ...(product.sizes.m === 1 ? [make(lanes, teams, rows, 3 - unroll)] : []),
  ];
}

/**
 * A product for a few tokens: weights are read once, each unit by one lane, neighbours by neighbours. `follower` is
 * computed instead of storing the results; null where a workgroup has not what it reads.
 */
export function matvec(
  lowering: Lowering,
  eqn: MapEqn,
  product: Product,
  shape: MatvecShape,
  follower: Follower | null = null,
): Kernel | null {
  const build = lowering.builder();
  const { target } = lowering;
  const size = shape.lanes * shape.teams;
  const nExtent = product.sizes.n;
  const rowTeams = Math.ceil(nExtent / shape.rows);
  const teamCount = rowTeams * product.sizes.batch;
  const workgroups = spread(Math.ceil(teamCount / (shape.teams * shape.turns)));
  const followed = follower === null ? null : followedRows(lowering, build, product, follower, { ...shape, size });
  if (follower !== null && followed === null) return null;
  const local = k.builtin("local_index");
  const lane = shape.lanes === 1 ? k.u32(0) : build.bind("lane", k.rem(local, shape.lanes));

  const axisIndex = (axis: number): IndexId => eqn.indices[axis]!.index;
  const bindAxes = axisBinder(eqn, lowering.bounds);
  const tokensOf = (environment: Environment): readonly Environment[] =>
    Array.from({ length: product.sizes.m }, (_, token) => bindAxes(environment, k.u32(token), product.m));

  const staged = leftReduces(product)
    ? stageLeft(
        build,
        product.terms[0]!,
        tokensOf(bindAxes(lowering.environment(build), k.u32(0), product.batch)),
        size,
      )
    : null;
  const own = soleTeam(shape.lanes, lane);

  // the rows of one team, which is one of those of a workgroup's share
  const walk = (block: Expr, ownTeam: Expr): void => {
    const team = build.bind("team", k.add(k.mul(block, shape.teams), ownTeam));
    // teams past the end repeat the last one's work, so that all take part in barriers and subgroup operations
    const teamAt = build.bind("team_at", k.min(team, teamCount - 1));
    const batchPosition = product.sizes.batch === 1 ? k.u32(0) : build.bind("batch", k.div(teamAt, rowTeams));
    const first = build.bind(
      "first_row",
      k.mul(product.sizes.batch === 1 ? teamAt : k.rem(teamAt, rowTeams), shape.rows),
    );
    const batched = bindAxes(lowering.environment(build), batchPosition, product.batch);
    const tokens = tokensOf(batched);
    const held = followed === null ? null : build.bind("held", k.min(block, followed.blocks - 1));
    const rowIndices = Array.from({ length: shape.rows }, (_, row) =>
      followed === null || held === null
        ? build.bind("n", k.min(k.add(first, row), nExtent - 1))
        : followed.rowOf(held, ownTeam, row),
    );

    const results = new Map<ProductTerm, Expr[][]>();
    for (const term of product.terms)
      results.set(
        term,
        rowIndices.map(() => tokens.map(() => build.variable("acc", k.f32(0)))),
      );
    // terms with the same left side share its reads
    for (const group of groupByLeft(product.terms)) {
      const rows = group[0]!.rows!;
      const columns = rows.unit?.columns ?? 1;
      const units = rows.shape.columns / columns;
      const oneUnit = (unitIndex: Expr): void => {
        const firstColumn = build.bind("column", k.mul(unitIndex, columns));
        const opened = group.flatMap((term) =>
          rowIndices.map((n, r) =>
            openUnit(
              lowering,
              build,
              term.rows!,
              withIndices(batched, [[axisIndex(product.n), n]]),
              unitIndex,
              results.get(term)![r]!,
            ),
          ),
        );
        // many tokens' activations would not fit the registers for a whole unit; those in workgroup memory need not
        const width = staged === null && product.sizes.m > chunkedTokens ? Math.min(columns, chunkColumns) : columns;
        for (let from = 0; from < columns; from += width) {
          const left: LeftSource = { term: group[0]!, tokens, firstColumn: k.add(firstColumn, from) };
          const activations = staged === null ? leftUnit(lowering, build, left, width) : staged(unitIndex, columns);
          for (const each of opened) each.add(activations, from, width);
        }
        for (const each of opened) each.close();
      };
      const unroll = units % (shape.lanes * shape.unroll) === 0 ? shape.unroll : 1;
      build.loop(
        "unit",
        lane,
        k.u32(units),
        (unitIndex) => {
          for (let turn = 0; turn < unroll; turn++)
            oneUnit(turn === 0 ? unitIndex : build.bind("unit", k.add(unitIndex, turn * shape.lanes)));
        },
        shape.lanes * unroll,
      );
    }

    for (const accumulators of results.values()) {
      for (const row of accumulators)
        for (const accumulator of row) combineTeam(build, target, own, "sum", [accumulator]);
    }
    const elementAt = (token: Environment, t: number, n: Expr, r: number): Environment =>
      withKnown(
        withIndices(token, [[axisIndex(product.n), atPosition(eqn.indices[product.n]!, lowering.bounds, n)]]),
        product.terms.map((term) => [term.reduce, k.convert(term.reduce.dtype, results.get(term)![r]![t]!)] as const),
      );
    if (followed !== null) {
      const at = { block, team: ownTeam, first: shape.lanes === 1 ? null : k.equal(lane, 0) };
      const inside = k.less(block, followed.blocks);
      followed.store(at, inside, shape.turns > 1, (r, t) =>
        lowerScalar(elementAt(tokens[t]!, t, rowIndices[r]!, r), eqn.body),
      );
      return;
    }
    const inRange = k.less(team, teamCount);
    build.when(shape.lanes === 1 ? inRange : k.and(inRange, k.equal(lane, 0)), () => {
      rowIndices.forEach((n, r) => {
        const finish = (): void =>
          tokens.forEach((token, t) => {
            const environment = elementAt(token, t, n, r);
            storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
          });
        if (nExtent % shape.rows === 0) finish();
        else build.when(k.less(k.add(first, r), nExtent), finish);
      });
    });
  };

  const share = (turn: k.Operand): void => {
    const block = k.add(k.mul(workgroupPosition(workgroups), shape.turns), turn);
    const ownTeam = k.div(local, shape.lanes);
    if (followed === null) walk(block, ownTeam);
    else walk(build.bind("block", block), build.bind("own_team", ownTeam));
  };
  if (shape.turns === 1) share(0);
  else build.loop("turn", k.u32(0), k.u32(shape.turns), share);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [size, 1, 1],
    workgroups,
    schedule: "matvec",
    values: lowering.valuesOf(eqn),
  });
}

/** Terms whose left sides are the same and whose units are as wide, together. */
function groupByLeft(terms: readonly ProductTerm[]): readonly (readonly ProductTerm[])[] {
  const groups = new Map<string, ProductTerm[]>();
  for (const term of terms) {
    const key = `${term.leftKey} ${term.rows?.unit?.columns ?? 1} ${term.rows?.shape.columns ?? 0}`;
    groups.set(key, [...(groups.get(key) ?? []), term]);
  }
  return [...groups.values()];
}

/** The first column of the group that an entry is of: its column, or what is added to the position that is data. */
function firstColumnOf(column: number | Expr): number {
  if (typeof column === "number") return column;
  return column.kind === "binary" && column.op === "add" && column.b.kind === "literal" ? column.b.value : 0;
}

/**
 * The activation at a column that is data, among those of its group: null where it cannot be. The position within the group
 * picks it by its bits: a chain of selects, where an index into memory would cost a load for each entry.
 */
function pick(build: KernelBuilder, group: readonly (Expr | null)[], column: Expr): Expr {
  const position = build.bind(
    "position",
    firstColumnOf(column) === 0 ? column : (column as Expr & { readonly kind: "binary" }).a,
  );
  let candidates = group;
  for (let bit = 0; candidates.length > 1; bit++) {
    const pairs = candidates;
    const chooses = pairs.some((low, at) => at % 2 === 0 && low !== null && (pairs[at + 1] ?? null) !== null);
    const high = chooses ? build.bind("high", k.notEqual(k.bitAnd(position, 1 << bit), 0)) : null;
    candidates = pairs
      .filter((_, at) => at % 2 === 0)
      .map((low, at) => {
        const other = pairs[2 * at + 1] ?? null;
        return low === null || other === null || high === null ? (low ?? other) : k.select(high, other, low);
      });
  }
  return build.bind("x", candidates[0]!);
}

/**
 * A unit of one row that has been read and is being added to the accumulators of the tokens, some columns at a time.
 */
interface OpenUnit {
  /** Adds `width` columns from `from` on; `activations` are those columns' for each token. */
  add(activations: readonly (readonly Expr[])[], from: number, width: number): void;
  close(): void;
}

/** Reads a unit of a row. */
function openUnit(
  lowering: Lowering,
  build: KernelBuilder,
  rows: ProductRows,
  environment: Environment,
  unit: Expr,
  accumulators: readonly Expr[],
): OpenUnit {
  const row = rowAt(lowering.graph, rows, environment);
  if (rows.unit === null) {
    const value = build.bind("w", storedElement(lowering, build, rows, row, unit));
    return {
      add: (activations) =>
        accumulators.forEach((accumulator, token) =>
          build.assign(accumulator, k.fma(value, activations[token]![0]!, accumulator)),
        ),
      close: () => {},
    };
  }
  const stored = storedUnit(lowering, build, rows, row, unit);
  const pattern = rows.format.pattern(rows.spec);
  const group = pattern?.kind === "nm" ? pattern.m : rows.unit.columns;
  const entries = stored.entries.map((entry, at) => ({
    column: entry.column,
    first: firstColumnOf(entry.column),
    // of the n entries of a group, whose positions increase, how many stand before and how many after
    before: pattern?.kind === "nm" ? at % pattern.n : 0,
    after: pattern?.kind === "nm" ? pattern.n - 1 - (at % pattern.n) : 0,
    value: build.bind("w", stored.zero === null ? entry.value : k.sub(entry.value, stored.zero)),
  }));
  const scale = stored.scale === null ? null : build.bind("scale", stored.scale);
  const sums = scale === null ? accumulators : accumulators.map(() => build.variable("partial", k.f32(0)));
  return {
    add(activations, from, width) {
      const some = entries.filter((entry) => entry.first >= from && entry.first < from + width);
      sums.forEach((sum, token) => {
        for (const { column, first, value, before, after } of some) {
          const own = activations[token]!.slice(first - from, first - from + group);
          const activation =
            typeof column === "number"
              ? activations[token]![column - from]!
              : pick(
                  build,
                  own.map((x, at) => (at < before || at >= group - after ? null : x)),
                  column,
                );
          build.assign(sum, k.fma(value, activation, sum));
        }
      });
    },
    close() {
      if (scale !== null)
        accumulators.forEach((accumulator, token) =>
          build.assign(accumulator, k.fma(sums[token]!, scale, accumulator)),
        );
    },
  };
}
