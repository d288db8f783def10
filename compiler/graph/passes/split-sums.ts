/** Long sums for few elements, taken in parts that a large device works on at once. */
import { full, type Concrete } from "../../types/type.js";
import type { Target } from "../../target.js";
import { productOf } from "../analysis/product.js";
import { extent, isIdentity } from "../analysis/ranges.js";
import { binary, indexOf, integer, load, range, reduce } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Value } from "../graph.js";
import {
  constantOf,
  freeIndices,
  mapScalar,
  renumber,
  scalarLoads,
  scalarReductions,
  substitute,
  type Reduce,
} from "../scalar.js";

type Elements = Extract<Eqn<Concrete>, { kind: "map" | "update" }>;

/** Terms that a sum has at least. */
const longSum = 4096;

/** Side of a tile of a product, tiles that keep a large device busy, and terms that a part has at least. */
const tileSide = 128;
const wantedTiles = 256;
const leastOfProduct = 2048;

/** Invocations that keep a large device busy, and terms that each has at least. */
const wantedInvocations = 2 ** 16;
const leastOfSum = 64;

/**
 * On a GPU, sums over several indices (tokens of sequences) for few elements, the gradients of weights and gains, in two
 * equations, where the first has an axis more:
 *
 * g[n] = f(sum[b, t] x[b, t, n])  =  p[s, n] = sum[b in 0 .. B / S, t] x[s * B / S + b, t, n], g[n] = f(sum[s] p[s, n])
 */
export function splitSums(graph: ConcreteGraph, target: Target): ConcreteGraph {
  if (target.kind !== "gpu") return graph;
  const fresh = freshIndices(graph);
  const values: Value<Concrete>[] = [...graph.values];
  const eqns = graph.eqns.flatMap((eqn) => {
    if (eqn.kind !== "map" && eqn.kind !== "update") return [eqn];
    const split = splitOf(graph, eqn);
    if (split === null) return [eqn];
    const name = `${graph.values[eqn.out]?.name ?? "sum"}_parts`;
    const shape = [split.parts, ...eqn.indices.map((each) => constantOf(each.high) ?? 0)];
    const parts: Value<Concrete> = {
      id: values.length,
      name,
      span: null,
      type: { dtype: "f32", shape, pattern: full, format: null },
    };
    values.push(parts);
    return inParts(eqn, split, parts, fresh);
  });
  return values.length === graph.values.length ? graph : { ...graph, values, eqns };
}

/** Which sum is split, and along which of its ranges into how many parts. */
interface Split {
  readonly sum: Reduce<Concrete>;
  readonly along: Range<Concrete>;
  readonly parts: number;
}

function splitOf(graph: ConcreteGraph, eqn: Elements): Split | null {
  if (eqn.kind === "update" && !isIdentity(eqn.at, eqn.indices)) return null;
  const [sum, ...others] = scalarReductions(eqn.body);
  if (sum === undefined || others.length > 0 || sum.op !== "sum" || sum.dtype !== "f32" || sum.over.length < 2)
    return null;
  if (![...eqn.indices, ...sum.over].every(({ low, high }) => constantOf(low) === 0 && constantOf(high) !== null))
    return null;
  const length = sum.over.reduce((product, each) => product * extent(each), 1);
  if (length < longSum) return null;
  const found = productOf(graph, eqn, new Map(), true);
  const product = found !== null && found.sizes.m > 1 ? found : null;
  const elements = eqn.indices.reduce((count, each) => count * extent(each), 1);
  const [busy, least] =
    product === null
      ? [Math.ceil(wantedInvocations / elements), leastOfSum]
      : [
          Math.ceil(
            wantedTiles /
              (product.sizes.batch * Math.ceil(product.sizes.m / tileSide) * Math.ceil(product.sizes.n / tileSide)),
          ),
          leastOfProduct,
        ];
  if (product === null && !readsAcross(eqn, sum)) return null;
  const wanted = Math.min(busy, Math.floor(length / least));
  // the columns of a product's slices stay whole
  const candidates = sum.over
    .filter((along) => product?.terms[0]?.column !== along)
    .map((along) => {
      const size = extent(along);
      let parts = Math.min(size, Math.floor(wanted * 1.5));
      while (parts > 1 && size % parts !== 0) parts -= 1;
      return { sum, along, parts };
    });
  const best =
    candidates.find(({ parts }) => 2 * parts >= wanted) ??
    candidates.reduce((most, each) => (each.parts > most.parts ? each : most));
  return best.parts < 2 ? null : best;
}

/** Whether neighbouring elements read neighbours in memory at each term. */
function readsAcross(eqn: Elements, sum: Reduce<Concrete>): boolean {
  const own = eqn.indices.at(-1)?.index;
  if (own === undefined) return false;
  const across = scalarLoads(sum.body).filter(({ at }) => at.some((each) => freeIndices(each).has(own)));
  return (
    across.length > 0 &&
    across.every(({ at }) => {
      const last = at.at(-1);
      return last?.kind === "index" && last.index === own;
    })
  );
}

function inParts(
  eqn: Elements,
  { sum, along, parts }: Split,
  value: Value<Concrete>,
  fresh: () => IndexId,
): readonly Eqn<Concrete>[] {
  const size = extent(along) / parts;
  const part = range<Concrete>(fresh(), "part", 0, parts);
  const own = eqn.indices.map((each) => ({ ...each, index: fresh() }));
  const inside: Range<Concrete> = { ...along, high: integer(size) };
  const first = size === 1 ? indexOf(part) : binary("multiply", indexOf(part), integer(size));
  const here = size === 1 ? first : binary("add", first, indexOf(inside));
  const over = sum.over.flatMap((each) => (each !== along ? [each] : size === 1 ? [] : [inside]));
  const body = mapScalar(sum.body, (node) => (node.kind === "index" && node.index === along.index ? here : node));
  const whole = over.length === 0 ? body : reduce<Concrete>("sum", over, body);
  const partial = renumber(
    substitute(whole, new Map(eqn.indices.map((each, axis) => [each.index, indexOf(own[axis] ?? each)]))),
    fresh,
  );
  const after = range<Concrete>(fresh(), "part", 0, parts);
  const total = reduce<Concrete>(
    "sum",
    [after],
    load(value, [indexOf(after), ...eqn.indices.map((each) => indexOf(each))]),
  );
  return [
    { kind: "map", out: value.id, indices: [part, ...own], body: partial },
    { ...eqn, body: mapScalar(eqn.body, (node) => (node === sum ? total : node)) },
  ];
}
