/**
 * Kernels for what the CPU driver lacks, f16 and subgroups of 32, are at least compiled: every function of the standard
 * library, in both dtypes, with weights of every format, on Dawn's backend that computes nothing.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileFunction, lowerConcrete } from "../../compiler/compile.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import type { MatrixTile } from "../../compiler/lower/schedules/matrix-tile.js";
import type { Target } from "../../compiler/target.js";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { libraryFunctions } from "../support/library.js";
import { backward, lossGradient } from "../../runtime/llama/training/gradients.js";
import type { ActivationDtype } from "../../runtime/llama/weights.js";
import { createExecutor, type Executor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { programCase } from "../lower/language.js";
import { functionNames, parametersOf, stagesOf, type Bound } from "../lower/support.js";
import { gradientProducts } from "../support/gradient-products.js";
import { opRanges } from "../support/op-ranges.js";
import { formatFault, weightFormats } from "../support/packed.js";

const test = suite<{ device: Device; executor: Executor; target: Target }>("kernels of a GPU compile");

test.before(async (context) => {
  context.device = await openDevice({ backend: "null" });
  context.executor = await createExecutor(context.device);
  context.target = { ...targetOf(context.device), subgroups: { min: 32, max: 32 }, matrices: true };
});
test.after(({ device, executor }) => {
  executor.close();
  device.close();
});

/** A tile whose columns workgroups divide, with slices on their way in registers. */
const inParts: MatrixTile = {
  kind: "matrix",
  tokens: 16,
  rows: 16,
  subgroups: [1, 1, 4],
  slice: 64,
  ahead: 4,
  parts: 2,
};

/** A tile that holds the words of a trip of slices, with activations as they lie. */
const inTrips: MatrixTile = { ...inParts, rows: 32, subgroups: [1, 2, 2], ahead: 3, trip: 128, left: "memory" };

/** Small sizes that every constraint of the library allows. */
const sizes: Readonly<Record<string, number>> = {
  B: 2,
  T: 5,
  N: 24,
  K: 64,
  D: 64,
  V: 96,
  M: 64,
  A: 4,
  C: 48,
  G: 2,
  H: 16,
  P: 8,
  heads: 4,
  groups: 2,
  head: 16,
  tokens: 3,
  group: 32,
  many: 2,
  kept: 2,
  of_each: 4,
  scales: 3,
  length: 64,
  R: 32,
  S: 3,
  POOL: 6,
  rows: 8,
  columns: 24,
  rank: 2,
  members: 2,
  half: 8,
  pairs: 8,
  PAGE: 16,
  L: 3,
  W: 3,
};

function bound(name: string, more: Partial<Bound> = {}): Bound {
  const { sizes: names } = parametersOf(name);
  return { ...more, sizes: Object.fromEntries(names.map((size) => [size, more.sizes?.[size] ?? sizes[size]!])) };
}

test("the device has what is to be tried, and refuses what is wrong", async ({ device, executor, target }) => {
  assert.ok(target.f16 && device.features.has("subgroups"));
  const { program } = stagesOf("magnitude", bound("magnitude"), target);
  const broken = {
    ...program,
    kernels: program.kernels.map((kernel) => ({ ...kernel, wgsl: kernel.wgsl.replace("abs(", "abs(true, ") })),
  };
  const error = await executor.prepare(broken).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, DeviceError);
});

test("the gradients that training runs, in f32 and f16", async ({ executor, target }) => {
  const library = libraryFunctions;
  const weights = ["wq", "wk", "wv", "wo", "gate", "up", "down"];
  const run = async (graph: SymbolicGraph, of: string, dtype: ActivationDtype): Promise<void> => {
    const formats = Object.fromEntries(
      graph.parameters.formats.map((name) => [name, { name: dtype, args: {}, of: null }]),
    );
    const own = Object.fromEntries(graph.parameters.sizes.map((name) => [name, sizes[name] ?? 0]));
    const program = compileFunction(graph, { sizes: own, dtypes: { E: dtype }, formats }, target);
    assert.ok((await executor.prepare(program)).kernels.length > 0, of);
  };
  for (const dtype of ["f32", "f16"] as const) {
    await run(
      backward(library.get("whole_block")!, ["x"], [...weights, "attention_gain", "mlp_gain"]),
      "a block",
      dtype,
    );
    await run(backward(library.get("token_logits")!, ["x"], ["gain"]), "the head", dtype);
    for (const [loss, by] of [
      ["kl", "logits"],
      ["cross_entropy", "logits"],
      ["block_error", "y"],
      ["square_head", "y"],
    ] as const)
      await run(lossGradient(library.get(loss)!, by, dtype), loss, dtype);
  }
});

