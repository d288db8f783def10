/**
 * Tiles of a few tokens, one subgroup each, written out by hand to see whether many small workgroups a processor hide what
 * few large ones wait for:
 *
 *   npm run build && node bench/subgroup-tiles.mjs [--shapes gate+up,down,o,qkv] [--tokens 16] [--seconds 60] [--null]
 *
 * Words lie in the order in which lanes read them (a block of 512 bytes a load), activations as matrices of 16 x 16 one
 * after another. A trip is 128 columns; its words are loaded a trip ahead.
 */
import { parseArgs } from "node:util";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { clocks, stopwatch } from "./steady.mjs";
import { prototype, upTo, wordsOf } from "./subgroup-tile.mjs";
import { shapes } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16" },
    shapes: { type: "string", default: "gate+up,down,o,qkv" },
    seconds: { type: "string", default: "60" },
    cuts: { type: "string", default: "" },
    null: { type: "boolean" },
  },
});
const candidates = (terms, m) => {
  const list = [];
  const rows = terms === 2 ? 16 : 32;
  const base = { enc: "24", rows, step: 32, piece: true, ahead: 0, early: true };
  if (m === 16) {
    for (const split of terms === 2 ? [4] : [8, 16])
      for (const order of [{}, { order: "rows" }, { order: "rows", trip: 256 }])
        for (const piece of [false, true])
          for (const ahead of [0, 1]) list.push({ ...base, ...order, split, piece, ahead });
    if (terms === 2)
      list.push(
        { ...base, split: 8 },
        { ...base, split: 8, order: "rows", trip: 256 },
        { ...base, split: 8, piece: false, order: "rows", trip: 256 },
      );
    return list;
  }
  for (const split of terms === 2 ? [2, 4] : [8, 16])
    for (const piece of [false, true]) for (const ahead of [0, 1]) list.push({ ...base, split, piece, ahead });
  const split = terms === 2 ? 4 : 16;
  list.push(
    { ...base, split, early: false },
    { ...base, split, order: "rows", trip: 256 },
    { ...base, split, enc: "int4" },
    { ...base, split, without: "loads" },
  );
  list.push(
    { ...base, split, without: "unpacking", piece: false },
    { ...base, split, without: "products", piece: false },
    { ...base, split: split / 2, rows: 2 * rows },
    { ...base, split: split / 2, rows: 2 * rows, piece: false },
  );
  if (terms === 1) list.push({ ...base, split, rows: 2 * rows, piece: false });
  return list;
};
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const { gpu } = device;
const until = performance.now() + 1000 * Number(options.seconds);
const silu = (x) => x / (1 + Math.exp(-x));
console.log(device.name);
const watch = options.null ? null : await stopwatch(device);
/** Codes of a weight by row and column: half of each four are 0. */
const codeOf = (row, column) => {
  const group = (row * 7 + (column >> 2) * 13) % 6;
  const kept = [
    [0, 1],
    [0, 2],
    [0, 3],
    [1, 2],
    [1, 3],
    [2, 3],
  ][group];
  if (!kept.includes(column % 4)) return 0;
  const q = (Math.imul(row * 40503 + column * 30011 + 77, 2654435761) >>> 20) % 15;
  return q - 7 === 0 ? 3 : q - 7;
};
for (const m of options.tokens.split(",").map(Number))
  for (const shape of options.shapes.split(",")) {
    const { n, k } = shapes[shape];
    const terms = shape === "gate+up" ? 2 : 1;
    const list = (options.cuts ? JSON.parse(options.cuts) : candidates(terms, m)).flatMap((cut) => {
      const made = prototype({ m, n, k, terms }, cut);
      return made === null ? (console.log("left out", JSON.stringify(cut)), []) : [{ cut, ...made }];
    });
    if (options.null) {
      for (const { cut, wgsl } of list) {
        const { messages } = await gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
        if (messages.length > 0)
          throw new Error(`${JSON.stringify(cut)} ${messages.map(({ message }) => message).join("; ")}\n${wgsl}`);
      }
      console.log(m, shape, list.length, list[0].wgsl.length);
      if (process.env.SHOW) console.log(list[Number(process.env.SHOW)].wgsl);
      continue;
    }
    if (performance.now() > until) continue;
    const x = randomValues(m * k, 7).map((value) => roundF16(value / 8));
    const scale = (row, group) => roundF16((1 + ((row * 3 + group) % 5)) / 64);
    const wants = upTo(64).map((row) =>
      [0, m - 1].map((token) => {
        let sum = 0;
        for (let at = 0; at < k; at++) sum += x[token * k + at] * codeOf(row, at) * scale(row, at >> 7);
        return terms === 2 ? [sum, sum] : [sum];
      }),
    );
    await withBuffers(device, async (make) => {
      const bits = Uint16Array.from(x, f16Bits);
      const natural = await make(bits, "activations");
      const tiled = new Uint16Array(m * k);
      for (let token = 0; token < m; token++)
        for (let at = 0; at < k; at++)
          tiled[((at >> 4) * (m / 16) + (token >> 4)) * 256 + (token % 16) * 16 + (at % 16)] = bits[token * k + at];
      const tiles = await make(tiled, "activations in tiles");
      const result = await make(4 * m * n * 16 * terms, "result");
      // weights: the first 64 rows repeat, in every order that is asked for
      const orders = new Map();
      const setsOf = async ({ enc, rows, step }) => {
        const key = `${enc} ${rows} ${step}`;
        if (orders.has(key)) return orders.get(key);
        const lines = rows * terms;
        const period = 64 / rows;
        const row = (tile, line) => ((tile * rows) % 64) + (line % rows);
        const parts = upTo(period).map((tile) =>
          wordsOf(enc, lines, step, k, (line, at) => codeOf(row(tile, line), at)),
        );
        const tilesOf = n / rows;
        const words = new Uint32Array(tilesOf * parts[0].length);
        upTo(tilesOf).forEach((tile) => words.set(parts[tile % period], tile * parts[0].length));
        const perTile = (k / 128) * lines;
        const scales = new Uint16Array(tilesOf * perTile);
        upTo(tilesOf).forEach((tile) => {
          for (let g = 0; g < k / 128; g++)
            for (let line = 0; line < lines; line++) {
              const at = (Math.floor(line / 32) * 16 + (line % 16)) * 2 + (Math.floor(line / 16) % 2);
              scales[tile * perTile + g * lines + at] = f16Bits(scale(row(tile, line), g));
            }
        });
        const sets = [];
        const s = await make(scales, "scales");
        for (let taken = 0; taken === 0 || taken < 2 ** 27; taken += 4 * words.length)
          sets.push([await make(words, "weights"), s]);
        orders.set(key, sets);
        return sets;
      };
      const pipelineOf = (code) =>
        gpu.createComputePipelineAsync({
          layout: "auto",
          compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
        });
      const pipelines = await watch.busyUntil(Promise.all(list.map(({ wgsl }) => pipelineOf(wgsl))));
      const times = [];
      for (const [at, { cut, workgroups, parts }] of list.entries()) {
        if (performance.now() > until) continue;
        const pipeline = pipelines[at];
        const sets = (await watch.busyUntil(setsOf(cut))).map(([w, s]) => {
          const buffers = [
            cut.left === "natural" ? natural : tiles,
            w,
            s,
            result,
            ...(cut.order === "rows" ? [w] : []),
          ];
          const group = gpu.createBindGroup({
            layout: pipeline.getBindGroupLayout(0),
            entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
          });
          return [{ pipeline, group, workgroups }];
        });
        const { us, slow } = await watch.time(sets, 500);
        let [worst, norm] = [0, 0];
        const floats = parts ? new Float32Array((await device.read(result, 0, 4 * m * n * parts)).buffer) : null;
        const halves = parts ? null : new Uint16Array((await device.read(result, 0, 2 * m * n)).buffer);
        for (const row of upTo(64))
          [0, m - 1].forEach((token, t) => {
            const want = wants[row][t];
            const found = parts
              ? want.map((_, term) =>
                  upTo(workgroups[1]).reduce(
                    (sum, part) => sum + floats[((part * terms + term) * m + token) * n + n - 64 + row],
                    0,
                  ),
                )
              : [f16FromBits(halves[token * n + n - 64 + row])];
            const expected = parts ? want : [terms === 2 ? silu(want[0]) * want[1] : want[0]];
            expected.forEach((each, term) => {
              worst = Math.max(worst, Number.isNaN(found[term]) ? Infinity : Math.abs(found[term] - each));
              norm = Math.max(norm, Math.abs(each));
            });
          });
        const error = worst / norm;
        times.push([
          us,
          `${String(m).padStart(4)} ${shape.padEnd(7)} ${JSON.stringify(cut).padEnd(90)} ${us.toFixed(1).padStart(7)} us${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}${error < 0.004 ? "" : ` WRONG ${error}`}`,
        ]);
      }
      for (const [, text] of times.sort((a, b) => a[0] - b[0])) console.log(text);
    });
  }
if (watch !== null) {
  console.log(`clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`);
  watch.close();
}
device.close();
