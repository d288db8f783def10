/** The rows of a product by teams: which a team has, how their units are read, summed and stored. */
import type { WordReader } from "../../formats/code/code.js";
import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { followedRows, type Follower } from "../product/follower.js";
import { live } from "../product/live.js";
import { rowAt } from "../product/right.js";
import type { SlotActivations, TeamActivations, TeamCut, TeamParts, TeamUnits } from "../product/team.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { atPosition, bindPosition } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";

export type MapEqn = Eqn<Concrete> & { readonly kind: "map" };

/** What teams compute, and how much of it. */
export interface TeamRows<U> {
  readonly build: KernelBuilder;
  readonly terms: readonly ProductTerm[];
  readonly activations: TeamActivations<U>;
  readonly workgroups: number;
  /** How many times a team takes rows. */
  readonly turns: number;
  /** Slots of a row, those of a chunk, and how many chunks they make. */
  readonly slots: number;
  readonly inChunk: number;
  readonly chunks: number;
  /** The rows of a turn. `beyond`: of one after the last, the last again. */
  rowsOf(turn: k.Operand, beyond?: boolean): Turn;
  /** Sums of a turn's rows, 0. */
  accumulators(): Sums;
  /** Reads the units of this lane in a slot, of every row and term. */
  open(turn: Turn, slot: Expr): readonly OpenUnit<U>[];
  /** The words of a step, loaded. */
  loadWords(step: Step): readonly Expr[];
  /** Reads the units of a step whose words were loaded. */
  openWords(step: Step, words: readonly Expr[]): readonly OpenUnit<U>[];
  add(sums: Sums, opened: readonly OpenUnit<U>[], slot: SlotActivations<U>): void;
  /** Adds up what the lanes have, and stores the results or computes what follows them. */
  finish(turn: Turn, sums: Sums): void;
}

/** For each term, row and token of a turn its sum so far. */
export type Sums = ReadonlyMap<ProductTerm, readonly (readonly Expr[])[]>;

export interface Turn {
  /** Whether the team has rows; null where all have. */
  readonly inside: Expr | null;
  /** The first of its rows, or of what is followed the workgroup's share. */
  readonly first: Expr;
  readonly n: readonly Expr[];
}

/** A slot of a term, in a turn. */
export interface Step {
  readonly turn: Turn;
  readonly slot: Expr;
  readonly term: ProductTerm;
}

/** A unit of a row that has been read. */
export interface OpenUnit<U> {
  readonly term: ProductTerm;
  readonly row: number;
  readonly unit: U;
}

