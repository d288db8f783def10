import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, type CompileOptions } from "../../compiler/compile.js";
import { buildGraph } from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import { openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor, type DeviceTensor, type Executor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { gptq, sparseGptq } from "../support/scans.js";
import { close } from "../support/tolerance.js";
import { evaluateUnread } from "../support/unread.js";

const test = suite<{ device: Device; executor: Executor }>("scans and factorisations on a device");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
  context.executor = await createExecutor(context.device, { poison: true });
});
test.after(({ device, executor }) => {
  executor.close();
  device.close();
});

/** Runs a graph on the device, from a program that went through JSON, and compares it with the evaluator. */
async function agree(
  { device, executor }: { device: Device; executor: Executor },
  graph: ConcreteGraph,
  inputs: ReadonlyMap<string, TensorValue>,
  options: CompileOptions,
  what: string,
): Promise<void> {
  const { program } = lowerConcrete(graph, targetOf(device), options);
  const prepared = await executor.prepare(JSON.parse(JSON.stringify(program)) as typeof program);
  const given: Record<string, DeviceTensor> = {};
  const expected = evaluateUnread(graph, inputs);
  for (const { name, dtype, shape } of program.inputs)
    given[name] = await executor.fill(dtype, shape, expected.inputs.get(name)!.data);
  const results = await executor.run(prepared, given);
  for (const [name, value] of expected.outputs) {
    const tensor = results[name];
    assert.ok(tensor !== undefined, name);
    close(await executor.values(tensor!), value.data, value.dtype === "bool" ? "exact" : "chain", `${what}: ${name}`);
  }
}

test("scans in blocks, in workgroup memory and in place, and step by step", async (context) => {
  for (const scan of [
    { memory: "workgroup", block: 16 },
    { memory: "storage", block: 16 },
    { blocked: false },
  ] as const) {
    for (const { graph, inputs } of [gptq(13, 70), gptq(21, 40, { keep: true, set: true }), sparseGptq(9, 64, 16)])
      await agree(context, graph, inputs, { scan }, JSON.stringify(scan));
  }
});

test("factorisations", async (context) => {
  for (const size of [5, 100]) {
    for (const op of ["cholesky", "inverse_lower"] as const) {
      const build = buildGraph(op);
      build.output("l", build.factorize("l", build.input("a", "f32", [size, size]), op));
      const a = Float32Array.from({ length: size * size }, (_, at) =>
        at % size === Math.floor(at / size) ? 3 : Math.exp(-Math.abs((at % size) - Math.floor(at / size)) / 3),
      );
      await agree(context, build.graph(), new Map([["a", tensorValue("f32", [size, size], a)]]), {}, `${op} ${size}`);
    }
  }
});

test("eigenvectors", async (context) => {
  for (const size of [1, 5, 64]) {
    const build = buildGraph("eigenvectors");
    build.output("v", build.factorize("v", build.input("a", "f32", [size, size]), "eigenvectors"));
    // eigenvalues that lie apart, in no order
    const a = Float32Array.from({ length: size * size }, (_, at) => {
      const [i, j] = [Math.floor(at / size), at % size];
      return i === j ? 2 * ((i * 7) % size) - size : Math.exp(-Math.abs(i - j) / 3) / 2;
    });
    await agree(context, build.graph(), new Map([["a", tensorValue("f32", [size, size], a)]]), {}, `size ${size}`);
  }
});

test.run();
