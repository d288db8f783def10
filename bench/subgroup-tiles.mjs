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

const upTo = (count) => Array.from({ length: count }, (_, at) => at);

/** Chunks of 8 columns of a step that a lane has: the row of the tile and the first column, by the lane and the chunk. */
const chunkOf = (lines, lane, chunk) => ({
  row: (lane % 16) + 16 * (chunk % (lines / 16)),
  column: 8 * (Math.floor(lane / 16) + 2 * Math.floor(chunk / (lines / 16))),
});

/** Words of a tile of `lines` rows (of all terms) and all of `k`, by codes (-8 .. 7) of its rows. */
export function wordsOf(enc, lines, step, k, code) {
  const chunks = (lines * step) / 256;
  const trips = k / 128;
  const steps = 128 / step;
  const each = (enc === "int4" ? 4 : 3) * (chunks / 4) * steps; // words of a lane a trip
  const out = new Uint32Array(trips * each * 32);
  for (let trip = 0; trip < trips; trip++)
    for (let lane = 0; lane < 32; lane++) {
      const words = [];
      for (let s = 0; s < steps; s++)
        for (let four = 0; four < chunks / 4; four++) {
          const codes = upTo(4).map((c) => {
            const { row, column } = chunkOf(lines, lane, 4 * four + c);
            return upTo(8).map((at) => code(row, trip * 128 + s * step + column + at));
          });
          if (enc === "int4")
            for (const list of codes) {
              let word = 0;
              list.forEach((q, c) => (word |= (q & 15) << ((c % 2) * 16 + (c >> 1) * 4)));
              words.push(word >>> 0);
            }
          else {
            let [first, second, places] = [0, 0, 0];
            codes
              .flatMap((list) => [list.slice(0, 4), list.slice(4)])
              .forEach((group, g) => {
                const kept = upTo(4).filter((at) => group[at] !== 0);
                while (kept.length < 2) kept.push(upTo(4).find((at) => !kept.includes(at)));
                kept.sort();
                first |= (group[kept[0]] & 15) << (4 * g);
                second |= (group[kept[1]] & 15) << (4 * g);
                const bits =
                  (kept[0] === 1 ? 1 : 0) | (kept[0] === 2 ? 2 : 0) | (kept[1] & 1 ? 4 : 0) | (kept[1] & 2 ? 8 : 0);
                places |= bits << (4 * g);
              });
            words.push(first >>> 0, second >>> 0, places >>> 0);
          }
        }
      words.forEach((word, at) => (out[((trip * (each / 4) + (at >> 2)) * 32 + lane) * 4 + (at & 3)] = word));
    }
  return out;
}

