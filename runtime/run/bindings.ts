/** What a run binds to a program's buffers: checks of what the caller gives. */
import type { Program, ProgramTensor } from "../../compiler/plan/program.js";
import { DeviceError } from "../device/error.js";
import { printForm, sameForm, type DeviceTensor } from "./tensor.js";

/** A scalar or a tensor given to a run. */
export type Argument = DeviceTensor | number | boolean;

/** A range of a buffer. */
export interface Range {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * The ranges that the caller gives, by the id of the program's buffer: its inputs, and the outputs it wants in memory
 * of its own.
 */
export function givenRanges(
  program: Program,
  inputs: Readonly<Record<string, Argument>>,
  outputs: Readonly<Record<string, DeviceTensor>>,
  usable: (tensor: DeviceTensor) => boolean,
): { readonly ranges: Map<number, Range>; readonly tensors: ReadonlyMap<number, DeviceTensor> } {
  const ranges = new Map<number, Range>();
  const tensors = new Map<number, DeviceTensor>();
  const written = new Map<GPUBuffer, string>();
  const take = (wanted: ProgramTensor, given: Argument | undefined, writes: boolean): void => {
    const fail = (what: string): never => {
      throw new DeviceError("validation", `${program.name}: ${wanted.name} ${what}.`);
    };
    if (given === undefined) return fail("was not given");
    if (typeof given !== "object") return fail(`is a tensor ${printForm(wanted)}, but a number was given`);
    if (!sameForm(wanted, given)) return fail(`is ${printForm(wanted)}, but ${printForm(given)} was given`);
    if (!usable(given)) return fail("has been released");
    const bytes = program.buffers[wanted.buffer]?.bytes ?? 0;
    if (given.offset + bytes > given.buffer.size) return fail(`takes ${bytes} bytes, more than its buffer has`);
    const other = written.get(given.buffer);
    if (other !== undefined) return fail(`shares its memory with ${other}, which is written`);
    if (writes) {
      for (const [id, range] of ranges)
        if (range.buffer === given.buffer) return fail(`is written, and shares its memory with ${nameOf(program, id)}`);
      written.set(given.buffer, wanted.name);
    }
    ranges.set(wanted.buffer, { buffer: given.buffer, offset: given.offset, bytes });
    tensors.set(wanted.buffer, given);
  };
  for (const input of program.inputs) take(input, inputs[input.name], input.mutable);
  for (const name of Object.keys(outputs)) {
    const output = program.outputs.find((one) => one.name === name);
    if (output === undefined) throw new DeviceError("validation", `${program.name} has no output ${name}.`);
    if (tensors.has(output.buffer))
      throw new DeviceError(
        "validation",
        `${program.name}: ${name} is the final state of an input and goes where that is.`,
      );
    take(output, outputs[name], true);
  }
  return { ranges, tensors };
}

function nameOf(program: Program, buffer: number): string {
  return [...program.inputs, ...program.outputs].find((one) => one.buffer === buffer)?.name ?? `buffer ${buffer}`;
}

/** The program's parameters as words by name. */
export function parameterWords(
  program: Program,
  given: Readonly<Record<string, Argument>>,
): ReadonlyMap<string, number> {
  const view = new DataView(new ArrayBuffer(4));
  return new Map(
    program.parameters.map(({ name, dtype }) => {
      const argument = given[name];
      if (argument === undefined || typeof argument === "object") {
        throw new DeviceError(
          "validation",
          `${program.name}: ${name} is a scalar ${dtype}, but ${argument === undefined ? "nothing" : "a tensor"} was given.`,
        );
      }
      const value = Number(argument);
      const integer = dtype === "i32" ? (value | 0) === value : dtype === "u32" ? value >>> 0 === value : true;
      if (!integer)
        throw new DeviceError("validation", `${program.name}: ${name} is a scalar ${dtype}, but ${value} was given.`);
      if (dtype === "f32") view.setFloat32(0, value);
      else if (dtype === "i32") view.setInt32(0, value);
      else view.setUint32(0, dtype === "bool" ? (value !== 0 ? 1 : 0) : value);
      return [name, view.getUint32(0)];
    }),
  );
}
