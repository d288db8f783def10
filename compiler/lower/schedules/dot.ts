import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import { codeOf } from "../../formats/code/registry.js";
import type { Codes, WordReader } from "../../formats/code/code.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { activationsOf, type Activations } from "../product/dot-activations.js";
import type { DotSides } from "../product/dot-sides.js";
import { followedRows, type Follower } from "../product/follower.js";
import { live } from "../product/live.js";
import { rowAt } from "../product/right.js";
import { atPosition, bindPosition } from "../toolkit/positions.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import type { DotSchedule } from "./dot-candidates.js";

type MapEqn = Eqn<Concrete> & { readonly kind: "map" };

/**
 * A product of integers for a few tokens. A team of lanes takes `rows` weight rows at a time, a unit of each a lane:
 * the codes are multiplied and summed in integers, exactly, and what a unit gives is scaled once, by the scale of the
 * weights and that of the activations. The activations of a workgroup stand in its memory, arranged as the codes are.
 * `follower` is computed instead of storing the results; null where a workgroup has not what it reads.
 */
export function dot(
  lowering: Lowering,
  eqn: MapEqn,
  product: Product,
  sides: DotSides,
  schedule: DotSchedule,
  follower: Follower | null = null,
): Kernel | null {
  const build = lowering.builder();
  const { lanes, teams, rows } = schedule;
  const { m, n: nExtent } = product.sizes;
  const size = lanes * teams;
  // all units of a row take so many turns of the lanes; in each chunk as many as the activations have room for
  const slots = Math.ceil(sides.units / lanes);
  const inChunk = schedule.keeps !== "lanes" ? Math.min(schedule.slots, slots) : slots;
  const chunks = Math.ceil(slots / inChunk);
  const positions = Math.ceil(nExtent / rows);
  const workgroups = Math.min(schedule.workgroups, Math.ceil(positions / teams));
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
  const activations = activationsOf({ lowering, build, sides, schedule, lane, size, tokens });

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

  /** Reads the unit of this lane in a slot, of every row and term. */
  const open = (turn: Turn, slot: Expr, read: Reading = atOnce): readonly OpenUnit[] => {
    const unit = build.bind("unit", k.add(k.mul(slot, lanes), lane));
    const held =
      sides.units % lanes === 0 && slots % inChunk === 0 ? unit : build.bind("unit", k.min(unit, sides.units - 1));
    const inside = held === unit ? null : build.bind("inside", k.less(unit, sides.units));
    return product.terms.flatMap((term) =>
      turn.n.map((n, row) => {
        const { spec, shape, load } = term.rows!;
        const at = rowAt(lowering.graph, term.rows!, withIndices(around, [[eqn.indices[product.n]!.index, n]]));
        const codes = codeOf(spec).codes!.read(
          spec,
          shape,
          readBy(build.words(lowering.storage[load.tensor]!, lowering.target.f16), read),
          at,
          held,
        );
        const scale = inside === null ? codes.scale : build.bind("scale", k.select(inside, codes.scale, 0));
        return { term, row, codes: { ...codes, scale } };
      }),
    );
  };
  const addUnits = (sums: Sums, units: readonly OpenUnit[], slot: Activations): void => {
    for (const { term, row, codes } of units) slot.add(codes, sums.get(term)![row]!);
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
  const onlyInside = (turn: Turn, work: () => void): void => {
    if (turn.inside === null) work();
    else build.when(turn.inside, work);
  };

  /** The words of a unit, loaded: what `open` reads then. */
  const loadWords = (turn: Turn, slot: Expr): readonly Expr[] => {
    const loads: Expr[] = [];
    const statements = build.collect(() => {
      open(turn, slot, (load) => {
        loads.push(build.bind("stored", load()));
        return loads[loads.length - 1]!;
      });
    });
    for (const statement of live(statements, loads)) build.add(statement);
    return loads;
  };
  const count = inChunk;
  const ahead = Math.max(1, schedule.ahead);
  /** Adds all slots, those that are not open yet opened `ahead` at a time. */
  const inBatches = (
    opened: readonly (readonly OpenUnit[])[],
    openSlot: (slot: number) => readonly OpenUnit[],
    addSlot: (slot: number, units: readonly OpenUnit[]) => void,
  ): void => {
    for (let from = 0; from < count; from += ahead) {
      const batch = upTo(Math.min(ahead, count - from)).map((at) => from + at);
      const units = batch.map((slot) => opened[slot] ?? openSlot(slot));
      batch.forEach((slot, at) => addSlot(slot, units[at]!));
    }
  };
  if (chunks === 1 && schedule.ahead === 0) {
    const before = rowsOf(0);
    const held = loadWords(before, k.u32(0)).map((word) => build.variable("held", word));
    activations.stage(k.u32(0));
    const walk = (turn: Turn, after: Turn | null): void => {
      const sums = accumulators();
      for (const slot of upTo(count)) {
        const following = slot + 1 < count ? turn : after;
        const next = following === null ? null : loadWords(following, k.u32((slot + 1) % count));
        onlyInside(turn, () => {
          let at = 0;
          const units = open(turn, k.u32(slot), () => held[at++]!);
          addUnits(sums, units, activations.slot(slot));
        });
        if (next !== null) held.forEach((word, at) => build.assign(word, next[at]!));
      }
      finish(turn, sums);
    };
    if (turns === 1) walk(before, null);
    else
      build.loop("turn", k.u32(0), k.u32(turns), (turn) =>
        walk(rowsOf(turn), rowsOf(build.bind("next", k.add(turn, 1)), true)),
      );
  } else if (chunks === 1) {
    // the first loads are under way while the activations are arranged
    const before = rowsOf(0);
    const early = upTo(Math.min(count, schedule.early)).map((slot) => open(before, k.u32(slot)));
    activations.stage(k.u32(0));
    const held = activations.holds ? upTo(count).map((slot) => activations.slot(slot)) : null;
    const walk = (turn: Turn, opened: readonly (readonly OpenUnit[])[]): void => {
      const sums = accumulators();
      onlyInside(turn, () =>
        inBatches(
          opened,
          (slot) => open(turn, k.u32(slot)),
          (slot, units) => addUnits(sums, units, held?.[slot] ?? activations.slot(slot)),
        ),
      );
      finish(turn, sums);
    };
    const from = early.length > 0 ? 1 : 0;
    if (from === 1 || turns === 1) walk(before, early);
    if (turns > 1) build.loop("turn", k.u32(from), k.u32(turns), (turn) => walk(rowsOf(turn), []));
  } else {
    const all = upTo(turns).map((turn) => ({ turn: rowsOf(turn), sums: accumulators() }));
    build.loop("chunk", k.u32(0), k.u32(chunks), (chunk) => {
      const firstSlot = build.bind("first_slot", k.mul(chunk, inChunk));
      const slotAt = (slot: number): Expr => build.bind("slot", k.add(firstSlot, slot));
      const early = upTo(Math.min(count, schedule.early)).map((slot) => open(all[0]!.turn, slotAt(slot)));
      build.barrier();
      activations.stage(firstSlot);
      all.forEach(({ turn, sums }, at) => {
        onlyInside(turn, () =>
          inBatches(
            at === 0 ? early : [],
            (slot) => open(turn, slotAt(slot)),
            (slot, units) => addUnits(sums, units, activations.slot(slot)),
          ),
        );
      });
    });
    for (const { turn, sums } of all) finish(turn, sums);
  }
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [size, 1, 1],
    workgroups: [workgroups, 1, 1],
    schedule: "dot",
    values: lowering.valuesOf(eqn),
  });
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

/** For each term, row and token of a turn its sum so far. */
type Sums = ReadonlyMap<ProductTerm, readonly (readonly Expr[])[]>;

interface Turn {
  /** Whether the team has rows; null where all have. */
  readonly inside: Expr | null;
  /** The first of its rows, or of what is followed the workgroup's share. */
  readonly first: Expr;
  readonly n: readonly Expr[];
}

/** A unit of a row that has been read. */
interface OpenUnit {
  readonly term: ProductTerm;
  readonly row: number;
  readonly codes: Codes;
}
