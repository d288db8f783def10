/** What a caller gives a program: checked before anything of the device is touched, so that no device is needed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Program } from "../../compiler/plan/program.js";
import { DeviceError } from "../../runtime/device/error.js";
import { bindArguments, outputTensors, type Argument } from "../../runtime/run/bindings.js";
import type { DeviceTensor } from "../../runtime/run/tensor.js";
import { accumulate, length, shifted, tensor } from "../support/toy-programs.js";

const test = suite("bindings");

/** A tensor in a buffer of its own, or in the one given. */
function made(offset = 0, buffer = { size: 256 } as GPUBuffer): DeviceTensor {
  return { dtype: "f32", shape: [length], format: null, buffer, offset, bytes: 64 };
}

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.instance(error, DeviceError);
    assert.is((error as DeviceError).code, "validation");
    return (error as DeviceError).message;
  }
  return assert.unreachable() as never;
}

const bound = (
  program: Program,
  inputs: Record<string, Argument>,
  parameters: Record<string, number | boolean> = {},
  outputs: Record<string, DeviceTensor> = {},
): ReturnType<typeof bindArguments> =>
  bindArguments(program, inputs, parameters, outputs, { lives: () => true, alignment: 16 });

test("tensors and scalars go to their buffers and names, wherever they lie", () => {
  const [x, y] = [made(128), made()];
  const { ranges, tensors, words } = bound(shifted, { x, shift: -1 }, {}, { y });
  assert.equal([...ranges.keys()], [0, 2]);
  assert.equal(
    [...ranges.values()].map(({ offset, bytes }) => [offset, bytes]),
    [
      [128, 64],
      [0, 64],
    ],
  );
  assert.is(tensors.get(2), y);
  assert.equal([...words], [["shift", 0xbf800000]]);
  // the same name among the parameters is the one that counts
  assert.equal([...bound(shifted, { x, shift: -1 }, { shift: 2 }).words], [["shift", 0x40000000]]);
});

test("outputs are what was given, or made of what was allocated", () => {
  const [x, y] = [made(), made()];
  const own = { buffer: { size: 256 } as GPUBuffer, offset: 0, bytes: 64 };
  const { ranges, tensors } = bound(shifted, { x }, { shift: 1 });
  ranges.set(2, own);
  const seen: number[] = [];
  const make = (fresh: DeviceTensor, id: number): DeviceTensor => {
    seen.push(id);
    return fresh;
  };
  assert.equal(outputTensors(shifted, ranges, tensors, make), {
    y: { dtype: "f32", shape: [length], format: null, ...own },
  });
  assert.equal(seen, [2]);
  const given = bound(shifted, { x }, { shift: 1 }, { y });
  assert.is(outputTensors(shifted, given.ranges, given.tensors, make)["y"], y);
  assert.equal(seen, [2]);
  assert.match(
    refusal(() => outputTensors(shifted, new Map(), new Map(), make)),
    /never allocates its output y/,
  );
});

test("scalars are words of their dtype, and what a dtype does not hold is refused", () => {
  const scalars: Program = {
    ...accumulate,
    parameters: [
      { name: "f", dtype: "f32" },
      { name: "i", dtype: "i32" },
      { name: "u", dtype: "u32" },
      { name: "b", dtype: "bool" },
    ],
  };
  const given = { x: made(), state: made() };
  const right = { f: 0.1, i: -2, u: 2 ** 32 - 1, b: true };
  assert.equal(Object.fromEntries(bound(scalars, given, right).words), {
    f: 0x3dcccccd,
    i: 0xfffffffe,
    u: 0xffffffff,
    b: 1,
  });
  assert.is(bound(scalars, given, { ...right, f: Infinity }).words.get("f"), 0x7f800000);
  for (const [name, value, found] of [
    ["f", 1e39, "1e+39, which is beyond its range,"],
    ["i", 2 ** 31, "2147483648"],
    ["i", 0.5, "0.5"],
    ["i", NaN, "NaN"],
    ["u", -1, "-1"],
    ["u", "1", '"1"'],
    ["b", null, "null"],
    ["f", [1], "an array"],
    ["f", undefined, "nothing"],
  ] as const) {
    const { dtype } = scalars.parameters.find((one) => one.name === name)!;
    assert.is(
      refusal(() => bound(scalars, given, { ...right, [name]: value as number })),
      `accumulate: ${name} is a scalar ${dtype}, but ${found} was given.`,
    );
  }
});

