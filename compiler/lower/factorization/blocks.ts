/** What factorisations in blocks are made of: a walk over blocks of columns, some of which make a panel together. */
import { binary, indexOf, integer, range, unary } from "../../graph/build.js";
import type { ConcreteGraph, Eqn, Range, Scalar, Value } from "../../graph/graph.js";
import { storageBytes, type Storage } from "../../graph/storage.js";
import type { Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { full, type Concrete } from "../../types/type.js";
import { kernelStep, type FactorizationEqn, type LoweredStep } from "../lowered.js";
import { lowerEqn } from "../schedules/choose.js";
import { createLowering, parameterName, type Lowering } from "../toolkit/lowering.js";

type S = Scalar<Concrete>;

/**
 * The graph with scratch tensors as values, and the indices whose values are the panel's first column and how far the
 * block's is from it.
 */
export interface Blocks {
  readonly size: number;
  /** Columns of a block, which a workgroup factors by itself. */
  readonly block: number;
  /** Columns of a panel: what its blocks add to all that comes after it is one product, and so read and written once. */
  readonly panel: number;
  readonly start: Range<Concrete>;
  readonly offset: Range<Concrete>;
  /** The block's first column. */
  readonly first: S;
  readonly fresh: () => number;
  /** Tensors of f32 between the kernels, by the names that were asked for. */
  readonly scratch: ReadonlyMap<string, Value<Concrete>>;
  readonly storage: readonly Storage[];
  /** The result, as an update of it leaves it. */
  readonly rest: Value<Concrete>;
  /** The lowering for panels from `low` to `high`, whose blocks are no more than `farthest` from their start. */
  inner(low: number, high: number, farthest: number): Lowering;
}

/** Panels are of several blocks on a GPU, for matrices of several panels. */
function sizesOf(target: Target, size: number): { readonly block: number; readonly panel: number } {
  const block = target.kind === "gpu" && target.maxWorkgroupMemory >= 32768 ? 64 : 32;
  return { block, panel: target.kind === "gpu" && size > 4 * block ? 4 * block : block };
}

/** The blocks of a matrix of so many rows; `shapes`: of what lies between the kernels. */
export function blocksOf(
  lowering: Lowering,
  eqn: FactorizationEqn,
  size: number,
  shapes: (block: number, panel: number) => Readonly<Record<string, readonly number[]>>,
): Blocks {
  const { block, panel } = sizesOf(lowering.target, size);
  const out = lowering.graph.values[eqn.out]!;
  let next = 0;
  // indices need only be unique within an equation, and these are equations of their own
  const fresh = (): number => 1_000_000 + next++;
  const named = Object.entries(shapes(block, panel));
  const scratch = named.map(
    ([name, shape], at): Value<Concrete> => ({
      id: lowering.graph.values.length + at,
      name: `${out.name}_${name}`,
      span: null,
      type: { dtype: "f32", shape, pattern: full, format: null },
    }),
  );
  const rest: Value<Concrete> = { ...out, id: lowering.graph.values.length + named.length, name: `${out.name}_rest` };
  const own = scratch.map(
    ({ name, id, type }): Storage => ({
      name: `${name}.${id}.${eqn.out}`,
      bytes: storageBytes(type),
      role: "temporary",
    }),
  );
  const graph: ConcreteGraph = { ...lowering.graph, values: [...lowering.graph.values, ...scratch, rest] };
  const storage = [...lowering.storage, ...own, lowering.storage[eqn.out]!];
  const [start, offset] = [range(fresh(), "start", 0, size), range(fresh(), "offset", 0, panel)];
  const [startName, offsetName] = [parameterName(lowering, "panel"), parameterName(lowering, "block")];
  return {
    size,
    block,
    panel,
    start,
    offset,
    first: binary("add", indexOf(start), indexOf(offset)),
    fresh,
    scratch: new Map(named.map(([name], at) => [name, scratch[at]!])),
    storage: own,
    rest,
    inner: (low, high, farthest) =>
      createLowering(graph, storage, lowering.target, [
        ...lowering.outer,
        { index: start.index, parameter: startName, interval: { low, high }, multiple: panel },
        { index: offset.index, parameter: offsetName, interval: { low: 0, high: farthest }, multiple: block },
      ]),
  };
}

/** The kernels of an equation that the graph has not got. */
export function lowerOwn(inner: Lowering, eqn: Eqn<Concrete>): readonly Kernel[] {
  return lowerEqn(inner.including(eqn), eqn);
}

/** Takes a value off elements of the result. */
export function subtract(
  inner: Lowering,
  { rest }: Blocks,
  eqn: FactorizationEqn,
  indices: readonly Range<Concrete>[],
  value: S,
): readonly Kernel[] {
  return lowerOwn(inner, {
    kind: "update",
    out: rest.id,
    base: eqn.out,
    indices,
    at: indices.map((each) => indexOf(each)),
    body: unary("negate", value),
    op: "add",
  });
}

/** The first column after a panel. */
export function endOf({ start, panel, size }: Blocks): S {
  return binary("min", binary("add", indexOf(start), integer(panel)), integer(size));
}

/** What is done for each block. */
export interface BlockSteps {
  /** Every block. */
  readonly each: (inner: Lowering) => readonly Kernel[];
  /** Every block but the last of all. */
  readonly next: (inner: Lowering) => readonly Kernel[];
  /** Every block that another of its panel follows. */
  readonly inPanel: (inner: Lowering) => readonly Kernel[];
  /** Every panel but the last. */
  readonly after: (inner: Lowering) => readonly Kernel[];
}

/** `head`, then the blocks of each panel, and what the panel does to all that comes after it. */
export function walkBlocks(
  lowering: Lowering,
  blocks: Blocks,
  head: readonly Kernel[],
  body: BlockSteps,
): readonly LoweredStep[] {
  const { size, block, panel } = blocks;
  const [startName, offsetName] = blocks
    .inner(0, 0, 0)
    .outer.slice(lowering.outer.length)
    .map(({ parameter }) => parameter) as [string, string];
  const steps = (kernels: readonly Kernel[]): readonly LoweredStep[] => kernels.map(kernelStep);
  const repeat = (parameter: string, from: number, to: number, by: number, some: readonly LoweredStep[]) =>
    from < to && some.length > 0 ? [{ kind: "repeat" as const, parameter, from, to, by, steps: some }] : [];
  const lastPanel = Math.floor((size - 1) / panel) * panel;
  // where all panels are whole, the kernels of one do for all: there is half as much to compile
  const alike = size % panel === 0 ? blocks.inner(0, lastPanel, panel - block) : null;
  const made = new Map<Lowering, Map<keyof BlockSteps, readonly LoweredStep[]>>();
  const stepsOf = (which: keyof BlockSteps, inner: Lowering): readonly LoweredStep[] => {
    const known = made.get(inner) ?? new Map<keyof BlockSteps, readonly LoweredStep[]>();
    made.set(inner, known);
    const found = known.get(which) ?? steps(body[which](inner));
    known.set(which, found);
    return found;
  };
  /** The blocks of panels of so many columns; of the last panel the last block has nothing after it. */
  const inside = (low: number, high: number, columns: number): readonly LoweredStep[] => {
    const last = Math.floor((columns - 1) / block) * block;
    const isEnd = high + columns >= size;
    const early = alike ?? blocks.inner(low, high, Math.max(0, last - block));
    const late = alike ?? blocks.inner(low, high, last);
    const all = ["each", "next", "inPanel"] as const;
    return [
      ...repeat(offsetName, 0, last, block, last === 0 ? [] : all.flatMap((which) => stepsOf(which, early))),
      ...repeat(offsetName, last, last + 1, block, [...stepsOf("each", late), ...(isEnd ? [] : stepsOf("next", late))]),
    ];
  };
  const before = lastPanel - panel;
  return [
    ...steps(head),
    ...(lastPanel === 0
      ? []
      : repeat(startName, 0, lastPanel, panel, [
          ...inside(0, before, panel),
          ...stepsOf("after", alike ?? blocks.inner(0, before, 0)),
        ])),
    ...repeat(startName, lastPanel, lastPanel + 1, panel, inside(lastPanel, lastPanel, size - lastPanel)),
  ];
}
