import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { maxWorkgroups } from "../../kernel/verify.js";
import type { KernelBuilder } from "./builder.js";

/** Workgroups for `count` of them: along x, and in rows of a square once x is full, since y is cheap to add. */
export function spread(count: number): readonly [number, number, number] {
  if (count <= maxWorkgroups) return [Math.max(1, count), 1, 1];
  const y = Math.ceil(count / maxWorkgroups);
  return [Math.ceil(count / y), y, 1];
}

/** The position of the workgroup among those of `spread`, u32; may be `count` or more at the end of the last row. */
export function workgroupPosition(workgroups: readonly [number, number, number]): Expr {
  const x = k.builtin("workgroup_id.x");
  return workgroups[1] === 1 ? x : k.add(k.mul(k.builtin("workgroup_id.y"), workgroups[0]), x);
}

/** Whether a position is one of the `count` that a dispatch was spread for; null where all are. */
export function isWanted(workgroups: readonly [number, number, number], count: number, position: Expr): Expr | null {
  return workgroups[0] * workgroups[1] === count ? null : k.less(position, count);
}

/** What the workgroups do whose position is one of the `count` that a dispatch was spread for. */
export function whereWanted(
  build: KernelBuilder,
  workgroups: readonly [number, number, number],
  count: number,
  position: Expr,
  body: () => void,
): void {
  const wanted = isWanted(workgroups, count, position);
  if (wanted === null) body();
  else build.when(wanted, body);
}

/** The workgroups of a dispatch that are a grid, and the position of one in it, u32. */
export interface Grid {
  readonly workgroups: readonly [number, number, number];
  readonly x: Expr;
  readonly y: Expr;
  readonly z: Expr;
  /** Whether the position is in the grid; null where all are. */
  readonly inside: Expr | null;
}

/** A grid of so many workgroups along x, y and z; spread in rows where one is more than a dispatch may have. */
export function gridOf(build: KernelBuilder, sizes: readonly [number, number, number]): Grid {
  if (sizes.every((size) => size <= maxWorkgroups)) {
    const [x, y, z] = [k.builtin("workgroup_id.x"), k.builtin("workgroup_id.y"), k.builtin("workgroup_id.z")];
    return { workgroups: sizes, x, y, z, inside: null };
  }
  const count = sizes[0] * sizes[1] * sizes[2];
  const workgroups = spread(count);
  const position = build.bind("workgroup", workgroupPosition(workgroups));
  const [z, y, x] = unflatten(build, position, [sizes[2], sizes[1], sizes[0]], ["z", "y", "x"]) as [Expr, Expr, Expr];
  return { workgroups, x, y, z, inside: isWanted(workgroups, count, position) };
}

/** Indices of the element at a flat row-major position, outermost first. */
export function unflatten(
  build: KernelBuilder,
  position: Expr,
  shape: readonly number[],
  names: readonly string[],
): Expr[] {
  const at: Expr[] = [];
  let rest = position;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis]!;
    if (axis === 0) at[0] = build.bind(names[0] ?? "i", rest);
    else if (size === 1) at[axis] = k.u32(0);
    else {
      rest = build.bind("rest", rest);
      at[axis] = build.bind(names[axis] ?? "i", k.rem(rest, size));
      rest = k.div(rest, size);
    }
  }
  return at;
}
