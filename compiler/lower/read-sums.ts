/** Sums of parts that the first kernel to read them adds up itself: a dispatch less. */
import { boundingRange, extent } from "../graph/analysis/ranges.js";
import type { IndexId, Range, Scalar } from "../graph/graph.js";
import { children, constantOf, reduced, scalarLoads, scalarReductions, type Load } from "../graph/scalar.js";
import * as k from "../kernel/build.js";
import type { Expr, Kernel } from "../kernel/kernel.js";
import type { Concrete } from "../types/type.js";
import { kernelsOf, kernelStep, type Lowered } from "./lowered.js";
import { fits, rowTeams } from "./schedules/choose.js";
import type { Adding, Elements } from "./schedules/matrix-parts.js";
import { rows, rowShape, type RowShape } from "./schedules/rows.js";
import { loops } from "./schedules/loops.js";
import type { Lowering } from "./toolkit/lowering.js";
import { flatten, lowerIndex, type Environment } from "./toolkit/scalar.js";

type S = Scalar<Concrete>;

/**
 * Bytes of a row's sums up to which its workgroup reads them: a workgroup reads no faster than one of a GPU's cores does,
 * and more of them take as long as the dispatch that is saved.
 */
const fewBytes = 2 ** 17;

/**
 * What the equations of the lowering's graph become, each adding of parts done by the kernel that is the first to read
 * the result, where that has a workgroup for each of its rows and an invocation reads no elements but those that it has
 * added up, so that no barrier is needed; or where it is the only one and loads few elements, of which each is then added
 * up and stored nowhere.
 */
export function addWhereRead(lowering: Lowering, lowered: readonly Lowered[]): readonly Lowered[] {
  const { eqns } = lowering.graph;
  const made = [...lowered];
  const added = new Map<number, readonly Adding[]>();
  const inLoads = new Map<number, readonly Adding[]>();
  lowered.forEach(({ adding }, at) => {
    if (adding === undefined) return;
    const to = made.findIndex(({ steps }, later) => later > at && kernelsOf(steps).some((each) => clash(adding, each)));
    const eqn = eqns[to];
    if (eqn === undefined || (eqn.kind !== "map" && eqn.kind !== "update")) return;
    const before = made[to]!;
    const isRead = (each: Lowered): boolean =>
      kernelsOf(each.steps).some(({ buffers }) => buffers.some(({ tensor }) => tensor === tensorOf(lowering, adding)));
    /** Adds up in the reader, beside what it adds up already, where a kernel can; whether one can. */
    const join = (known: Map<number, readonly Adding[]>, kernelAdding: typeof loopsAdding): boolean => {
      const all = [...(known.get(to) ?? []), adding];
      const kernel = kernelAdding(lowering, eqn, all, before);
      if (kernel === null) return false;
      known.set(to, all);
      made[to] = { ...before, steps: [kernelStep(kernel)] };
      made[at] = { ...made[at]!, steps: made[at]!.steps.slice(0, -1) };
      return true;
    };
    const isSole = !made.some((each, other) => other !== at && other !== to && isRead(each));
    if (isSole && join(inLoads, loopsAdding)) return;
    if (adding.bytes <= fewBytes) join(added, rowsAdding);
  });
  return made;
}

const tensorOf = ({ storage }: Lowering, { eqn }: Adding): string => storage[eqn.out]!.name;

/** Times that an element may be added up: a rotation reads each twice, which costs less than a dispatch. */
const fewTimes = 2;

/**
 * The kernel of an equation, an invocation an element, that adds up what it would load, and is all that reads it; null
 * where it is in other loops, or adds up too often.
 */
function loopsAdding(lowering: Lowering, eqn: Elements, addings: readonly Adding[], { steps }: Lowered): Kernel | null {
  const [step] = steps;
  if (step?.kind !== "kernel" || steps.length !== 1 || step.kernel.origin.schedule !== "loops") return null;
  const { graph, storage } = lowering;
  const places = eqn.kind === "update" ? eqn.at : [];
  const isTaken = (adding: Adding): boolean => {
    const { eqn: from, kernel, rows: count, columns } = adding;
    const loads = scalarLoads(eqn.body).filter(({ tensor }) => tensor === from.out);
    const elements = eqn.indices.reduce((product, range) => product * extent(range), 1);
    return (
      from.kind === "map" &&
      storage[from.out]!.role === "temporary" &&
      kernel.buffers.every(({ tensor }) => tensor !== storage[eqn.out]!.name) &&
      scalarReductions(eqn.body).length === 0 &&
      loads.length > 0 &&
      loads.every(({ guarded }) => !guarded) &&
      !places.some((at) => scalarLoads(at).some(({ tensor }) => tensor === from.out)) &&
      loads.length * elements <= fewTimes * count * columns
    );
  };
  if (!addings.every(isTaken)) return null;
  const readers: Environment["readers"] = new Map(
    addings.map(({ eqn: from, value }) => [
      from.out,
      (environment: Environment, load: Load<Concrete>): Expr => {
        const at = load.at.map((each) => lowerIndex(environment, each));
        const { shape } = graph.values[from.out]!.type;
        const { build } = environment;
        const row = build.bind("row", flatten(shape.slice(0, -1), at.slice(0, -1)));
        return value(build, row, build.bind("column", at.at(-1)!));
      },
    ]),
  );
  const reading: Lowering = {
    ...lowering,
    environment: (build) => ({ ...lowering.environment(build), readers }),
  };
  const [kernel] = loops(reading, eqn);
  return kernel !== undefined && fits(lowering, kernel) ? named(lowering, addings, kernel) : null;
}

