import { InternalError } from "../diagnostic.js";
import type { Program, ProgramBuffer, ProgramKernel, ProgramTensor, Step } from "./program.js";

/** One program of several that run one after the other, and what its tensors and scalars are called in the whole. */
export interface Link {
  readonly program: Program;
  /** Names in the whole by the program's own; what is not listed keeps its name. */
  readonly names: Readonly<Record<string, string>>;
}

/**
 * Programs that run one after the other as one. An input that an earlier program put out under its name in the whole is
 * that tensor; every other is an input of the whole, one for each name. Of what the programs put out the whole puts out
 * `keep`, by their names; the rest are temporaries, which live up to the last program that reads them. A kernel that
 * several programs have is there once.
 *
 * @throws InternalError where a name stands for tensors of different forms, or nothing of that name is put out
 */
export function linkPrograms(name: string, links: readonly Link[], keep: readonly string[]): Program {
  const buffers: ProgramBuffer[] = [];
  const kernels: ProgramKernel[] = [];
  const kernelIds = new Map<string, number>();
  const parameters = new Map<string, Program["parameters"][number]>();
  const inputs = new Map<string, ProgramTensor>();
  /** What has been put out so far, the latest of each name. */
  const values = new Map<string, ProgramTensor>();
  const linked = links.map(({ program, names }) => {
    const nameOf = (own: string): string => names[own] ?? own;
    // a repeat's parameter is its own alone, and no name in the whole begins with a dot
    const scalar = (own: string): string =>
      program.parameters.some((parameter) => parameter.name === own) ? nameOf(own) : `.${own}`;
    const ids = new Map<number, number>();
    for (const input of program.inputs) {
      const whole = nameOf(input.name);
      const known = values.get(whole) ?? inputs.get(whole);
      if (known !== undefined && !sameForm(known, input))
        throw new InternalError(
          `${name}: ${whole} is ${formText(known)}, and ${program.name} takes ${formText(input)}`,
        );
      const buffer = known?.buffer ?? addBuffer(buffers, program.buffers[input.buffer]!.bytes, "input");
      ids.set(input.buffer, buffer);
      if (!values.has(whole)) inputs.set(whole, linkedInput(input, known, whole, buffer));
    }
    for (const { id, bytes, role } of program.buffers)
      if (!ids.has(id)) ids.set(id, addBuffer(buffers, bytes, role === "input" ? "temporary" : role));
    for (const output of program.outputs) {
      const whole = nameOf(output.name);
      // the final state of an input stays what the whole calls it, too
      if (!program.inputs.some((input) => input.buffer === output.buffer) || !inputs.has(whole))
        values.set(whole, { ...output, name: whole, buffer: ids.get(output.buffer)! });
    }
    for (const parameter of program.parameters) {
      const whole = nameOf(parameter.name);
      const known = parameters.get(whole);
      if (known !== undefined && known.dtype !== parameter.dtype)
        throw new InternalError(`${name}: the scalar ${whole} is ${known.dtype} and ${parameter.dtype}`);
      parameters.set(whole, { ...parameter, name: whole });
    }
    const own = program.kernels.map((kernel) => {
      const renamed = { ...kernel, parameters: kernel.parameters.map(scalar) };
      const key = JSON.stringify([renamed.wgsl, renamed.parameters, renamed.bindings]);
      const id = kernelIds.get(key) ?? kernels.push(renamed) - 1;
      kernelIds.set(key, id);
      return id;
    });
    const stepOf = (step: Step): Step => {
      if (step.kind === "repeat") return { ...step, parameter: scalar(step.parameter), steps: step.steps.map(stepOf) };
      if (step.kind === "dispatch")
        return { ...step, kernel: own[step.kernel]!, buffers: step.buffers.map((id) => ids.get(id)!) };
      return { ...step, buffer: ids.get(step.buffer)! };
    };
    return { steps: program.steps.map(stepOf), uses: new Set(ids.values()) };
  });

  const outputs = keep.map((wanted) => {
    const found = values.get(wanted) ?? inputs.get(wanted);
    if (found === undefined) throw new InternalError(`${name}: nothing that is put out is called ${wanted}`);
    return found;
  });
  const kept = new Set(outputs.map((output) => output.buffer));
  const given = new Set([...inputs.values()].map((input) => input.buffer));
  const lastUse = new Map(linked.flatMap(({ uses }, at) => [...uses].map((buffer) => [buffer, at] as const)));
  const steps = linked.flatMap(({ steps: own }, at) => [
    ...own,
    ...[...lastUse]
      .filter(([buffer, last]) => last === at && buffers[buffer]!.role === "output" && !kept.has(buffer))
      .map(([buffer]): Step => ({ kind: "free", buffer })),
  ]);
  return {
    version: 1,
    name,
    features: [...new Set(links.flatMap(({ program }) => program.features))].sort(),
    parameters: [...parameters.values()],
    buffers: buffers.map((buffer) => ({
      ...buffer,
      role: given.has(buffer.id) ? "input" : kept.has(buffer.id) ? "output" : "temporary",
    })),
    inputs: [...inputs.values()],
    outputs,
    kernels,
    steps,
  };
}

/** An input of the whole, which an earlier program may have had: written where one writes it, open where it is to all. */
function linkedInput(
  { open, ...input }: ProgramTensor,
  known: ProgramTensor | undefined,
  name: string,
  buffer: number,
): ProgramTensor {
  const isOpen = open === true && (known === undefined || known.open === true);
  return {
    ...input,
    name,
    buffer,
    mutable: input.mutable || known?.mutable === true,
    ...(isOpen ? { open: true } : {}),
  };
}

function addBuffer(buffers: ProgramBuffer[], bytes: number, role: ProgramBuffer["role"]): number {
  return buffers.push({ id: buffers.length, bytes, role }) - 1;
}

function sameForm(a: ProgramTensor, b: ProgramTensor): boolean {
  return formText(a) === formText(b);
}

function formText({ dtype, shape, format, order }: ProgramTensor): string {
  const stored = format === null ? "" : ` as ${JSON.stringify(format)}`;
  return `${dtype}[${shape.join(", ")}]${stored}${order === undefined ? "" : ` in the order ${JSON.stringify(order)}`}`;
}
