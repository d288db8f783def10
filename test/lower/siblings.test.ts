/** Independent kernels as one dispatch: which are taken together, and that they compute what they did. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as k from "../../compiler/kernel/build.js";
import type { Kernel } from "../../compiler/kernel/kernel.js";
import { kernelStep, kernelsOf, type Lowered, type LoweredStep } from "../../compiler/lower/lowered.js";
import { mergeSiblings } from "../../compiler/lower/siblings.js";
import type { Target } from "../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { simulated } from "../support/simulated.js";
import { targets } from "../support/targets.js";
import { programCase } from "./language.js";
import { libraryCase, stagesOf, taken } from "./support.js";

const test = suite<{ machine: Machine }>("siblings");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu: Target = targets["a GPU with subgroups of 32"];

/** A kernel that reads some tensors and writes one. */
function kernel(writes: string, reads: readonly string[], change: Partial<Kernel> = {}): Kernel {
  const buffer = (tensor: string, access: "read" | "read_write"): Kernel["buffers"][number] => ({
    name: tensor,
    tensor,
    element: "f32",
    access,
    length: 64,
  });
  return {
    name: `k_${writes}`,
    workgroupSize: [64, 1, 1],
    workgroups: [1, 1, 1],
    buffers: [...reads.map((tensor) => buffer(tensor, "read")), buffer(writes, "read_write")],
    parameters: [],
    arrays: [],
    features: [],
    body: [{ kind: "store", buffer: writes, index: k.builtin("global_id.x"), value: k.f32(1) }],
    origin: { schedule: "loops", values: [writes] },
    ...change,
  };
}

const repeat = (...steps: readonly Kernel[]): LoweredStep => ({
  kind: "repeat",
  parameter: "step",
  from: 0,
  to: 3,
  by: 1,
  steps: steps.map(kernelStep),
});

/** What becomes of steps, one for each equation: the values of each kernel, by equation. */
function merged(
  steps: readonly (Kernel | LoweredStep)[],
  target: Target = gpu,
  given: readonly string[] = [],
): readonly string[] {
  const lowered = steps.map((step): Lowered => {
    return { steps: ["body" in step ? kernelStep(step) : step], scratch: [], notes: [] };
  });
  return mergeSiblings(lowered, target, new Set(given)).map(({ steps: own }) =>
    kernelsOf(own)
      .map(({ origin }) => origin.values.join("+"))
      .join(" "),
  );
}

test("kernels that read the same are taken together, and those after them too", () => {
  const chain = [
    kernel("q", ["x"]),
    kernel("rq", ["q"]),
    kernel("k", ["x"]),
    kernel("rk", ["k"]),
    kernel("s", ["rq", "rk"]),
  ];
  assert.equal(merged(chain), ["q+k", "rq+rk", "", "", "s"]);
});

test("a kernel stays behind all that it reads, and all that reads or writes what it writes", () => {
  assert.equal(merged([kernel("a", ["x"]), kernel("b", ["a"])]), ["a", "b"]);
  assert.equal(merged([kernel("a", ["x"]), kernel("x", ["y"])]), ["a", "x"]);
  assert.equal(merged([kernel("a", ["x"]), kernel("a", ["y"])]), ["a", "a"]);
  // c may pass b, and not the second a
  assert.equal(merged([kernel("a", ["x"]), kernel("b", ["a"]), kernel("c", ["x"])]), ["a+c", "b", ""]);
  assert.equal(merged([kernel("a", ["x"]), kernel("a", ["b"]), kernel("c", ["a"])]), ["a", "a", "c"]);
});

test("repeats, other schedules and sizes, large kernels and more buffers than there are stay apart", () => {
  assert.equal(merged([repeat(kernel("a", ["x"])), repeat(kernel("b", ["x"])), kernel("c", ["x"])]), ["a", "b", "c"]);
  assert.equal(merged([kernel("a", ["x"]), repeat(kernel("b", ["a"])), kernel("c", ["b"])]), ["a", "b", "c"]);
  const pair = (change: Partial<Kernel>): readonly string[] => merged([kernel("a", ["x"]), kernel("b", ["x"], change)]);
  assert.equal(pair({}), ["a+b", ""]);
  assert.equal(pair({ origin: { schedule: "rows", values: ["b"] } }), ["a", "b"]);
  assert.equal(pair({ workgroupSize: [32, 2, 1] }), ["a", "b"]);
  assert.equal(pair({ workgroups: [100, 2, 1] }), ["a", "b"]);
  assert.equal(pair({ workgroups: [60000, 1, 1] }), ["a", "b"]);
  assert.equal(pair({ arrays: [{ name: "large", element: "f32", length: 1 << 14 }] }), ["a", "b"]);
  const many = Array.from({ length: 9 }, (_, at) => `x${at}`);
  assert.equal(merged([kernel("a", many), kernel("b", ["y", "z"])], { ...gpu, maxStorageBuffers: 12 }), ["a", "b"]);
  assert.equal(merged([kernel("a", many), kernel("b", ["x0"])], { ...gpu, maxStorageBuffers: 12 }), ["a+b", ""]);
});

