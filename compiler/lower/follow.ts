/** Rotations and writes to a cache that the product before them computes itself: a dispatch less. */
import type { Kernel } from "../kernel/kernel.js";
import { kernelsOf, kernelStep, type Lowered } from "./lowered.js";
import { followerOf } from "./product/follower.js";
import type { Lowering } from "./toolkit/lowering.js";

/**
 * What the equations of the lowering's graph become, each product that one equation alone reads, element by element,
 * computing that one in place of storing its results. It stands with the equation that reads them.
 */
export function followProducts(lowering: Lowering, lowered: readonly Lowered[]): readonly Lowered[] {
  const { graph, storage } = lowering;
  const made = [...lowered];
  const kernelsAt = (at: number): readonly Kernel[] => kernelsOf(made[at]?.steps ?? []);
  graph.eqns.forEach((from, at) => {
    const { following, steps } = made[at]!;
    const place = storage[from.out];
    if (following === undefined || from.kind !== "map" || steps.length !== 1) return;
    if (place?.role !== "temporary" || lowering.orders.matrices.has(from.out)) return;
    const isRead = ({ buffers }: Kernel): boolean => buffers.some(({ tensor }) => tensor === place.name);
    const readers = made.flatMap((_, other) => (other !== at && kernelsAt(other).some(isRead) ? [other] : []));
    const [to, ...others] = readers;
    const eqn = to === undefined ? undefined : graph.eqns[to];
    if (to === undefined || others.length > 0 || (eqn?.kind !== "map" && eqn?.kind !== "update")) return;
    const [alone, ...more] = kernelsAt(to);
    if (more.length > 0 || alone?.origin.schedule !== "loops") return;
    const follower = followerOf(graph, from, eqn);
    const kernel = follower === null ? null : following(follower);
    if (kernel === null || !mayMove(kernelsAt(at), made.slice(at + 1, to), storage[eqn.out]!.name)) return;
    made[at] = { ...made[at]!, steps: [] };
    made[to] = { ...made[to]!, steps: [kernelStep(named(lowering, from, eqn, kernel))] };
  });
  return made;
}

/** Whether a product finds what it reads unchanged where its follower stands, and the follower changes none of it. */
function mayMove(product: readonly Kernel[], between: readonly Lowered[], written: string): boolean {
  const changed = new Set([
    written,
    ...between
      .flatMap(({ steps }) => kernelsOf(steps))
      .flatMap(({ buffers }) => buffers.filter(({ access }) => access === "read_write"))
      .map(({ tensor }) => tensor),
  ]);
  return !product.some(({ buffers }) => buffers.some(({ tensor }) => changed.has(tensor)));
}

/** A kernel called after the product and what follows it. */
function named(
  lowering: Lowering,
  from: Parameters<Lowering["nameOf"]>[0],
  eqn: Parameters<Lowering["nameOf"]>[0],
  kernel: Kernel,
): Kernel {
  const values = [from, eqn].flatMap((each) => lowering.valuesOf(each));
  const name = `${lowering.nameOf(from)}_${lowering.valuesOf(eqn).join("_")}`.replace(/[^A-Za-z0-9_]/g, "_");
  return { ...kernel, name, origin: { ...kernel.origin, values } };
}