/** The rows of a product by a cut, with `units` units each; null where a workgroup has not what its follower reads. */
export function teamRows<U>(
  lowering: Lowering,
  eqn: MapEqn,
  product: Product,
  {
    cut,
    units,
    follower,
    unitsOf,
  }: {
    readonly cut: TeamCut;
    readonly units: number;
    readonly follower: Follower | null;
    readonly unitsOf: (parts: TeamParts) => TeamUnits<U>;
  },
): TeamRows<U> | null {
  const build = lowering.builder();
  const { lanes, teams, rows } = cut;
  const { m, n: nExtent } = product.sizes;
  const size = lanes * teams;
  // all units of a row take so many turns of the lanes; in each chunk as many as the activations have room for
  const slots = Math.ceil(units / lanes);
  const inChunk = Math.min(cut.slots, slots);
  const chunks = Math.ceil(slots / inChunk);
  const positions = Math.ceil(nExtent / rows);
  const workgroups = Math.min(cut.workgroups, Math.ceil(positions / teams));
  const turns = Math.ceil(positions / (workgroups * teams));
  const whole = turns * workgroups * teams === positions;
  const followed = follower === null ? null : followedRows(lowering, build, product, follower, { teams, rows, size });
  if (follower !== null && followed === null) return null;

  const local = k.builtin("local_index");
  const lane = lanes === 1 ? k.u32(0) : build.bind("lane", k.rem(local, lanes));
  const group = k.builtin("workgroup_id.x");
  // among all teams, or where results are followed among those of the workgroup
  const ownTeam = k.div(local, lanes);
  const team = build.bind("team", followed === null ? k.add(k.mul(group, teams), ownTeam) : ownTeam);
  const bindAxes = (scope: Environment, at: Expr, axes: readonly number[]): Environment =>
    bindPosition(
      scope,
      axes.map((axis) => eqn.indices[axis]!),
      lowering.bounds,
      at,
    );
  const around = bindAxes(lowering.environment(build), k.u32(0), product.batch);
  const tokens = upTo(m).map((token) => bindAxes(around, k.u32(token), product.m));
  const { open: openUnit, activations } = unitsOf({ build, lane, size, tokens });

  /** The rows of a turn: their indices, and whether there are any. `beyond`: of one after the last, the last again. */
  const rowsOf = (turn: k.Operand, beyond = false): Turn => {
    if (followed !== null) {
      const block = build.bind("block", k.add(group, k.mul(turn === 0 ? k.u32(0) : asExpr(turn), workgroups)));
      const held = whole && !beyond ? block : build.bind("held", k.min(block, followed.blocks - 1));
      return {
        inside: whole ? null : k.less(block, followed.blocks),
        first: block,
        n: upTo(rows).map((row) => followed.rowOf(held, team, row)),
      };
    }
    const position = build.bind(
      "position",
      k.add(team, k.mul(turn === 0 ? k.u32(0) : asExpr(turn), workgroups * teams)),
    );
    const held = whole && !beyond ? position : build.bind("held", k.min(position, positions - 1));
    const first = build.bind("first_row", k.mul(held, rows));
    return {
      inside: whole ? null : k.less(position, positions),
      first,
      n: upTo(rows).map((row) =>
        nExtent % rows === 0
          ? build.bind("n", k.add(first, row))
          : build.bind("n", k.min(k.add(first, row), nExtent - 1)),
      ),
    };
  };
  const accumulators = (): Sums =>
    new Map(
      product.terms.map((term) => [term, upTo(rows).map(() => tokens.map(() => build.variable("acc", k.f32(0))))]),
    );

  /** Reads the unit of this lane in a slot, of every row and of some terms. */
  const openBy = (turn: Turn, slot: Expr, terms: readonly ProductTerm[], read: Reading): readonly OpenUnit<U>[] => {
    const unit = build.bind("unit", k.add(k.mul(slot, lanes), lane));
    const held = slots * lanes === units && slots % inChunk === 0 ? unit : build.bind("unit", k.min(unit, units - 1));
    // where all lanes have a unit or none has one, the slot is left out as a whole (`inRow`)
    const inside = slots * lanes === units ? null : build.bind("inside", k.less(unit, units));
    return terms.flatMap((term) =>
      turn.n.map((n, row) => {
        const { load } = term.rows!;
        const at = rowAt(lowering.graph, term.rows!, withIndices(around, [[eqn.indices[product.n]!.index, n]]));
        const words = readBy(build.words(lowering.storage[load.tensor]!, lowering.target.f16), read);
        return { term, row, unit: openUnit(term, words, at, held, inside) };
      }),
    );
  };

  const finish = (turn: Turn, sums: Sums): void => {
    for (const row of [...sums.values()].flat()) for (const sum of row) combine(sum);
    const first = lanes === 1 ? null : k.equal(lane, 0);
    /** Where a row's element of a token is computed. */
    const elementAt = (token: Environment, t: number, n: Expr, row: number): Environment =>
      withKnown(
        withIndices(token, [[eqn.indices[product.n]!.index, atPosition(eqn.indices[product.n]!, lowering.bounds, n)]]),
        product.terms.map((term) => [term.reduce, k.convert(term.reduce.dtype, sums.get(term)![row]![t]!)] as const),
      );
    if (followed !== null) {
      followed.store({ block: turn.first, team, first }, turn.inside, turns > 1, (row, t) =>
        lowerScalar(elementAt(tokens[t]!, t, turn.n[row]!, row), eqn.body),
      );
      return;
    }
    const conditions = [turn.inside, first].filter((condition) => condition !== null);
    const storeAll = (): void =>
      turn.n.forEach((n, row) => {
        const one = (): void =>
          tokens.forEach((token, t) => {
            const scope = elementAt(token, t, n, row);
            storeElement(lowering, scope, eqn, lowerScalar(scope, eqn.body));
          });
        if (nExtent % rows === 0) one();
        else build.when(k.less(k.add(turn.first, row), nExtent), one);
      });
    if (conditions.length === 0) storeAll();
    else build.when(conditions.reduce(k.and), storeAll);
  };
  const combine = (sum: Expr): void => {
    if (lanes === 1) return;
    if (lanes === lowering.target.subgroups!.min) build.assign(sum, k.call("subgroupAdd", [sum]));
    else
      for (let stride = lanes / 2; stride >= 1; stride /= 2)
        build.assign(sum, k.add(sum, k.call("subgroupShuffleXor", [sum, k.u32(stride)])));
  };

  const loadWords = ({ turn, slot, term }: Step): readonly Expr[] => {
    const loads: Expr[] = [];
    const keep: Reading = (load) => {
      loads.push(build.bind("stored", load()));
      return loads[loads.length - 1]!;
    };
    const statements = build.collect(() => {
      openBy(turn, slot, [term], keep);
    });
    for (const statement of live(statements, loads)) build.add(statement);
    return loads;
  };
  return {
    build,
    terms: product.terms,
    activations,
    workgroups,
    turns,
    slots,
    inChunk,
    chunks,
    rowsOf,
    accumulators,
    open: (turn, slot) => openBy(turn, slot, product.terms, atOnce),
    loadWords,
    openWords({ turn, slot, term }, words) {
      let at = 0;
      return openBy(turn, slot, [term], () => words[at++]!);
    },
    add(sums, opened, slot) {
      for (const { term, row, unit } of opened) slot.add(unit, sums.get(term)![row]!);
    },
    finish,
  };
}

/** What becomes of a load of words. */
type Reading = (load: () => Expr) => Expr;

const atOnce: Reading = (load) => load();

/** A reader whose loads go by `read`. */
function readBy(words: WordReader, read: Reading): WordReader {
  const { half } = words;
  return read === atOnce
    ? words
    : {
        ...words,
        word: (section, index) => read(() => words.word(section, index)),
        words2: (section, index) => read(() => words.words2(section, index)),
        words4: (section, index) => read(() => words.words4(section, index)),
        half: half === null ? null : (section, index) => read(() => half(section, index)),
      };
}

const asExpr = (operand: k.Operand): Expr => (typeof operand === "number" ? k.u32(operand) : operand);
