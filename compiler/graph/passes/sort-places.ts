/** Sums over what has a place in data, taken through an order by places. */
import { elementCount } from "../../types/shape.js";
import { full, type Concrete } from "../../types/type.js";
import { extent } from "../analysis/ranges.js";
import { binary, constant, indexOf, integer, load, range, reduce, selectAll } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, Value } from "../graph.js";
import { conjuncts, constantOf, freeIndices, mapScalar, scalarReductions, substitute, type Reduce } from "../scalar.js";

type S = Scalar<Concrete>;
type MapEqn = Extract<Eqn<Concrete>, { kind: "map" }>;

/** Looks at terms that are too few to be worth an order. */
const fewLooks = 2 ** 26;

/**
 * The graph with sums over the terms of one place each, of tokens that are one row of a table:
 *
 * h[v, d] = sum[t in 0 .. T] select(ids[t] == v, x[t, d], 0)  =  h[v, d] = sum[j in first[v] .. first[v + 1]] x[order[j], d]
 *
 * where `order` has the t by their ids, equal ones as they come, and first[v] is how many ids are below v. That takes
 * T^2 + V T comparisons and T D + V D steps instead of V D T, without atomic additions, in the same order at each run.
 * `always`: also where it is no less work, for tests.
 */
export function sortPlaces(graph: ConcreteGraph, always = false): ConcreteGraph {
  const fresh = freshIndices(graph);
  const values: Value<Concrete>[] = [...graph.values];
  const eqns = graph.eqns.flatMap((eqn) => {
    const found = eqn.kind === "map" ? placedOf(graph, eqn, always) : null;
    return eqn.kind !== "map" || found === null ? [eqn] : sorted(eqn, found, values, fresh);
  });
  return values.length === graph.values.length ? graph : { ...graph, values, eqns };
}

/** A sum of which only terms of one place count. */
interface Placed {
  readonly sum: Reduce<Concrete>;
  /** The place of a term, by the indices of `along`. */
  readonly key: S;
  readonly along: readonly Range<Concrete>[];
  /** The index of the element that it is compared with. */
  readonly place: Range<Concrete>;
  /** What is summed. */
  readonly term: S;
}

function placedOf(graph: ConcreteGraph, eqn: MapEqn, always: boolean): Placed | null {
  const elements = elementCount(graph.values[eqn.out]?.type.shape ?? []);
  for (const sum of scalarReductions(eqn.body)) {
    const { body, over } = sum;
    if (sum.op !== "sum" || body.kind !== "select" || constantOf(body.otherwise) !== 0) continue;
    if (!over.every(({ low, high }) => constantOf(low) === 0 && constantOf(high) !== null)) continue;
    const conditions = conjuncts(body.condition);
    for (const condition of conditions) {
      if (condition.kind !== "binary" || condition.op !== "equal") continue;
      const { a: key, b } = condition;
      const place = eqn.indices.find(({ index }) => b.kind === "index" && b.index === index);
      const free = freeIndices(key);
      const along = over.filter(({ index }) => free.has(index));
      if (place === undefined || along.length === 0 || along.length < free.size) continue;
      const terms = along.reduce((product, each) => product * extent(each), 1);
      const pays = elements * terms >= fewLooks && elements >= 8 * (terms + extent(place));
      if (!pays && !always) continue;
      const rest = conditions.filter((each) => each !== condition);
      const term = selectAll(rest, body.then, body.otherwise);
      return { sum, key, along, place, term };
    }
  }
  return null;
}

/** The equations of the order, and the equation that sums by it. */
function sorted(
  eqn: MapEqn,
  { sum, key, along, place, term }: Placed,
  values: Value<Concrete>[],
  fresh: () => IndexId,
): readonly Eqn<Concrete>[] {
  const name = values[eqn.out]?.name ?? "sum";
  const define = (what: string, size: number): Value<Concrete> => {
    const type = { dtype: "i32" as const, shape: [size], pattern: full, format: null };
    const value: Value<Concrete> = { id: values.length, name: `${name}_${what}`, span: null, type };
    values.push(value);
    return value;
  };
  const count = along.reduce((product, each) => product * extent(each), 1);
  const index = (named: string, high: number): Range<Concrete> => range<Concrete>(fresh(), named, 0, high);
  /** The indices of a term by its number. */
  const numbered = (number: S): ReadonlyMap<IndexId, S> => {
    const found = new Map<IndexId, S>();
    let step = 1;
    for (const each of [...along].reverse()) {
      const digits = step === 1 ? number : binary("divide", number, integer(step));
      const size = extent(each);
      found.set(each.index, step * size === count ? digits : binary("remainder", digits, integer(size)));
      step *= size;
    }
    return found;
  };
  const at = (value: Value<Concrete>, number: S): S => load(value, [number]);

  const places = define("places", count);
  const ranks = define("ranks", count);
  const empty = define("unordered", count);
  const order = define("order", count);
  const firsts = define("firsts", extent(place) + 1);
  const [one, own, other, blank, each, row, below] = [
    index("j", count),
    index("j", count),
    index("u", count),
    index("j", count),
    index("j", count),
    index(place.name, extent(place) + 1),
    index("u", count),
  ];
  const before = binary(
    "or",
    binary("less", at(places, indexOf(other)), at(places, indexOf(own))),
    binary(
      "and",
      binary("equal", at(places, indexOf(other)), at(places, indexOf(own))),
      binary("less", indexOf(other), indexOf(own)),
    ),
  );
  const within: Range<Concrete> = {
    index: fresh(),
    name: "j",
    low: at(firsts, indexOf(place)),
    high: at(firsts, binary("add", indexOf(place), integer(1))),
  };
  const over = [within, ...sum.over.filter((range) => !along.includes(range))];
  const total = reduce<Concrete>("sum", over, substitute(term, numbered(at(order, indexOf(within)))));
  return [
    { kind: "map", out: places.id, indices: [one], body: substitute(key, numbered(indexOf(one))) },
    { kind: "map", out: ranks.id, indices: [own], body: reduce<Concrete>("count", [other], before) },
    { kind: "map", out: empty.id, indices: [blank], body: constant(0, "i32") },
    {
      kind: "update",
      out: order.id,
      base: empty.id,
      indices: [each],
      at: [at(ranks, indexOf(each))],
      body: indexOf(each),
      op: "set",
    },
    {
      kind: "map",
      out: firsts.id,
      indices: [row],
      body: reduce<Concrete>("count", [below], binary("less", at(places, indexOf(below)), indexOf(row))),
    },
    { ...eqn, body: mapScalar(eqn.body, (node) => (node === sum ? total : node)) },
  ];
}