test("what is no tensor, or none that fits, is refused by the name of the argument", () => {
  const x = made();
  const cases: readonly (readonly [() => unknown, string])[] = [
    [() => bound(shifted, null as never), "shifted: inputs are given by name, not as null."],
    [() => bound(shifted, [x] as never), "shifted: inputs are given by name, not as an array."],
    [() => bound(shifted, { x }, 3 as never), "shifted: parameters are given by name, not as the number 3."],
    [() => bound(shifted, {}, { shift: 1 }), "shifted: x was not given."],
    [
      () => bound(shifted, { x: [1, 2] as never }, { shift: 1 }),
      "shifted: x is a tensor f32[16], but an array was given.",
    ],
    [
      () => bound(shifted, { x: {} as never }, { shift: 1 }),
      "shifted: x is a tensor f32[16], but an object that is no tensor was given.",
    ],
    [
      () => bound(shifted, { x: { ...x, dtype: "f64" } as never }, { shift: 1 }),
      "shifted: x is a tensor f32[16], but an object that is no tensor was given.",
    ],
    [
      () => bound(shifted, { x: { ...x, shape: [4, 4] } }, { shift: 1 }),
      "shifted: x is f32[16], but f32[4, 4] was given.",
    ],
    [
      () => bound(shifted, { x: { ...x, format: { name: "nm", args: { n: 2 }, of: null } } }, { shift: 1 }),
      "shifted: x is f32[16], but f32[16] as nm(n: 2) was given.",
    ],
    [() => bound(shifted, { x: made(224) }, { shift: 1 }), "shifted: x takes 64 bytes, more than its buffer has."],
    [() => bound(shifted, { x }, { shift: 1 }, { z: x }), "shifted has no output z."],
    [() => bound(shifted, { x }, { shift: 1 }, { y: x }), "shifted: y is written, and shares its memory with x."],
    // another part of the same buffer: WebGPU has it that what is written is bound once
    [
      () => bound(accumulate, { x, state: made(64, x.buffer) }),
      "accumulate: state is written, and shares its memory with x.",
    ],
    [
      () => bound({ ...accumulate, inputs: [...accumulate.inputs].reverse() }, { x, state: x }),
      "accumulate: x shares its memory with state, which is written.",
    ],
    [
      () => bound(accumulate, { x, state: made() }, {}, { state: made() }),
      "accumulate: state is the final state of an input and goes where that is.",
    ],
    [
      () => bindArguments(shifted, { x }, { shift: 1 }, {}, { lives: () => false, alignment: 16 }),
      "shifted: x has been released.",
    ],
  ];
  for (const [work, message] of cases) assert.is(refusal(work), message);
});

test("a tensor whose rows lie in another order is refused, and one in the same is taken", () => {
  const beside = { rows: 16, columns: 128 };
  const spread = { ...beside, spread: true } as const;
  const x = made();
  const texts = [
    [undefined, "one after another"],
    [beside, "side by side, 16 of them 128 columns at a time"],
    [{ ...beside, columns: 256 }, "side by side, 16 of them 256 columns at a time"],
    [spread, "side by side, 16 of them 128 columns at a time and words in the order of unpacking"],
  ] as const;
  for (const [wanted, wantedText] of texts)
    for (const [given, givenText] of texts) {
      const inputs = shifted.inputs.map((input) => (wanted === undefined ? input : { ...input, order: wanted }));
      const work = () =>
        bound({ ...shifted, inputs }, { x: given === undefined ? x : { ...x, order: given } }, { shift: 1 });
      if (given === wanted) assert.is(work().tensors.size, 1);
      else assert.is(refusal(work), `shifted: x has its rows ${wantedText}, but one with rows ${givenText} was given.`);
    }
});

test("an open input takes a tensor of fewer rows, whose bytes alone are bound", () => {
  const rows: Program = {
    ...accumulate,
    inputs: accumulate.inputs.map((input) =>
      input.name === "state" ? { ...input, shape: [length / 2, 2], open: true } : input,
    ),
  };
  const given = (shape: readonly number[], size = 256): DeviceTensor => ({ ...made(0, { size } as GPUBuffer), shape });
  const x = made();
  const bytesOf = (state: DeviceTensor): number | undefined =>
    bound(rows, { x, state }).ranges.get(rows.inputs.find(({ name }) => name === "state")!.buffer)?.bytes;
  assert.is(bytesOf(given([length / 2, 2])), 4 * length);
  assert.is(bytesOf(given([2, 2])), 16);
  assert.match(
    refusal(() => bound(rows, { x, state: given([length, 2]) })),
    /accumulate: state is f32\[8, 2\], but f32\[16, 2\] was given\./,
  );
  assert.match(
    refusal(() => bound(rows, { x, state: given([2, 3]) })),
    /state is f32\[8, 2\], but f32\[2, 3\] was given/,
  );
  assert.match(
    refusal(() => bound(rows, { x, state: given([4, 2], 16) })),
    /takes 32 bytes, more than its buffer has/,
  );
});

test("inputs that are only read may be one tensor", () => {
  const two: Program = { ...shifted, inputs: [tensor("a", 0), tensor("b", 1)], buffers: shifted.buffers };
  const x = made();
  assert.equal([...bound(two, { a: x, b: x }, { shift: 1 }).ranges.keys()], [0, 1]);
});

test.run();
