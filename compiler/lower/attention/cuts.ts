/** Attention of few queries: the shapes that may be tried, and the kernels of one, with what merges their parts. */
import type { Attention, AttentionEqn } from "../../graph/analysis/attention.js";
import type { Storage } from "../../graph/storage.js";
import type { Kernel } from "../../kernel/kernel.js";
import type { Target } from "../../target.js";
import { upTo } from "../../types/shape.js";
import type { Lowering } from "../toolkit/lowering.js";
import { mergeParts, type Partial } from "./parts.js";
import type { Widths } from "./sides.js";
import { splitAttention, splitFits, type SplitShape } from "./split.js";
import { subgroupAttention, subgroupsFit, type SubgroupShape } from "./subgroups.js";

export type AttentionShape = SplitShape | SubgroupShape;

/** Queries that a lane keeps elements and sums of. */
const mostQueries = 4;

/** Subgroups that a large GPU runs at once, each by itself, and workgroups that fill one. */
const atOnce = 132 * 16;
const enoughWorkgroups = 528;
/** Keys that are worth a workgroup of their own. */
const keysOfPart = 128;
/** Keys up to which a second kernel, to merge two parts, costs more than it saves. */
const fewKeys = 512;

/**
 * Into how many parts, up to `most`, keys are divided where a device runs so many workgroups at once and each goes on for
 * as long: a round that few workgroups are left for takes as long as a full one. Of numbers that cost about as little the
 * fewest, as parts have to be merged.
 */
function partsInRounds(workgroups: number, most: number, slots: number): number {
  const cost = (parts: number): number => Math.ceil((workgroups * parts) / slots) / parts;
  const numbers = upTo(most).map((at) => at + 1);
  const least = Math.min(...numbers.map(cost));
  return numbers.find((parts) => cost(parts) <= 1.05 * least) ?? 1;
}

const lanesOf = (target: Target): number => Math.min(256, target.maxInvocations);

/**
 * What may be tried on a device, the best guess first; empty where its workgroup memory holds none. `keys`: as many as
 * there can be.
 */
export function attentionCuts(
  attention: Attention,
  widths: Widths,
  keys: number,
  target: Target,
): readonly AttentionShape[] {
  const lanes = lanesOf(target);
  const queries = Math.min(mostQueries, attention.queryCount);
  const workgroups = attention.groupCount * Math.ceil(attention.queryCount / queries);
  const most = Math.max(1, Math.min(64, Math.ceil(keys / keysOfPart)));
  const few = keys <= fewKeys;
  const fits = (shape: AttentionShape): boolean => shapeFits(attention, widths, shape, target);
  const tiles = [64, 32, 16].flatMap((tile) =>
    [0, 1].map(
      (ahead): SplitShape => ({
        kind: "attention",
        by: "workgroup",
        lanes,
        queries,
        tile,
        ahead,
        parts: few ? 1 : Math.max(1, Math.min(most, Math.ceil(enoughWorkgroups / workgroups))),
      }),
    ),
  );
  // as large as fills the device: by more than that a round would be few workgroups, one a processor
  const fitting = [16, 8].filter((subgroups) => subgroups * workgroups <= atOnce);
  const bySubgroups = [...new Set([...fitting, 4, 8, 16])].map(
    (subgroups): SubgroupShape => ({
      kind: "attention",
      by: "subgroup",
      subgroups,
      queries,
      loads: 4,
      parts: few ? 1 : partsInRounds(workgroups, most, atOnce / subgroups),
    }),
  );
  const best = [...bySubgroups, ...tiles].find(fits);
  if (best === undefined) return [];
  const others = [
    ...bySubgroups,
    ...tiles,
    ...[1, 2, 4, 8, 16, 32, 64].filter((each) => each <= most).map((each) => ({ ...best, parts: each })),
    ...[1, 2].filter((each) => each < queries).map((each) => ({ ...best, queries: each })),
  ];
  const texts = [best, ...others].map((shape) => JSON.stringify(shape));
  return [best, ...others].filter((shape, at) => fits(shape) && texts.indexOf(texts[at]!) === at);
}

/** Whether a shape can be made for an attention. */
export function shapeFits(attention: Attention, widths: Widths, shape: AttentionShape, target: Target): boolean {
  return shape.by === "workgroup"
    ? splitFits(attention, widths, shape, target)
    : subgroupsFit(attention, widths, shape, target);
}

/** The kernels of an attention, and the memory between them. */
export interface AttentionKernels {
  readonly kernels: readonly Kernel[];
  readonly scratch: readonly Storage[];
}

/**
 * Where one workgroup a group would leave most of a GPU idle, several divide the keys that there are, each keeps its
 * highest score, total and sums, and a second kernel merges them.
 */
export function cutAttention(
  lowering: Lowering,
  eqn: AttentionEqn,
  attention: Attention,
  widths: Widths,
  shape: AttentionShape,
): AttentionKernels {
  const walk = (partial: Partial | null): Kernel =>
    shape.by === "workgroup"
      ? splitAttention(lowering, eqn, attention, widths, shape, partial)
      : subgroupAttention(lowering, eqn, attention, widths, shape, partial);
  const { parts } = shape;
  if (parts === 1) return { kernels: [walk(null)], scratch: [] };
  const rows = attention.groupCount * attention.queryCount * parts;
  const scratchOf = (what: string, elements: number): Storage => ({
    name: `${lowering.nameOf(eqn)}_${what}.${eqn.out}`,
    bytes: Math.ceil((4 * elements) / 16) * 16,
    role: "temporary",
  });
  const partial: Partial = {
    sums: scratchOf("sums", rows * attention.sizes.value),
    states: scratchOf("states", 2 * rows),
  };
  const lanes = lanesOf(lowering.target);
  return {
    kernels: [walk(partial), mergeParts(lowering, eqn, attention, { parts, lanes }, partial)],
    scratch: [partial.sums, partial.states],
  };
}
