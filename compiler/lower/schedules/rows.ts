import type { Eqn, IndexId, Scalar } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { isWanted, spread, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { isUnevenMean } from "../toolkit/reduction.js";
import { lowerScalar, withKnown } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { reduceByTeam, soleTeam, type Team } from "../toolkit/team.js";
import { freeIndices, innermostFirst, scalarReductions } from "../../graph/scalar.js";
import { bindPosition } from "../toolkit/positions.js";
import { extent } from "../../graph/analysis/ranges.js";

type Reduce = Scalar<Concrete> & { readonly kind: "reduce" };
type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * One workgroup a row, or a subgroup: its invocations share the work of each reduction that depends on the row only, then
 * of the row's elements. Norms, softmaxes, losses and arg-maxima are rows.
 */
export interface RowShape {
  /** Own indices that the shared reductions depend on: a row each. */
  readonly outer: readonly number[];
  /** The other own indices: the elements of a row. */
  readonly inner: readonly number[];
  /** Reductions that depend on the row alone, innermost first. */
  readonly shared: readonly Reduce[];
}

/** How an eqn falls into rows, or null where no reduction could be shared. */
export function rowShape(eqn: Elements): RowShape | null {
  const own = new Set<IndexId>(eqn.indices.map((range) => range.index));
  const reductions = innermostFirst(scalarReductions(eqn.body));
  const outermost = reductions.filter(
    (reduce) => !reductions.some((other) => other !== reduce && scalarReductions(other).includes(reduce)),
  );
  if (outermost.length === 0) return null;
  const rowIndices = new Set(outermost.flatMap((reduce) => [...freeIndices(reduce)]).filter((index) => own.has(index)));
  const outer = eqn.indices.flatMap((range, axis) => (rowIndices.has(range.index) ? [axis] : []));
  const inner = eqn.indices.flatMap((range, axis) => (rowIndices.has(range.index) ? [] : [axis]));
  const shared = reductions.filter(
    (reduce) => !isUnevenMean(reduce) && [...freeIndices(reduce)].every((index) => rowIndices.has(index)),
  );
  return { outer, inner, shared };
}

/** Who computes a row: so many invocations, and so many such teams in a workgroup, each a subgroup where there are several. */
export interface RowTeams {
  readonly lanes: number;
  readonly teams: number;
}

/**
 * The kernel of an eqn in rows. `before`: of a row (u32), what a workgroup that it alone has does before all, each
 * invocation for columns of its own.
 */
export function rows(
  lowering: Lowering,
  eqn: Elements,
  shape: RowShape,
  { lanes, teams }: RowTeams,
  before: (build: KernelBuilder, row: Expr, team: Team) => void = () => {},
): Kernel {
  const build = lowering.builder();
  const environment = lowering.environment(build);
  const outer = shape.outer.map((axis) => eqn.indices[axis]!);
  const own = shape.inner.map((axis) => eqn.indices[axis]!);
  const sizeOf = (ranges: Elements["indices"]): number =>
    ranges.reduce((product, range) => product * extent(range, lowering.bounds), 1);
  const count = sizeOf(outer);
  const workgroups = spread(Math.ceil(count / teams));
  const index = k.builtin("local_index");
  const lane = teams === 1 ? index : build.bind("lane", k.rem(index, lanes));
  const team = soleTeam(lanes, lane);

  const body = (row: Expr, wanted: Expr | null): void => {
    before(build, row, team);
    let inner = bindPosition(environment, outer, lowering.bounds, row);
    for (const reduce of shape.shared) inner = withKnown(inner, [[reduce, reduceByTeam(inner, team, reduce)]]);
    const elements = sizeOf(own);
    const one = (position: Expr): void => {
      const element = bindPosition(inner, own, lowering.bounds, position);
      storeElement(lowering, element, eqn, lowerScalar(element, eqn.body));
    };
    const all = (): void => {
      if (elements === 1) build.when(k.equal(lane, 0), () => one(k.u32(0)));
      else build.loop("element", lane, k.u32(elements), one, lanes);
    };
    if (wanted === null) all();
    else build.when(wanted, all);
  };
  const first = workgroupPosition(workgroups);
  if (teams > 1) {
    // subgroups keep together: those behind the last row compute it as well, and store nothing
    const row = build.bind("row", k.add(k.mul(first, teams), k.div(index, lanes)));
    const isExact = workgroups[0] * workgroups[1] * teams === count;
    body(isExact ? row : build.bind("row", k.min(row, count - 1)), isExact ? null : k.less(row, count));
  } else {
    const wanted = isWanted(workgroups, count, first);
    if (wanted === null) body(first, null);
    else build.when(wanted, () => body(first, null));
  }
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [lanes * teams, 1, 1],
    workgroups,
    schedule: "rows",
    values: lowering.valuesOf(eqn),
  });
}
