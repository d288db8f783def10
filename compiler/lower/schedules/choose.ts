import { InternalError } from "../../diagnostic.js";
import type { ConcreteGraph, Eqn, Scalar } from "../../graph/graph.js";
import { extent, boundingRange, intervalOf, withRanges, type Bounds } from "../../graph/analysis/ranges.js";
import { children, withoutCasts } from "../../graph/scalar.js";
import { byteSize, type Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { Lowering } from "../toolkit/lowering.js";
import { matrixOf, type MatrixProduct } from "../product/matrix-sides.js";
import { productOf, type Product } from "../../graph/analysis/product.js";
import { alikeTokens, leftReduces } from "../product/staged.js";
import { bySubgroup, fixedSubgroup } from "../toolkit/team.js";
import { boundsOf } from "../toolkit/positions.js";
import { dotSides, rowsOfReaders } from "../product/dot-sides.js";
import type { Follower } from "../product/follower.js";
import { cutOf, type Cut, type ScheduleChoices } from "./choices.js";
import { dot } from "./dot.js";
import { dotCandidates } from "./dot-candidates.js";
import { productKey, type ScheduleKey } from "./key.js";
import { lookupPays, reductionLength, rowsPay, vectorsPay } from "./pays.js";
import { lookup } from "./lookup.js";
import { lookupCuts } from "./lookup-candidates.js";
import { loops } from "./loops.js";
import { matvec, matvecApplies, matvecCuts } from "./matvec.js";
import { matrix, matrixPays } from "./matrix.js";
import type { MatrixKernels } from "./matrix-parts.js";
import { matrixCuts, tileFits, type MatrixTile } from "./matrix-tile.js";
import { quads, quadsApply, quadCuts } from "./quads.js";
import { rows, rowShape, type RowShape, type RowTeams } from "./rows.js";
import { decodedRows, unpacked } from "./unpacked.js";
import { tiled, tiledApplies, tiledCuts } from "./tiled.js";
import { vectored, vectoredCuts, vectoredSides, vectorTileFits } from "./vectored.js";

/** The schedules, from the most special. `loops` takes everything. */
export const schedules = [
  "attention",
  "dot",
  "lookup",
  "matvec",
  "quads",
  "matrix",
  "vectored",
  "tiled",
  "unpacked",
  "rows",
  "loops",
] as const;
export type Schedule = (typeof schedules)[number];

/** A schedule by its name, with the cut that it takes by itself, or by another cut. */
export type ForcedSchedule = Schedule | Cut;

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** Schedules of products, whose cuts are data. */
type ProductSchedule = Exclude<Schedule, "attention" | "unpacked" | "rows" | "loops">;
type ProductCut = Exclude<Cut, { readonly kind: "attention" }>;

/** Products of fewer multiplications than this are not worth a tile. */
const tileWork = 1 << 14;

/**
 * Tokens from which on tiles of one subgroup take large packed weights, of which each is unpacked once for all tokens: two
 * take as long as sixteen (bench/h100.md).
 */
const fewestOrdered = 2;

/** How an eqn is lowered: what tests force, and what was found to be fast on a device. */
export interface Wanted {
  readonly schedule: ForcedSchedule | null;
  readonly choices: ScheduleChoices;
}

const nothingWanted: Wanted = { schedule: null, choices: {} };

/** The kernels of an eqn by the best schedule that applies, or by the one asked for where it applies. */
export function lowerEqn(lowering: Lowering, eqn: Eqn<Concrete>, wanted: Wanted = nothingWanted): readonly Kernel[] {
  const { kernels, scratch } = kernelsOf(lowering, eqn, wanted);
  if (scratch.length > 0) throw new InternalError("an equation within another has no memory between kernels");
  return kernels;
}

/** Kernels, and the cut that they are by: null of a schedule that has none. */
interface Chosen extends MatrixKernels {
  readonly cut: ProductCut | null;
  readonly following?: Following | undefined;
}

/** The kernel of a product that computes a follower of its results instead of storing them; null where it cannot. */
export type Following = (follower: Follower) => Kernel | null;

/** The same with the memory between the kernels, and the cut. */
export function kernelsOf(lowering: Lowering, eqn: Eqn<Concrete>, { schedule: forced, choices }: Wanted): Chosen {
  const chosen = forced === null ? chosenKernels(lowering, eqn, choices) : null;
  if (chosen !== null) return chosen;
  // a cut says nothing of what is no product
  const wanted = typeof forced === "object" && productIn(lowering, eqn) === null ? null : forced;
  for (const schedule of wanted === null ? schedules : [wanted, "loops" as const]) {
    const made = attempt(lowering, eqn, schedule, wanted !== null);
    if (made?.kernels.every((kernel) => fits(lowering, kernel))) return made;
  }
  return { kernels: loops(lowering.narrow(), eqn), scratch: [], cut: null };
}

/** By the cut that a table has for a product; null where it has none, or one that is not among those to choose from. */
function chosenKernels(lowering: Lowering, eqn: Eqn<Concrete>, choices: ScheduleChoices): Chosen | null {
  if (Object.keys(choices).length === 0 || lowering.outer.length > 0) return null;
  const found = productIn(lowering, eqn);
  const cut = found === null ? null : cutInTable(found, choices);
  if (found === null || cut === null) return null;
  const made = kernelsBy(found, cut);
  return made?.kernels.every((kernel) => fits(lowering, kernel))
    ? { ...made, cut, following: following(found, cut) }
    : null;
}

/** The cut that a table has for a product, if it is one of those to choose from. */
function cutInTable(found: FoundProduct, choices: ScheduleChoices): ProductCut | null {
  if (Object.keys(choices).length === 0) return null;
  const cuts = productSchedules.flatMap((schedule) => cutsOf(found, schedule, true));
  return cutOf(choices, productKey(found.lowering, found.product).text, cuts);
}

/** Cuts of other schedules than the one that is taken that are worth a trial. */
const othersTried = 2;

/**
 * What may be tried for a product, the cut that is taken by itself first; null where an eqn is none or has no choice.
 */
export function productCandidates(
  lowering: Lowering,
  eqn: Eqn<Concrete>,
): { readonly key: ScheduleKey; readonly cuts: readonly Cut[] } | null {
  const found = lowering.outer.length > 0 ? null : productIn(lowering, eqn);
  const { cut: taken } = found === null ? { cut: null } : kernelsOf(lowering, eqn, nothingWanted);
  if (found === null || taken === null) return null;
  const own = cutsOf(found, taken.kind, true);
  // nothing else reads activations that a product of integers rounds itself, and one token fills no tile
  const others =
    taken.kind === "dot" || found.product.sizes.m === 1
      ? []
      : productSchedules
          .filter((schedule) => schedule !== taken.kind && schedule !== "dot")
          .flatMap((schedule) => cutsOf(found, schedule, true).slice(0, othersTried));
  const cuts = [taken, ...own, ...others];
  const texts = cuts.map((cut) => JSON.stringify(cut));
  const different = cuts.filter((_, at) => texts.indexOf(texts[at]!) === at);
  return different.length < 2 ? null : { key: productKey(lowering, found.product), cuts: different };
}

/** The tile by matrices that an eqn would take, and the sides that it would read; null where it takes another schedule. */
export function matrixTaken(
  lowering: Lowering,
  eqn: Eqn<Concrete>,
  { schedule: forced, choices }: Wanted,
): { readonly cut: MatrixTile; readonly sides: MatrixProduct } | null {
  const found = lowering.outer.length > 0 ? null : productIn(lowering, eqn);
  if (found === null) return null;
  const taken = (): Cut | null => {
    if (typeof forced === "object" && forced !== null) return forced;
    const chosen = forced === null ? cutInTable(found, choices) : null;
    if (chosen !== null) return chosen;
    for (const schedule of productSchedules) {
      const [first] = forced === null || schedule === forced ? cutsOf(found, schedule, forced !== null) : [];
      if (first !== undefined) return first;
    }
    return null;
  };
  const cut = taken();
  if (cut === null || cut.kind !== "matrix" || !found.whole || leftReduces(found.product)) return null;
  const sides = matrixOf(lowering, found.eqn, found.product);
  return sides === null || !tileFits(cut, sides, lowering.target) ? null : { cut, sides };
}

/** A product of an eqn, whose tiles may reach past the end of an axis. */
interface FoundProduct {
  readonly lowering: Lowering;
  readonly eqn: Elements;
  readonly product: Product;
  /** Whether its axes are as long at every step of a scan around it. */
  readonly whole: boolean;
}

const productSchedules = [
  "dot",
  "lookup",
  "matvec",
  "quads",
  "matrix",
  "vectored",
  "tiled",
] as const satisfies readonly ProductSchedule[];

function productIn(lowering: Lowering, eqn: Eqn<Concrete>): FoundProduct | null {
  if (eqn.kind !== "map" && eqn.kind !== "update") return null;
  const bounds = boundsOf(lowering, eqn);
  if (eqn.indices.some((range) => extent(range, bounds) === 0)) return null;
  const whole = eqn.indices.every((range) => boundingRange(range, bounds).exact);
  const product = productOf(lowering.graph, eqn, bounds, true);
  // where a step computes a part, a tile may reach past it: its reads must be in range all the same
  if (product === null || (!whole && !loadsInside(lowering.graph, eqn, bounds))) return null;
  return { lowering, eqn, product, whole };
}

function attempt(lowering: Lowering, eqn: Eqn<Concrete>, schedule: ForcedSchedule, forced: boolean): Chosen | null {
  if (schedule === "loops") return { kernels: loops(lowering, eqn), scratch: [], cut: null };
  // of several kernels and memory between them: `lowerSteps` takes it
  if (schedule === "attention" || (typeof schedule !== "string" && schedule.kind === "attention")) return null;
  if (schedule === "unpacked") {
    const found = eqn.kind === "map" && lowering.outer.length === 0 ? decodedRows(lowering, eqn, forced) : null;
    return found === null || eqn.kind !== "map"
      ? null
      : { kernels: [unpacked(lowering, eqn, found)], scratch: [], cut: null };
  }
  if (schedule === "rows") {
    if (eqn.kind !== "map" && eqn.kind !== "update") return null;
    // its rows are counted without the step of a scan around
    if (!eqn.indices.every((range) => boundingRange(range).exact && extent(range) > 0)) return null;
    const shape = rowShape(eqn);
    if (shape === null || shape.shared.length === 0 || (!forced && !rowsPay(lowering, eqn, shape))) return null;
    return { kernels: [rows(lowering, eqn, shape, rowTeams(lowering, eqn, shape))], scratch: [], cut: null };
  }
  const found = productIn(lowering, eqn);
  if (found === null) return null;
  const cut = typeof schedule === "string" ? (cutsOf(found, schedule, forced)[0] ?? null) : schedule;
  const made = cut === null ? null : kernelsBy(found, cut);
  return made === null || cut === null ? null : { ...made, cut, following: following(found, cut) };
}

/** How a product takes on what reads its results, where its schedule can. */
function following(found: FoundProduct, cut: ProductCut): Following | undefined {
  if ((cut.kind !== "dot" && cut.kind !== "lookup" && cut.kind !== "matvec") || found.lowering.outer.length > 0)
    return undefined;
  return (follower) => {
    const kernel = kernelOf(found, cut, follower);
    return kernel !== null && fits(found.lowering, kernel) ? kernel : null;
  };
}

/** Whether a schedule sums over several indices. */
const sumsSeveral: { readonly [K in ProductSchedule]: boolean } = {
  dot: false,
  lookup: false,
  matvec: false,
  quads: false,
  matrix: true,
  vectored: false,
  tiled: true,
};

function takes(schedule: ProductSchedule, product: Product): boolean {
  return sumsSeveral[schedule] || product.terms.every(({ around }) => around.length === 0);
}

/** The cuts of a schedule for a product, the best guess first; none where it does not apply or, unless forced, pay. */
function cutsOf(
  { lowering, eqn, product, whole }: FoundProduct,
  schedule: ProductSchedule,
  forced: boolean,
): readonly ProductCut[] {
  const { target } = lowering;
  if (!takes(schedule, product)) return [];
  if (schedule === "dot") {
    const sides = eqn.kind === "map" && whole ? dotSides(product, target, lowering.packs) : null;
    if (sides === null) return [];
    const together = rowsOfReaders(lowering.graph, sides.left.load.tensor);
    return dotCandidates(product, sides, target, Math.max(product.sizes.n, together));
  }
  const matrices = (): readonly ProductCut[] => {
    if (!whole || leftReduces(product)) return [];
    const pays = forced || matrixPays(product);
    if (!pays && product.sizes.m < fewestOrdered) return [];
    const sides = matrixOf(lowering, eqn, product);
    if (sides === null) return [];
    const cuts = matrixCuts(product, sides, target, Math.max(product.sizes.n, rowsBeside(lowering, product)));
    return pays ? cuts : cuts.filter((cut) => cut.left === "ordered");
  };
  if (schedule === "lookup") {
    if (eqn.kind !== "map" || !whole || (!forced && !lookupPays(product, target))) return [];
    return lookupCuts(lowering, product, Math.max(product.sizes.n, rowsBeside(lowering, product)));
  }
  if (schedule === "matvec") {
    const alone = target.alike === true && product.sizes.m <= alikeTokens;
    if (eqn.kind !== "map" || (!forced && !alone && matrices().length > 0)) return [];
    return matvecApplies(product, target) ? matvecCuts(product, target) : [];
  }
  if (leftReduces(product)) return [];
  const work = product.sizes.m * product.sizes.n * reductionLength(product.terms[0]!.reduce);
  if (schedule === "quads") return quadsApply(product, target) && (forced || work >= tileWork) ? quadCuts(product) : [];
  if (schedule === "matrix") return matrices();
  if (schedule === "vectored") {
    const sides = forced || vectorsPay(product, target) ? vectoredSides(lowering, eqn, product) : null;
    return sides === null ? [] : vectoredCuts(eqn, product, sides, target);
  }
  if (!forced && (product.sizes.m < 2 || work < tileWork)) return [];
  return tiledApplies(lowering, product, eqn) ? tiledCuts(product, target) : [];
}

/** The kernels of a cut; null where its schedule does not apply. */
function kernelsBy(found: FoundProduct, cut: ProductCut): MatrixKernels | null {
  if (cut.kind !== "matrix") {
    const kernel = kernelOf(found, cut);
    return kernel === null ? null : { kernels: [kernel], scratch: [] };
  }
  const { lowering, eqn, product, whole } = found;
  const sides = whole && !leftReduces(product) ? matrixOf(lowering, eqn, product) : null;
  if (sides === null || !tileFits(cut, sides, lowering.target)) return null;
  // a step of a scan has no memory between its kernels
  if (cut.parts > 1 && (product.sizes.batch > 1 || lowering.outer.length > 0)) return null;
  return matrix(lowering, eqn, product, sides, cut);
}

/**
 * The kernel of a cut that has one, with a follower in place of its stores if it is given; null where its schedule does
 * not apply.
 */
function kernelOf(
  { lowering, eqn, product, whole }: FoundProduct,
  cut: Exclude<ProductCut, MatrixTile>,
  follower: Follower | null = null,
): Kernel | null {
  const { target } = lowering;
  if (!takes(cut.kind, product)) return null;
  switch (cut.kind) {
    case "dot": {
      const sides = eqn.kind === "map" && whole ? dotSides(product, target, lowering.packs) : null;
      return sides === null || eqn.kind !== "map" ? null : dot(lowering, eqn, product, sides, cut, follower);
    }
    case "lookup":
      return eqn.kind === "map" && whole ? lookup(lowering, eqn, product, cut, follower) : null;
    case "matvec":
      return eqn.kind === "map" && matvecApplies(product, target)
        ? matvec(lowering, eqn, product, cut, follower)
        : null;
    case "quads":
      return !leftReduces(product) && quadsApply(product, target) ? quads(lowering, eqn, product, cut) : null;
    case "vectored": {
      const sides = leftReduces(product) ? null : vectoredSides(lowering, eqn, product);
      return sides === null || !vectorTileFits(cut, sides, target)
        ? null
        : vectored(lowering, eqn, product, sides, cut);
    }
    case "tiled":
      return !leftReduces(product) && tiledApplies(lowering, product, eqn) ? tiled(lowering, eqn, product, cut) : null;
    default:
      return cut satisfies never;
  }
}

/** Rows of all products that read the tensor which is the left side of one, and so may become one dispatch with it. */
function rowsBeside({ graph }: Lowering, product: Product): number {
  const [only, ...others] = product.terms[0]!.left;
  const left = only === undefined || others.length > 0 ? null : withoutCasts(only);
  return left?.kind === "load" ? rowsOfReaders(graph, left.tensor) : 0;
}

/** Whether a kernel keeps to the device's limits. */
export function fits(lowering: Lowering, kernel: Kernel): boolean {
  const memory = kernel.arrays.reduce((sum, array) => sum + array.length * byteSize(array.element), 0);
  const invocations = kernel.workgroupSize.reduce((product, size) => product * size, 1);
  return (
    kernel.buffers.length <= lowering.target.maxStorageBuffers &&
    memory <= lowering.target.maxWorkgroupMemory &&
    invocations <= lowering.target.maxInvocations
  );
}

/** Rows that leave most of a large GPU idle. */
const fewRows = 128;

/**
 * Rows so many and so short that a subgroup each is best: no barriers, and few workgroups, which start one after the other.
 */
const short = { rows: 2048, longest: 1024, invocations: 256 } as const;

/** The invocations of a row, and the rows of a workgroup. */
export function rowTeams(lowering: Lowering, { indices }: Elements, shape: RowShape): RowTeams {
  const { target } = lowering;
  const subgroup = fixedSubgroup(target);
  const longest = Math.max(...shape.shared.map(reductionLength));
  // on a CPU driver a barrier costs more than a row: one subgroup needs none
  if (target.kind === "cpu") return { lanes: subgroup ?? 1, teams: 1 };
  const count = shape.outer.reduce((product, axis) => product * extent(indices[axis]!), 1);
  if (
    subgroup !== null &&
    target.alike !== true &&
    count >= short.rows &&
    longest <= short.longest &&
    short.invocations <= target.maxInvocations &&
    shape.shared.every(({ op }) => bySubgroup(op))
  )
    return { lanes: subgroup, teams: Math.floor(short.invocations / subgroup) };
  const most = longest >= (count <= fewRows ? 4096 : 16384) ? Math.min(1024, target.maxInvocations) : 256;
  let size = 32;
  while (size < most && size < longest) size *= 2;
  return { lanes: Math.min(size, target.maxInvocations), teams: 1 };
}

/** Whether every load that is not guarded is in range for all indices in their bounding ranges. */
function loadsInside(graph: ConcreteGraph, eqn: Elements, bounds: Bounds): boolean {
  const visit = (scalar: Scalar<Concrete>, inner: Bounds): boolean => {
    if (scalar.kind === "reduce") {
      const within = withRanges(inner, scalar.over);
      return children(scalar).every((child) => visit(child, within));
    }
    if (scalar.kind === "load" && !scalar.guarded) {
      const { shape } = graph.values[scalar.tensor]!.type;
      const inside = scalar.at.every((at, axis) => {
        const { low, high } = intervalOf(at, inner);
        return low >= 0 && high < shape[axis]!;
      });
      if (!inside) return false;
    }
    return children(scalar).every((child) => visit(child, inner));
  };
  return visit(eqn.body, bounds);
}
