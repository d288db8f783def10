import type { ReduceOp } from "../../graph/ops.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import type { KernelBuilder } from "./builder.js";
import { mergeAccumulator, type Accumulator } from "./reduction.js";

/** Lanes of a subgroup where the device has one size only, so that code may count on it; else null. */
export function fixedSubgroup(target: Target): number | null {
  return target.subgroups !== null && target.subgroups.min === target.subgroups.max ? target.subgroups.min : null;
}

/**
 * Combines the partial results of all invocations of a workgroup of `size`; afterwards each one's accumulator holds
 * the whole. `lane` is the local index. Arrays are made once a kernel and kept in `arrays`.
 */
export function combineWorkgroup(
  build: KernelBuilder,
  target: Target,
  size: number,
  lane: Expr,
  op: ReduceOp,
  accumulator: Accumulator,
  arrays: Map<string, string>,
): void {
  if (size === 1) return;
  const subgroup = fixedSubgroup(target);
  const shuffle =
    op === "sum" || op === "mean" || op === "count"
      ? "subgroupAdd"
      : op === "max"
        ? "subgroupMax"
        : op === "min"
          ? "subgroupMin"
          : null;
  let partials = size;
  let slot = lane;
  if (subgroup !== null && shuffle !== null && accumulator.length === 1 && size % subgroup === 0) {
    build.assign(accumulator[0]!, k.call(shuffle, [accumulator[0]!]));
    if (size === subgroup) return;
    partials = size / subgroup;
    slot = k.div(lane, subgroup);
  }
  const names = accumulator.map((variable, at) => {
    const element = variable.type === "bool" ? "u32" : variable.type;
    const key = `${element}:${at}:${partials}`;
    const name = arrays.get(key) ?? build.array("partial", element, partials);
    arrays.set(key, name);
    return { name, element };
  });
  const write = (): void =>
    accumulator.forEach((variable, at) =>
      build.add(
        k.storeShared(
          names[at]!.name,
          slot,
          variable.type === "bool" ? k.select(variable, k.u32(1), k.u32(0)) : variable,
        ),
      ),
    );
  const read = (index: Expr): Expr[] =>
    accumulator.map((variable, at) => {
      const loaded = k.loadShared(names[at]!.name, names[at]!.element, index);
      return build.bind("other", variable.type === "bool" ? k.notEqual(loaded, 0) : loaded);
    });
  if (partials === size) {
    write();
    build.barrier();
    for (let stride = size / 2; stride >= 1; stride /= 2) {
      build.when(k.less(lane, stride), () => {
        mergeAccumulator(build, op, accumulator, read(k.add(lane, stride)));
        write();
      });
      build.barrier();
    }
  } else {
    build.when(k.equal(k.rem(lane, subgroup!), 0), write);
    build.barrier();
    const own = read(k.u32(0));
    accumulator.forEach((variable, at) => build.assign(variable, own[at]!));
    for (let at = 1; at < partials; at++) mergeAccumulator(build, op, accumulator, read(k.u32(at)));
    build.barrier();
    return;
  }
  const whole = read(k.u32(0));
  accumulator.forEach((variable, at) => build.assign(variable, whole[at]!));
  // the arrays may be written again by the next reduction only when all have read
  build.barrier();
}
