/** A packed tensor decoded to f16: what a product for many tokens reads instead. */
import { naturalHalves } from "../../formats/code/halves.js";
import { codeOf } from "../../formats/code/registry.js";
import { formatOfSpec, roundsToHalf, shapeOf } from "../../formats/registry.js";
import type { ProductRows } from "../../graph/analysis/product.js";
import { isIdentity } from "../../graph/analysis/ranges.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import { elementCount, upTo } from "../../types/shape.js";
import type { Concrete } from "../../types/type.js";
import { halvesOf } from "../product/halves.js";
import { run } from "../product/matrix-sides.js";
import { isWanted, spread, workgroupPosition } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { fixedSubgroup } from "../toolkit/team.js";

type Map = Eqn<Concrete> & { readonly kind: "map" };

/** Elements from which on an invocation takes several columns: with fewer, its start is what costs. */
const worthwhileElements = 1 << 20;

const groupSize = 256;

/** The rows of an equation that only decodes a packed tensor to f16, and the columns of a piece; null of any other. */
export function decodedRows(
  lowering: Lowering,
  eqn: Map,
  forced: boolean,
): { readonly rows: ProductRows; readonly columns: number } | null {
  const { graph, target } = lowering;
  const body = eqn.body.kind === "cast" ? eqn.body.a : eqn.body;
  if (!target.f16 || target.kind !== "gpu" || body.kind !== "load" || body.guarded) return null;
  const [from, to] = [graph.values[body.tensor]!.type, graph.values[eqn.out]!.type];
  const spec = from.format;
  if (spec === null || to.format !== null || to.dtype !== "f16" || !roundsToHalf(spec)) return null;
  if (from.shape.length < 2 || !isIdentity(body.at, eqn.indices)) return null;
  if (!forced && elementCount(to.shape) < worthwhileElements) return null;
  const format = formatOfSpec(spec);
  const shape = shapeOf(from.shape);
  const unit = format.unit(spec, shape);
  if (unit === null || unit.columns % run !== 0) return null;
  const reader = codeOf(spec).halves(spec);
  const columns = reader === null || unit.columns % reader.columns !== 0 ? unit.columns : reader.columns;
  return shape.columns % columns === 0 ? { rows: { load: body, spec, format, shape, unit }, columns } : null;
}

/** An invocation reads a few columns, as few as the format's reader takes, and writes them side by side. */
export function unpacked(
  lowering: Lowering,
  eqn: Map,
  { rows, columns }: NonNullable<ReturnType<typeof decodedRows>>,
): Kernel {
  const build = lowering.builder();
  const { spec, shape, unit } = rows;
  const halfReader = codeOf(spec).halves(spec);
  const reader = unit!.columns % (halfReader?.columns ?? 1) === 0 ? halfReader : null;
  const inRow = shape.columns / columns;
  const count = shape.rows * inRow;
  const needed = Math.ceil(count / groupSize);
  const workgroups = spread(needed);
  const group = build.bind("workgroup", workgroupPosition(workgroups));
  const position = build.bind("position", k.add(k.mul(group, groupSize), k.builtin("local_index")));
  const conditions = [
    isWanted(workgroups, needed, group),
    count % groupSize === 0 ? null : k.less(position, count),
  ].filter((condition) => condition !== null);
  const one = (): void => {
    const row = build.bind("row", k.div(position, inRow));
    const piece = build.bind("piece", k.rem(position, inRow));
    const words = build.words(lowering.storage[rows.load.tensor]!);
    const halves = halvesOf({ rows, reader }, build, words, row, piece, columns);
    const ordered = reader === null ? halves : naturalHalves(build, halves, reader.distance);
    const view = build.view(lowering.storage[eqn.out]!, "vec4<u32>", "read_write");
    const first: Expr = build.bind("first", k.mul(position, columns / run));
    const vectors = upTo(ordered.length / 4).map((at) => k.vector(ordered.slice(4 * at, 4 * at + 4)));
    const lanes = fixedSubgroup(lowering.target);
    if (vectors.length !== 2 || conditions.length > 0 || lanes === null || lanes < 2) {
      vectors.forEach((vector, at) => build.add(k.store(view, k.add(first, at), vector)));
      return;
    }
    // two neighbours swap, so that each of the two stores writes whole runs of 32 bytes
    const [low, high] = [build.bind("low", vectors[0]!), build.bind("high", vectors[1]!)];
    const odd = build.bind("odd", k.equal(k.rem(k.builtin("local_index"), 2), 1));
    const given = build.bind("given", k.select(odd, low, high));
    const taken = build.bind(
      "taken",
      k.vector(upTo(4).map((at) => k.call("subgroupShuffleXor", [k.component(given, at as 0), k.u32(1)]))),
    );
    const pair = build.bind("pair", k.select(odd, k.sub(first, 1), first));
    build.add(k.store(view, pair, k.select(odd, taken, low)));
    build.add(k.store(view, k.add(pair, 2), k.select(odd, high, taken)));
  };
  if (conditions.length === 0) one();
  else build.when(conditions.reduce(k.and), one);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [groupSize, 1, 1],
    workgroups,
    schedule: "unpacked",
    values: lowering.valuesOf(eqn),
  });
}
