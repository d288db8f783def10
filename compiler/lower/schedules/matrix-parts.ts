/** The elements of a product by matrices, and sums of parts of its columns that a second kernel adds up. */
import type { Product } from "../../graph/analysis/product.js";
import type { Eqn, Scalar } from "../../graph/graph.js";
import { children } from "../../graph/scalar.js";
import type { Storage } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { isWanted, spread, unflatten, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { bindPosition, boundsOf } from "../toolkit/positions.js";
import { lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { addsEverywhere, elementFor, storeElement } from "../toolkit/store.js";

export type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** The kernels of a product, and the memory between them. */
export interface MatrixKernels {
  readonly kernels: readonly Kernel[];
  readonly scratch: readonly Storage[];
}

/** The elements of an equation by their positions along m and n. */
export interface ElementPlaces {
  readonly batch: Environment;
  readonly token: (m: Expr) => Environment;
  /** Stores an element, given the sums of all terms. */
  readonly store: (sums: readonly Expr[], m: Expr, n: Expr) => void;
  /** Computes an element, and gives what stores it. */
  readonly compute: (sums: readonly Expr[], m: Expr, n: Expr) => () => void;
  /** Whether an element is made of more that is in memory than the sums. */
  readonly loads: boolean;
}

/** The places of a batch's elements (`batchAt`: u32) in a kernel that is being built. */
export function elementsOf(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  build: KernelBuilder,
  batchAt: Expr,
): ElementPlaces {
  const bounds = boundsOf(lowering, eqn);
  const ranges = (axes: readonly number[]) => axes.map((axis) => eqn.indices[axis]!);
  const batch = bindPosition(lowering.environment(build), ranges(product.batch), bounds, batchAt);
  const token = (m: Expr): Environment => bindPosition(batch, ranges(product.m), bounds, m);
  const at = (sums: readonly Expr[], m: Expr, n: Expr): Environment =>
    withKnown(
      withIndices(token(m), [[eqn.indices[product.n]!.index, n]]),
      // what is added to the first is in its sum
      product.terms.map((term, index) => [term.reduce, sums[index] ?? k.f32(0)] as const),
    );
  const sums = new Set<Scalar<Concrete>>(product.terms.map(({ reduce }) => reduce));
  const loadsBeside = (node: Scalar<Concrete>): boolean =>
    !sums.has(node) && (node.kind === "load" || children(node).some(loadsBeside));
  return {
    batch,
    token,
    store(found, m, n) {
      const environment = at(found, m, n);
      storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
    },
    compute(found, m, n) {
      const environment = at(found, m, n);
      return elementFor(lowering, environment, eqn, lowerScalar(environment, eqn.body));
    },
    loads: loadsBeside(eqn.body) || addsEverywhere(lowering, eqn),
  };
}

/** Sums of parts of the columns, [part, term, m, n]. */
interface PartialSums {
  readonly storage: Storage;
  /** Leaves the sums of an element, one for each term, of a part (u32). */
  leave(build: KernelBuilder, part: Expr, sums: readonly Expr[], m: Expr, n: Expr): void;
  /** The kernel that adds them up. */
  add(): Kernel;
}

/** Invocations of a workgroup that adds up. */
const adding = 256;

/** Memory for the sums of so many terms and parts of a product without a batch. */
export function partialSums(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  terms: number,
  parts: number,
): PartialSums {
  const { m: rows, n: columns } = product.sizes;
  const count = rows * columns;
  const storage: Storage = {
    name: `${lowering.nameOf(eqn)}_parts.${eqn.out}`,
    bytes: Math.ceil((4 * parts * terms * count) / 16) * 16,
    role: "temporary",
  };
  return {
    storage,
    leave(build, part, sums, m, n) {
      const view = build.view(storage, "f32", "read_write");
      const at = build.bind("place", k.add(k.mul(k.add(k.mul(part, terms * rows), m), columns), n));
      sums.forEach((sum, term) => build.add(k.store(view, k.add(at, term * count), sum)));
    },
    add() {
      const build = lowering.builder();
      const needed = Math.ceil(count / adding);
      const workgroups = spread(needed);
      const position = build.bind("workgroup", workgroupPosition(workgroups));
      const body = (): void => {
        const element = build.bind("element", k.add(k.mul(position, adding), k.builtin("local_index")));
        const one = (): void => {
          const [m, n] = unflatten(build, element, [rows, columns], ["m", "n"]) as [Expr, Expr];
          const view = build.view(storage, "f32", "read");
          const sums = upTo(terms).map((term) =>
            upTo(parts)
              .map((part) =>
                build.bind("sum", k.loadBuffer(view, "f32", k.add(element, (part * terms + term) * count))),
              )
              .reduce((a, b) => k.add(a, b)),
          );
          elementsOf(lowering, eqn, product, build, k.u32(0)).store(
            sums.map((sum) => build.bind("sum", sum)),
            m,
            n,
          );
        };
        if (count % adding === 0) one();
        else build.when(k.less(element, count), one);
      };
      const wanted = isWanted(workgroups, needed, position);
      if (wanted === null) body();
      else build.when(wanted, body);
      return build.finish({
        name: `${lowering.nameOf(eqn)}_added`,
        workgroupSize: [adding, 1, 1],
        workgroups,
        schedule: "matrix",
        values: lowering.valuesOf(eqn),
      });
    },
  };
}
