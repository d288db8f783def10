import { canMerge, mergedBuffers, mergedMemory, mergeKernels } from "../kernel/merge.js";
import { byteSize, type Kernel } from "../kernel/kernel.js";
import { withFewerViews } from "../kernel/views.js";
import { countOf } from "../kernel/walk.js";
import type { Target } from "../target.js";
import { kernelsOf, kernelStep, type Lowered, type LoweredStep } from "./lowered.js";

/**
 * Workgroups up to which a kernel is worth a dispatch together with others: it leaves much of a large GPU idle, or is
 * over in the time that a dispatch takes to begin. More would make little of what a merge costs: registers for the
 * largest of its parts.
 */
const fewWorkgroups = 4096;

/**
 * Bytes that a kernel writes up to which it may be taken forward to others: its results live longer then. What is given
 * lives in any case.
 */
const fewBytes = 2 ** 24;

/**
 * Statements up to which products by matrices that are one keep a branch each. Instructions of a pass that do not fit a
 * GPU's cache together cost more than choices do; of short kernels, and of those for a token, they do not (bench/h100.md).
 */
const fewStatements = 500;

/** The most kernels that become one: what a person can still read. */
const mostParts = 4;

/** Kernels that may run in any order among each other, or one step that is not a kernel. */
interface Group {
  readonly members: { readonly eqn: number; readonly step: LoweredStep }[];
  readonly reads: Set<string>;
  readonly writes: Set<string>;
}

/**
 * Independent kernels of a graph as one dispatch each: the products of q, k and v; their rotations and the writes to
 * the cache. `lowered[i]` is of eqn i before and after; a merged kernel stands with the first of its equations. `given`
 * has the tensors whose memory is the caller's.
 */
export function mergeSiblings(
  lowered: readonly Lowered[],
  target: Target,
  given: ReadonlySet<string>,
): readonly Lowered[] {
  const groups: Group[] = [];
  lowered.forEach(({ steps }, eqn) => {
    for (const step of steps) {
      const { reads, writes } = uses(step);
      const clash = (group: Group): boolean =>
        meet(writes, group.reads) ||
        meet(reads, group.writes) ||
        (meet(writes, group.writes) && !areSections(lowered, group, eqn));
      const earliest = groups.findLastIndex(clash) + 1;
      const found = groups.slice(earliest).find((group) => join(group, eqn, step, target, given));
      const group = found ?? { members: [{ eqn, step }], reads: new Set(), writes: new Set() };
      if (found === undefined) groups.push(group);
      for (const tensor of reads) group.reads.add(tensor);
      for (const tensor of writes) group.writes.add(tensor);
    }
  });
  return inOrder(lowered, groups);
}

/** Whether a group has only kernels of the same pack, each of which writes a section of its own of what is packed. */
function areSections(lowered: readonly Lowered[], { members }: Group, eqn: number): boolean {
  return (
    members.every((member) => member.eqn === eqn) &&
    kernelsOf(lowered[eqn]!.steps).every(({ origin }) => origin.schedule === "pack")
  );
}

/**
 * Adds the step of an equation to a group where it can be one dispatch with that; whether it was. Where all together bind
 * too many buffers, those that read least do with fewer views of what they read.
 */
function join(group: Group, eqn: number, step: LoweredStep, target: Target, given: ReadonlySet<string>): boolean {
  if (step.kind !== "kernel" || group.members.length >= mostParts) return false;
  const all: Kernel[] = [];
  for (const member of [...group.members, { step }]) {
    if (member.step.kind !== "kernel") return false;
    all.push(member.step.kernel);
  }
  if (
    !all.every(({ origin }) => origin.schedule === step.kernel.origin.schedule) ||
    !canMerge(all) ||
    bytesWritten(step.kernel, given) > fewBytes ||
    all.reduce((sum, { workgroups }) => sum + workgroups[0], 0) > fewWorkgroups ||
    mergedMemory(all) > target.maxWorkgroupMemory
  )
    return false;
  const bound = binding(all, target.maxStorageBuffers);
  if (bound === null) return false;
  group.members.push({ eqn, step });
  bound.forEach((kernel, at) => {
    group.members[at] = { ...group.members[at]!, step: kernelStep(kernel) };
  });
  return true;
}

/** Kernels that together bind so many buffers at most; null where they cannot. */
function binding(kernels: readonly Kernel[], most: number): readonly Kernel[] | null {
  const made = [...kernels];
  while (mergedBuffers(made).length > most) {
    const fewer = made.flatMap((kernel, at) => {
      const narrow = withFewerViews(kernel);
      return narrow === null ? [] : [{ at, narrow }];
    });
    const [least] = fewer.sort((a, b) => bytesRead(made[a.at]!) - bytesRead(made[b.at]!));
    if (least === undefined) return null;
    made[least.at] = least.narrow;
  }
  return made;
}

const bytesRead = ({ buffers }: Kernel): number =>
  buffers.reduce((sum, { access, element, length }) => sum + (access === "read" ? byteSize(element) * length : 0), 0);

/** Whether kernels are so long that one body with operands that are chosen is worth more than a branch for each. */
function isLong(kernels: readonly Kernel[]): boolean {
  return (
    kernels.every(({ features }) => features.includes("matrices")) &&
    kernels.reduce((sum, { body }) => sum + countOf(body), 0) > fewStatements
  );
}

function bytesWritten({ buffers }: Kernel, given: ReadonlySet<string>): number {
  return buffers.reduce(
    (sum, { access, tensor, element, length }) =>
      sum + (access === "read_write" && !given.has(tensor) ? byteSize(element) * length : 0),
    0,
  );
}

/** The groups in order, each with the first of its equations: groups begin in the order of those. */
function inOrder(lowered: readonly Lowered[], groups: readonly Group[]): readonly Lowered[] {
  const steps = lowered.map((): LoweredStep[] => []);
  for (const { members } of groups) {
    const kernels = members.flatMap(({ step }) => (step.kind === "kernel" ? [step.kernel] : []));
    steps[members[0]!.eqn]!.push(
      kernels.length > 1 ? kernelStep(mergeKernels(kernels, isLong(kernels))) : members[0]!.step,
    );
  }
  return lowered.map((each, eqn) => ({ ...each, steps: steps[eqn]! }));
}

function uses(step: LoweredStep): { readonly reads: ReadonlySet<string>; readonly writes: ReadonlySet<string> } {
  const buffers = kernelsOf([step]).flatMap((kernel) => kernel.buffers);
  const of = (access: string): ReadonlySet<string> =>
    new Set(buffers.filter((buffer) => buffer.access === access).map(({ tensor }) => tensor));
  return { reads: of("read"), writes: of("read_write") };
}

function meet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return [...a].some((each) => b.has(each));
}
