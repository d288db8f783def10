/**
 * The gated half of a layer of Llama 3.1 8B's shape (`gated`: gate, up and SwiGLU in one kernel) by tiles of matrices:
 *
 *   npm run build && node bench/gated.mjs [--tokens 16,64,512]
 *
 * The compiler's choice first; others are held to its result before their time is told.
 */
import { compileStages } from "../dist/compiler/compile.js";
import { f16Bits, f16FromBits } from "../dist/compiler/float.js";
import { printFormat } from "../dist/compiler/formats/registry.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { timeProgram } from "../dist/runtime/bench/timing.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { formats, tile } from "./tiles.mjs";

const at = process.argv.indexOf("--tokens");
const tokens = at < 0 ? [16, 64, 512] : process.argv[at + 1].split(",").map(Number);
const variants = (m) =>
  m <= 16
    ? [
        tile(16, 64, [1, 4, 4], 128),
        tile(16, 64, [1, 4, 2], 128),
        tile(16, 32, [1, 2, 4], 256),
        tile(16, 32, [1, 2, 4], 128),
        tile(16, 32, [1, 2, 8], 256),
        tile(16, 64, [1, 4, 4], 64),
      ]
    : m <= 64
      ? [
          tile(64, 32, [2, 1, 4], 128),
          tile(64, 32, [2, 2, 2], 64),
          tile(64, 32, [2, 1, 4], 64),
          tile(64, 64, [2, 2, 2], 64),
          tile(64, 64, [2, 2, 4], 64),
        ]
      : [
          tile(128, 64, [2, 4, 1], 64),
          tile(128, 64, [2, 2, 2], 32),
          tile(128, 64, [2, 2, 1], 64),
          tile(64, 64, [2, 2, 2], 64),
        ];
const [n, k] = [14336, 4096];
const device = await openDevice({ kind: "gpu", unchecked: true });
const target = targetOf(device);
const gated = standardLibrary().get("gated");
console.log(device.name);
for (const m of tokens)
  for (const spec of [formats.f16, formats["2:4-int4"]]) {
    const weights = repeatedWeights(spec, n, k, 3);
    const x = Uint16Array.from(
      randomValues(m * k, 7).map((value) => value / 8),
      f16Bits,
    );
    await withBuffers(device, async (make) => {
      const input = await make(x, "activations");
      const pairs = [];
      for (let copy = 0; copy < Math.max(2, Math.ceil(2 ** 27 / weights.words.byteLength)); copy++)
        pairs.push([await make(weights.words, "gate"), await make(weights.words, "up")]);
      const result = await make(2 * m * n, "result");
      let wanted = null;
      for (const schedule of [null, ...variants(m)]) {
        const stages = compileStages(
          gated,
          { sizes: { B: 1, T: m, M: n, D: k }, dtypes: { E: "f16" }, formats: { P: spec, U: spec } },
          target,
          { schedule },
        );
        const { program } = stages;
        const sets = pairs.map(
          ([gate, up]) =>
            new Map([
              ["x", input],
              ["gate", gate],
              ["up", up],
            ]),
        );
        const { us } = await timeProgram(device, program, sets, new Map([[program.outputs[0].name, result]]));
        const bytes = await device.read(result, 0, 2 * m * n);
        const values = Float32Array.from(new Uint16Array(bytes.buffer), f16FromBits);
        wanted ??= values;
        const [error, norm] = values.reduce(
          ([e, s], value, i) => [e + (value - wanted[i]) ** 2, s + wanted[i] ** 2],
          [0, 0],
        );
        const name =
          schedule === null
            ? `chosen: ${program.kernels.map((kernel) => kernel.schedule).join("+")}`
            : `${schedule.tokens}x${schedule.rows} ${schedule.subgroups} ${schedule.slice}`;
        console.log(
          `${String(m).padStart(4)} ${printFormat(spec, "short").padEnd(22)} ${name.padEnd(24)} ${us.toFixed(1).padStart(8)} us ` +
            `${((4 * m * n * k) / us / 1e6).toFixed(1).padStart(7)} TFLOP/s  differs by ${Math.sqrt(error / norm).toExponential(1)}`,
        );
      }
    });
  }
device.close();
