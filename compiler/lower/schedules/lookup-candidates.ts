import type { Product } from "../../graph/analysis/product.js";
import { lookupBytes, lookupColumns, lookupElement, type LookupElement } from "../product/lookup-activations.js";
import type { Lowering } from "../toolkit/lowering.js";
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

/** How a product of n:m weights is cut whose activations are looked up. */
export interface LookupSchedule extends TeamCut {
  readonly kind: "lookup";
  /** Slots whose words are on their way while others are multiplied. */
  readonly carried: number;
  /** What activations are kept as. */
  readonly element: LookupElement;
}

/** Slots that are written out one after the other, at most: longer code leaves no room for that of others. */
const writtenOut = 32;

/** Slots from which on a row is long. */
const longRow = 16;

/** Teams that a multiprocessor has room for, as registers go. */
const roomyTeams = 48;

/** What is said of a cut; the rest follows. */
interface WantedCut {
  readonly teams: number;
  /** Workgroups for each multiprocessor. */
  readonly each: number;
  readonly carried: number;
  readonly rows?: number;
  readonly slots?: number;
  readonly element?: LookupElement;
}

/**
 * Teams enough that each has one of the rows of a multiprocessor; where those are many, that all have as many, in two
 * workgroups, one of which multiplies while the other begins.
 */
function guessOf(
  rows: number,
  terms: number,
  { some, many }: { readonly some: number; readonly many: number },
): WantedCut {
  if (rows <= roomyTeams) return { teams: some, each: Math.max(1, Math.ceil(rows / some)), carried: 4 };
  // what follows a product, a rotation of heads, wants shares of a power of two
  if (terms === 1) return { teams: some, each: Math.max(1, Math.floor(roomyTeams / some)), carried: 4 };
  return { teams: evenTeams(rows, many), each: 2, carried: 4 };
}

/** What may be tried for a product, the best guess first. `together`: rows of all products that become one dispatch. */
export function lookupCuts(
  lowering: Pick<Lowering, "graph" | "target">,
  product: Product,
  together = product.sizes.n,
): readonly LookupSchedule[] {
  const { target } = lowering;
  const columns = lookupColumns(product, target);
  if (columns === null) return [];
  const { n, m } = product.sizes;
  const units = product.terms[0]!.rows!.shape.columns / columns;
  const lanes = teamLanes(units, target);
  const all = Math.ceil(units / lanes);
  const fits = (slots: number, memories: number, element: LookupElement): boolean =>
    hasRoom(lookupBytes(columns, { lanes, slots, memories, element }, m), target);
  const narrow = lookupElement(lowering, product.terms[0]!);
  const usual = fits(all, 1, "f32") ? "f32" : narrow;
  const make = (wanted: WantedCut): LookupSchedule | null => {
    const { teams, each, carried, rows = 1, element = usual } = wanted;
    let chunks = Math.ceil(all / Math.min(wanted.slots ?? writtenOut, all));
    while (!fits(Math.ceil(all / chunks), Math.min(2, chunks), element) && chunks < all) chunks++;
    const slots = Math.ceil(all / chunks);
    const memories = [chunks, 2, 1].find((each) => each <= chunks && fits(slots, each, element));
    if (memories === undefined || lanes * teams > target.maxInvocations) return null;
    const most = evenWorkgroups(Math.floor((multiprocessors * each * n) / together), n, rows, teams);
    // in chunks that are arranged in turns a team keeps the sums of all its rows
    const workgroups = memories >= chunks ? most : workgroupsInChunks(most, n, rows, teams);
    return { kind: "lookup", lanes, teams, rows, workgroups, slots, memories, carried, element };
  };
  const most = Math.floor(target.maxInvocations / lanes);
  const [few, some, many] = [Math.min(8, most), Math.min(16, most), Math.min(32, most)];
  const rowsEach = Math.ceil(together / multiprocessors);
  const guess = guessOf(rowsEach, product.terms.length, { some, many });
  // long rows are few, and one memory for a multiprocessor is enough of them
  const long: WantedCut = { teams: many, each: 1, carried: 2, element: narrow };
  const wanted: readonly WantedCut[] = [
    ...(all > longRow ? [long] : []),
    guess,
    long,
    { ...guess, carried: 2 },
    { ...guess, carried: 8 },
    { ...guess, element: narrow },
    { ...guess, rows: 2 },
    { teams: few, each: 6, carried: 4, element: narrow },
    { teams: some, each: 3, carried: 4 },
    { teams: some, each: 2, carried: 4 },
    { teams: many, each: 1, carried: 4 },
    { ...guess, carried: 4, slots: 4 },
  ];
  return differentCuts(wanted.map(make));
}
