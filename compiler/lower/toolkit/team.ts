/** Invocations of a workgroup that compute something together. */
import type { ReduceOp } from "../../graph/ops.js";
import type { Reduce } from "../../graph/scalar.js";
import * as k from "../../kernel/build.js";
import { elementType, type Expr } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { Concrete } from "../../types/type.js";
import type { KernelBuilder } from "./builder.js";
import { finishAccumulator, mergeAccumulator, startAccumulator, type Accumulator } from "./reduction.js";
import { reduceLoops, type Environment } from "./scalar.js";

/** Neighbours in a workgroup: a power of two of them, or some whole subgroups. */
export interface Team {
  readonly lanes: number;
  /** Which of them the invocation is, u32. */
  readonly lane: Expr;
  /** Where there are several teams in a workgroup: which of them it is, u32, and how many there are. */
  readonly among: {
    readonly team: Expr;
    readonly teams: number;
    /** Whether teams smaller than a subgroup exchange what they have by shuffles. */
    readonly shuffles?: boolean;
  } | null;
  /** What its arrays of workgroup memory are called. */
  readonly hint: string;
  /** Those arrays by what they hold; made once a kernel. */
  readonly arrays: Map<string, string>;
}

/** A team that shares its arrays of workgroup memory with no other. */
export function soleTeam(lanes: number, lane: Expr): Team {
  return { lanes, lane, among: null, hint: "partial", arrays: new Map() };
}

/** Lanes of a subgroup where the device has one size only, so that code may count on it; else null. */
export function fixedSubgroup(target: Target): number | null {
  return target.subgroups !== null && target.subgroups.min === target.subgroups.max ? target.subgroups.min : null;
}

/** A reduction whose innermost index (the last of `over`) is spread over a team; every lane has the result. */
export function reduceByTeam(environment: Environment, team: Team, reduce: Reduce<Concrete>): Expr {
  const accumulator = startAccumulator(environment.build, reduce);
  const count = reduceLoops(environment, reduce, accumulator, team);
  combineTeam(environment.build, environment.target, team, reduce.op, accumulator);
  return environment.build.bind(reduce.op, finishAccumulator(reduce, accumulator, count));
}

const subgroupCalls: { readonly [K in ReduceOp]?: "subgroupAdd" | "subgroupMax" | "subgroupMin" } = {
  sum: "subgroupAdd",
  mean: "subgroupAdd",
  count: "subgroupAdd",
  max: "subgroupMax",
  min: "subgroupMin",
};

/** Whether a subgroup combines its partial results by operations of its own, without workgroup memory and barriers. */
export function bySubgroup(op: ReduceOp): boolean {
  return op === "softmax_mean" || subgroupCalls[op] !== undefined;
}

