/** What a run binds to a program's buffers: checks of what the caller gives. */
import type { Program, ProgramTensor } from "../../compiler/plan/program.js";
import { DeviceError } from "../device/error.js";
import { denseBytes, describe, isTensor, printForm, sameForm, type DeviceTensor, type TensorForm } from "./tensor.js";

/** A scalar or a tensor given to a run. */
export type Argument = DeviceTensor | number | boolean;

/** A range of a buffer. */
export interface Range {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** What a program is run on. */
export interface Given {
  /** By the id of the program's buffer: its inputs, and the outputs that the caller wants in memory of its own. */
  readonly ranges: Map<number, Range>;
  readonly tensors: ReadonlyMap<number, DeviceTensor>;
  /** The program's parameters as words, by name. */
  readonly words: ReadonlyMap<string, number>;
}

/** What tensors are held against. */
export interface BoundMemory {
  /** Whether a tensor has not been released. */
  lives(tensor: DeviceTensor): boolean;
  /** Bytes whose multiples a binding begins at. */
  readonly alignment: number;
}

/**
 * Checks what a caller gives against a program. `inputs` may have scalars beside the tensors.
 * @throws DeviceError validation, naming the argument
 */
export function bindArguments(
  program: Program,
  inputs: Readonly<Record<string, Argument>>,
  parameters: Readonly<Record<string, number | boolean>>,
  outputs: Readonly<Record<string, DeviceTensor>>,
  memory: BoundMemory,
): Given {
  for (const [name, given] of Object.entries({ inputs, parameters, outputs }))
    if (typeof given !== "object" || given === null || Array.isArray(given))
      throw new DeviceError("validation", `${program.name}: ${name} are given by name, not as ${describe(given)}.`);
  return {
    ...givenRanges(program, inputs, outputs, memory),
    words: parameterWords(program, { ...inputs, ...parameters }),
  };
}

function givenRanges(
  program: Program,
  inputs: Readonly<Record<string, Argument>>,
  outputs: Readonly<Record<string, DeviceTensor>>,
  memory: BoundMemory,
): Pick<Given, "ranges" | "tensors"> {
  const ranges = new Map<number, Range>();
  const tensors = new Map<number, DeviceTensor>();
  const written = new Map<GPUBuffer, string>();
  const take = (wanted: ProgramTensor, given: Argument | undefined, writes: boolean): void => {
    const fail = (what: string): never => {
      throw new DeviceError("validation", `${program.name}: ${wanted.name} ${what}.`);
    };
    if (given === undefined) return fail("was not given");
    if (!isTensor(given)) return fail(`is a tensor ${printForm(wanted)}, but ${describe(given)} was given`);
    const { form, bytes } = wantedOf(wanted, given, program.buffers[wanted.buffer]?.bytes ?? 0);
    if (!sameForm(form, given)) return fail(`is ${printForm(wanted)}, but ${printForm(given)} was given`);
    if (!isSameOrder(given.order, wanted.order))
      return fail(`has its rows ${orderText(wanted.order)}, but one with rows ${orderText(given.order)} was given`);
    if (!memory.lives(given)) return fail("has been released");
    if (given.offset % memory.alignment !== 0)
      return fail(`begins at ${given.offset} in its buffer, where a multiple of ${memory.alignment} is bound`);
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

/** The form and the bytes of what is given for a tensor: an open one has as many rows as it is given, up to its own. */
function wantedOf(
  wanted: ProgramTensor,
  given: DeviceTensor,
  bytes: number,
): { readonly form: TensorForm; readonly bytes: number } {
  const [most = 0, ...rest] = wanted.shape;
  const rows = given.shape[0] ?? 0;
  if (wanted.open !== true || rows < 1 || rows >= most) return { form: wanted, bytes };
  const shape = [rows, ...rest];
  return { form: { ...wanted, shape }, bytes: denseBytes(wanted.dtype, shape) };
}

/**
 * A program's outputs by name: those in memory that was given, and those that `make` makes of what the program has
 * allocated.
 */
export function outputTensors(
  program: Program,
  ranges: ReadonlyMap<number, Range>,
  given: ReadonlyMap<number, DeviceTensor>,
  make: (tensor: DeviceTensor, buffer: number) => DeviceTensor,
): Readonly<Record<string, DeviceTensor>> {
  const results: Record<string, DeviceTensor> = {};
  for (const { name, dtype, shape, format, buffer } of program.outputs) {
    const range = ranges.get(buffer);
    if (range === undefined) throw new DeviceError("validation", `${program.name} never allocates its output ${name}.`);
    results[name] = given.get(buffer) ?? make({ dtype, shape, format, ...range }, buffer);
  }
  return results;
}

function isSameOrder(a: ProgramTensor["order"], b: ProgramTensor["order"]): boolean {
  return a?.rows === b?.rows && a?.columns === b?.columns && a?.spread === b?.spread;
}

function orderText(order: ProgramTensor["order"]): string {
  if (order === undefined) return "one after another";
  const words = order.spread === true ? " and words in the order of unpacking" : "";
  return `side by side, ${order.rows} of them ${order.columns} columns at a time${words}`;
}

function nameOf(program: Program, buffer: number): string {
  return [...program.inputs, ...program.outputs].find((one) => one.buffer === buffer)?.name ?? `buffer ${buffer}`;
}

function parameterWords(program: Program, given: Readonly<Record<string, Argument>>): ReadonlyMap<string, number> {
  const view = new DataView(new ArrayBuffer(4));
  return new Map(
    program.parameters.map(({ name, dtype }) => {
      const argument = given[name];
      const refuse = (found: string): never => {
        throw new DeviceError("validation", `${program.name}: ${name} is a scalar ${dtype}, but ${found} was given.`);
      };
      if (typeof argument !== "number" && typeof argument !== "boolean")
        return refuse(argument === undefined ? "nothing" : describe(argument));
      const value = Number(argument);
      switch (dtype) {
        case "f32":
          if (Number.isFinite(value) && !Number.isFinite(Math.fround(value)))
            return refuse(`${value}, which is beyond its range,`);
          view.setFloat32(0, value);
          break;
        case "i32":
          if ((value | 0) !== value) return refuse(String(value));
          view.setInt32(0, value);
          break;
        case "u32":
          if (value >>> 0 !== value) return refuse(String(value));
          view.setUint32(0, value);
          break;
        case "bool":
          view.setUint32(0, value !== 0 ? 1 : 0);
          break;
        default:
          return dtype satisfies never;
      }
      return [name, view.getUint32(0)];
    }),
  );
}
