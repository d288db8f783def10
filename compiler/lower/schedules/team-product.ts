/**
 * Products for a few tokens by teams of lanes: a team takes `rows` weight rows at a time, a unit of each a lane, and the
 * activations of its workgroup stand in that's memory, arranged as the units want them.
 */
import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Follower } from "../product/follower.js";
import type { Loading, TeamCut, TeamParts, TeamUnits } from "../product/team.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import { teamRows, type MapEqn, type OpenUnit, type Step, type Sums, type TeamRows, type Turn } from "./team-rows.js";

/** What is made of a product, and by which cut. */
export interface TeamPlan<U> {
  /** The schedule's name. */
  readonly schedule: string;
  readonly cut: TeamCut;
  readonly loading: Loading;
  /** Units of a row. */
  readonly units: number;
  /** Computed instead of storing the results. */
  readonly follower: Follower | null;
  unitsOf(parts: TeamParts): TeamUnits<U>;
}

/** The kernel of a product by a plan; null where a workgroup has not what its follower reads. */
export function teamProduct<U>(lowering: Lowering, eqn: MapEqn, product: Product, plan: TeamPlan<U>): Kernel | null {
  const { cut, loading } = plan;
  const rows = teamRows(lowering, eqn, product, plan);
  if (rows === null) return null;
  const { build, chunks, inChunk, workgroups } = rows;
  const [spec, ...specs] = product.terms.map((term) => JSON.stringify(term.rows!.spec));
  // words of another format would be others
  const carried = specs.every((other) => other === spec) ? divisorUpTo(inChunk, loading.carried) : 0;
  if (cut.memories >= chunks && carried > 0) walkCarrying(rows, carried);
  else if (chunks === 1) walkAtOnce(rows, loading);
  else walkChunks(rows, carried, cut.memories, loading);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [cut.lanes * cut.teams, 1, 1],
    workgroups: [workgroups, 1, 1],
    schedule: plan.schedule,
    values: lowering.valuesOf(eqn),
  });
}

/** All activations stand in workgroup memory; the words of some slots are carried on from row to row. */
function walkCarrying<U>(rows: TeamRows<U>, carried: number): void {
  const { build, activations, terms, turns, inChunk, chunks } = rows;
  const first = rows.rowsOf(0);
  const held = carry(rows, first, carried);
  activations.begin();
  if (chunks === 1) activations.stage(k.u32(0))();
  else {
    activations.turns.all(chunks);
    build.barrier();
  }
  const walk = (turn: Turn, after: Turn | null): void => {
    const sums = rows.accumulators();
    // one term after the other, so that a team reads a row on and on
    const addTerm = (term: ProductTerm, at: number): void => {
      const to = at + 1 < terms.length ? turn : after;
      const nextRow = (slot: number): Step | null =>
        to === null ? null : { turn: to, term: terms[(at + 1) % terms.length]!, slot: k.u32(slot) };
      if (chunks === 1)
        addCarried(
          rows,
          { turn, term, sums, slotAt: (slot) => k.u32(slot), memory: null, inside: null },
          held,
          (slot) => {
            const step = nextRow(slot);
            return step === null ? null : { when: null, step, otherwise: null };
          },
        );
      else
        build.loop("chunk", k.u32(0), k.u32(chunks), (chunk) => {
          const slotAt = slotsFrom(build, chunk, inChunk);
          addCarried(rows, { turn, term, sums, slotAt, memory: chunk, inside: null }, held, (slot) => ({
            when: k.less(chunk, chunks - 1),
            step: { turn, term, slot: slotAt(inChunk + slot) },
            otherwise: nextRow(slot),
          }));
        });
    };
    only(build, turn.inside, () => terms.forEach(addTerm));
    rows.finish(turn, sums);
  };
  if (turns === 1) walk(first, null);
  else
    build.loop("turn", k.u32(0), k.u32(turns), (turn) =>
      walk(rows.rowsOf(turn), rows.rowsOf(build.bind("next", k.add(turn, 1)), true)),
    );
}

