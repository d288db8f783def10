/** Dispatches that bind one group: the same results by fewer groups, and only where a device allows it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { linkPrograms } from "../../compiler/plan/link.js";
import type { Program, ProgramKernel, Step } from "../../compiler/plan/program.js";
import { shareGroups } from "../../compiler/plan/share-groups.js";
import { boundElements } from "../../compiler/wgsl/rebind.js";
import { openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor } from "../../runtime/run/run.js";
import { memoryOf } from "../support/program-memory.js";
import { accumulate, buffer, dispatch, kernel, length, shifted, tensor } from "../support/toy-programs.js";

const test = suite<{ device: Device }>("groups of buffers");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
});
test.after(({ device }) => device.close());

/** state += 2 (2 (x + first) + shift). */
const chain = linkPrograms(
  "chain",
  [
    { program: shifted, names: { y: "h", shift: "first" } },
    { program: shifted, names: { x: "h", y: "z" } },
    { program: accumulate, names: { x: "z" } },
  ],
  ["state"],
);

/** y = 2 x, and 3 of that, by hand: through a temporary. */
const pair: Program = {
  version: 1,
  name: "pair",
  features: [],
  parameters: [],
  buffers: [buffer(0, "input"), buffer(1, "temporary"), buffer(2, "temporary"), buffer(3, "output")],
  inputs: [tensor("x", 0)],
  outputs: [tensor("y", 3)],
  kernels: [kernel("double", "2.0 * x"), kernel("three", "3.0 * x")],
  steps: [
    { kind: "alloc", buffer: 1 },
    dispatch(0, 0, 1),
    { kind: "alloc", buffer: 2 },
    dispatch(1, 1, 2),
    { kind: "free", buffer: 1 },
    { kind: "alloc", buffer: 3 },
    dispatch(0, 2, 3),
    { kind: "free", buffer: 2 },
  ],
};

const dispatches = (program: Program): readonly Extract<Step, { kind: "dispatch" }>[] =>
  program.steps.flatMap((step) => (step.kind === "dispatch" ? [step] : []));

/** The groups that a replay binds: neighbours with the same are one. */
const groups = (program: Program): number =>
  dispatches(program).filter(({ buffers }, at, all) => buffers.join() !== all[at - 1]?.buffers.join()).length;

test("neighbours share a group, whose buffers stand in one order, and each kernel finds its own", () => {
  const shared = shareGroups(chain, 8);
  assert.equal([groups(chain), groups(shared)], [5, 2]);
  // four steps on temporaries, and one on what is given
  const [first, ...others] = dispatches(shared);
  assert.equal(
    others.map(({ buffers }) => buffers.join() === first!.buffers.join()),
    [true, true, true, false],
  );
  for (const { kernel: which, buffers } of dispatches(shared)) {
    const { bindings, wgsl } = shared.kernels[which]!;
    assert.is(bindings.length, buffers.length);
    assert.is(boundElements(wgsl).size, 2);
  }
  // no kernel is left that nothing dispatches
  assert.equal(
    [...new Set(dispatches(shared).map(({ kernel: which }) => which))].sort(),
    shared.kernels.map((_, at) => at),
  );
});

test("what is shared computes what it did, run or replayed", async ({ device }) => {
  const ramp = Float32Array.from({ length }, (_, index) => index);
  for (const most of [2, 3, 4, 8]) {
    const executor = await createExecutor(device, { poison: true });
    const prepared = await executor.prepare(JSON.parse(JSON.stringify(shareGroups(chain, most))) as Program);
    const x = await executor.fill("f32", [length], ramp);
    const state = await executor.fill("f32", [length], new Float32Array(length));
    const added = ramp.map((value) => 2 * (2 * (value + 1) + 0.5));
    const bound = await executor.bind(prepared, { x, state }, { first: 1, shift: 0.5 });
    executor.replay(bound);
    executor.replay(bound);
    await executor.run(prepared, { x, state, first: 1, shift: 0.5 });
    assert.equal(
      await executor.values(state),
      added.map((value) => 3 * value),
    );
    executor.close();
  }
});

test("no more buffers than a device binds, and memory is given back after a group", () => {
  assert.equal(
    [1, 2, 3, 4].map((most) => groups(shareGroups(chain, most))),
    [5, 5, 3, 3],
  );
  for (const most of [1, 3, 8]) {
    const { live } = memoryOf(shareGroups(chain, most));
    assert.ok(live <= memoryOf(chain).live + 64 * (most - 1), `${most}: ${live}`);
  }
  const large = { ...chain, buffers: chain.buffers.map((each) => ({ ...each, bytes: 2 ** 23 })) };
  assert.is(groups(shareGroups(large, 8)), 5);
});

/** The groups of `pair` with something changed. */
const changed = (change: (program: Program) => Program): number => groups(shareGroups(change(pair), 8));
const withKernel = (at: number, change: (kernel: ProgramKernel) => ProgramKernel) => (program: Program) => ({
  ...program,
  kernels: program.kernels.map((each, other) => (other === at ? change(each) : each)),
});

test("what is given is written by a group of its own", () => {
  assert.is(groups(pair), 3);
  // the last writes what the caller may have given
  assert.is(
    changed((program) => program),
    2,
  );
  const given = pair.buffers.map((each) => (each.id === 2 ? { ...each, role: "output" as const } : each));
  assert.is(
    changed((program) => ({ ...program, buffers: given })),
    3,
  );
});

test("integers that another writes, matrices, two views of what is written, and texts of others are left", () => {
  const text = (from: string, to: string) => (each: ProgramKernel) => ({ ...each, wgsl: each.wgsl.replace(from, to) });
  assert.is(changed(withKernel(1, text("source: array<f32>", "source: array<vec4<f32>>"))), 2);
  assert.is(changed(withKernel(1, text("source: array<f32>", "source: array<i32>"))), 3);
  assert.is(changed(withKernel(1, text("@compute", "enable chromium_experimental_subgroup_matrix;\n@compute"))), 3);
  assert.is(
    changed(
      withKernel(1, text("@group(0) @binding(0) var<storage, read>", "@binding(0) @group(0) var<storage, read>")),
    ),
    3,
  );
  const views = withKernel(1, (each) => ({
    ...each,
    wgsl: `@group(0) @binding(2) var<storage, read> other: array<u32>;\n${each.wgsl}`,
    bindings: [...each.bindings, { access: "read" }],
  }));
  const twice = (id: number) => (program: Program) => ({
    ...views(program),
    steps: program.steps.map((step) =>
      step.kind === "dispatch" && step.kernel === 1 ? { ...step, buffers: [...step.buffers, id] } : step,
    ),
  });
  assert.is(changed(twice(1)), 3);
  // of what is only read there may be any number
  assert.is(changed(twice(0)), 2);
});

test("a repeat ends a group, and stays what it is", () => {
  const repeat: Step = { kind: "repeat", parameter: "step", from: 0, to: 2, by: 1, steps: [dispatch(1, 1, 2)] };
  const program = {
    ...pair,
    steps: pair.steps.map((step) => (step.kind === "dispatch" && step.kernel === 1 ? repeat : step)),
  };
  const shared = shareGroups(program, 8);
  assert.equal(
    shared.steps.map(({ kind }) => kind),
    program.steps.map(({ kind }) => kind),
  );
  assert.equal(
    shared.kernels.map(({ name }) => name),
    ["double", "three"],
  );
});

test.run();
