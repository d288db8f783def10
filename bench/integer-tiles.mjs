/**
 * Tiles of 16 tokens whose matrices are of bytes, written out by hand, to see whether they pay: activations in int8 with a
 * scale for each 128 columns of a token, weights in int4 or 2:4 of int4, sums of 128 columns in i32, of all in f32.
 *
 *   npm run build && node bench/integer-tiles.mjs [--tokens 16,64] [--shapes gate+up,down] [--seconds 40] [--null]
 *
 * A subgroup has the columns of a group, and each lane rows of its own: it unpacks them to bytes, four instructions for
 * eight columns of int4, and adds the group's sums, which come by way of workgroup memory, to its own in f32. Activations
 * lie in the order of the unpacked bytes, which a compiler would give them on the way.
 */
import { parseArgs } from "node:util";
import { f16FromBits } from "../dist/compiler/float.js";
import { formatBytes } from "../dist/compiler/formats/registry.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { clocks, stopwatch } from "./steady.mjs";
import { formats } from "./tiles.mjs";

const upTo = (count) => Array.from({ length: count }, (_, at) => at);

/** Columns of 32 in the order of the unpacked bytes. */
const orderOf = (sparse) =>
  sparse
    ? upTo(32).map((at) => 16 * ((at >> 2) & 1) + 4 * (at & 3) + (at >> 3))
    : upTo(32).map((at) => 8 * (at >> 3) + 2 * (at & 3) + ((at >> 2) & 1));