test("one token whose keys in pages are divided among workgroups", async ({ executor, target }) => {
  const long = bound("block_in_pages", { dtype: "f16", sizes: { T: 1, POOL: 640, L: 640 } });
  const formats = Object.fromEntries(parametersOf("block_in_pages").formats.map((each) => [each, "f16"]));
  const { program } = stagesOf("block_in_pages", { ...long, formats }, target);
  assert.is(program.kernels.filter(({ schedule }) => schedule === "attention").length, 2);
  await executor.prepare(program);
});

test("every op of scalars, in f32 and f16", async ({ executor, target }) => {
  for (const f16 of [false, true])
    for (const { graph } of opRanges({ f16 })) await executor.prepare(lowerConcrete(graph, target).program);
});

for (const dtype of ["f32", "f16"] as const) {
  test(`every function of the library, ${dtype}`, async ({ executor, target }) => {
    for (const name of functionNames) {
      const { formats } = parametersOf(name);
      for (const format of formats.length === 0 ? [undefined] : ["f32", "f16", "nm(2, 4) of int4(32)"]) {
        const given = bound(name, {
          dtype,
          formats: Object.fromEntries(formats.map((each) => [each, format!])),
        });
        await executor.prepare(stagesOf(name, given, target).program);
      }
    }
  });

  test(`attention of few queries and of many, ${dtype}`, async ({ executor, target }) => {
    for (const sizes of [
      { B: 1, T: 1, A: 8, C: 2048, G: 2, H: 64 },
      { B: 2, T: 40, A: 6, C: 300, G: 2, H: 128 },
    ])
      await executor.prepare(stagesOf("attention", bound("attention", { dtype, sizes }), target).program);
  });

  test(`products of every format and schedule, ${dtype}`, async ({ executor, target }) => {
    for (const format of weightFormats) {
      const text = format.replace("bitmask", "bitmask(nonzeros: 400)");
      const K = formatFault(text, 24, 64) === null ? 64 : 256;
      for (const T of [1, 40]) {
        const given = bound("gated", { dtype, formats: { P: text, U: text }, sizes: { B: 1, T, D: K, M: 40 } });
        await executor.prepare(stagesOf("gated", given, target).program);
        if (T > 1) await executor.prepare(stagesOf("gated", given, target, { schedule: "matrix" }).program);
      }
    }
    for (const format of ["f16", "int4(32)", "nm(2, 4) of int4(64)", "nm(2, 4) of f16"]) {
      const given = bound("gated", { dtype, formats: { P: format, U: format }, sizes: { B: 1, T: 18, D: 256, M: 40 } });
      const { program } = stagesOf("gated", given, target, { schedule: inParts });
      assert.is(program.kernels.length, dtype === "f16" ? 2 : 1);
      await executor.prepare(program);
      const one = bound("linear", { dtype, formats: { F: format }, sizes: { B: 1, T: 18, K: 256, N: 40 } });
      const narrow = stagesOf("linear", one, target, { schedule: { ...inParts, rows: 32, strip: "narrow" } }).program;
      assert.is(narrow.kernels.length, dtype === "f16" ? 2 : 1);
      await executor.prepare(narrow);
    }
    for (const format of ["nm(2, 4) of int4(64)", "int4(32)", "q4_0"])
      for (const schedule of [inTrips, { ...inTrips, left: undefined }]) {
        const given = bound("gated", {
          dtype,
          formats: { P: format, U: format },
          sizes: { B: 1, T: 32, D: 256, M: 40 },
        });
        const { program } = stagesOf("gated", given, target, { schedule });
        assert.is(program.kernels.length, dtype === "f16" ? 2 : 1);
        await executor.prepare(program);
      }
    for (const F of ["int4(32)", "nm(2, 4) of int4(64)", "nm(2, 4) of f16", "q4_0"]) {
      const many = { dtype, formats: { F }, sizes: { B: 2, T: 512, K: 64, N: 64 } };
      const { program } = stagesOf("linear", bound("linear", many), target, { schedule: "unpacked" });
      assert.is(program.kernels[0]!.schedule === "unpacked", dtype === "f16", F);
      await executor.prepare(program);
    }
    for (const schedule of schedules) {
      const given = bound("block", { dtype, formats: { O: "int4(32, asymmetric)" } });
      await executor.prepare(stagesOf("block", given, target, { schedule }).program);
    }
  });
}

for (const [name, { source, sizes }] of Object.entries(gradientProducts))
  test(`the gradient ${name}`, async ({ executor, target }) => {
    for (const schedule of ["matrix", "vectored", "tiled"] as const)
      await executor.prepare(
        lowerConcrete(programCase(source, sizes, "half", {}, true).graph, target, { schedule }).program,
      );
  });

test.run();
