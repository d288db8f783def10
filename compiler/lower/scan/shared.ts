/** Long reductions of a step, shared among the lanes of a row. */
import type { Range, Scalar } from "../../graph/graph.js";
import { intervalOf } from "../../graph/analysis/ranges.js";
import { children, freeIndices, scalarLoads, type Reduce } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { finishAccumulator, startAccumulator } from "../toolkit/reduction.js";
import { lowerRange, lowerScalar, reduceLoops, withKnown, type Environment } from "../toolkit/scalar.js";
import { combineTeam, type Team } from "../toolkit/team.js";
import type { BlockContext } from "./blocking.js";
import { conditionOf, relativeColumnsOfRange, type ColumnFacts } from "./columns.js";

/** Reductions of fewer elements are done by every lane for itself. */
const worthSharing = 16;

/** Arrays of workgroup memory for exchange, by element type and use; made once a kernel. */
export type ExchangeArrays = Map<string, string>;

/**
 * The environment with the long reductions of a body known: each lane takes a part, then all have the result. Only
 * those that every lane comes to, over a range that the step alone decides. Must stand where all invocations come by.
 */
export function shareReductions(
  context: BlockContext,
  environment: Environment,
  body: Scalar<Concrete>,
  facts: ColumnFacts,
  arrays: ExchangeArrays,
): Environment {
  if (context.blocking.lanes === 1) return environment;
  let inner = environment;
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
  const relative = relativeColumnsOfRange(range, facts);
  if (relative !== null && relative.high !== Infinity) return relative.high - relative.low + 1;
  return intervalOf(range.high, facts.bounds).high - intervalOf(range.low, facts.bounds).low;
}

function sharedReduce(
  context: BlockContext,
  environment: Environment,
  reduce: Reduce<Concrete>,
  arrays: ExchangeArrays,
): Expr {
  const { build, lane, team: which, blocking } = context;
  const [range] = reduce.over;
  const team: Team = {
    lanes: blocking.lanes,
    lane,
    among: { team: which, teams: blocking.rows, shuffles: true },
    hint: "exchange",
    arrays,
  };
  const accumulator = startAccumulator(build, reduce);
  const bounds = lowerRange(environment, range!);
  const [from, to] = [build.bind("from", bounds.from), build.bind("end", bounds.to)];
  const run = (): void => {
    reduceLoops(environment, reduce, accumulator, team, { from, to });
    combineTeam(build, environment.target, team, reduce.op, accumulator);
  };
  const condition = conditionOf(range!);
  if (condition === null) run();
  else build.when(lowerScalar(environment, condition), run);
  return build.bind(reduce.op, finishAccumulator(reduce, accumulator, k.sub(k.max(to, from), from)));
}