/** All activations stand in workgroup memory; the first loads of weights are under way while they are arranged. */
function walkAtOnce<U>(rows: TeamRows<U>, loading: Loading): void {
  const { build, activations, turns, inChunk } = rows;
  const first = rows.rowsOf(0);
  const early = loadEarly(
    rows,
    first,
    upTo(Math.min(inChunk, loading.early)).map((slot) => k.u32(slot)),
  );
  activations.begin();
  activations.stage(k.u32(0))();
  const held = activations.holds ? upTo(inChunk).map((slot) => activations.slot(slot, null)) : null;
  const walk = (turn: Turn, opened: readonly (() => readonly OpenUnit<U>[])[]): void => {
    const sums = rows.accumulators();
    only(build, turn.inside, () =>
      inBatches(
        inChunk,
        loading.ahead,
        (slot) => opened[slot]?.() ?? rows.open(turn, k.u32(slot)),
        (slot, some) => rows.add(sums, some, held?.[slot] ?? activations.slot(slot, null)),
      ),
    );
    rows.finish(turn, sums);
  };
  const from = early.length > 0 ? 1 : 0;
  if (from === 1 || turns === 1) walk(first, early);
  if (turns > 1) build.loop("turn", k.u32(from), k.u32(turns), (turn) => walk(rows.rowsOf(turn), []));
}

/** The activations of a chunk at a time: a team keeps the sums of all its rows. */
function walkChunks<U>(rows: TeamRows<U>, carried: number, memories: number, loading: Loading): void {
  const { build, activations, terms, turns, inChunk, chunks } = rows;
  const all = upTo(turns).map((turn) => ({ turn: rows.rowsOf(turn), sums: rows.accumulators() }));
  const firstTurn = all[0]!.turn;
  const held = carried > 0 ? carry(rows, firstTurn, carried) : null;
  activations.begin();
  const [together, apart] = [memories >= chunks, memories > 1];
  if (together) activations.turns.all(chunks);
  else if (apart) activations.turns.first();
  if (apart) build.barrier();
  else if (held !== null) activations.stage(k.u32(0))();
  build.loop("chunk", k.u32(0), k.u32(chunks), (chunk) => {
    const slotAt = slotsFrom(build, chunk, inChunk);
    const more = k.less(chunk, chunks - 1);
    const memory = together ? chunk : apart ? build.bind("memory", k.bitAnd(chunk, 1)) : null;
    const early = loadEarly(rows, firstTurn, upTo(held === null ? Math.min(inChunk, loading.early) : 0).map(slotAt));
    const arrange =
      memory === null || together ? null : activations.turns.next(chunk, build.bind("other", k.sub(k.u32(1), memory)));
    if (!apart && held === null) {
      const put = activations.stage(slotAt(0));
      build.barrier();
      put();
    }
    // with words on their way in registers, those of the next chunk are arranged after this one has been multiplied
    const next = !apart && held !== null ? activations.stage(slotAt(inChunk)) : null;
    all.forEach(({ turn, sums }, at) => {
      if (held === null) {
        only(build, turn.inside, () =>
          inBatches(
            inChunk,
            loading.ahead,
            (slot) => (at === 0 ? early[slot]?.() : undefined) ?? rows.open(turn, slotAt(slot)),
            (slot, some) =>
              only(build, inRow(rows, slotAt(slot), slot), () => rows.add(sums, some, activations.slot(slot, memory))),
          ),
        );
        return;
      }
      const after = all[at + 1]?.turn;
      // in the next chunk a team without rows in this turn may have some in the first
      const [around, inside] = turns === 1 ? [turn.inside, null] : [null, turn.inside];
      only(build, around, () => {
        for (const [each, term] of terms.entries())
          addCarried(rows, { turn, term, sums, slotAt, memory, inside }, held, (slot) => {
            const next = terms[each + 1];
            const [to, toTerm] = next === undefined ? [after, terms[0]!] : [turn, next];
            return to === undefined
              ? { when: more, step: { turn: firstTurn, term: toTerm, slot: slotAt(inChunk + slot) }, otherwise: null }
              : { when: null, step: { turn: to, term: toTerm, slot: slotAt(slot) }, otherwise: null };
          });
      });
    });
    if (next !== null) {
      build.barrier();
      build.when(more, next);
    }
    if (arrange !== null) {
      build.when(more, arrange);
      build.barrier();
    }
  });
  for (const { turn, sums } of all) rows.finish(turn, sums);
}

/** The words of some slots of a turn, of every term, loaded now; what is read of each when that is called. */
function loadEarly<U>(
  rows: TeamRows<U>,
  turn: Turn,
  slots: readonly Expr[],
): readonly (() => readonly OpenUnit<U>[])[] {
  return slots.map((slot) => {
    const loaded = rows.terms.map((term) => {
      const step: Step = { turn, term, slot };
      return { step, words: rows.loadWords(step) };
    });
    return () => loaded.flatMap(({ step, words }) => rows.openWords(step, words));
  });
}

