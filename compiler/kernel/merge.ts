import * as k from "./build.js";
import {
  byteSize,
  type Builtin,
  type Expr,
  type Kernel,
  type KernelArray,
  type KernelBuffer,
  type Statement,
} from "./kernel.js";
import { renamed } from "./rename.js";
import { unify } from "./unify.js";

/** The most workgroups along one dimension of a dispatch (WebGPU). */
const mostWorkgroups = 65535;

/**
 * Whether kernels can be one dispatch: workgroups of one size along x. That they are independent, that none reads or
 * writes what another writes, is the caller's to know.
 */
export function canMerge(kernels: readonly Kernel[]): boolean {
  const [head] = kernels;
  return (
    head !== undefined &&
    kernels.every(
      ({ workgroups, workgroupSize }) =>
        workgroups[1] === 1 &&
        workgroups[2] === 1 &&
        workgroupSize.every((size, at) => size === head.workgroupSize[at]),
    ) &&
    workgroupsOf(kernels) <= mostWorkgroups
  );
}

/** Tensors that kernels bind together: each once, whatever views there are of it. */
export function mergedBuffers(kernels: readonly Kernel[]): readonly KernelBuffer[] {
  const views = new Map<string, KernelBuffer>();
  for (const { buffers } of kernels) for (const buffer of buffers) views.set(viewKey(buffer), buffer);
  return [...views.values()];
}

/** Bytes of workgroup memory that kernels take as one. */
export function mergedMemory(kernels: readonly Kernel[]): number {
  return [...mergedArrays(kernels).values()].reduce((sum, { element, length }) => sum + byteSize(element) * length, 0);
}

/** Arrays of workgroup memory by element and ordinal: parts never run in one workgroup, so each has all of them. */
function mergedArrays(kernels: readonly Kernel[]): ReadonlyMap<string, KernelArray> {
  const arrays = new Map<string, KernelArray>();
  for (const kernel of kernels)
    arrayKeys(kernel).forEach((key, at) => {
      const { name, element, length } = kernel.arrays[at]!;
      const known = arrays.get(key);
      arrays.set(key, {
        name: known?.name ?? `${name}_w${arrays.size}`,
        element,
        length: Math.max(length, known?.length ?? 0),
      });
    });
  return arrays;
}

/** For each array of a kernel its element and how many of those stand before it. */
function arrayKeys({ arrays }: Kernel): readonly string[] {
  return arrays.map(
    ({ element }, at) => `${element} ${arrays.slice(0, at).filter((other) => other.element === element).length}`,
  );
}

/**
 * Independent kernels as one: the first workgroups are those of the first kernel, and so on. Each workgroup runs the
 * body of one kernel only, so workgroup memory is shared between them. `short`: neighbours that are alike have one body,
 * whose operands are chosen, instead of a branch each.
 */
