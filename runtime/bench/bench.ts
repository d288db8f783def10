import { compileStages, type ScheduleChoices } from "../../compiler/compile.js";
import { InternalError } from "../../compiler/diagnostic.js";
import { formatBytes, printFormat } from "../../compiler/formats/registry.js";
import { evaluate, tensorValue } from "../../compiler/graph/evaluate.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { f16Bits, f16FromBits, roundF16 } from "../../compiler/float.js";
import type { Device } from "../device/device.js";
import { targetOf } from "../run/target.js";
import { withBuffers } from "./buffers.js";
import type { BenchLayer } from "./shapes.js";
import { measureRoof } from "./roof.js";
import { timeProgram } from "./timing.js";
import { randomValues, repeatedWeights } from "./weights.js";

export interface BenchRow {
  readonly layer: string;
  readonly n: number;
  readonly k: number;
  /** Tokens. */
  readonly batch: number;
  readonly format: string;
  readonly schedule: string;
  readonly us: number;
  /** Of weights and activations. */
  readonly bytes: number;
  /** Bytes of weights over the time. */
  readonly gbs: number;
  /** Against the dense row of the same layer and batch. */
  readonly speedupOverDense: number;
}

export interface BenchReport {
  readonly device: string;
  /** What the device was measured to read, GB/s. */
  readonly roofGBs: number;
  readonly rows: readonly BenchRow[];
}

const none = { args: {}, of: null };
const int4: FormatSpec = { name: "int4", args: { group: 128, symmetric: true, scale: "f16" }, of: null };

/** The formats that are compared, the dense one first. */
export function benchFormats(dense: "f32" | "f16"): readonly FormatSpec[] {
  return [
    { name: dense, ...none },
    int4,
    { name: "nm", args: { n: 2, m: 4 }, of: { name: dense, ...none } },
    { name: "nm", args: { n: 2, m: 4 }, of: int4 },
  ];
}

/** Bytes of weight copies that the runs take turns over: more than any last-level cache. */
const coldBytes = { gpu: 2 ** 28, cpu: 2 ** 24 } as const;

/**
 * Times y = x w^T of the standard library for each layer, batch and format. Each program is first checked against the
 * evaluator. `progress` receives each row.
 */
export async function bench(
  device: Device,
  linear: SymbolicGraph,
  layers: readonly BenchLayer[],
  batches: readonly number[],
  choices: ScheduleChoices,
  progress: (done: number, total: number) => void,
): Promise<BenchReport> {
  const dense = device.features.has("shader-f16") ? "f16" : "f32";
  const formats = benchFormats(dense);
  const rows: BenchRow[] = [];
  const total = layers.length * batches.length * formats.length;
  const roofGBs = await measureRoof(device);
  for (const { layer, n, k } of layers) {
    for (const batch of batches) {
      let denseUs = 0;
      for (const spec of formats) {
        const { us, schedule } = await benchOne(device, linear, choices, { n, k, batch, spec, dtype: dense });
        if (spec === formats[0]) denseUs = us;
        rows.push({
          layer,
          n,
          k,
          batch,
          format: printFormat(spec),
          schedule,
          us,
          bytes: formatBytes(spec, { rows: n, columns: k }) + batch * (n + k) * (dense === "f16" ? 2 : 4),
          gbs: formatBytes(spec, { rows: n, columns: k }) / us / 1000,
          speedupOverDense: denseUs / us,
        });
        progress(rows.length, total);
      }
    }
  }
  return { device: device.name, roofGBs, rows };
}

async function benchOne(
  device: Device,
  linear: SymbolicGraph,
  choices: ScheduleChoices,
  shape: { n: number; k: number; batch: number; spec: FormatSpec; dtype: "f32" | "f16" },
): Promise<{ us: number; schedule: string }> {
  const { n, k, batch, spec, dtype } = shape;
  const target = targetOf(device);
  const binding = { sizes: { B: 1, T: batch, N: n, K: k }, dtypes: { E: dtype as Dtype }, formats: { F: spec } };
  const stages = compileStages(linear, binding, target, { choices });
  if ("diagnostics" in stages) throw new InternalError(stages.diagnostics.map((found) => found.message).join("; "));
  const { program } = stages;
  const weights = repeatedWeights(spec, n, k, n + k);
  const x = randomValues(batch * k, 7).map((value) => (dtype === "f16" ? roundF16(value) : value));
  const bytesOf = (values: Float32Array): ArrayBuffer => {
    if (dtype === "f32") return new Float32Array(values).buffer;
    return Uint16Array.from(values, f16Bits).buffer;
  };
  return withBuffers(device, async (make) => {
    const input = await make(bytesOf(x), "activations");
    const copies: GPUBuffer[] = [];
    const copyCount = Math.max(
      1,
      Math.min(64, Math.ceil(coldBytes[device.kind === "cpu" ? "cpu" : "gpu"] / weights.words.byteLength)),
    );
    for (let at = 0; at < copyCount; at++) copies.push(await make(weights.words, "weights"));
    const [out] = program.outputs;
    const result = await make(program.buffers[out!.buffer]!.bytes, "result");
    const sets = copies.map(
      (copy) =>
        new Map([
          ["x", input],
          ["w", copy],
        ]),
    );
    const { us } = await timeProgram(device, program, sets, new Map([[out!.name, result]]));
    await checkResult(device, linear, { ...shape, x, weights, result });
    return { us, schedule: program.kernels.map((kernel) => kernel.schedule).join("+") };
  });
}

/** Compares what the timed runs left with the evaluator's result for the rows that repeat. */
async function checkResult(
  device: Device,
  linear: SymbolicGraph,
  run: {
    n: number;
    k: number;
    batch: number;
    dtype: "f32" | "f16";
    x: Float32Array;
    weights: { values: Float32Array; rows: number };
    result: GPUBuffer;
  },
): Promise<void> {
  const { n, k, batch, dtype, x, weights, result } = run;
  const small = specialize(
    linear,
    {
      sizes: new Map(Object.entries({ B: 1, T: batch, N: weights.rows, K: k })),
      dtypes: new Map([["E", dtype]]),
      formats: new Map([["F", null]]),
    },
    { f16: dtype === "f16" },
  );
  if (!("graph" in small)) throw new InternalError("the product does not specialise");
  const expected = [
    ...evaluate(
      small.graph,
      new Map([
        ["x", tensorValue(dtype, [1, batch, k], x)],
        ["w", tensorValue("f32", [weights.rows, k], weights.values)],
      ]),
    ).values(),
  ][0]!.data;
  const bytes = await device.read(result, 0, batch * n * (dtype === "f16" ? 2 : 4));
  const actual =
    dtype === "f16" ? Float32Array.from(new Uint16Array(bytes.buffer), f16FromBits) : new Float32Array(bytes.buffer);
  let error = 0;
  let norm = 0;
  for (let t = 0; t < batch; t++) {
    for (let row = 0; row < n; row++) {
      const want = expected[t * weights.rows + (row % weights.rows)]!;
      error += (actual[t * n + row]! - want) ** 2;
      norm += want ** 2;
    }
  }
  const relative = Math.sqrt(error / norm);
  const tolerance = dtype === "f16" ? 2e-3 : 1e-5;
  if (!(relative <= tolerance))
    throw new InternalError(`the product of ${batch} x ${n} x ${k} is off by ${relative} (allowed ${tolerance})`);
}