/** Words in variables, of each slot that is carried. */
type Held = readonly (readonly Expr[])[];

/** The words of the first slots of a turn, in variables that are carried on. */
function carry<U>(rows: TeamRows<U>, turn: Turn, carried: number): Held {
  return upTo(carried).map((slot) =>
    rows.loadWords({ turn, term: rows.terms[0]!, slot: k.u32(slot) }).map((word) => rows.build.variable("held", word)),
  );
}

/** The slots of a chunk, of a term in a turn. */
interface Walk extends Omit<Step, "slot"> {
  readonly sums: Sums;
  readonly slotAt: (slot: number) => Expr;
  readonly memory: Expr | null;
  /** Where what is added counts; null: everywhere. A branch for each slot keeps loads from being moved together. */
  readonly inside: Expr | null;
}

/** Whose words are loaded next: those of a step, or where that is not to be another's or none. */
interface Following {
  /** null: always. */
  readonly when: Expr | null;
  readonly step: Step;
  readonly otherwise: Step | null;
}

/**
 * Adds the slots of a term, whose words are carried: in place of each slot's come those of the slot that is as many on as
 * are carried, past the last those of what `next` gives for the slots that follow.
 */
function addCarried<U>(
  rows: TeamRows<U>,
  { turn, term, sums, slotAt, memory, inside }: Walk,
  held: Held,
  next: (slot: number) => Following | null,
): void {
  const { build, activations, inChunk } = rows;
  const carried = held.length;
  const load = (into: readonly Expr[], step: Step): void =>
    rows.loadWords(step).forEach((word, each) => build.assign(into[each]!, word));
  const loadEither = (into: readonly Expr[], { when, step, otherwise }: Following): void => {
    if (when === null) load(into, step);
    else build.when(when, () => load(into, step), otherwise === null ? undefined : () => load(into, otherwise));
  };
  for (const slot of upTo(inChunk)) {
    const words = held[slot % carried]!;
    const following =
      slot + carried < inChunk
        ? { when: null, step: { turn, term, slot: slotAt(slot + carried) }, otherwise: null }
        : next(slot + carried - inChunk);
    const add = (): void =>
      only(build, inside, () => {
        const opened = rows.openWords({ turn, term, slot: slotAt(slot) }, words);
        only(build, inRow(rows, slotAt(slot), slot), () => rows.add(sums, opened, activations.slot(slot, memory)));
      });
    if (following !== null && carried === 1) {
      // of a slot alone the next words are to be under way while it is multiplied
      const loaded =
        following.when === null ? rows.loadWords(following.step) : words.map((word) => build.variable("next", word));
      if (following.when !== null) loadEither(loaded, following);
      add();
      words.forEach((word, each) => build.assign(word, loaded[each]!));
    } else {
      add();
      if (following !== null) loadEither(words, following);
    }
  }
}

/** Adds all slots of a chunk, opened `ahead` at a time. */
function inBatches<U>(
  count: number,
  ahead: number,
  open: (slot: number) => readonly OpenUnit<U>[],
  add: (slot: number, units: readonly OpenUnit<U>[]) => void,
): void {
  const most = Math.max(1, ahead);
  for (let from = 0; from < count; from += most) {
    const batch = upTo(Math.min(most, count - from)).map((at) => from + at);
    const units = batch.map(open);
    batch.forEach((slot, at) => add(slot, units[at]!));
  }
}

/** Whether there is a slot, where one of the last chunk may be past the end; null where there is. */
function inRow<U>({ slots, chunks, inChunk }: TeamRows<U>, slot: Expr, inItsChunk: number): Expr | null {
  return inItsChunk < slots - (chunks - 1) * inChunk ? null : k.less(slot, slots);
}

/** The slots of a chunk, counted from its first. */
function slotsFrom(build: KernelBuilder, chunk: Expr, inChunk: number): (slot: number) => Expr {
  const first = build.bind("first_slot", k.mul(chunk, inChunk));
  return (slot) => build.bind("slot", k.add(first, slot));
}

function only(build: KernelBuilder, condition: Expr | null, work: () => void): void {
  if (condition === null) work();
  else build.when(condition, work);
}

/** The largest divisor of a number that is at most another. */
function divisorUpTo(count: number, most: number): number {
  let divisor = Math.min(count, most);
  while (divisor > 0 && count % divisor !== 0) divisor--;
  return divisor;
}
