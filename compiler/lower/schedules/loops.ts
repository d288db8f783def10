import { codeOf } from "../../formats/code/registry.js";
import { formatOfSpec, shapeOf } from "../../formats/registry.js";
import { InternalError } from "../../diagnostic.js";
import type { Eqn } from "../../graph/graph.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel } from "../../kernel/kernel.js";
import type { Concrete } from "../../types/type.js";
import { spread, whereWanted, workgroupPosition } from "../toolkit/dispatch.js";
import { storeElement } from "../toolkit/store.js";
import { bindPosition, boundsOf, insideRanges } from "../toolkit/positions.js";
import { boundingRange, extent, type Bounds } from "../../graph/analysis/ranges.js";
import { scalarReductions } from "../../graph/scalar.js";
import { loadElement, lowerScalar } from "../toolkit/scalar.js";
import type { Lowering } from "../toolkit/lowering.js";

/** Invocations of a workgroup where they do not cooperate. */
const groupSize = 64;

/** Of many elements on a GPU: workgroups start one after the other, in more time than one of these takes. */
const many = { elements: 2 ** 14, groupSize: 256 } as const;

/**
 * Elements of an invocation where there are so many that workgroups, which start one after the other, would take longer
 * to start than memory takes: each of several loads is on its way while the others are.
 */
const several = { elements: 2 ** 22, each: 4 } as const;

/** One invocation an element, or a few; reductions are loops. Works for every eqn on every device. */
export function loops(lowering: Lowering, eqn: Eqn<Concrete>): readonly Kernel[] {
  switch (eqn.kind) {
    case "map":
    case "update":
      return [elementLoops(lowering, eqn)];
    case "pack":
      return packLoops(lowering, eqn);
    case "plus":
      return correctedLoops(lowering, eqn);
    case "top":
      throw new InternalError("top is expanded before it is lowered");
    case "scan":
    case "factorize":
      throw new InternalError(`a ${eqn.kind} is several kernels`);
    default:
      return eqn satisfies never;
  }
}

type Elements = Eqn<Concrete> & { readonly kind: "map" | "update" };

function elementLoops(lowering: Lowering, eqn: Elements): Kernel {
  const build = lowering.builder();
  const environment = lowering.environment(build);
  const bounds = boundsOf(lowering, eqn);
  const count = eqn.indices.reduce((product, range) => product * extent(range, bounds), 1);
  const { kind, maxInvocations } = lowering.target;
  const size =
    kind === "gpu" && count >= many.elements && maxInvocations >= many.groupSize ? many.groupSize : groupSize;
  const strides = kind === "gpu" ? stridesOf(eqn, count, size, bounds) : 1;
  const needed = Math.ceil(count / (size * strides));
  const workgroups = spread(needed);
  const workgroup = workgroupPosition(workgroups);
  const first = k.add(k.mul(workgroup, size * strides), k.builtin("local_index"));
  const finish = (): Kernel =>
    build.finish({
      name: lowering.nameOf(eqn),
      workgroupSize: [size, 1, 1],
      workgroups,
      schedule: "loops",
      values: lowering.valuesOf(eqn),
    });
  const position = build.bind("position", first);
  if (strides > 1) {
    whereWanted(build, workgroups, needed, workgroup, () => {
      // all values before the first is stored: a load does not wait for a store that might be to its place
      const found = Array.from({ length: strides }, (_, at) => {
        const inner = bindPosition(environment, eqn.indices, bounds, at === 0 ? position : k.add(position, at * size));
        return { inner, value: build.bind("value", lowerScalar(inner, eqn.body)) };
      });
      for (const { inner, value } of found) storeElement(lowering, inner, eqn, value);
    });
    return finish();
  }
  build.when(k.less(position, count), () => {
    const inner = bindPosition(environment, eqn.indices, bounds, position);
    const inside = insideRanges(inner, eqn.indices, bounds);
    const store = (): void => storeElement(lowering, inner, eqn, lowerScalar(inner, eqn.body));
    if (inside === null) store();
    else build.when(inside, store);
  });
  return finish();
}

/** How many elements an invocation computes, so many apart that neighbours stay neighbours; 1 where they do not divide. */
function stridesOf(eqn: Elements, count: number, size: number, bounds: Bounds): number {
  const { elements, each } = several;
  return eqn.kind === "map" &&
    count >= elements &&
    count % (size * each) === 0 &&
    eqn.indices.every((range) => boundingRange(range, bounds).exact) &&
    scalarReductions(eqn.body).length === 0
    ? each
    : 1;
}

