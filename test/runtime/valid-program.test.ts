/**
 * Programs read from a file: what is none is refused by the place that is wrong, and nothing else than a DeviceError
 * comes.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Program } from "../../compiler/plan/program.js";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor } from "../../runtime/run/run.js";
import { accumulate, dispatch, kernel, length, shifted } from "../support/toy-programs.js";

const test = suite<{ device: Device }>("valid programs");

test.before(async (context) => {
  context.device = await openDevice({ backend: "null" });
});
test.after(({ device }) => device.close());

/** Two kernels, one of which is repeated over a parameter of its own. */
const repeated: Program = {
  ...accumulate,
  name: "repeated",
  kernels: [kernel("add", "target_[i] + x * parameters.place", ["place"])],
  steps: [{ kind: "repeat", parameter: "place", from: 0, to: 8, by: 2, steps: [dispatch(0, 0, 1)] }],
};

type Path = readonly (string | number)[];

/** A copy of a value with another one at a path; `undefined` takes it away. */
function withValue(value: unknown, path: Path, found: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return found;
  const copy = structuredClone(value) as Record<string | number, unknown>;
  copy[key] = withValue(copy[key], rest, found);
  return copy;
}

function pathsOf(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== "object" || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]))];
}

test("what is not a Program is refused by the place that is wrong", async ({ device }) => {
  const executor = await createExecutor(device);
  const cases: readonly (readonly [unknown, string])[] = [
    [undefined, "program: a Program should be an object, found nothing."],
    [[], "program: a Program should be an object, found an array."],
    ["{}", 'program: a Program should be an object, found "{}".'],
    [{}, "A Program of version 1 is expected, as `compile` makes it; found an object without a version."],
    [{ version: 2 }, "A Program of version 1 is expected, as `compile` makes it; found version the number 2."],
    [{ version: 1 }, "program: name should be a text, found nothing."],
    [
      { ...shifted, parameters: [{ name: "shift", dtype: "f64" }] },
      'shifted: parameters[0].dtype should be one of f32, i32, u32, bool, found "f64".',
    ],
    [
      withValue(shifted, ["buffers", 1, "bytes"], 17),
      "shifted: buffers[1].bytes should be a multiple of 16, found the number 17.",
    ],
    [
      withValue(shifted, ["buffers", 1, "id"], 0),
      "shifted: buffers[1].id should be its place in the list, found the number 0.",
    ],
    [
      withValue(shifted, ["inputs", 0, "shape", 0], 17),
      "shifted has a tensor x of [17], more than the 64 bytes of its buffer.",
    ],
    [
      withValue(shifted, ["inputs", 0, "shape"], [2 ** 40, 2 ** 40]),
      "shifted has a tensor x of [1099511627776, 1099511627776], more than the 64 bytes of its buffer.",
    ],
    [
      withValue(shifted, ["inputs", 0, "order"], { rows: 16, columns: 128 }),
      "shifted: inputs[0].order should be nothing, of a dense tensor, found an object that is no tensor.",
    ],
    [
      withValue(shifted, ["inputs", 0, "order"], { rows: 16 }),
      "shifted: inputs[0].order.columns should be a whole number from 1 to 9007199254740991, found nothing.",
    ],
    [
      withValue(shifted, ["inputs", 0, "order"], { rows: 16, columns: 128, spread: "entries" }),
      'shifted: inputs[0].order.spread should be true or nothing, found "entries".',
    ],
    [
      withValue(shifted, ["outputs", 0, "order"], { rows: 16, columns: 128 }),
      "shifted: outputs[0].order should be nothing, of an output, found an object that is no tensor.",
    ],
    [
      withValue(shifted, ["inputs", 0, "dtype"], "toString"),
      'shifted: inputs[0].dtype should be a dtype, found "toString".',
    ],
    [
      withValue(shifted, ["steps", 1, "kernel"], 2),
      "shifted: steps[1].kernel should be a whole number from 0 to 1, found the number 2.",
    ],
    [
      withValue(shifted, ["steps", 1, "buffers"], [0]),
      "shifted: steps[1].buffers should be a list of the 2 buffers of shift, found an array.",
    ],
    [
      withValue(shifted, ["steps", 1, "workgroups", 0], 65536),
      "shifted: steps[1].workgroups[0] should be a whole number from 0 to 65535, found the number 65536.",
    ],
    [
      withValue(shifted, ["steps", 3, "buffers", 0], 2 ** 32),
      "shifted: steps[3].buffers[0] should be a whole number from 0 to 2, found the number 4294967296.",
    ],
    [
      { ...shifted, steps: shifted.steps.slice(1) },
      "shifted dispatches shift before it allocates buffer 1, at steps[0].",
    ],
    [{ ...shifted, steps: shifted.steps.slice(0, 2) }, "shifted never allocates its output y, or frees it."],
    [
      { ...shifted, steps: [shifted.steps[0], ...shifted.steps] },
      "shifted allocates buffer 1 that it has, at steps[1].",
    ],
    [
      { ...shifted, steps: [...shifted.steps, { kind: "free", buffer: 0 }] },
      "shifted frees buffer 0 that it has not allocated, at steps[5].",
    ],
    [{ ...shifted, parameters: [] }, "shifted dispatches shift, whose parameter shift nothing gives, at steps[1]."],
    [{ ...shifted, outputs: [...shifted.outputs, ...shifted.outputs] }, "shifted has two outputs called y."],
    [
      withValue(repeated, ["steps", 0, "by"], 0),
      "repeated: steps[0].by should be a whole number from 1 to 2147483647, found the number 0.",
    ],
    [
      withValue(repeated, ["steps", 0, "steps", 0], { kind: "alloc", buffer: 0 }),
      "repeated allocates or frees memory in a repeat, at steps[0].steps[0].",
    ],
    [
      withValue(withValue(repeated, ["steps", 0, "to"], 2 ** 31 - 1), ["steps", 0, "by"], 1),
      "repeated comes to 2147483647 dispatches in a run, more than the 67108864 that are allowed.",
    ],
  ];
  for (const [value, message] of cases) {
    const error = await executor.prepare(value as Program).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof DeviceError && error.code === "validation", String(error));
    assert.is((error as DeviceError).message, message);
  }
  executor.close();
});