/** Combines the partial results of a team; afterwards the accumulator of every lane holds the whole. */
export function combineTeam(
  build: KernelBuilder,
  target: Target,
  team: Team,
  op: ReduceOp,
  accumulator: Accumulator,
): void {
  const { lanes, lane, among } = team;
  if (lanes === 1) return;
  const subgroup = fixedSubgroup(target);
  const call = subgroupCalls[op];
  const [value, best] = accumulator;
  if (op === "softmax_mean" && subgroup !== null && lanes % subgroup === 0) {
    const [highest, ...sums] = accumulator;
    const most = build.bind("most", k.call("subgroupMax", [highest!]));
    const below = build.bind("below", k.exp(k.sub(highest!, most)));
    for (const sum of sums) build.assign(sum, k.call("subgroupAdd", [k.mul(sum, below)]));
    build.assign(highest!, most);
    if (lanes > subgroup) combineSubgroups(build, team, subgroup, op, accumulator);
    return;
  }
  if (subgroup !== null && call !== undefined && lanes % subgroup === 0) {
    build.assign(value!, k.call(call, [value!]));
    if (lanes > subgroup) combineSubgroups(build, team, subgroup, op, accumulator);
    return;
  }
  if (among !== null && lanes === subgroup && op === "argmax") {
    const largest = build.bind("largest", k.call("subgroupMax", [value!]));
    const candidate = build.bind("candidate", k.select(k.equal(value!, largest), best!, k.u32(0xffffffff)));
    build.assign(best!, k.call("subgroupMin", [candidate]));
    build.assign(value!, largest);
    return;
  }
  if (among?.shuffles === true && subgroup !== null && subgroup % lanes === 0) {
    // several teams in a subgroup: neighbours pass on what they have
    for (let stride = lanes / 2; stride >= 1; stride /= 2) {
      const others = accumulator.map((variable) => {
        const value = variable.type === "bool" ? k.select(variable, k.u32(1), k.u32(0)) : variable;
        const other = build.bind("other", k.call("subgroupShuffleXor", [value, k.u32(stride)]));
        return variable.type === "bool" ? k.notEqual(other, 0) : other;
      });
      mergeAccumulator(build, op, accumulator, others);
    }
    return;
  }
  const start = among === null ? k.u32(0) : build.bind("start", k.mul(among.team, lanes));
  const { write, read } = exchange(build, team, accumulator, lanes * (among?.teams ?? 1));
  write(k.add(start, lane));
  build.barrier();
  for (let stride = 2 ** (Math.ceil(Math.log2(lanes)) - 1); stride >= 1; stride /= 2) {
    const most = Math.min(stride, lanes - stride);
    build.when(k.less(lane, most), () => {
      mergeAccumulator(build, op, accumulator, read(k.add(start, k.add(lane, stride))));
      write(k.add(start, lane));
    });
    build.barrier();
  }
  const whole = read(start);
  accumulator.forEach((variable, at) => build.assign(variable, whole[at]!));
  // the arrays may be written again by the next reduction only when all have read
  build.barrier();
}

/** Partial results of subgroups that each invocation combines for itself. */
const fewPartials = 16;

/** Combines what the subgroups of a team have combined each. */
function combineSubgroups(
  build: KernelBuilder,
  team: Team,
  subgroup: number,
  op: ReduceOp,
  accumulator: Accumulator,
): void {
  const partials = team.lanes / subgroup;
  const start = team.among === null ? k.u32(0) : build.bind("start", k.mul(team.among.team, partials));
  const slot = k.add(start, k.div(team.lane, subgroup));
  const { write, read } = exchange(build, team, accumulator, partials * (team.among?.teams ?? 1));
  build.when(k.equal(k.rem(team.lane, subgroup), 0), () => write(slot));
  build.barrier();
  const call = subgroupCalls[op];
  if (partials > fewPartials && partials <= subgroup && call !== undefined) {
    const lane = k.rem(team.lane, subgroup);
    const [own] = read(k.add(start, partials === subgroup ? lane : build.bind("some", k.min(lane, partials - 1))));
    // a largest or smallest one may be taken twice
    const once =
      partials === subgroup || call !== "subgroupAdd"
        ? own!
        : k.select(k.less(lane, partials), own!, k.literal(elementType(own!.type), 0));
    build.assign(accumulator[0]!, k.call(call, [once]));
    build.barrier();
    return;
  }
  const own = read(start);
  accumulator.forEach((variable, at) => build.assign(variable, own[at]!));
  for (let at = 1; at < partials; at++) mergeAccumulator(build, op, accumulator, read(k.add(start, at)));
  build.barrier();
}

/** Workgroup memory for `count` accumulators. */
function exchange(
  build: KernelBuilder,
  { hint, arrays }: Team,
  accumulator: Accumulator,
  count: number,
): { readonly write: (index: Expr) => void; readonly read: (index: Expr) => readonly Expr[] } {
  const names = accumulator.map((variable, at) => {
    const element = variable.type === "bool" ? ("u32" as const) : variable.type;
    const key = `${element}:${at}:${count}`;
    const name = arrays.get(key) ?? build.array(hint, element, count);
    arrays.set(key, name);
    return { name, element };
  });
  return {
    write: (index) =>
      accumulator.forEach((variable, at) => {
        const value = variable.type === "bool" ? k.select(variable, k.u32(1), k.u32(0)) : variable;
        build.add(k.storeShared(names[at]!.name, index, value));
      }),
    read: (index) =>
      accumulator.map((variable, at) => {
        const loaded = k.loadShared(names[at]!.name, names[at]!.element, index);
        return build.bind("other", variable.type === "bool" ? k.notEqual(loaded, 0) : loaded);
      }),
  };
}
