/** Long reductions of a step, shared among the lanes of a row. */
import type { Range, Scalar } from "../../graph/graph.js";
import { intervalOf } from "../../graph/analysis/ranges.js";
import type { ReduceOp } from "../../graph/ops.js";
import { children, freeIndices, scalarLoads, type Reduce } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import {
  accumulate,
  finishAccumulator,
  mergeAccumulator,
  startAccumulator,
  type Accumulator,
} from "../toolkit/reduction.js";
import { lowerRange, lowerScalar, reduceBody, withIndices, withKnown, type Scope } from "../toolkit/scalar.js";
import { fixedSubgroup } from "../toolkit/team.js";
import type { BlockContext } from "./blocking.js";
import { conditionOf, placeOfRange, type ColumnFacts } from "./columns.js";

/** Reductions of fewer elements are done by every lane for itself. */
const worthSharing = 16;

/** Arrays of workgroup memory for exchange, by element type and use; made once a kernel. */
export type ExchangeArrays = Map<string, string>;

/**
 * The scope with the long reductions of a body known: each lane takes a part, then all have the result. Only those that
 * every lane comes to, over a range that the step alone decides. Must stand where all invocations come by.
 */
export function shareReductions(
  context: BlockContext,
  scope: Scope,
  body: Scalar<Concrete>,
  facts: ColumnFacts,
  arrays: ExchangeArrays,
): Scope {
  if (context.blocking.lanes === 1) return scope;
  let inner = scope;
  for (const reduce of shareable(body, facts))
    inner = withKnown(inner, [[reduce, sharedReduce(context, inner, reduce, arrays)]]);
  return inner;
}

/**
 * The outermost reductions that are worth it. One in a branch of a `select` is, if its range is empty where it is not
 * wanted.
 */
function shareable(body: Scalar<Concrete>, facts: ColumnFacts): readonly Reduce<Concrete>[] {
  const found = new Set<Reduce<Concrete>>();
  const visit = (node: Scalar<Concrete>, conditional: boolean): void => {
    if (node.kind === "reduce") {
      const [range, ...others] = node.over;
      if (
        range !== undefined &&
        others.length === 0 &&
        lengthOf(range, facts) >= worthSharing &&
        isOfStep(range, facts) &&
        !(conditional && conditionOf(range) === null)
      )
        found.add(node);
    } else if (node.kind === "select") {
      visit(node.condition, conditional);
      visit(node.then, true);
      visit(node.otherwise, true);
    } else for (const child of children(node)) visit(child, conditional);
  };
  visit(body, false);
  return [...found];
}

function isOfStep(range: Range<Concrete>, facts: ColumnFacts): boolean {
  return [range.low, range.high].every(
    (bound) => scalarLoads(bound).length === 0 && [...freeIndices(bound)].every((index) => index === facts.step),
  );
}

/** The most elements of a range. */
function lengthOf(range: Range<Concrete>, facts: ColumnFacts): number {
  const place = placeOfRange(range, facts);
  if (place !== null && place.high !== Infinity) return place.high - place.low + 1;
  return intervalOf(range.high, facts.bounds).high - intervalOf(range.low, facts.bounds).low;
}

function sharedReduce(context: BlockContext, scope: Scope, reduce: Reduce<Concrete>, arrays: ExchangeArrays): Expr {
  const { build, blocking, lane } = context;
  const [range] = reduce.over;
  const accumulator = startAccumulator(build, reduce);
  const bounds = lowerRange(scope, range!);
  const [from, end] = [build.bind("from", bounds.from), build.bind("end", bounds.to)];
  const run = (): void => {
    build.loop(
      range!.name,
      k.add(from, lane),
      end,
      (index) => {
        const element = withIndices(scope, [[range!.index, index]]);
        accumulate(build, reduce.op, accumulator, reduceBody(element, reduce, accumulator), index);
      },
      blocking.lanes,
    );
    combine(context, scope.target, reduce.op, accumulator, arrays);
  };
  const condition = conditionOf(range!);
  if (condition === null) run();
  else build.when(lowerScalar(scope, condition), run);
  return build.bind(reduce.op, finishAccumulator(reduce, accumulator, k.sub(k.max(end, from), from)));
}

const subgroupCalls: { readonly [K in ReduceOp]?: "subgroupAdd" | "subgroupMax" | "subgroupMin" } = {
  sum: "subgroupAdd",
  mean: "subgroupAdd",
  count: "subgroupAdd",
  max: "subgroupMax",
  min: "subgroupMin",
};

/** Afterwards the accumulator of every lane of the row holds the whole. */
function combine(
  { build, blocking, lane, team }: BlockContext,
  target: Target,
  op: ReduceOp,
  accumulator: Accumulator,
  arrays: ExchangeArrays,
): void {
  const [value, best] = accumulator;
  if (fixedSubgroup(target) === blocking.lanes) {
    const call = subgroupCalls[op];
    if (call !== undefined) {
      build.assign(value!, k.call(call, [value!]));
      return;
    }
    if (op === "argmax") {
      const largest = build.bind("largest", k.call("subgroupMax", [value!]));
      const candidate = build.bind("candidate", k.select(k.equal(value!, largest), best!, k.u32(0xffffffff)));
      build.assign(best!, k.call("subgroupMin", [candidate]));
      build.assign(value!, largest);
      return;
    }
  }
  const start = build.bind("start", k.mul(team, blocking.lanes));
  const names = accumulator.map((variable, at) => {
    const element = variable.type === "bool" ? ("u32" as const) : variable.type;
    const key = `${element} ${at}`;
    const name = arrays.get(key) ?? build.array("exchange", element, blocking.rows * blocking.lanes);
    arrays.set(key, name);
    return { name, element };
  });
  const write = (): void =>
    accumulator.forEach((variable, at) =>
      build.add(
        k.storeShared(
          names[at]!.name,
          k.add(start, lane),
          variable.type === "bool" ? k.select(variable, k.u32(1), k.u32(0)) : variable,
        ),
      ),
    );
  const read = (index: Expr): Expr[] =>
    accumulator.map((variable, at) => {
      const loaded = k.loadShared(names[at]!.name, names[at]!.element, index);
      return build.bind("other", variable.type === "bool" ? k.notEqual(loaded, 0) : loaded);
    });
  write();
  build.barrier();
  for (let stride = blocking.lanes / 2; stride >= 1; stride /= 2) {
    build.when(k.less(lane, stride), () => {
      mergeAccumulator(build, op, accumulator, read(k.add(start, k.add(lane, stride))));
      write();
    });
    build.barrier();
  }
  const whole = read(start);
  accumulator.forEach((variable, at) => build.assign(variable, whole[at]!));
  // the arrays may be written again only when all have read
  build.barrier();
}