test("programs that nest deeper than any compiler makes them are refused", async ({ device }) => {
  const executor = await createExecutor(device);
  let steps: Program["steps"] = [dispatch(0, 0, 1)];
  let format: Program["inputs"][number]["format"] = null;
  for (let level = 0; level < 20_000; level++) {
    steps = [{ kind: "repeat", parameter: `p${level}`, from: 0, to: 1, by: 1, steps }];
    format = { name: "nm", args: {}, of: format };
  }
  for (const [program, message] of [
    [{ ...accumulate, steps }, /repeats of more than 16 levels/],
    [withValue(accumulate, ["inputs", 0], { ...accumulate.inputs[0]!, format }), /format of more than 16 levels/],
  ] as const) {
    const error = await executor.prepare(program as Program).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof DeviceError && message.test(error.message), String(error));
  }
  executor.close();
});

test("whatever stands at whatever place, a program is refused by a DeviceError or runs", async ({ device }) => {
  const executor = await createExecutor(device);
  const odd = [undefined, null, true, -1, 0.5, 3, 2 ** 53, "x", [], {}, { length: 3 }];
  let [refused, ran] = [0, 0];
  for (const program of [shifted, repeated]) {
    const x = await executor.fill("f32", [length], new Float32Array(length));
    const state = await executor.fill("f32", [length], new Float32Array(length));
    for (const path of pathsOf(program))
      for (const value of odd) {
        const changed = withValue(program, path, value) as Program;
        try {
          const outputs = await executor.run(await executor.prepare(changed), { x, state }, { shift: 1 });
          for (const tensor of Object.values(outputs)) if (tensor !== state) executor.release(tensor);
          ran++;
        } catch (error) {
          assert.ok(
            error instanceof DeviceError,
            `${path.join(".")} = ${JSON.stringify(value)}: ${error instanceof Error ? error.stack : String(error)}`,
          );
          refused++;
        }
      }
    for (const tensor of [x, state]) executor.release(tensor);
  }
  assert.ok(refused > 1000 && ran > 50, `${refused} refused, ${ran} ran`);
  await executor.finish().catch(() => undefined);
  executor.close();
});

test.run();