export function mergeKernels(kernels: readonly Kernel[], short = false): Kernel {
  const [head, ...others] = kernels;
  if (head === undefined || others.length === 0) throw new Error("two kernels or more are merged");
  const buffers = new Map<string, KernelBuffer>();
  for (const { buffers: own } of kernels)
    for (const buffer of own) {
      const key = viewKey(buffer);
      if (!buffers.has(key)) buffers.set(key, { ...buffer, name: `${buffer.name}_v${buffers.size}` });
    }
  const arrays = mergedArrays(kernels);
  const parameters = new Map(kernels.flatMap((kernel) => kernel.parameters).map((one) => [one.name, one]));
  const features = new Set(kernels.flatMap((kernel) => kernel.features));
  // names of the parts end in their number, so that these are free
  const position = "part_at";
  const at = k.local(position, "u32");
  const parts = kernels.map((kernel, part) => {
    const names = new Map<string, string>();
    for (const buffer of kernel.buffers) names.set(buffer.name, buffers.get(viewKey(buffer))!.name);
    arrayKeys(kernel).forEach((key, array) => names.set(kernel.arrays[array]!.name, arrays.get(key)!.name));
    const first = workgroupsOf(kernels.slice(0, part));
    const group = `part_${part}_group`;
    const body: readonly Statement[] = [
      { kind: "let", name: group, value: k.sub(at, first) },
      ...renamed(kernel.body, {
        local: (name) => `${name}_p${part}`,
        memory: (name) => names.get(name) ?? name,
        builtin: (name) => builtinOf(name, k.local(group, "u32"), kernel.workgroupSize),
      }),
    ];
    return { body, end: first + kernel.workgroups[0] };
  });
  const body = inBranches(short ? alikeAsOne(parts, at) : parts, at);
  return {
    name: head.name,
    workgroupSize: head.workgroupSize,
    workgroups: [workgroupsOf(kernels), 1, 1],
    buffers: [...buffers.values()],
    parameters: [...parameters.values()],
    arrays: [...arrays.values()],
    features: [...features].sort(),
    body: [{ kind: "let", name: position, value: k.builtin("workgroup_id.x") }, ...body],
    origin: {
      schedule: [...new Set(kernels.map(({ origin }) => origin.schedule))].join("+"),
      values: kernels.flatMap(({ origin }) => origin.values),
    },
  };
}

/** The statements of a kernel of several, and the first workgroup after its own. */
interface Part {
  readonly body: readonly Statement[];
  readonly end: number;
}

/** Neighbours that are alike become one part, as long as one of them, with the operands of that which a workgroup has. */
function alikeAsOne(parts: readonly Part[], at: Expr): readonly Part[] {
  const groups: { members: readonly Part[]; own: Part }[] = [];
  for (const part of parts) {
    const last = groups.at(-1);
    const members = [...(last?.members ?? []), part];
    const own = last === undefined ? null : asOne(members, at, groups.length - 1);
    if (last === undefined || own === null) groups.push({ members: [part], own: part });
    else groups[groups.length - 1] = { members, own };
  }
  return groups.map(({ own }) => own);
}

function asOne(parts: readonly Part[], at: Expr, group: number): Part | null {
  const name = `part_${group}`;
  const which = k.local(name, "u32");
  let count = 0;
  // no name of a part is without its number
  const fresh = (hint: string): string => `${hint}_${group}_${count++}`;
  const bodies = parts.map(({ body }) => body);
  const unified = unify(bodies, which, fresh);
  if (unified === null) return null;
  const number = parts
    .slice(0, -1)
    .reduceRight<Expr>((rest, { end }, part) => k.select(k.less(at, end), k.u32(part), rest), k.u32(parts.length - 1));
  return {
    body: [{ kind: "let", name, value: number }, ...unified.choices, ...unified.body],
    end: parts.at(-1)!.end,
  };
}

/** A branch for each part; the last needs no test, for there are no workgroups beyond it. */
function inBranches(parts: readonly Part[], at: Expr): readonly Statement[] {
  return parts
    .slice(0, -1)
    .reduceRight<readonly Statement[]>(
      (otherwise, { body: then, end }) => [{ kind: "if", condition: k.less(at, end), then, otherwise }],
      parts.at(-1)!.body,
    );
}

const workgroupsOf = (kernels: readonly Kernel[]): number =>
  kernels.reduce((sum, { workgroups }) => sum + workgroups[0], 0);

const viewKey = ({ tensor, element, access }: KernelBuffer): string => `${tensor} ${element} ${access}`;

/** A builtin as the part alone would see it, of workgroup `group` of its own (u32). */
function builtinOf(name: Builtin, group: Expr, size: Kernel["workgroupSize"]): Expr {
  switch (name) {
    case "workgroup_id.x":
      return group;
    case "global_id.x":
      return k.add(k.mul(group, size[0]), k.builtin("local_id.x"));
    default:
      return k.builtin(name);
  }
}
