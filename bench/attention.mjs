/**
 * Attention of Llama 3.1 8B's shape, 32 query heads over 8 of keys and values of 128 elements: as one reduction, and as
 * the five equations that it was before.
 *
 *   npm run build && node bench/attention.mjs [--device cpu] [--json] [NAME...]
 *
 * One line a case: microseconds, the share of the read roof that its keys and values take, TFLOP/s (of the causal half),
 * and the largest difference between the two, or from one invocation an element where the scores of the five do not fit.
 * Caches take turns, so that none stays in the chip. On a CPU driver the cases are windows of classics-3.7m.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { compileFunction } from "../dist/compiler/compile.js";
import { bufferUsage, openDevice } from "../dist/runtime/device/device.js";
import { timeProgram } from "../dist/runtime/bench/timing.js";
import { createHost } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { device: { type: "string", default: "gpu" }, json: { type: "boolean", default: false } },
});
const { value, diagnostics } = check(fileURLToPath(new URL("attention.esp", import.meta.url)), createHost());
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const device = await openDevice({ kind: options.device, unchecked: true });
const target = targetOf(device);
const dtype = target.f16 ? "f16" : "f32";
const bytesOf = target.f16 ? 2 : 4;
const big = { A: 32, G: 8, H: 128 };
const small = { A: 8, G: 4, H: 32 };
/** `seen`: tokens in the cache before the first; `C` is the capacity. */
const cases =
  target.kind === "cpu"
    ? [
        { name: "window 256", B: 4, T: 256, C: 256, seen: 0, ...small },
        { name: "decode 256", B: 1, T: 1, C: 256, seen: 255, ...small },
      ]
    : [
        { name: "decode 128", B: 1, T: 1, C: 128, seen: 127, ...big },
        { name: "decode 128 of 1024", B: 1, T: 1, C: 1024, seen: 127, ...big },
        { name: "decode 128 of 32768", B: 1, T: 1, C: 32768, seen: 127, ...big },
        { name: "decode 2048", B: 1, T: 1, C: 2048, seen: 2047, ...big },
        { name: "decode 32768", B: 1, T: 1, C: 32768, seen: 32767, ...big },
        { name: "decode 512 x 16", B: 16, T: 1, C: 512, seen: 511, ...big },
        { name: "prefill 64", B: 1, T: 64, C: 64, seen: 0, ...big },
        { name: "prefill 512", B: 1, T: 512, C: 512, seen: 0, ...big },
        { name: "prefill 4096", B: 1, T: 4096, C: 4096, seen: 0, ...big },
        { name: "chunk 512 after 31k", B: 1, T: 512, C: 32768, seen: 32256, ...big },
      ];
const rotated = 64 * 2 ** 20;

/** Random numbers of +-[0.5, 1), as they lie in memory. */
function noise(count, seed) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  if (bytesOf === 2) return Uint16Array.from({ length: count }, () => ((next() >>> 16) & 0x83ff) | 0x3800);
  return Float32Array.from({ length: count }, () => (next() / 2 ** 31 - 1) * 0.75);
}

/** The f32 that the bits of an f16 that is normal or zero are. */
function half(bits) {
  const size = bits & 0x7fff;
  const value = size === 0 ? 0 : 2 ** ((size >> 10) - 15) * (1 + (size & 0x3ff) / 1024);
  return bits & 0x8000 ? -value : value;
}

const buffers = [];
function upload(data) {
  const buffer = device.gpu.createBuffer({
    size: Math.max(16, Math.ceil(data.byteLength / 16) * 16),
    usage: bufferUsage.storage | bufferUsage.copyDst | bufferUsage.copySrc,
  });
  device.gpu.queue.writeBuffer(buffer, 0, data);
  buffers.push(buffer);
  return buffer;
}

