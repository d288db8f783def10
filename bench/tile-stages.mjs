/**
 * Where the time of a tile of matrices goes: the kernel of gate and up with one of its stages left out at a time.
 *
 *   npm run build && node bench/tile-stages.mjs [--tokens 16,64] [--formats f16,int4,2:4-int4] [--seconds 30] [--null]
 *
 * What such a kernel computes is wrong, and not looked at. A stage that is hidden behind another costs nothing here.
 */
import { parseArgs } from "node:util";
import { compileStages } from "../dist/compiler/compile.js";
import { formatWords } from "../dist/compiler/formats/registry.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, stopwatch } from "./steady.mjs";
import { formats, tile } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64" },
    formats: { type: "string", default: "2:4-int4,int4,f16" },
    seconds: { type: "string", default: "30" },
    null: { type: "boolean" },
  },
});
const [n, k] = [14336, 4096];
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const target = {
  ...targetOf(device),
  ...(options.null
    ? { subgroups: { min: 32, max: 32 }, matrices: true, maxInvocations: 1024, maxWorkgroupMemory: 49152 }
    : {}),
};
const until = performance.now() + 1000 * Number(options.seconds);
const cuts = (m) =>
  m <= 16
    ? [tile(16, 32, [1, 2, 4], 128), tile(16, 32, [1, 1, 8], 128), tile(16, 64, [1, 4, 2], 128)]
    : [tile(64, 32, [2, 2, 2], 64), tile(64, 64, [2, 4, 1], 64)];

/** Lines of a kernel, of which those between the loop over slices and its end are given to `change`. */
function inLoop(wgsl, change) {
  const lines = wgsl.split("\n");
  const from = lines.findIndex((line) => line.includes("for (var slice"));
  const to = lines.findIndex((line, at) => at > from && line === "  }");
  const decls = lines.slice(0, from).join("\n");
  return [...lines.slice(0, from + 1), ...change(lines.slice(from + 1, to), decls), ...lines.slice(to)].join("\n");
}