export function prototype(spec, cut) {
  const { m, n, k, terms } = spec;
  const {
    enc,
    rows,
    step,
    split = 1,
    subs = 1,
    left = "tiles",
    ahead = 1,
    without = "",
    pad = 1,
    buffers = 1,
    order = "lanes",
    trip: columnsOfTrip = 128,
  } = cut;
  const piece = cut.piece && buffers === 1;
  const lines = rows * terms;
  const chunks = (lines * step) / 256;
  if (chunks % 4 !== 0 || k % (128 * split * subs) !== 0 || n % rows !== 0) return null;
  const T = order === "rows" ? columnsOfTrip : 128;
  const steps = T / step;
  const spans = T / 64;
  const each = (enc === "int4" ? 4 : 3) * (chunks / 4) * steps;
  const vectors = each / 4;
  if (vectors % 1 !== 0 || k % (T * split * subs) !== 0) return null;
  const stride = step / 8 + pad;
  const resultStride = lines / 4 + 1;
  const mm = m / 16;
  const parts = split > 1 && subs === 1;
  if (split > 1 && !parts && piece) return null;
  const direct = parts;
  const region = Math.max((piece ? 16 : lines) * stride * buffers, direct ? 0 : 16 * resultStride);
  const memory = region * subs;
  if (memory * 16 > 49152) return null;
  const trips = k / (T * split * subs);
  const allTrips = k / T;
  const jj = lines / 16;
  const out = [];
  const say = (text) => out.push(text);
  const partial = split > 1;
  say(`enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> w: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;
${order === "rows" ? "@group(0) @binding(4) var<storage, read> w2: array<vec2<u32>>;" : ""}
@group(0) @binding(3) var<storage, read_write> y: array<${direct ? "f32" : partial ? "vec4<f32>" : "vec2<u32>"}>;
var<workgroup> tiles: array<vec4<u32>, ${memory}>;
fn low(bits: u32, scale: vec2<f16>) -> u32 { return bitcast<u32>((bitcast<vec2<f16>>((bits & 0x000f000fu) ^ 0x64086408u) - vec2<f16>(1032.0h)) * scale); }
fn high(bits: u32, scale: vec2<f16>) -> u32 { return bitcast<u32>(fma(bitcast<vec2<f16>>((bits & 0x00f000f0u) ^ 0x64806480u), vec2<f16>(0.0625h), vec2<f16>(-72.0h)) * scale); }
@compute @workgroup_size(${32 * subs}, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_id) group: u32) {
let tile = id.x;
let base = group * ${region}u;
let put = base + ${order === "rows" && spans === 4 ? `(lane % 8u) * ${stride}u + lane / 8u` : `(lane % 16u) * ${stride}u + lane / 16u`};
let first_trip = (id.y * ${subs}u + group) * ${trips}u;
let words = (tile * ${allTrips}u + first_trip) * ${vectors * 32}u + lane;
let scale_at = (tile * ${allTrips}u + first_trip) * ${lines / 2}u + lane % 16u;`);
  for (const i of upTo(mm)) for (const j of upTo(jj)) say(`var sum_${i}_${j} = subgroup_matrix_result<f32, 16, 16>();`);
  const scaleWords = Math.max(1, jj / 2);
  const rowsAt = (v, trip) => {
    // as if words lay by rows: 2:4 int4, a row's values in vectors and its positions in pairs; the result is wrong
    const line = `(tile * ${lines}u + lane % ${32 / spans}u + ${(32 / spans) * v}u)`;
    const at = `(${line} * ${k / 64}u + (first_trip + ${trip}) * ${spans}u + lane / ${32 / spans}u)`;
    return [`w[${at}]`, `w2[${at} + ${(terms * n * k) / 32}u]`];
  };
  const loads = (trip) =>
    order === "rows"
      ? [
          ...upTo((lines * spans) / 32).flatMap((v) => [
            [`r${v}`, rowsAt(v, trip)[0]],
            [`p${v}`, rowsAt(v, trip)[1]],
          ]),
          ...upTo(scaleWords).map((s) => [`s${s}`, `scales[scale_at + (${trip}) * ${lines / 2}u + ${16 * s}u]`]),
        ]
      : [
          ...upTo(vectors).map((v) => [
            `v${v}`,
            without === "loads" ? `w[lane + ${32 * v}u]` : `w[words + (${trip}) * ${vectors * 32}u + ${32 * v}u]`,
          ]),
          ...upTo(scaleWords).map((s) => [`s${s}`, `scales[scale_at + (${trip}) * ${lines / 2}u + ${16 * s}u]`]),
        ];
  if (ahead) for (const [name, text] of loads("0u")) say(`var ${name} = ${text};`);
  if (ahead === 2) for (const [name, text] of loads(trips > 1 ? "1u" : "0u")) say(`var m${name} = ${text};`);
  say(`for (var trip = 0u; trip < ${trips}u; trip++) {`);
  if (ahead) {
    say(`let next = min(trip + ${ahead}u, ${trips - 1}u);`);
    for (const [name, text] of loads("next")) say(`let n${name} = ${text};`);
  } else for (const [name, text] of loads("trip")) say(`let ${name} = ${text};`);
  for (const j of upTo(jj)) say(`let scale_${j} = vec2<f16>(bitcast<vec2<f16>>(s${j >> 1}).${"xy"[j % 2]});`);
  let fresh = 0;
  const bind = (text) => {
    const name = `t${fresh++}`;
    say(`let ${name} = ${text};`);
    return name;
  };
  const word = (at) => {
    if (order !== "rows") return `v${at >> 2}.${"xyzw"[at & 3]}`;
    const v = Math.floor(at / 6) % ((lines * spans) / 32);
    return at % 6 < 4 ? `r${v}.${"xyzw"[at % 6]}` : `p${v}.${"xy"[(at % 6) - 4]}`;
  };
  for (const s of upTo(steps)) {
    const buffer = buffers === 1 ? 0 : (s % 2) * lines * stride;
    const lefts = () =>
      upTo(step / 16).map((kk) =>
        upTo(mm).map((i) => {
          const column = s * step + 16 * kk;
          const place =
            left === "tiles"
              ? `((first_trip + trip) * ${T / 16}u + ${column / 16}u) * ${32 * mm}u + ${32 * i}u, 2u`
              : `${(16 * i * k) / 8}u + ((first_trip + trip) * ${T}u + ${column}u) / 8u, ${k / 8}u`;
          return bind(`subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&x, ${place})`);
        }),
      );
    let held = null;
    const pieces = upTo(jj).map(() => []);
    if (cut.early) held = lefts();
    for (const four of upTo(chunks / 4)) {
      const firstWord = ((s * chunks) / 4 + four) * (enc === "int4" ? 4 : 3);
      let made;
      const scaleOf = (c) => `scale_${(4 * four + c) % jj}`;
      if (without === "unpacking")
        made = upTo(4).map((c) => upTo(4).map((at) => `${word(firstWord + (c % (enc === "int4" ? 4 : 3)))} ^ ${at}u`));
      else if (enc === "int4")
        made = upTo(4).map((c) => {
          const z = word(firstWord + c);
          const up = bind(`${z} >> 8u`);
          return [
            `low(${z}, ${scaleOf(c)})`,
            `high(${z}, ${scaleOf(c)})`,
            `low(${up}, ${scaleOf(c)})`,
            `high(${up}, ${scaleOf(c)})`,
          ];
        });
      else {
        const [first, second, places] = [word(firstWord), word(firstWord + 1), word(firstWord + 2)];
        const [p1, p2, q1, q2] = upTo(4).map((bit) =>
          bind(`((${bit === 0 ? places : `(${places} >> ${bit}u)`}) & 0x11111111u) * 15u`),
        );
        const d0 = bind(`${first} & ~(${p1} | ${p2})`);
        const d1 = bind(`(${first} & ${p1}) | (${second} & (${q1} & ~${q2}))`);
        const d2 = bind(`(${first} & ${p2}) | (${second} & (${q2} & ~${q1}))`);
        const d3 = bind(`${second} & (${q1} & ${q2})`);
        const halves = [
          [bind(`(${d0} & 0xffffu) | (${d1} << 16u)`), bind(`(${d2} & 0xffffu) | (${d3} << 16u)`)],
          [bind(`(${d0} >> 16u) | (${d1} & 0xffff0000u)`), bind(`(${d2} >> 16u) | (${d3} & 0xffff0000u)`)],
        ];
        made = upTo(4).map((c) => {
          let [a, b] = halves[c >> 1];
          if (c % 2 === 1) [a, b] = [bind(`${a} >> 8u`), bind(`${b} >> 8u`)];
          const scale = scaleOf(c);
          return [`low(${a}, ${scale})`, `low(${b}, ${scale})`, `high(${a}, ${scale})`, `high(${b}, ${scale})`];
        });
      }
      made.forEach((list, c) => {
        const chunk = 4 * four + c;
        const at =
          (piece ? 0 : 16 * (chunk % jj) * stride) +
          (order === "rows" && spans === 4 ? 8 * stride : 2) * Math.floor(chunk / jj);
        if (piece) {
          pieces[chunk % jj].push(`tiles[put + ${at}u] = vec4<u32>(${list.map(bind).join(", ")});`);
          return;
        }
        if (without !== "stores" || c === 0) say(`tiles[put + ${buffer + at}u] = vec4<u32>(${list.join(", ")});`);
      });
    }
    if (!cut.early && cut.beforeBarrier) held = lefts();
    if (piece) {
      if (held === null) held = lefts();
      for (const j of upTo(jj)) {
        pieces[j].forEach(say);
        say("workgroupBarrier();");
        for (const kk of upTo(step / 16)) {
          const right = bind(
            `subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, base + ${2 * kk}u, ${stride}u)`,
          );
          held[kk].forEach((a, i) =>
            say(`sum_${i}_${j} = subgroupMatrixMultiplyAccumulate(${a}, ${right}, sum_${i}_${j});`),
          );
        }
        say("workgroupBarrier();");
      }
      continue;
    }
    say("workgroupBarrier();");
    if (held === null) held = lefts();
    for (const kk of upTo(without === "products" ? 1 : step / 16))
      for (const j of upTo(jj)) {
        const right = bind(
          `subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, base + ${buffer + 16 * j * stride + 2 * kk}u, ${stride}u)`,
        );
        held[kk].forEach((a, i) =>
          say(`sum_${i}_${j} = subgroupMatrixMultiplyAccumulate(${a}, ${right}, sum_${i}_${j});`),
        );
      }
    if (buffers === 1) say("workgroupBarrier();");
  }
  if (ahead)
    for (const [name] of loads(""))
      say(ahead === 2 ? `${name} = m${name}; m${name} = n${name};` : `${name} = n${name};`);
  say("}");
  if (direct)
    for (const i of upTo(mm))
      for (const j of upTo(jj)) {
        const term = Math.floor((16 * j) / rows);
        say(
          `subgroupMatrixStore<row_major>(&y, ((id.y * ${terms}u + ${term}u) * ${m}u + ${16 * i}u) * ${n}u + tile * ${rows}u + ${(16 * j) % rows}u, sum_${i}_${j}, ${n}u);`,
        );
      }
  else
    for (const i of upTo(mm)) {
      say("workgroupBarrier();");
      for (const j of upTo(jj))
        say(`subgroupMatrixStore<row_major>(&tiles, base + ${4 * j}u, sum_${i}_${j}, ${resultStride}u);`);
      say(`workgroupBarrier();
for (var element = local_index; element < ${(16 * rows) / 4}u; element += ${32 * subs}u) {
let row = element / ${rows / 4}u;
let column = element % ${rows / 4}u;`);
      for (const term of upTo(terms)) {
        say(`var total_${term} = vec4<f32>(0.0f);`);
        for (const s of upTo(subs))
          say(
            `total_${term} += bitcast<vec4<f32>>(tiles[row * ${resultStride}u + column + ${s * region + (term * rows) / 4}u]);`,
          );
        if (partial)
          say(
            `y[((id.y * ${terms}u + ${term}u) * ${m}u + ${16 * i}u + row) * ${n / 4}u + tile * ${rows / 4}u + column] = total_${term};`,
          );
      }
      if (!partial) {
        say(`let value = ${terms === 2 ? "total_0 / (vec4<f32>(1.0f) + exp(-total_0)) * total_1" : "total_0"};
y[(${16 * i}u + row) * ${n / 4}u + tile * ${rows / 4}u + column] = vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));`);
      }
      say("}");
    }
  say("}");
  return { wgsl: out.join("\n"), workgroups: [n / rows, split, 1], parts: partial ? split * terms : 0, lines, order };
}

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16" },
    shapes: { type: "string", default: "gate+up,down,o,qkv" },
    seconds: { type: "string", default: "60" },
    cuts: { type: "string", default: "" },
    null: { type: "boolean" },
  },
});
const shapes = {
  qkv: { n: 6144, k: 4096 },
  o: { n: 4096, k: 4096 },
  "gate+up": { n: 14336, k: 4096 },
  down: { n: 4096, k: 14336 },
};
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