test("large results are not made sooner than they have to be, but memory that is given lives in any case", () => {
  const state = kernel("b", ["x"]);
  const large = { ...state, buffers: state.buffers.map((each) => ({ ...each, length: 2 ** 23 })) };
  assert.equal(merged([kernel("a", ["x"]), large]), ["a", "b"]);
  assert.equal(merged([kernel("a", ["x"]), large], gpu, ["b"]), ["a+b", ""]);
});

const sparse = "nm(2, 4) of int4(32)";
const formats = Object.fromEntries([..."QRSOPUW"].map((name) => [name, sparse]));
const sizes = { D: 32, C: 11, M: 64, heads: 4, groups: 2, head: 8 };

test("a block for one token is five dispatches, of which one rotates and writes to the cache", () => {
  const bound = { sizes: { ...sizes, B: 2, T: 1 }, formats };
  assert.is(taken(stagesOf("block", bound, gpu, { merge: false })).length, 10);
  assert.equal(taken(stagesOf("block", bound, gpu)), [
    "y,q,y,keys,y,values matvec",
    "mixed attention",
    "y matvec",
    "h matvec",
    "y matvec",
  ]);
});

test("a block of int8 activations takes halves from words where it would bind too many buffers", () => {
  const dimensions = { D: 64, C: 5, M: 64, heads: 2, groups: 1, head: 32, group: 64, B: 1, T: 1 };
  const bound = {
    sizes: dimensions,
    formats: Object.fromEntries([..."QRSOPUW"].map((name) => [name, "nm(2, 4) of int4(64)"])),
    dtype: "f16" as const,
  };
  const made = libraryCase("block_int8", bound, "half", { positions: [2], eps: [0.001] });
  const expected = expectedOf(made);
  const bindings = [10, 11, 14, 16].map((most) => {
    const target = { ...gpu, f16: true, maxStorageBuffers: most };
    const stages = agreeSimulated(made, expected, { target, subgroupSize: 32 });
    const all = stages.kernels.flat();
    assert.ok(all.every(({ buffers }) => buffers.length <= most));
    return `${all[0]!.origin.values.join()}: ${all[0]!.buffers.length}`;
  });
  assert.equal(bindings, ["y,q: 8", "y,q,y,keys: 11", "y,q,y,keys,y,values: 14", "y,q,y,keys,y,values: 16"]);
});

test("a block for one token takes as many dispatches in a long text, but for the merge of its attention", () => {
  const dense = Object.fromEntries([..."QRSOPUW"].map((name) => [name, "f32"]));
  const block = { D: 64, M: 128, heads: 4, groups: 2, head: 16, B: 1, T: 1, PAGE: 16 };
  const count = (L: number): number =>
    taken(
      stagesOf("block_in_pages", { sizes: { ...block, POOL: L, L }, formats: dense }, { ...gpu, maxBinding: 2 ** 30 }),
    ).length;
  assert.is(count(8196), count(32) + 1);
});

test("the products of a block for sixteen tokens are short together: instructions that fit a cache", () => {
  const int4 = "nm(2, 4) of int4(128)";
  const bound = {
    sizes: { D: 4096, C: 512, M: 14336, heads: 32, groups: 8, head: 128, B: 16, T: 1 },
    dtype: "f16" as const,
    formats: Object.fromEntries([..."QRSOPUW"].map((name) => [name, int4])),
  };
  const large = {
    ...gpu,
    f16: true,
    matrices: true,
    maxWorkgroupMemory: 49152,
    maxBinding: 2 ** 31,
    maxStorageBuffers: 16,
  };
  const products = stagesOf("block", bound, large).program.kernels.filter(({ schedule }) => schedule === "matrix");
  // written out for each slice and for each of q, k and v they have 168 thousand characters
  assert.ok(products.length >= 4);
  const texts = new Set(products.map(({ wgsl }) => wgsl));
  assert.ok([...texts].reduce((sum, wgsl) => sum + wgsl.length, 0) < 100_000);
});

for (const T of [1, 5]) {
  test(`a block of merged kernels computes what it means, T=${T}`, async ({ machine }) => {
    const made = libraryCase("block", { sizes: { ...sizes, B: 2, T }, formats }, "chain", {
      positions: [0, 6],
      eps: [0.001],
    });
    const expected = expectedOf(made);
    // the driver's own subgroups and barriers, with Dawn's checks of indices and uniformity; one stands for both
    if (T === 1) await agreeOnDevice(made, expected, machine, { merge: true });
    for (const device of simulated) agreeSimulated(made, expected, device, { merge: true });
  });
}

test("sections of what is packed are one dispatch", async ({ machine }) => {
  const given = programCase(
    "fn main(x: f32[N, K], s: f32[N, K / 32]) -> f32[N, K] as nm(2, 4) of int4(32) where K % 32 == 0 {\n  let keep = top 2 of 4 along k in x\n  return pack x where keep as nm(2, 4) of int4(32) with scale s\n}",
    { N: 6, K: 96 },
    "exact",
  );
  const expected = expectedOf(given);
  const stages = agreeSimulated(given, expected, { target: gpu, subgroupSize: 32 });
  assert.is(taken(stages).filter((each) => each.endsWith("pack")).length, 1, taken(stages).join());
  await agreeOnDevice(given, expected, machine);
});

test.run();
