/** What cuts of products by teams have in common. */
import type { Target } from "../../target.js";
import { fixedSubgroup } from "../toolkit/team.js";

/** Multiprocessors of a large GPU, all of which should have as much to do. */
export const multiprocessors = 132;

/** Bytes of workgroup memory left to others. */
const reserve = 512;

/** Whether activations of so many bytes have room in workgroup memory. */
export function hasRoom(bytes: number, target: Target): boolean {
  return bytes + reserve <= target.maxWorkgroupMemory;
}

/** Lanes of a team: a power of two, as many as a row has units, at most a subgroup. */
export function teamLanes(units: number, target: Target): number {
  const subgroup = fixedSubgroup(target) ?? 1;
  let lanes = 1;
  while (lanes < subgroup && lanes < units) lanes *= 2;
  return lanes;
}

/** As few teams, up to `most`, as take so many rows in as many turns: all have as much to do. */
export function evenTeams(rows: number, most: number): number {
  return Math.ceil(rows / Math.ceil(rows / most));
}

/** As few workgroups of so many teams, up to `most`, as take `n` rows, `rows` a team, in as many turns. */
export function evenWorkgroups(most: number, n: number, rows: number, teams: number): number {
  const positions = Math.ceil(n / (rows * teams));
  return evenTeams(positions, Math.max(1, most));
}

/** The most turns of rows whose sums a team keeps. */
const chunkTurns = 4;

/** Workgroups of a product whose teams keep the sums of all their `n` rows, `wanted` or more. */
export function workgroupsInChunks(wanted: number, n: number, rows: number, teams: number): number {
  return Math.max(wanted, Math.ceil(n / (rows * teams * chunkTurns)));
}

/** Cuts that could be made, each once. */
export function differentCuts<C>(cuts: readonly (C | null)[]): readonly C[] {
  return [...new Map(cuts.flatMap((cut) => (cut === null ? [] : [[JSON.stringify(cut), cut] as const]))).values()];
}
