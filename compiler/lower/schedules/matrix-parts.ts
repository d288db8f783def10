/** The elements of a product by matrices, and sums of parts of its columns that a second kernel adds up. */
import type { Product } from "../../graph/analysis/product.js";
import type { Eqn } from "../../graph/graph.js";
import type { Storage } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { spread, unflatten, whereWanted, workgroupPosition } from "../toolkit/dispatch.js";
import type { MatrixTile } from "./matrix-tile.js";
import type { Lowering } from "../toolkit/lowering.js";
import { bindPosition, boundsOf } from "../toolkit/positions.js";
import { lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";
import { four, storesVectors, vectorPlaces } from "../toolkit/vector-store.js";

export type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/** The kernels of a product, and the memory between them. */
export interface MatrixKernels {
  readonly kernels: readonly Kernel[];
  readonly scratch: readonly Storage[];
  /** What the last of several kernels does. */
  readonly adding?: Adding;
}

/** What is left to do where sums of parts of the columns are in memory: a kernel does it, or who reads the result first. */
export interface Adding {
  readonly kernel: Kernel;
  readonly eqn: Elements;
  readonly rows: number;
  readonly columns: number;
  /** Bytes of the sums of a row. */
  readonly bytes: number;
  /** Adds up and stores the element of a row and a column (u32). */
  element(build: KernelBuilder, row: Expr, column: Expr): void;
  /** Adds up the element and gives it, of the dtype of the result. */
  value(build: KernelBuilder, row: Expr, column: Expr): Expr;
}

/** The elements of an equation by their positions along m and n. */
export interface ElementPlaces {
  readonly batch: Environment;
  readonly token: (m: Expr) => Environment;
  /** An element, of the dtype of the result, given the sums of all terms. */
  readonly value: (sums: readonly Expr[], m: Expr, n: Expr) => Expr;
  /** Stores it. */
  readonly store: (sums: readonly Expr[], m: Expr, n: Expr) => void;
  /** How four neighbours along n are stored at once; null where they do not lie so. */
  readonly vectors: () => VectorElements | null;
}

/** Four neighbours along n. */
export interface VectorElements {
  /** Whether something is added to what is there. */
  readonly loads: boolean;
  /**
   * Computes those from row m and column n, a multiple of four, on, given vectors of the sums of all terms; what is
   * returned stores them.
   */
  readonly prepare: (sums: readonly Expr[], m: Expr, n: Expr) => () => void;
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
  const nIndex = eqn.indices[product.n]!.index;
  const vectors = (): VectorElements | null => {
    if (!storesVectors(lowering, eqn)) return null;
    const places = vectorPlaces(lowering, build, eqn);
    const loads = eqn.kind === "update" && eqn.op === "add";
    return {
      loads,
      prepare(sums, m, n) {
        const tokens = token(m);
        const environments = upTo(four).map((at) =>
          withKnown(
            withIndices(tokens, [[nIndex, k.add(n, at)]]),
            product.terms.map((term, t) => [term.reduce, sums[t] === undefined ? k.f32(0) : k.component(sums[t], at)]),
          ),
        );
        const place = places.place(environments[0]!);
        const before = loads ? build.bind("before", places.load(place)) : null;
        const values = environments.map((environment) => build.bind("value", lowerScalar(environment, eqn.body)));
        return () =>
          places.store(
            place,
            values.map((value, at) => {
              const own = k.convert(places.element, value);
              return before === null ? own : k.add(k.component(before, at), own);
            }),
          );
      },
    };
  };
  const elementAt = (sums: readonly Expr[], m: Expr, n: Expr): Environment =>
    withKnown(
      withIndices(token(m), [[nIndex, n]]),
      // what is added to the first is in its sum
      product.terms.map((term, at) => [term.reduce, sums[at] ?? k.f32(0)] as const),
    );
  return {
    batch,
    token,
    vectors,
    value(sums, m, n) {
      const { dtype } = lowering.graph.values[eqn.out]!.type;
      return k.convert(dtype, lowerScalar(elementAt(sums, m, n), eqn.body));
    },
    store(sums, m, n) {
      const environment = elementAt(sums, m, n);
      storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
    },
  };
}

/** Sums of parts of the columns, [part, term, m, n], with rows filled up to those of whole tiles. */
interface PartialSums {
  readonly storage: Storage;
  /** Leaves the sums of an element, one for each term, of a part (u32). */
  leave(build: KernelBuilder, part: Expr, sums: readonly Expr[], m: Expr, n: Expr): void;
  /** Leaves the result matrix of a term, from row m and column n on. */
  leaveMatrix(build: KernelBuilder, part: Expr, term: number, name: string, m: Expr, n: Expr): void;
  adding(): Adding;
}

/** Invocations of a workgroup that adds up. */
const adding = 256;

/** Memory for the sums of so many terms and parts of a product without a batch. */
export function partialSums(
  lowering: Lowering,
  eqn: Elements,
  product: Product,
  terms: number,
  { parts, tokens, strip }: MatrixTile,
): PartialSums {
  const { m: rows, n: columns } = product.sizes;
  const count = rows * columns;
  const filled = strip === "none" ? Math.ceil(rows / tokens) * tokens : rows;
  const storage: Storage = {
    name: `${lowering.nameOf(eqn)}_parts.${eqn.out}`,
    bytes: Math.ceil((4 * parts * terms * filled * columns) / 16) * 16,
    role: "temporary",
  };
  /** Adds up the element at a place of each part, of every term. */
  const sumsAt = (build: KernelBuilder, place: Expr): readonly Expr[] => {
    const view = build.view(storage, "f32", "read");
    const sums = upTo(terms).map((term) =>
      upTo(parts)
        .map((part) =>
          build.bind("sum", k.loadBuffer(view, "f32", k.add(place, (part * terms + term) * filled * columns))),
        )
        .reduce((a, b) => k.add(a, b)),
    );
    return sums.map((sum) => build.bind("sum", sum));
  };
  const places = (build: KernelBuilder): ElementPlaces => elementsOf(lowering, eqn, product, build, k.u32(0));
  const placeOf = (m: Expr, n: Expr): Expr => k.add(k.mul(m, columns), n);
  const addingKernel = (): Kernel => {
    const build = lowering.builder();
    const needed = Math.ceil(count / adding);
    const workgroups = spread(needed);
    const position = build.bind("workgroup", workgroupPosition(workgroups));
    const body = (): void => {
      const place = build.bind("element", k.add(k.mul(position, adding), k.builtin("local_index")));
      const one = (): void => {
        const [m, n] = unflatten(build, place, [rows, columns], ["m", "n"]) as [Expr, Expr];
        places(build).store(sumsAt(build, place), m, n);
      };
      if (count % adding === 0) one();
      else build.when(k.less(place, count), one);
    };
    whereWanted(build, workgroups, needed, position, body);
    return build.finish({
      name: `${lowering.nameOf(eqn)}_added`,
      workgroupSize: [adding, 1, 1],
      workgroups,
      schedule: "matrix",
      values: lowering.valuesOf(eqn),
    });
  };
  return {
    storage,
    leave(build, part, sums, m, n) {
      const view = build.view(storage, "f32", "read_write");
      const at = build.bind("place", k.add(k.mul(k.add(k.mul(part, terms * filled), m), columns), n));
      sums.forEach((sum, term) => build.add(k.store(view, k.add(at, term * filled * columns), sum)));
    },
    leaveMatrix(build, part, term, name, m, n) {
      const array = build.view(storage, "f32", "read_write");
      const row = k.add(k.add(k.mul(part, terms * filled), term * filled), m);
      const index = build.bind("at", k.add(k.mul(row, columns), n));
      build.add({ kind: "store_matrix", name, array, index, stride: k.u32(columns), columns: false });
    },
    adding: () => ({
      kernel: addingKernel(),
      eqn,
      rows,
      columns,
      bytes: 4 * parts * terms * columns,
      element: (build, m, n) => places(build).store(sumsAt(build, placeOf(m, n)), m, n),
      value: (build, m, n) => places(build).value(sumsAt(build, placeOf(m, n)), m, n),
    }),
  };
}
