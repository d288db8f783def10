/** Equations that the kernel of a product computes of its results, in place of storing them. */
import { extent } from "../../graph/analysis/ranges.js";
import { indexFunctionOf, isIndexExpression } from "../../graph/analysis/index-values.js";
import type { Product } from "../../graph/analysis/product.js";
import type { ConcreteGraph, Eqn, IndexId } from "../../graph/graph.js";
import { constantOf, freeIndices, scalarLoads, scalarReductions, type Load } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { elementCount, upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { unflatten } from "../toolkit/dispatch.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowerScalar, withIndices, type Environment } from "../toolkit/scalar.js";
import { storeElement } from "../toolkit/store.js";

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

/**
 * An equation with an element for each of a product's results, which it reads: a rotation of the heads, a write to the
 * cache. Beside its own an element may read the result half a head away.
 */
export interface Follower {
  readonly eqn: Elements;
  /** The result that is read. */
  readonly from: number;
  /** Of the axes of the result but its last, the index that it is read at; null where there is one only. */
  readonly tokens: readonly (IndexId | null)[];
  /** Axes of the equation that are, flattened, the last of the result. */
  readonly rows: readonly number[];
  /** The loads of the result half a head away, and how far that is; null where there are none. */
  readonly partner: { readonly loads: ReadonlySet<Load<Concrete>>; readonly apart: number } | null;
}

/** Rows up to which it is tried out where a follower reads. */
const mostRows = 2 ** 17;

/** How an equation follows the product of another; null where it reads anything else of it, or not every element. */
export function followerOf(graph: ConcreteGraph, from: Elements, eqn: Elements): Follower | null {
  const { shape, dtype } = graph.values[from.out]!.type;
  const places = eqn.kind === "update" ? eqn.at : [];
  const loads = scalarLoads(eqn.body).filter(({ tensor }) => tensor === from.out);
  const count = shape.at(-1)!;
  if (
    from.kind !== "map" ||
    (dtype !== "f32" && dtype !== "f16") ||
    count > mostRows ||
    loads.length === 0 ||
    loads.some(({ guarded }) => guarded) ||
    scalarReductions(eqn.body).length > 0 ||
    places.some((at) => scalarReductions(at).length > 0 || scalarLoads(at).some(({ tensor }) => tensor === from.out))
  )
    return null;
  const tokens = tokensOf(loads, shape, eqn);
  if (tokens === null) return null;
  const rows = upTo(eqn.indices.length).filter(
    (axis) => extent(eqn.indices[axis]!) !== 1 && !tokens.includes(eqn.indices[axis]!.index),
  );
  const ranges = rows.map((axis) => eqn.indices[axis]!);
  if (elementCount(ranges.map((range) => extent(range))) !== count) return null;
  if (!eqn.indices.every(({ low }) => constantOf(low) === 0)) return null;
  const length = ranges.length === 0 ? 1 : extent(ranges.at(-1)!);
  const partners = new Set<Load<Concrete>>();
  for (const load of loads) {
    const last = load.at.at(-1)!;
    const place = isIndexExpression(last) ? indexFunctionOf(last, (size) => size) : null;
    // what moves with the token is another place for each
    if (place === null || tokens.some((index) => index !== null && freeIndices(last).has(index))) return null;
    const isAt = (row: (n: number) => number): boolean => {
      const at = new Map<IndexId, number>();
      return upTo(count).every((n) => {
        let rest = n;
        for (const range of [...ranges].reverse()) {
          at.set(range.index, rest % extent(range));
          rest = Math.floor(rest / extent(range));
        }
        return place(at) === row(n);
      });
    };
    if (isAt((n) => n)) continue;
    if (length % 2 === 1 || !isAt((n) => n - (n % length) + (((n % length) + length / 2) % length))) return null;
    partners.add(load);
  }
  return {
    eqn,
    from: from.out,
    tokens,
    rows,
    partner: partners.size === 0 ? null : { loads: partners, apart: length / 2 },
  };
}

/** The indices that all loads read the axes but the last at, each another; null where they are none. */
function tokensOf(
  loads: readonly Load<Concrete>[],
  shape: readonly number[],
  { indices }: Elements,
): readonly (IndexId | null)[] | null {
  const tokens: (IndexId | null)[] = [];
  for (const axis of upTo(shape.length - 1)) {
    const [first, ...others] = loads.map(({ at }) => at[axis]!);
    if (shape[axis] === 1 && [first!, ...others].every((at) => at.kind === "index" || constantOf(at) === 0)) {
      tokens.push(null);
      continue;
    }
    if (first?.kind !== "index" || !others.every((at) => at.kind === "index" && at.index === first.index)) return null;
    const range = indices.find(({ index }) => index === first.index);
    if (range === undefined || extent(range) !== shape[axis] || tokens.includes(range.index)) return null;
    tokens.push(range.index);
  }
  return tokens;
}

/** How the rows of a product stand in its workgroups, so that each has what its follower reads. */
export interface FollowedRows {
  /** Shares that the rows make, one for a workgroup and turn. */
  readonly blocks: number;
  /** The row that a team computes as its `row`-th, in a share. */
  rowOf(block: Expr, team: Expr, row: number): Expr;
  /**
   * Computes the follower of a share; all invocations of the workgroup come here. `inside`: whether there is such a share;
   * null where there is. `again`: whether it may be called once more in the same kernel. `value`: of a row and a token of
   * this team's, the result; asked for where `first`, in the invocation that has them.
   */
  store(
    at: { readonly block: Expr; readonly team: Expr; readonly first: Expr | null },
    inside: Expr | null,
    again: boolean,
    value: (row: number, token: number) => Expr,
  ): void;
}

/**
 * The rows of a product of `teams` teams a workgroup, each of which has `rows` under way; null where they do not make
 * whole shares.
 */
export function followedRows(
  lowering: Lowering,
  build: KernelBuilder,
  product: Product,
  follower: Follower,
  { teams, rows, size }: { readonly teams: number; readonly rows: number; readonly size: number },
): FollowedRows | null {
  const { n, m, batch } = product.sizes;
  const share = teams * rows;
  const { eqn, partner } = follower;
  if (batch !== 1 || n % share !== 0 || (partner !== null && share % 2 !== 0)) return null;
  const { dtype, shape } = lowering.graph.values[follower.from]!.type;
  const results = build.array("results", "f32", share * m);
  /** The row at a place of a share: the second half of them is that which the first reads beside its own. */
  const rowAt = (block: Expr, place: Expr): Expr => {
    if (partner === null) return k.add(k.mul(block, share), place);
    const { apart } = partner;
    const pair = build.bind("pair", k.add(k.mul(block, share / 2), k.rem(place, share / 2)));
    return k.add(k.add(pair, k.mul(k.div(pair, apart), apart)), k.mul(k.div(place, share / 2), apart));
  };
  const element = (block: Expr, at: Expr): void => {
    const place = build.bind("place", k.rem(at, share));
    const token = build.bind("token", k.div(at, share));
    const row = build.bind("n", rowAt(block, place));
    const reader = (_: Environment, load: Load<Concrete>): Expr => {
      const from = partner?.loads.has(load) === true ? k.rem(k.add(place, share / 2), share) : place;
      return k.convert(dtype, k.loadShared(results, "f32", k.add(k.mul(token, share), from)));
    };
    const environment: Environment = {
      ...withIndices(lowering.environment(build), indicesOf(build, follower, shape, token, row)),
      readers: new Map([[follower.from, reader]]),
    };
    storeElement(lowering, environment, eqn, lowerScalar(environment, eqn.body));
  };
  return {
    blocks: n / share,
    rowOf: (block, team, row) => build.bind("n", rowAt(block, build.bind("place", k.add(k.mul(team, rows), row)))),
    store({ block, team, first }, inside, again, value) {
      // what others still read of the turn before
      if (again) build.barrier();
      const keep = (): void => {
        for (const row of upTo(rows))
          for (const token of upTo(m)) {
            const place = k.add(k.mul(team, rows), row + token * share);
            build.add(k.storeShared(results, place, k.convert("f32", k.convert(dtype, value(row, token)))));
          }
      };
      if (first === null) keep();
      else build.when(first, keep);
      build.barrier();
      const local = k.builtin("local_index");
      const all = (): void => {
        if (share * m <= size) build.when(k.less(local, share * m), () => element(block, local));
        else build.loop("element", local, k.u32(share * m), (at) => element(block, at), size);
      };
      if (inside === null) all();
      else build.when(inside, all);
    },
  };
}

/** The indices of a follower's element: its token, a position along the result's axes but the last, and its row. */
function indicesOf(
  build: KernelBuilder,
  { eqn, tokens, rows }: Follower,
  shape: readonly number[],
  token: Expr,
  row: Expr,
): readonly (readonly [IndexId, Expr])[] {
  const ranges = rows.map((axis) => eqn.indices[axis]!);
  const tokenAt = unflatten(
    build,
    token,
    shape.slice(0, -1),
    tokens.map(() => "token"),
  );
  const rowAt = unflatten(
    build,
    row,
    ranges.map((range) => extent(range)),
    ranges.map(({ name }) => name),
  );
  return [
    ...eqn.indices.map(({ index }) => [index, k.u32(0)] as const),
    ...tokens.flatMap((index, axis) => (index === null ? [] : [[index, tokenAt[axis]!] as const])),
    ...ranges.map(({ index }, at) => [index, rowAt[at]!] as const),
  ];
}