async function elements(buffer, count) {
  const bytes = await device.read(buffer, 0, Math.ceil((count * bytesOf) / 4) * 4);
  const { buffer: memory, byteOffset } = bytes;
  return bytesOf === 2
    ? Float32Array.from(new Uint16Array(memory, byteOffset, count), half)
    : new Float32Array(memory, byteOffset, count);
}

/** The largest difference; where it is not small, with the first element that has one. */
function farthest(a, b) {
  const most = a.reduce((most, each, at) => Math.max(most, Math.abs(each - b[at])), 0);
  return most < 1e-2 ? most : `${most} from ${a.findIndex((each, at) => Math.abs(each - b[at]) >= 1e-2)} on`;
}

for (const { name, B, T, C, seen, A, G, H } of cases) {
  if (positionals.length > 0 && !positionals.some((each) => name.includes(each))) continue;
  const count = B * T * A * H;
  const [q, keys, values] = [noise(count, 1), noise(B * C * G * H, 2), noise(B * C * G * H, 3)];
  const positions = upload(new Int32Array(B).fill(seen));
  const sets = Array.from({ length: Math.max(1, Math.min(64, Math.ceil(rotated / (2 * keys.byteLength)))) }, () => ({
    q: upload(q),
    keys: upload(keys),
    values: upload(values),
    positions,
  }));
  const binding = { sizes: { B, T, A, H, C, G }, dtypes: { E: dtype }, formats: {} };
  const results = [];
  for (const [variant, options] of [
    ["attention_of_one", {}],
    ["attention_of_five", {}],
    ...(T === 1 ? [["attention_of_one", { schedule: "rows" }]] : [["attention_of_one", { schedule: "attention" }]]),
  ]) {
    const label = options.schedule ?? variant;
    try {
      const program = compileFunction(value.functions.get(variant), binding, target, options);
      const out = upload(new Uint8Array(count * bytesOf));
      const { us } = await timeProgram(
        device,
        program,
        sets.map((set) => new Map(Object.entries(set))),
        new Map([[program.outputs[0].name, out]]),
      );
      const result = await elements(out, count);
      // each kernel alone, on what the others have left
      const alone = [];
      if (program.steps.length > 1 && variant === "attention_of_one")
        for (const step of program.steps.filter((each) => each.kind === "dispatch")) {
          const one = await timeProgram(
            device,
            { ...program, steps: [step] },
            sets.map((set) => new Map(Object.entries(set))),
            new Map([[program.outputs[0].name, out]]),
          );
          alone.push(one.us.toFixed(1));
        }
      results.push({ label, us, result, kernels: [...program.kernels.map((each) => each.schedule), ...alone] });
    } catch (error) {
      results.push({ label, us: null, result: null, kernels: [], error: String(error.message ?? error).slice(0, 100) });
    }
  }
  const [one, ...others] = results;
  const differences = others.flatMap(({ label, result }) =>
    result === null || one.result === null ? [] : [[label, farthest(result, one.result)]],
  );
  const pairs = B * (T * seen + (T * (T + 1)) / 2);
  for (const { label, us, kernels, error } of results) {
    const line = {
      device: device.name,
      case: name,
      variant: label,
      us,
      gigabytes: us === null ? null : (2 * B * (seen + T) * G * H * bytesOf) / us / 1000,
      teraflops: us === null ? null : (4 * pairs * A * H) / us / 1e6,
      kernels,
      error,
      difference: label === "attention_of_one" ? Object.fromEntries(differences) : undefined,
    };
    if (options.json) console.log(JSON.stringify(line));
    else
      console.log(
        `${name.padEnd(20)} ${label.padEnd(18)} ${us === null ? error : `${us.toFixed(1).padStart(9)} us ${line.gigabytes.toFixed(0).padStart(6)} GB/s ${line.teraflops.toFixed(1).padStart(7)} TFLOP/s  ${kernels.join(" ")} ${label === "attention_of_one" ? JSON.stringify(line.difference) : ""}`}`,
      );
  }
  for (const buffer of buffers.splice(0)) buffer.destroy();
}
device.close();
process.exit(0);
