/** Cuts of schedules as data, and tables of those that were found to be fast on a device. */
import type { AttentionShape } from "../attention/cuts.js";
import type { DotSchedule } from "./dot-candidates.js";
import type { LookupSchedule } from "./lookup-candidates.js";
import type { MatrixTile } from "./matrix-tile.js";
import type { MatvecShape } from "./matvec.js";
import type { QuadShape } from "./quads.js";
import type { TileShape } from "./tiled.js";
import type { VectorTile } from "./vectored.js";

/** How one product or attention is cut. */
export type Cut =
  | DotSchedule
  | LookupSchedule
  | MatvecShape
  | QuadShape
  | MatrixTile
  | VectorTile
  | TileShape
  | AttentionShape;

/**
 * Cuts by the text of what they are for. A table may come from a file: a cut is taken only where it is one of those
 * that the compiler would try itself, so whatever a table says, results mean the same.
 */
export type ScheduleChoices = Readonly<Record<string, ChosenCut>>;

/** A cut as it is written: its kind, and numbers, words or a few numbers by name. */
export interface ChosenCut {
  readonly kind: string;
  readonly [part: string]: number | string | readonly number[];
}

/** The candidate that a table has for a key, or null. */
export function cutOf<C extends Cut>(choices: ScheduleChoices, key: string, candidates: readonly C[]): C | null {
  const chosen: unknown = Object.hasOwn(choices, key) ? choices[key] : null;
  if (typeof chosen !== "object" || chosen === null) return null;
  return candidates.find((candidate) => isCut(candidate, chosen)) ?? null;
}

/** A cut as it is written in a table. */
export function written(cut: Cut): ChosenCut {
  return { ...cut };
}

function isCut(candidate: Cut, chosen: object): boolean {
  const found = new Map<string, unknown>(Object.entries(chosen));
  return Object.entries(candidate).every(([part, value]: readonly [string, ChosenCut[string]]) => {
    const other = found.get(part);
    return typeof value !== "object"
      ? value === other
      : Array.isArray(other) && other.length === value.length && value.every((each, at) => each === other[at]);
  });
}
