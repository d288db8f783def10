/**
 * Dispatches that stand one after the other and bind one group of buffers: all that either binds, each where it has it. The
 * host binds a group once where it bound one for each, which is a third of what a dispatch costs it.
 */
import { boundElements, rebind, type Place } from "../wgsl/rebind.js";
import type { Program, ProgramKernel, Step } from "./program.js";

type Dispatch = Extract<Step, { kind: "dispatch" }>;
type Access = Place["access"];

/** Buffers of a group: for each the bindings that it has there, and what is done with it. */
type Group = ReadonlyMap<number, { readonly count: number; readonly access: Access }>;

/** Bytes up to which a temporary may live as long as a group does: of larger ones the next use of its memory is worth more. */
const fewBytes = 2 ** 22;

/** A run of dispatches of one group, with what is allocated and freed between them. */
interface Run {
  readonly dispatches: readonly Dispatch[];
  readonly between: readonly Step[];
  readonly group: Group;
}

/**
 * The program with groups shared where together they bind at most `most` buffers. Only what the program allocates for itself
 * is written in a group that several share: a buffer that is given may be a part of another one that is read.
 */
export function shareGroups(program: Program, most: number): Program {
  const kernels: ProgramKernel[] = [];
  const ids = new Map<string, number>();
  const add = (kernel: ProgramKernel): number => {
    const key = JSON.stringify([kernel.wgsl, kernel.parameters, kernel.bindings]);
    const id = ids.get(key) ?? kernels.push(kernel) - 1;
    ids.set(key, id);
    return id;
  };
  const kept = (step: Step): Step => {
    if (step.kind === "repeat") return { ...step, steps: step.steps.map(kept) };
    return step.kind === "dispatch" ? { ...step, kernel: add(program.kernels[step.kernel]!) } : step;
  };
  const steps: Step[] = [];
  let run: Run | null = null;
  /** Since the last dispatch of the run. */
  let since: Step[] = [];
  const close = (): void => {
    if (run !== null)
      steps.push(...(run.dispatches.length === 1 ? run.dispatches.map(kept) : shared(program, run, add)));
    steps.push(...since.map(kept));
    [run, since] = [null, []];
  };
  for (const step of program.steps) {
    if (step.kind === "alloc" || step.kind === "free") {
      since.push(step);
      continue;
    }
    if (step.kind === "repeat") {
      close();
      steps.push(kept(step));
      continue;
    }
    const own = groupOf(program, step);
    const joined: Group | null = run === null ? null : together(program, run, step, own, most);
    if (run === null || joined === null) {
      close();
      run = { dispatches: [step], between: [], group: own };
    } else {
      const before: Run = run;
      run = { dispatches: [...before.dispatches, step], between: [...before.between, ...since], group: joined };
      since = [];
    }
  }
  close();
  return { ...program, kernels, steps };
}

/** What a dispatch binds. */
function groupOf({ kernels }: Program, { kernel, buffers }: Dispatch): Group {
  const group = new Map<number, { count: number; access: Access }>();
  buffers.forEach((id, at) => {
    const known = group.get(id);
    const { access } = kernels[kernel]!.bindings[at]!;
    group.set(id, {
      count: (known?.count ?? 0) + 1,
      access: access === "read_write" || known?.access === "read_write" ? "read_write" : "read",
    });
  });
  return group;
}

/** The group of a run and one more dispatch; null where they cannot share one. */
function together(program: Program, run: Run, step: Dispatch, own: Group, most: number): Group | null {
  const group = new Map(run.group);
  for (const [id, { count, access }] of own) {
    const known = group.get(id);
    group.set(id, {
      count: Math.max(count, known?.count ?? 0),
      access: access === "read_write" || known?.access === "read_write" ? "read_write" : "read",
    });
  }
  const all = [...group];
  if (all.reduce((sum, [, { count }]) => sum + count, 0) > most) return null;
  for (const [id, { count, access }] of all) {
    const { role, bytes } = program.buffers[id]!;
    // what is written is bound once, or a binding would be another's alias
    if (access === "read_write" && (count > 1 || role !== "temporary")) return null;
    if (role === "temporary" && bytes > fewBytes) return null;
  }
  return [...run.dispatches, step].every((each) => mayBind(program, each, group)) ? group : null;
}

/**
 * Whether a dispatch's kernel may bind the buffers of a group: what it reads and another writes is no longer known to be the
 * same for all invocations, so it must be numbers that no invocation's way through the kernel depends on; and matrices are
 * loaded only from what nobody writes.
 */
function mayBind({ kernels }: Program, { kernel, buffers }: Dispatch, group: Group): boolean {
  const { wgsl, bindings } = kernels[kernel]!;
  const elements = boundElements(wgsl);
  if (elements.size !== bindings.length) return false;
  const changed = buffers.flatMap((id, at) =>
    bindings[at]!.access === "read" && group.get(id)!.access === "read_write" ? [elements.get(at) ?? ""] : [],
  );
  return (
    changed.every((element) => element.includes("f32") || element.includes("f16")) &&
    (changed.length === 0 || !wgsl.includes("subgroup_matrix"))
  );
}

/** The steps of a run: all is allocated before it, and freed after. */
function shared(program: Program, { dispatches, between, group }: Run, add: (kernel: ProgramKernel) => number): Step[] {
  const firsts = new Map<number, number>();
  const slots = [...group].flatMap(([id, { count, access }]) => {
    firsts.set(
      id,
      [...firsts.keys()].reduce((sum, other) => sum + group.get(other)!.count, 0),
    );
    return Array.from({ length: count }, () => ({ id, access }));
  });
  const buffers = slots.map(({ id }) => id);
  const bindings = slots.map(({ access }) => ({ access }));
  return [
    ...between.filter(({ kind }) => kind === "alloc"),
    ...dispatches.map(({ kernel, buffers: own, workgroups }): Step => {
      const before = program.kernels[kernel]!;
      const places = own.map((id, at): Place => {
        const nth = own.slice(0, at).filter((other) => other === id).length;
        return { binding: firsts.get(id)! + nth, access: group.get(id)!.access };
      });
      const kernelId = add({ ...before, wgsl: rebind(before.wgsl, places), bindings });
      return { kind: "dispatch", kernel: kernelId, buffers, workgroups };
    }),
    ...between.filter(({ kind }) => kind === "free"),
  ];
}