/** WGSL of a tile: `rows` of each term, `subgroups` that each take a group of 128 columns in turns, `phase` columns at once. */
function integerTile({ sparse, n, k, m, terms }, { tokens, rows, subgroups, phase, left }) {
  const all = rows * terms;
  const own = all / 32;
  const stride = phase / 16 + 1;
  const resultStride = all / 4 + 1;
  const staged = left === "staged" ? tokens : 0;
  const region = Math.max((all + staged) * stride, 16 * resultStride);
  const groups = k / 128;
  if (groups % subgroups !== 0 || n % rows !== 0 || all % 32 !== 0 || 16 * region * subgroups > 49152) return null;
  if (rows % 32 !== 0 && rows !== 16) return null;
  const names = terms === 2 ? ["gate", "up"] : ["w"];
  const out = [];
  const say = (text) => out.push(text);
  say(`enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x_scale: array<f32>;`);
  let binding = 2;
  for (const name of names) {
    say(`@group(0) @binding(${binding++}) var<storage, read> ${name}4: array<vec4<u32>>;`);
    say(`@group(0) @binding(${binding++}) var<storage, read> ${name}1: array<u32>;`);
  }
  say(`@group(0) @binding(${binding++}) var<storage, read_write> y: array<f16>;
var<workgroup> tiles: array<vec4<u32>, ${region * subgroups}>;
@compute @workgroup_size(${32 * subgroups}, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_id) group: u32) {
let first_n = id.x * ${rows}u;
let first_m = id.y * ${tokens}u;
let base = group * ${region}u;`);
  // a lane has the rows lane, lane + 32, ... of all terms
  const single = rows >= 32;
  upTo(own).forEach((r) => {
    if (single) say(`let row_${r} = first_n + ${(32 * r) % rows}u + lane;`);
    else say(`let row_${r} = first_n + lane % 16u;`);
  });
  const m16 = tokens / 16;
  for (const r of upTo(own)) for (const t of upTo(tokens)) say(`var acc_${r}_${t} = 0.0f;`);
  const perPhase = phase / 32;
  const read = (r, text) => {
    if (single) return `${names[Math.floor((32 * r) / rows)]}${text}`;
    return null;
  };
  const loadsOf = (r, trip) => {
    const unit = sparse ? 64 : 32;
    const codes = upTo(128 / unit).map(
      (u) => `4[row_${r} * ${k / unit}u + (${trip} * ${subgroups}u + group) * ${128 / unit}u + ${u}u]`,
    );
    const places = sparse ? [`4[row_${r} * ${k / 128}u + (${trip} * ${subgroups}u + group) + ${(n * k) / 64}u]`] : [];
    const at = `(row_${r} * ${groups}u + ${trip} * ${subgroups}u + group)`;
    const scale = `1[${at} / 2u + ${sparse ? (3 * n * k) / 32 : (n * k) / 8}u] >> (${at} % 2u * 16u)`;
    return [...codes, ...places, scale];
  };
  const give = (r, text) => read(r, text) ?? `select(${names[0]}${text}, ${names[1] ?? names[0]}${text}, lane >= 16u)`;
  const load = (trip) =>
    upTo(own).map((r) =>
      loadsOf(r, trip).map((text) => {
        const [expression, shift] = text.split(" >> ");
        const loaded = give(r, expression);
        return shift === undefined ? loaded : `(${loaded}) >> ${shift}`;
      }),
    );
  load("0u").forEach((texts, r) => texts.forEach((text, at) => say(`var held_${r}_${at} = ${text};`)));
  say(`for (var trip = 0u; trip < ${groups / subgroups}u; trip++) {
let next = min(trip + 1u, ${groups / subgroups - 1}u);`);
  load("next").forEach((texts, r) => texts.forEach((text, at) => say(`let next_${r}_${at} = ${text};`)));
  let fresh = 0;
  const bind = (text) => {
    const name = `t${fresh++}`;
    say(`let ${name} = ${text};`);
    return name;
  };
  for (const i of upTo(m16))
    for (const j of upTo(all / 16)) say(`var sum_${i}_${j} = subgroup_matrix_result<i32, 16, 16>();`);
  const bytes = (w) => [bind(`(${w} << 4u) & 0xf0f0f0f0u`), bind(`${w} & 0xf0f0f0f0u`)];
  /** Eight words of bytes: 32 columns of row r. */
  const unpack = (r, at) => {
    if (!sparse) return upTo(4).flatMap((word) => bytes(`held_${r}_${at}.${"xyzw"[word]}`));
    const four = `held_${r}_${at >> 1}`;
    const [low, high] = at % 2 === 0 ? [`${four}.x`, `${four}.y`] : [`${four}.z`, `${four}.w`];
    const places = `held_${r}_2.${"xyzw"[at]}`;
    const first = bind(`(${low} & 0x0f0f0f0fu) | ((${high} << 4u) & 0xf0f0f0f0u)`);
    const second = bind(`((${low} >> 4u) & 0x0f0f0f0fu) | (${high} & 0xf0f0f0f0u)`);
    const swap = (w, by, outer, down, up) =>
      bind(`(${w} & ${outer}) | ((${w} >> ${by}u) & ${down}) | ((${w} << ${by}u) & ${up})`);
    const wide = swap(places, 8, "0xff0000ffu", "0x0000ff00u", "0x00ff0000u");
    const ordered = swap(wide, 4, "0xf00ff00fu", "0x00f000f0u", "0x0f000f00u");
    const [p1, p2, q1, q2] = upTo(4).map((bit) => bind(`((${ordered} >> ${bit}u) & 0x11111111u) * 15u`));
    return [
      `${first} & ~(${p1} | ${p2})`,
      `(${first} & ${p1}) | (${second} & (${q1} & ~${q2}))`,
      `(${first} & ${p2}) | (${second} & (${q2} & ~${q1}))`,
      `${second} & (${q1} & ${q2})`,
    ]
      .map(bind)
      .flatMap(bytes);
  };
  const vectors = (tokens * phase) / 16 / 32;
  for (let from = 0; from < 128; from += phase) {
    const column = `((trip * ${subgroups}u + group) * 128u + ${from}u)`;
    const leftAt = (i, step) =>
      `subgroupMatrixLoad<subgroup_matrix_left<i8, 32, 16>, row_major>(&x, ((first_m + ${16 * i}u) * ${k}u + ${column} + ${32 * step}u) / 16u, ${k / 16}u)`;
    const early = left === "staged" ? null : upTo(perPhase).map((step) => upTo(m16).map((i) => bind(leftAt(i, step))));
    for (const r of upTo(own))
      for (const part of upTo(perPhase)) {
        const words = unpack(r, from / 32 + part);
        for (const half of [0, 1])
          say(
            `tiles[base + (lane + ${32 * r}u) * ${stride}u + ${2 * part + half}u] = vec4<u32>(${words.slice(4 * half, 4 * half + 4).join(", ")});`,
          );
      }
    if (left === "staged")
      for (const v of upTo(vectors)) {
        const at = `(lane + ${32 * v}u)`;
        say(
          `tiles[base + ${all * stride}u + ${at} / ${phase / 16}u * ${stride}u + ${at} % ${phase / 16}u] = x[((first_m + ${at} / ${phase / 16}u) * ${k}u + ${column}) / 16u + ${at} % ${phase / 16}u];`,
        );
      }
    say("workgroupBarrier();");
    for (const step of upTo(perPhase)) {
      const lefts =
        early?.[step] ??
        upTo(m16).map((i) =>
          bind(
            `subgroupMatrixLoad<subgroup_matrix_left<i8, 32, 16>, row_major>(&tiles, base + ${(all + 16 * i) * stride + 2 * step}u, ${stride}u)`,
          ),
        );
      for (const j of upTo(all / 16)) {
        const right = bind(
          `subgroupMatrixLoad<subgroup_matrix_right<i8, 16, 32>, col_major>(&tiles, base + ${16 * j * stride + 2 * step}u, ${stride}u)`,
        );
        lefts.forEach((each, i) =>
          say(`sum_${i}_${j} = subgroupMatrixMultiplyAccumulate(${each}, ${right}, sum_${i}_${j});`),
        );
      }
    }
    say("workgroupBarrier();");
  }
  upTo(own).forEach((r) => say(`let scale_${r} = unpack2x16float(held_${r}_${sparse ? 3 : 4}).x;`));
  for (const i of upTo(m16)) {
    for (const j of upTo(all / 16))
      say(`subgroupMatrixStore<row_major>(&tiles, base + ${4 * j}u, sum_${i}_${j}, ${resultStride}u);`);
    say("workgroupBarrier();");
    for (const t of upTo(16)) {
      const scale = bind(`x_scale[(first_m + ${16 * i + t}u) * ${groups}u + trip * ${subgroups}u + group]`);
      for (const r of upTo(own)) {
        const four = bind(`tiles[base + ${t * resultStride + 8 * r}u + lane / 4u]`);
        const one = bind(
          `select(select(${four}.w, ${four}.z, lane % 4u == 2u), select(${four}.y, ${four}.x, lane % 4u == 0u), lane % 4u < 2u)`,
        );
        say(`acc_${r}_${16 * i + t} += f32(bitcast<i32>(${one})) * (scale_${r} * ${scale});`);
      }
    }
    say("workgroupBarrier();");
  }
  load("next").forEach((texts, r) => texts.forEach((_, at) => say(`held_${r}_${at} = next_${r}_${at};`)));
  say("}");
  // sums of the subgroups, a token at a time; gate and up of a row are in one lane where each has 32 rows
  for (const t of upTo(tokens)) {
    upTo(own).forEach((r) =>
      say(`tiles[base + ${r}u * 32u + lane] = vec4<u32>(bitcast<u32>(acc_${r}_${t}), 0u, 0u, 0u);`),
    );
    say(`workgroupBarrier();
if (local_index < ${rows}u) {`);
    const total = (term) =>
      upTo(subgroups)
        .map((s) => `bitcast<f32>(tiles[${s * region + term * rows}u + local_index].x)`)
        .join(" + ");
    upTo(terms).forEach((term) => say(`let total_${term} = (${total(term)}) * 0.0625f;`));
    const value = terms === 2 ? "total_0 / (1.0f + exp(-total_0)) * total_1" : "total_0";
    say(`y[(first_m + ${t}u) * ${n}u + first_n + local_index] = f16(${value});
}
workgroupBarrier();`);
  }
  say("}");
  return { wgsl: out.join("\n"), workgroups: [n / rows, m / tokens, 1] };
}

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64" },
    shapes: { type: "string", default: "gate+up,down" },
    seconds: { type: "string", default: "40" },
    null: { type: "boolean" },
  },
});
const shapes = { o: { n: 4096, k: 4096 }, "gate+up": { n: 14336, k: 4096 }, down: { n: 4096, k: 14336 } };
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const { gpu } = device;
const until = performance.now() + 1000 * Number(options.seconds);
console.log(device.name);
const watch = options.null ? null : await stopwatch(device);
for (const m of options.tokens.split(",").map(Number))
  for (const shape of options.shapes.split(","))
    for (const format of ["2:4-int4", "int4"]) {
      if (performance.now() > until) continue;
      const { n, k } = shapes[shape];
      const terms = shape === "gate+up" ? 2 : 1;
      const sparse = format === "2:4-int4";
      const of = { sparse, n, k, m, terms };
      const list = [
        { tokens: 16, rows: 32, subgroups: 1, phase: 64, left: "staged" },
        { tokens: 16, rows: 32, subgroups: 1, phase: 128, left: "staged" },
        { tokens: 16, rows: 32, subgroups: 1, phase: 64, left: "memory" },
        { tokens: 16, rows: 32, subgroups: 2, phase: 64, left: "staged" },
        { tokens: 16, rows: 32, subgroups: 4, phase: 64, left: "staged" },
        { tokens: 16, rows: 32, subgroups: 4, phase: 64, left: "memory" },
        { tokens: 16, rows: 32, subgroups: 8, phase: 64, left: "memory" },
        { tokens: 16, rows: 64, subgroups: 1, phase: 64, left: "staged" },
        { tokens: 32, rows: 32, subgroups: 1, phase: 64, left: "staged" },
        { tokens: 32, rows: 32, subgroups: 4, phase: 64, left: "memory" },
      ]
        .filter(({ tokens }) => tokens <= m)
        .flatMap((cut) => {
          const made = integerTile(of, cut);
          return made === null ? [] : [{ cut, ...made }];
        });
      if (watch === null) {
        for (const { cut, wgsl } of list) {
          const { messages } = await gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
          if (messages.length > 0) throw new Error(`${JSON.stringify(cut)} ${messages[0].message}\n${wgsl}`);
        }
        console.log(m, shape, format, list.length);
        continue;
      }
      const spec = formats[format];
      const weights = repeatedWeights(spec, n, k, n + k);
      const bytes = terms * formatBytes(spec, { rows: n, columns: k });
      const codes = Int8Array.from(randomValues(m * k, 7), (value) => Math.round(127 * value));
      const scale = 2 ** -10;
      const order = orderOf(sparse);
      const ordered = Int8Array.from(codes, (_, at) => codes[at - (at % 32) + order[at % 32]]);
      const tokens = [...new Set([0, m >> 1, m - 1])];
      const expected = tokens.map((token) =>
        upTo(weights.rows).map((row) => {
          let sum = 0;
          for (let at = 0; at < k; at++) sum += codes[token * k + at] * scale * weights.values[row * k + at];
          return terms === 2 ? (sum / (1 + Math.exp(-sum))) * sum : sum;
        }),
      );
      await withBuffers(device, async (make) => {
        const x = await make(ordered, "activations");
        const scales = await make(new Float32Array((m * k) / 128).fill(scale), "scales");
        const sets = [];
        for (let taken = 0; taken === 0 || taken < 2 ** 28; taken += bytes)
          sets.push(await Promise.all(upTo(terms).map(() => make(weights.words, "weights"))));
        const result = await make(2 * m * n, "result");
        const pipelines = await watch.busyUntil(
          Promise.all(
            list.map(({ wgsl: code }) =>
              gpu.createComputePipelineAsync({
                layout: "auto",
                compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
              }),
            ),
          ),
        );
        for (const [at, { cut, workgroups }] of list.entries()) {
          if (performance.now() > until) continue;
          const pipeline = pipelines[at];
          const lists = sets.map((set) => {
            const entries = [x, scales, ...set.flatMap((w) => [w, w]), result].map((buffer, binding) => ({
              binding,
              resource: { buffer },
            }));
            return [
              { pipeline, group: gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }), workgroups },
            ];
          });
          const { us, slow } = await watch.time(lists, 800);
          let [worst, norm, count] = [0, 0, 0];
          for (const [which, token] of tokens.entries()) {
            const found = new Uint16Array((await device.read(result, 2 * token * n, 2 * n)).buffer);
            for (let row = 0; row < n; row++) {
              const want = expected[which][row % expected[which].length];
              const error = Math.abs(f16FromBits(found[row]) - want);
              worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
              norm += want ** 2;
              count++;
            }
          }
          const off = worst / Math.sqrt(norm / count);
          console.log(
            `${String(m).padStart(4)} ${shape.padEnd(7)} ${format.padEnd(8)} ${Object.values(cut).join(" ").padEnd(24)} ${us.toFixed(1).padStart(7)} us${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}${off < 0.02 ? "" : ` WRONG ${off}`}`,
          );
        }
      });
    }
if (watch !== null) {
  console.log(`clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`);
  watch.close();
}
device.close();
