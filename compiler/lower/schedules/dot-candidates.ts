import type { Product } from "../../graph/analysis/product.js";
import type { Target } from "../../target.js";
import { activationBytes, type KeptIn } from "../product/dot-activations.js";
import type { DotSides } from "../product/dot-sides.js";
import type { TeamCut } from "../product/team.js";
import {
  differentCuts,
  evenTeams,
  evenWorkgroups,
  hasRoom,
  multiprocessors,
  teamLanes,
  workgroupsInChunks,
} from "./team-cuts.js";
import { canRound } from "../product/dot-staging.js";
import { fixedSubgroup } from "../toolkit/team.js";

/** How a product of integers for a few tokens is cut. */
export interface DotSchedule extends TeamCut {
  readonly kind: "dot";
  /** Slots whose weights are loaded before the activations are arranged. */
  readonly early: number;
  /**
   * Slots whose weights are loaded before the first of them is multiplied. 0: while one is multiplied the words of the next
   * are on their way, those of the next rows too, in registers that are carried over.
   */
  readonly ahead: number;
  readonly keeps: KeptIn;
}

/**
 * What may be tried for a product, the best guess first. `together`: rows of all products that read the same activations:
 * they become one dispatch, in which each workgroup arranges those for itself.
 */
export function dotCandidates(
  product: Product,
  sides: DotSides,
  target: Target,
  together = product.sizes.n,
): readonly DotSchedule[] {
  const lanes = teamLanes(sides.units, target);
  const table = !sides.layout.dense && product.sizes.m === 1 && target.kind === "gpu";
  const make = (wanted: Partial<DotSchedule>): DotSchedule | null => {
    const {
      teams = 1,
      rows = 1,
      workgroups = multiprocessors,
      early = 1,
      keeps = table ? (lanes <= mostTaken ? "table_by_dots" : "table") : "workgroup",
      memories = 1,
    } = wanted;
    const all = Math.ceil(sides.units / lanes);
    const fits = (slots: number, count = memories): boolean =>
      hasRoom(activationBytes(sides, { lanes, slots, memories: count, keeps }, product.sizes.m), target);
    let chunks = wanted.slots === undefined ? 1 : Math.ceil(all / wanted.slots);
    while (!fits(Math.ceil(all / chunks)) && chunks < all) chunks++;
    if (sides.pack !== null && !canRound(sides.pack, fixedSubgroup(target), lanes * teams)) return null;
    if (!fits(Math.ceil(all / chunks)) || lanes * teams > target.maxInvocations) return null;
    if (memories > 1 && (fits(all, 1) || keeps === "lanes")) return null;
    // those of a chunk that are rounded are loaded while the one before is multiplied, and words wait in registers
    const waits = table && sides.pack !== null && chunks > 1 && memories === 1;
    const { ahead = waits ? 0 : 1 } = wanted;
    // in several chunks a team keeps the sums of all its rows
    const most = chunks === 1 ? workgroups : workgroupsInChunks(workgroups, product.sizes.n, rows, teams);
    return {
      kind: "dot",
      lanes,
      teams,
      rows,
      workgroups: most,
      slots: Math.ceil(all / chunks),
      early,
      ahead,
      keeps,
      memories,
    };
  };
  // few rows are better spread over many workgroups, whose activations cost little
  const wide = product.sizes.n * product.terms.length >= 16384;
  const most = Math.min(32, Math.floor(target.maxInvocations / lanes));
  const own = Math.max(1, Math.floor((multiprocessors * product.sizes.n) / together));
  const rounds = sides.pack !== null;
  const inTurns: Partial<DotSchedule> = { teams: most, workgroups: own, slots: 1, memories: 2 };
  const twoRows: Partial<DotSchedule> = { rows: 2, teams: most, workgroups: own };
  // what follows a product of one term, a rotation of heads, wants shares of a power of two
  const evenly = evenTeams(Math.ceil(product.sizes.n / own), most);
  const even = { teams: evenly, workgroups: evenWorkgroups(own, product.sizes.n, 1, evenly) };
  const wanted: readonly Partial<DotSchedule>[] =
    target.kind === "cpu"
      ? [
          { teams: 1, rows: 1, workgroups: 16, early: 0, keeps: "lanes" },
          { teams: 4, rows: 1, workgroups: 8, early: 0, keeps: "lanes" },
          { teams: 1, rows: 2, workgroups: 16, early: 0, keeps: "lanes" },
          { teams: 1, rows: 4, workgroups: 16, early: 0, keeps: "lanes" },
          { teams: 1, rows: 1, workgroups: 64, early: 0, keeps: "lanes" },
          { teams: 1, rows: 1, workgroups: 32, early: 0 },
        ]
      : [
          // where rounding does not take the registers: chunks in turns, and two rows if all workgroups then have some
          ...(table && !rounds ? [inTurns, ...(together >= 1.4 * multiprocessors * most ? [twoRows] : [])] : []),
          ...(table && product.terms.length > 1 ? [even] : []),
          ...(table || wide
            ? [{ teams: most, workgroups: table ? own : multiprocessors }]
            : [{ teams: most / 2, workgroups: 4 * multiprocessors, early: 2 }]),
          { teams: most, workgroups: own, ahead: 0 },
          { teams: most, workgroups: own, ahead: 1 },
          ...(table ? [{ keeps: "table" as const, teams: most, workgroups: own }] : []),
          ...(table ? [twoRows, inTurns] : []),
          { teams: most / 2, workgroups: 4 * multiprocessors, ahead: 0 },
          { teams: most / 2, workgroups: 2 * multiprocessors, ahead: 0 },
          { teams: most, workgroups: own, ahead: 2 },
          { teams: most, workgroups: own, early: 2, ahead: 2 },
          { teams: most, workgroups: multiprocessors, slots: 1 },
          { teams: most / 2, rows: 2, workgroups: 2 * multiprocessors, ahead: 2 },
          { teams: most / 2, workgroups: 2 * multiprocessors, ahead: 2 },
          { teams: most, rows: 2, workgroups: multiprocessors },
          { teams: most / 4, workgroups: 8 * multiprocessors, early: 2 },
        ];
  return differentCuts(wanted.map(make));
}

/** Lanes up to which a signed byte of them is what a dot multiplies by. */
const mostTaken = 64;