/** One invocation a word, one kernel a section of the format. */
function packLoops(lowering: Lowering, eqn: Eqn<Concrete> & { readonly kind: "pack" }): readonly Kernel[] {
  const { type } = lowering.graph.values[eqn.out]!;
  const spec = type.format!;
  const shape = shapeOf(type.shape);
  const storage = lowering.storage[eqn.out]!;
  const kernels: Kernel[] = [];
  for (const section of formatOfSpec(spec).sections(spec, shape)) {
    const build = lowering.builder();
    const environment = lowering.environment(build);
    const element =
      (tensor: number) =>
      (row: Expr, column: Expr): Expr =>
        k.convert(
          "f32",
          loadElement(
            environment,
            tensor,
            matrixIndices(lowering.graph.values[tensor]!.type.shape, build, row, column),
          ),
        );
    const workgroups = spread(Math.ceil(section.words / groupSize));
    const word = build.bind("word", k.add(k.mul(workgroupPosition(workgroups), groupSize), k.builtin("local_index")));
    build.when(k.less(word, section.words), () => {
      const none = (): Expr => k.f32(0);
      const packed = codeOf(spec).packed(spec, shape, build, section.name, word, {
        value: element(eqn.source),
        scale: eqn.scale === null ? none : element(eqn.scale),
        zero: eqn.zero === null ? none : element(eqn.zero),
        mostScale(row, groups) {
          const most = build.variable("most", k.f32(0));
          if (eqn.scale === null) return most;
          const scale = element(eqn.scale);
          build.loop("group", 0, k.u32(groups), (group) => build.assign(most, k.max(most, k.abs(scale(row, group)))));
          return most;
        },
      });
      if (packed === null) throw new InternalError(`${spec.name} is packed on the host`);
      build.add(k.store(build.view(storage, "u32", "read_write"), k.add(word, section.offset), packed));
    });
    kernels.push(
      build.finish({
        name: `${lowering.nameOf(eqn)}_${section.name}`,
        workgroupSize: [groupSize, 1, 1],
        workgroups,
        schedule: "pack",
        values: lowering.valuesOf(eqn),
      }),
    );
  }
  return kernels;
}

/** One invocation a word, one kernel a section: those of what is corrected, and both factors behind them. */
function correctedLoops(lowering: Lowering, eqn: Eqn<Concrete> & { readonly kind: "plus" }): readonly Kernel[] {
  const { type } = lowering.graph.values[eqn.out]!;
  const to = lowering.storage[eqn.out]!;
  const factors = new Map([
    ["left", eqn.left],
    ["right", eqn.right],
  ]);
  return formatOfSpec(type.format!)
    .sections(type.format!, shapeOf(type.shape))
    .map(({ name, offset, words }) => {
      const factor = factors.get(name);
      const from = lowering.storage[factor ?? eqn.packed]!;
      const build = lowering.builder();
      const workgroups = spread(Math.ceil(words / groupSize));
      const word = build.bind("word", k.add(k.mul(workgroupPosition(workgroups), groupSize), k.builtin("local_index")));
      build.when(k.less(word, words), () => {
        const there = k.add(word, factor === undefined ? offset : 0);
        const value = k.loadBuffer(build.view(from, "u32", "read"), "u32", there);
        build.add(k.store(build.view(to, "u32", "read_write"), k.add(word, offset), value));
      });
      return build.finish({
        name: `${lowering.nameOf(eqn)}_${name}`,
        workgroupSize: [groupSize, 1, 1],
        workgroups,
        schedule: "pack",
        values: lowering.valuesOf(eqn),
      });
    });
}

/** Indices of a tensor of any rank, seen as [rows, columns] with the last axis as columns. */
function matrixIndices(
  shape: readonly number[],
  build: { bind(hint: string, value: Expr): Expr },
  row: Expr,
  column: Expr,
): Expr[] {
  if (shape.length <= 1) return shape.length === 0 ? [] : [column];
  const at: Expr[] = [column];
  let rest = row;
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    at.unshift(axis === 0 ? rest : build.bind("i", k.rem(rest, shape[axis]!)));
    rest = k.div(rest, shape[axis]!);
  }
  return at;
}