/** A kernel called after what it adds up, too. */
function named(lowering: Lowering, addings: readonly Adding[], kernel: Kernel): Kernel {
  const { schedule, values: own } = kernel.origin;
  const name = `${lowering.nameOf(addings[0]!.eqn)}_added_${own.join("_")}`.replace(/[^A-Za-z0-9_]/g, "_");
  const values = addings.flatMap(({ eqn }) => lowering.valuesOf(eqn));
  return { ...kernel, name, origin: { schedule, values: [...values, ...own] } };
}

/** Whether an adding must be over when a kernel runs: the kernel reads or writes what it writes, or writes what it reads. */
function clash({ kernel }: Adding, other: Kernel): boolean {
  return other.buffers.some((buffer) =>
    kernel.buffers.some(
      ({ tensor, access }) => tensor === buffer.tensor && (access === "read_write" || buffer.access === "read_write"),
    ),
  );
}

/** The kernel of an equation in rows that adds up first; null where it is in no rows, or not in those of what is added. */
function rowsAdding(lowering: Lowering, eqn: Elements, addings: readonly Adding[], { steps }: Lowered): Kernel | null {
  const [step] = steps;
  if (step?.kind !== "kernel" || steps.length !== 1 || step.kernel.origin.schedule !== "rows") return null;
  const shape = rowShape(eqn);
  if (shape === null) return null;
  const teams = rowTeams(lowering, eqn, shape);
  if (teams.teams > 1 || !addings.every((adding) => readsOwnRow(lowering, eqn, shape, adding))) return null;
  const kernel = rows(lowering, eqn, shape, teams, (build, row, { lane, lanes }) => {
    for (const { columns, element } of addings)
      build.loop("column", lane, k.u32(columns), (column) => element(build, row, column), lanes);
  });
  if (!fits(lowering, kernel)) return null;
  return named(lowering, addings, kernel);
}

/**
 * Whether the rows of a kernel are those of what is added, and whether of those an invocation reads no columns but the
 * ones that it adds up: every so many from its own on.
 */
function readsOwnRow(
  lowering: Lowering,
  eqn: Elements,
  shape: RowShape,
  { eqn: from, rows: count, columns, kernel }: Adding,
): boolean {
  const { values } = lowering.graph;
  const name = lowering.storage[from.out]!.name;
  const long = (ranges: readonly Range<Concrete>[]) => ranges.filter((range) => extent(range) !== 1);
  const rowsOf = long(shape.outer.map((axis) => eqn.indices[axis]!));
  const within = long(shape.inner.map((axis) => eqn.indices[axis]!));
  const written = values[from.out]!.type.shape;
  if (!from.indices.every((range, axis) => isFromZero(range) && extent(range) === written[axis])) return false;
  // what a workgroup stores another may yet need for its sums
  if (kernel.buffers.some(({ tensor }) => tensor === lowering.storage[eqn.out]!.name)) return false;
  if (rowsOf.reduce((product, range) => product * extent(range), 1) !== count) return false;
  const reads = (scalar: S, own: ReadonlySet<IndexId>, seen: Set<S>): boolean => {
    if (seen.has(scalar)) return true;
    seen.add(scalar);
    if (scalar.kind === "load" && lowering.storage[scalar.tensor]?.name === name) {
      const { shape: sizes } = values[scalar.tensor]!.type;
      const row = scalar.at.slice(0, -1).filter((_, axis) => sizes[axis] !== 1);
      const column = scalar.at.at(-1);
      return (
        !scalar.guarded &&
        sizes.at(-1) === columns &&
        row.length === rowsOf.length &&
        row.every((each, axis) => isWhole(each, rowsOf[axis]!)) &&
        column?.kind === "index" &&
        own.has(column.index)
      );
    }
    if (scalar.kind !== "reduce") return children(scalar).every((child) => reads(child, own, seen));
    const bounds = scalar.over.flatMap(({ low, high }) => [low, high]);
    const [only, ...others] = scalar.over;
    const isShared = shape.shared.includes(scalar) && others.length === 0 && constantOf(only!.low) === 0;
    if (!bounds.every((each) => reads(each, own, seen))) return false;
    const [inner, within] = isShared ? [new Set([...own, only!.index]), new Set<S>()] : [own, seen];
    return reduced(scalar).every((each) => reads(each, inner, within));
  };
  // an element's place in a row is its only long index
  const own = new Set(within.length === 1 && isFromZero(within[0]!) ? [within[0]!.index] : []);
  const places = eqn.kind === "update" ? eqn.at : [];
  return [eqn.body, ...places].every((each) => reads(each, own, new Set()));
}

/** Whether a position along an axis is that of a row. */
function isWhole(scalar: S, range: Range<Concrete>): boolean {
  return scalar.kind === "index" && scalar.index === range.index && isFromZero(range);
}

const isFromZero = (range: Range<Concrete>): boolean => boundingRange(range).low === 0;
