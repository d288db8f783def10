import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { upTo } from "../../types/shape.js";
import { gridOf } from "../toolkit/dispatch.js";
import type { Lowering } from "../toolkit/lowering.js";
import { lowestScore } from "../toolkit/reduction.js";
import { withIndices } from "../toolkit/scalar.js";
import { groupAt, isKey, keysOf, keysOfAll, queryElement, rowsOf, scoreOf, storeMean, type Widths } from "./sides.js";

/** Elements of queries that a lane keeps: more would leave its registers, and make its loop too long to compile. */
const keptElements = 64;

/** Whether lanes 4i .. 4i+3 of a workgroup form quads. */
export function quadAttentionApplies(target: Target): boolean {
  return target.subgroups !== null && target.subgroups.min >= 4;
}

/**
 * Attention on a CPU driver, where an invocation is a SIMD lane and a load costs ten times a multiplication. Each lane
 * of a quad keeps a few queries with their sums, and walks over the keys of all, four at a time: of those it loads one,
 * and has the others from its neighbours.
 */
export function quadAttention(lowering: Lowering, eqn: AttentionEqn, attention: Attention, widths: Widths): Kernel {
  const build = lowering.builder();
  const { sizes, queryCount, groupCount, over, element, product } = attention;
  const most = Math.max(1, Math.min(4, Math.floor(keptElements / Math.max(sizes.key, sizes.value))));
  const count = Math.min(most, Math.ceil(queryCount / 4));
  const tile = 4 * count;
  const grid = gridOf(build, [Math.ceil(queryCount / tile), groupCount, 1]);
  const lane = build.bind("q", k.builtin("local_index"));

  const body = (): void => {
    const group = groupAt(lowering.environment(build), attention, grid.y);
    const first = build.bind("first", k.mul(grid.x, tile));
    const all = keysOfAll(group, attention, first, tile);
    const end = build.bind("end", all.to);
    const last = build.bind("last", k.sub(k.max(end, 1), 1));
    const queries = upTo(count).map((at) => {
      const position = build.bind("query", k.add(k.add(first, 4 * at), lane));
      const environment = group.query(build.bind("there", k.min(position, queryCount - 1)));
      return {
        position,
        environment,
        keys: keysOf(build, environment, attention),
        elements: upTo(sizes.key).map((i) => build.bind("x", queryElement(environment, attention, k.u32(i)))),
        highest: build.variable("highest", k.f32(lowestScore)),
        total: build.variable("total", k.f32(0)),
        sums: upTo(sizes.value).map(() => build.variable("sum", k.f32(0))),
      };
    });
    const keys = rowsOf(lowering, group, attention.key, {
      along: product.over[0]!.index,
      key: over.index,
      width: widths.key,
    });
    const values = rowsOf(lowering, group, attention.value, {
      along: element.index,
      key: over.index,
      width: widths.value,
    });
    build.loop(
      "key",
      all.from,
      end,
      (key) => {
        const mine = build.bind("mine", k.min(k.add(key, lane), last));
        const rowAt = (rows: typeof keys, length: number): readonly Expr[] => {
          const place = rows.at(mine);
          const row = { ...place, start: build.bind("row", place.start) };
          return upTo(length / rows.width).flatMap((at) => rows.values(build.bind("vector", rows.load(row, at))));
        };
        /** What lane q ^ r has. */
        const of = (row: readonly Expr[], r: number): readonly Expr[] =>
          r === 0 ? row : row.map((value) => build.bind("from", k.call("subgroupShuffleXor", [value, k.u32(r)])));
        const row = rowAt(keys, sizes.key);
        const scores = upTo(4).map((r) => {
          const theirs = of(row, r);
          const at = build.bind("at", k.add(key, k.bitXor(lane, r)));
          return queries.map((query) => {
            const sum = dot(theirs, query.elements, (value) => build.bind("dot", value));
            const inside = build.bind("inside", isKey(query.keys, at));
            const score = scoreOf(query.environment, attention, build.bind("key_at", k.min(at, last)), sum);
            return { inside, score: build.bind("score", k.select(inside, score, lowestScore)) };
          });
        });
        const weights = queries.map((query, j) => {
          const highest = build.bind(
            "most",
            scores.map((each) => each[j]!.score).reduce((a, b) => k.max(a, b), query.highest),
          );
          const below = build.bind("below", k.exp(k.sub(query.highest, highest)));
          const each = scores.map((of) =>
            build.bind("weight", k.select(of[j]!.inside, k.exp(k.sub(of[j]!.score, highest)), 0)),
          );
          build.assign(query.highest, highest);
          build.assign(query.total, k.fma(query.total, below, each.reduce(k.add)));
          return { below, each };
        });
        const value = rowAt(values, sizes.value);
        upTo(4).forEach((r) => {
          const theirs = of(value, r);
          queries.forEach(({ sums }, j) => {
            const { below, each } = weights[j]!;
            sums.forEach((sum, h) => build.assign(sum, k.fma(each[r]!, theirs[h]!, r === 0 ? k.mul(sum, below) : sum)));
          });
        });
      },
      4,
    );
    for (const { position, environment, total, sums } of queries)
      build.when(k.less(position, queryCount), () => {
        const scale = build.bind("scale", k.select(k.equal(total, 0), k.f32(0), k.div(k.f32(1), total)));
        sums.forEach((sum, h) => {
          const own = withIndices(environment, [[element.index, k.u32(h)]]);
          storeMean(lowering, own, eqn, attention, k.mul(sum, scale));
        });
      });
  };
  if (grid.inside === null) body();
  else build.when(grid.inside, body);
  return build.finish({
    name: lowering.nameOf(eqn),
    workgroupSize: [4, 1, 1],
    workgroups: grid.workgroups,
    schedule: "attention",
    values: lowering.valuesOf(eqn),
  });
}

/** The sum of products, four at a time. */
function dot(a: readonly Expr[], b: readonly Expr[], bind: (value: Expr) => Expr): Expr {
  return a.reduce<Expr>((sum, each, at) => {
    const next = at === 0 ? k.mul(each, b[at]!) : k.fma(each, b[at]!, sum);
    return at % 4 === 3 ? bind(next) : next;
  }, k.f32(0));
}