const isProduct = (line) => /let (left|right)|subgroupMatrixMultiply/.test(line);
/** Whether a line stores activations: they come first in workgroup memory. */
const storesLeft = (line, decls) => {
  const [, name] = /tiles\[(target_\w*)/.exec(line) ?? [];
  return name !== undefined && new RegExp(`let ${name} = line(_\\d+)? \\* \\d+u \\+ \\(`).test(decls);
};
const storesRight = (line, decls) => line.includes("tiles[target_") && !storesLeft(line, decls);
const loadsRight = (line) => /= (gate|up)(_\d+)?\[/.test(line);
const loadsLeft = (line) => /= x(_\d+)?\[/.test(line);
const number = "slice * 77u + local_index";
const madeUp = (line) =>
  line.replace(/= (\w+)\[.*;/, (_, name) => (vectors.has(name) ? `= vec4<u32>(${number});` : `= ${number};`));
let vectors = new Set();

const noProducts = (lines) => {
  let seen = 0;
  return lines.filter((line) => !isProduct(line) || seen++ < 3);
};
const noUnpacking = (lines, decls) => {
  const words = lines.flatMap((line) => {
    const [, name, buffer] = /let (\w+) = (\w+)\[/.exec(line) ?? [];
    if (name === undefined || !loadsRight(line)) return [];
    return vectors.has(buffer) ? [`${name}.x`, `${name}.y`, `${name}.z`, `${name}.w`] : [name];
  });
  let at = 0;
  return lines.map((line) =>
    storesRight(line, decls)
      ? line.replace(/= .*;/, () => `= vec4<u32>(${upTo4.map(() => words[at++ % words.length]).join(", ")});`)
      : line,
  );
};
const upTo4 = [0, 1, 2, 3];
const stages = {
  whole: (lines) => lines,
  "without products": noProducts,
  "without unpacking": noUnpacking,
  "without loads of weights": (lines) => lines.map((line) => (loadsRight(line) ? madeUp(line) : line)),
  "without activations": (lines, decls) =>
    lines.map((line) => (loadsLeft(line) ? madeUp(line) : line)).filter((line) => !storesLeft(line, decls)),
  "with one left matrix": (lines) => {
    let first = null;
    return lines.map((line) => {
      const [, name] = /let (left\w*) =/.exec(line) ?? [];
      if (name === undefined) return line;
      if (first !== null) return `    let ${name} = ${first};`;
      first = name;
      return line;
    });
  },
  "without stores of weights": (lines, decls) => {
    let seen = 0;
    return lines.filter((line) => !storesRight(line, decls) || seen++ < 1);
  },
  "without barriers": (lines) => lines.filter((line) => !line.includes("workgroupBarrier")),
  "without products, unpacking": (lines, decls) => noProducts(noUnpacking(lines, decls)),
  "loads of weights alone": (lines, decls) =>
    noProducts(noUnpacking(lines, decls))
      .map((line) => (loadsLeft(line) ? madeUp(line) : line))
      .filter((line) => !storesLeft(line, decls)),
};

console.log(device.name);
const watch = options.null ? null : await stopwatch(device);
for (const m of options.tokens.split(",").map(Number))
  for (const name of options.formats.split(","))
    for (const cut of cuts(m)) {
      if (performance.now() > until) continue;
      const spec = formats[name];
      const bytes = 4 * formatWords(spec, { rows: n, columns: k });
      await withBuffers(device, async (make) => {
        const buffers = { x: await make(2 * m * k, "x"), result: await make(2 * m * n, "result") };
        const sets = [];
        for (let taken = 0; taken < (options.null ? 1 : 2 ** 27); taken += 2 * bytes)
          sets.push({ ...buffers, gate: await make(bytes, "gate"), up: await make(bytes, "up") });
        const { program } = compileStages(
          standardLibrary().get("gated"),
          { sizes: { B: 1, T: m, M: n, D: k }, dtypes: { E: "f16" }, formats: { P: spec, U: spec } },
          target,
          { schedule: cut },
        );
        const [kernel] = program.kernels;
        const step = program.steps.find(({ kind }) => kind === "dispatch");
        vectors = new Set([...kernel.wgsl.matchAll(/(\w+): array<vec4<u32>>/g)].map(([, each]) => each));
        const codes = Object.entries(stages).map(([stage, change]) => [stage, inLoop(kernel.wgsl, change)]);
        const made = await Promise.all(
          codes.map(async ([stage, code]) => {
            const module = device.gpu.createShaderModule({ code });
            const { messages } = await module.getCompilationInfo();
            if (messages.length > 0) throw new Error(`${stage}: ${messages[0].message}\n${code}`);
            if (options.null) return null;
            return device.gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
          }),
        );
        for (const [at, pipeline] of made.entries()) {
          if (pipeline === null) continue;
          const lists = sets.map((set) => {
            const used = step.buffers.map(
              (id) => set[program.inputs.find(({ buffer }) => buffer === id)?.name ?? "result"],
            );
            // a layout has the buffers that are left
            const left = used
              .map((buffer, binding) => ({ binding, resource: { buffer } }))
              .filter(({ binding }) => mentions(codes[at][1], binding));
            const group = device.gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: left });
            return [{ pipeline, group, workgroups: step.workgroups }];
          });
          const { us, slow } = await watch.time(lists);
          console.log(
            `${String(m).padStart(3)} ${name.padEnd(9)} ${`${cut.tokens}x${cut.rows} ${cut.subgroups.join(".")} ${cut.slice}`.padEnd(18)} ${codes[at][0].padEnd(28)} ${us.toFixed(1).padStart(7)} us${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}`,
          );
        }
      });
    }

/** Whether code reads or writes the buffer of a binding beyond declaring it. */
function mentions(code, binding) {
  const [, name] = new RegExp(`@binding\\(${binding}\\) var<[^>]*> (\\w+):`).exec(code) ?? [];
  return name !== undefined && code.split(new RegExp(`\\b${name}\\[`)).length > 1;
}
if (watch !== null) {
  console.log(`clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`);
  watch.close();
}
device.close();
