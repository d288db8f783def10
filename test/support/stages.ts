import type { Stages } from "../../compiler/compile.js";
import { f16Bits, f16FromBits } from "../../compiler/float.js";
import { interleavedWords } from "./interleaved.js";
import { formatOf, shapeOf } from "../../compiler/formats/registry.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import type { LoweredStep } from "../../compiler/lower/lowered.js";
import type { Concrete, TensorType } from "../../compiler/types/type.js";
import { unwritten } from "./unread.js";

/** A tensor for all three evaluations: dense values, and its bytes as a device has them. */
export interface TestTensor {
  readonly value: TensorValue;
  readonly bytes: ArrayBuffer;
}

/** Bytes of dense values as a device has them, padded to `size` with what nobody wrote. */
export function denseBytes(value: TensorValue, size: number): ArrayBuffer {
  const bytes = unwritten(size);
  if (value.dtype === "f16") {
    const halves = new Uint16Array(bytes);
    value.data.forEach((element, at) => (halves[at] = f16Bits(element)));
  } else if (value.dtype === "bool") new Uint32Array(bytes).set(value.data);
  else if (value.dtype === "f32") new Float32Array(bytes).set(value.data);
  else if (value.dtype === "i32") new Int32Array(bytes).set(value.data);
  else new Uint32Array(bytes).set(value.data);
  return bytes;
}

/** Values from a device's bytes. */
export function valueFromBytes(type: TensorType<Concrete>, bytes: ArrayBuffer): TensorValue {
  const count = type.shape.reduce((product, size) => product * size, 1);
  if (type.format !== null) {
    const format = formatOf(type.format.name);
    if (format === null) throw new Error(`no format ${type.format.name}`);
    const shape = shapeOf(type.shape);
    const words = format
      .sections(type.format, shape)
      .reduce((end, section) => Math.max(end, section.offset + section.words), 0);
    return tensorValue(
      "f32",
      type.shape,
      format.decode(
        type.format,
        shape,
        new Uint32Array(bytes, 0, Math.min(bytes.byteLength / 4, Math.ceil(words / 4) * 4)),
      ),
    );
  }
  switch (type.dtype) {
    case "f16":
      return tensorValue("f16", type.shape, Float32Array.from(new Uint16Array(bytes, 0, count), f16FromBits));
    case "f32":
      return tensorValue("f32", type.shape, new Float32Array(bytes, 0, count));
    case "i32":
      return tensorValue("i32", type.shape, new Int32Array(bytes, 0, count));
    default:
      return tensorValue(type.dtype, type.shape, new Uint32Array(bytes, 0, count));
  }
}

/** Bytes of an input: of its words where the type is packed, else of its values. */
export function inputBytes(
  type: TensorType<Concrete>,
  value: TensorValue,
  words: Uint32Array | undefined,
  size: number,
): ArrayBuffer {
  if (type.format === null) return denseBytes(value, size);
  if (words === undefined) throw new Error("a packed input needs its words");
  const bytes = unwritten(size);
  new Uint32Array(bytes).set(words);
  return bytes;
}

/** Words of an input in the order that a program wants them in. */
function wordsOf({ program }: Stages, name: string, words: ReadonlyMap<string, Uint32Array>): Uint32Array | undefined {
  const given = words.get(name);
  const input = program.inputs.find((each) => each.name === name);
  return given === undefined || input?.order === undefined
    ? given
    : interleavedWords(input.format!, shapeOf(input.shape), input.order, given);
}

/** The outputs by running every kernel in the kernel evaluator. `words` are those of packed inputs. */
export function evaluateStages(
  stages: Stages,
  inputs: ReadonlyMap<string, TensorValue>,
  words: ReadonlyMap<string, Uint32Array> = new Map(),
  subgroupSize = 4,
): Map<string, TensorValue> {
  const { fused, storage } = stages;
  const memory = new Map<string, ArrayBuffer>();
  const parameters: Record<string, number> = {};
  for (const input of fused.inputs.filter(({ part }) => part === undefined)) {
    const value = inputs.get(input.name);
    if (value === undefined) throw new Error(`no input ${input.name}`);
    const place = storage[input.value];
    if (place === null || place === undefined) parameters[input.name] = value.data[0]!;
    else
      memory.set(
        place.name,
        inputBytes(fused.values[input.value]!.type, value, wordsOf(stages, input.name, words), place.bytes),
      );
  }
  // memory that nothing has written yet holds anything
  const places = [...storage.filter((place) => place !== null), ...stages.lowered.flatMap((each) => each.scratch)];
  for (const place of places) if (!memory.has(place.name)) memory.set(place.name, unwritten(place.bytes));
  const play = (step: LoweredStep): void => {
    if (step.kind === "kernel") {
      evaluateKernel(step.kernel, memory, parameters, { subgroupSize });
      return;
    }
    for (let value = step.from; value < step.to; value += step.by) {
      parameters[step.parameter] = value;
      step.steps.forEach(play);
    }
  };
  for (const { steps } of stages.lowered) steps.forEach(play);
  return new Map(
    fused.outputs.map((output) => [
      output.name,
      valueFromBytes(fused.values[output.value]!.type, memory.get(storage[output.value]!.name)!),
    ]),
  );
}
