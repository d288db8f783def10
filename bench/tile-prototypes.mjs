/**
 * Tiles of packed weights written out by hand, to see what pays before the compiler learns it:
 *
 *   npm run build && node bench/tile-prototypes.mjs [--tokens 16,64] [--shapes gate+up,o,down,qkv] [--seconds 60] [--null]
 *
 * Each subgroup of a workgroup has columns of its own: it loads the words of a unit of 64 columns of a row into each lane,
 * a trip ahead, unpacks them phase by phase into its own part of workgroup memory, and multiplies them by activations that
 * are read straight from memory, or staged beside. Sums of the subgroups are added at the end.
 */
import { parseArgs } from "node:util";
import { compileStages } from "../dist/compiler/compile.js";
import { formatBytes } from "../dist/compiler/formats/registry.js";
import { f16Bits, f16FromBits, roundF16 } from "../dist/compiler/float.js";
import { withBuffers } from "../dist/runtime/bench/buffers.js";
import { randomValues, repeatedWeights } from "../dist/runtime/bench/weights.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, prepare, stopwatch } from "./steady.mjs";
import { formats } from "./tiles.mjs";

const upTo = (count) => Array.from({ length: count }, (_, at) => at);

/**
 * The WGSL of a tile. `m`: tokens, `n` rows and `k` columns of each of `terms` weights. `tokens` and `rows` (of each term)
 * of a tile, `subgroups`, `block` columns of a subgroup a trip, `blocks` of 16 columns of a unit a phase, `buffers` of
 * workgroup memory, `left`: "direct" or "staged", `ahead`: whether a trip's words are loaded a trip before, `barrier`:
 * whether there are any (without, it is not WGSL's memory model that makes it right), `natural`: whether columns are in
 * order (else the result is wrong, and the time that of an order that suits the unpacking).
 */
export function prototype(spec, cut) {
  const { format, m, n, k, terms } = spec;
  const { tokens, rows, subgroups, block, blocks, buffers = 1, left = "direct", ahead = true } = cut;
  const { barrier = true, natural = true, own = false, order = "rows", without = "" } = cut;
  const sparse = format === "2:4-int4";
  const all = rows * terms;
  const units = block / 64;
  const lines = 32 / units;
  const pieces = all / lines;
  const phases = 4 / blocks;
  const steps = units * blocks;
  const stride = (steps * 2) | 1;
  const stagedRows = left === "staged" ? tokens : 0;
  const region = (all + stagedRows) * stride;
  const resultStride = all / 4 + 1;
  const memory = Math.max(region * subgroups * buffers, subgroups * 16 * resultStride);
  if (memory * 16 > 49152 || rows % lines !== 0 || k % (block * subgroups) !== 0) return null;
  const trips = k / (block * subgroups);
  const [mm, nn] = [tokens / 16, all / 16];
  const names = terms === 2 ? ["gate", "up"] : ["w"];
  const out = [];
  const say = (text) => out.push(text);
  say(`enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;`);
  let binding = 1;
  for (const name of names) {
    say(`@group(0) @binding(${binding++}) var<storage, read> ${name}4: array<vec4<u32>>;`);
    if (sparse) say(`@group(0) @binding(${binding++}) var<storage, read> ${name}2: array<vec2<u32>>;`);
    say(`@group(0) @binding(${binding++}) var<storage, read> ${name}1: array<u32>;`);
  }
  say(`@group(0) @binding(${binding++}) var<storage, read_write> y: array<vec2<u32>>;
var<workgroup> tiles: array<vec4<u32>, ${memory}>;
fn halves(bits: u32, scale: vec2<f16>) -> u32 { return bitcast<u32>((bitcast<vec2<f16>>(bits) - vec2<f16>(1032.0h)) * scale); }
fn higher(bits: u32, scale: vec2<f16>) -> u32 { return bitcast<u32>((bitcast<vec2<f16>>(bits) * vec2<f16>(0.0625h) - vec2<f16>(72.0h)) * scale); }
@compute @workgroup_size(${32 * subgroups}, 1, 1)
fn main(@builtin(local_invocation_index) local_index: u32, @builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_id) group: u32) {
let first_n = id.x * ${rows}u;
let first_m = id.y * ${tokens}u;
let line = lane / ${units}u;
let unit = lane % ${units}u;
let base = group * ${region * buffers}u;
let put = base + line * ${stride}u + unit * ${2 * blocks}u;`);
  const start = own ? `group * ${k / subgroups}u` : `group * ${block}u`;
  const step = own ? block : block * subgroups;
  say(`let start = ${start};
let trips_left = y[0].x & 0u;`);
  upTo(pieces).forEach((p) => {
    const term = Math.floor((p * lines) / rows);
    say(`let row_${p} = first_n + ${(p * lines) % rows}u + line;`);
    void term;
  });
  for (const i of upTo(mm)) for (const j of upTo(nn)) say(`var sum_${i}_${j} = subgroup_matrix_result<f32, 16, 16>();`);
  const load = (p, from) => {
    const name = names[Math.floor((p * lines) / rows)];
    // as if the words of a workgroup's lanes lay one after another (the result is wrong)
    const place = `((first_n / ${rows}u * ${k / (64 * units)}u + (${from}) / ${64 * units}u) * ${pieces}u + ${p}u) * 32u + lane`;
    const at =
      without === "loads"
        ? `(lane & (trips_left & 1u))`
        : order === "tiles"
          ? `(${place}) % ${((n * k) / 64) >>> 0}u`
          : `(row_${p} * ${k / 64}u + (${from}) / 64u + unit)`;
    const group = `(row_${p} * ${k / 128}u + ((${from}) + unit * 64u) / 128u)`;
    return sparse
      ? [
          `${name}4[${at}]`,
          `${name}2[${at} + ${(n * k) / 32}u]`.replace(`${(n * k) / 32}u`, `${(n * k) / 16 / 2}u`),
          `${name}1[${group} / 2u + ${(n * k * 3) / 32}u] >> (${group} % 2u * 16u)`,
        ]
      : [
          `${name}4[${at} * 2u]`,
          `${name}4[${at} * 2u + 1u]`,
          `${name}1[${group} / 2u + ${(n * k) / 8}u] >> (${group} % 2u * 16u)`,
        ];
  };
  const held = ["a", "b", "c"];
  const kinds = sparse ? ["vec4<u32>", "vec2<u32>", "u32"] : ["vec4<u32>", "vec4<u32>", "u32"];
  void kinds;
  if (ahead)
    upTo(pieces).forEach((p) => load(p, "start").forEach((text, at) => say(`var ${held[at]}_${p} = ${text};`)));
  // staged activations: vectors of a phase of a subgroup, a few a lane
  const leftVectors = (tokens * steps * 2) / 32;
  const leftLoad = (v, from, phase) => {
    const at = `(lane + ${32 * v}u)`;
    const vector = `(${at} % ${2 * steps}u)`;
    const column = `(${from} + ${vector} / ${2 * blocks}u * 64u + ${16 * blocks * phase}u + ${vector} % ${2 * blocks}u * 8u)`;
    return `x[((first_m + ${at} / ${2 * steps}u) * ${k}u + ${column}) / 8u]`;
  };
  if (left === "staged") upTo(leftVectors).forEach((v) => say(`var left_${v} = ${leftLoad(v, "start", 0)};`));
  say(`for (var trip = 0u; trip < ${trips}u; trip++) {
let first = start + trip * ${step}u;
let next = start + min(trip + 1u, ${trips - 1}u) * ${step}u;`);
  if (ahead)
    upTo(pieces).forEach((p) => load(p, "next").forEach((text, at) => say(`let n${held[at]}_${p} = ${text};`)));
  else upTo(pieces).forEach((p) => load(p, "first").forEach((text, at) => say(`let ${held[at]}_${p} = ${text};`)));
  upTo(pieces).forEach((p) =>
    say(
      `let scale_${p} = vec2<f16>(unpack2x16float(c_${p}).x.xx);`.replace(
        `unpack2x16float(c_${p}).x.xx`,
        `f16(unpack2x16float(c_${p}).x)`,
      ),
    ),
  );
  const word = (p, at) =>
    sparse ? `a_${p}.${"xyzw"[at]}` : at < 4 ? `a_${p}.${"xyzw"[at]}` : `b_${p}.${"xyzw"[at - 4]}`;
  let fresh = 0;
  const bind = (text) => {
    const name = `t${fresh++}`;
    say(`let ${name} = ${text};`);
    return name;
  };
  /** Words of 16 * blocks columns of a piece. */
  const unpack = (p, phase) => {
    const scale = `scale_${p}`;
    if (!sparse)
      return upTo(2 * blocks).flatMap((at) => {
        const w = word(p, phase * 2 * blocks + at);
        if (!natural) {
          const high = bind(`${w} >> 8u`);
          return [
            `halves((${w} & 0x000f000fu) ^ 0x64086408u, ${scale})`,
            `higher((${w} & 0x00f000f0u) ^ 0x64806480u, ${scale})`,
            `halves((${high} & 0x000f000fu) ^ 0x64086408u, ${scale})`,
            `higher((${high} & 0x00f000f0u) ^ 0x64806480u, ${scale})`,
          ].map(bind);
        }
        const low = bind(`(${w} & 0x0f0fu) | ((${w} & 0xf0f0u) << 12u)`);
        const high = bind(`((${w} >> 16u) & 0x0f0fu) | ((${w} >> 4u) & 0x0f0f0000u)`);
        return [low, `(${low} >> 8u)`, high, `(${high} >> 8u)`].map((each) =>
          bind(`halves((${each} & 0x000f000fu) ^ 0x64086408u, ${scale})`),
        );
      });
    const where = (places, ones, bit, by) =>
      bind(`(((${bit === 0 ? places : `(${places} >> ${bit}u)`}) & ${ones}) * ${by}u)`);
    const spread = (first, second, places, ones) => {
      const [p1, p2, q1, q2] = upTo(4).map((bit) => where(places, ones, bit, 15));
      return [
        `${first} & ~(${p1} | ${p2})`,
        `(${first} & ${p1}) | (${second} & (${q1} & ~${q2}))`,
        `(${first} & ${p2}) | (${second} & (${q2} & ~${q1}))`,
        `${second} & (${q1} & ${q2})`,
      ].map(bind);
    };
    const place = (at) => `b_${p}.${"xy"[at >> 1]}`;
    if (blocks === 1) {
      const w = word(p, phase);
      const two = bind(phase % 2 === 0 ? `${place(phase)} & 0xffffu` : `${place(phase)} >> 16u`);
      const four = bind(`(${two} | (${two} << 8u)) & 0x00ff00ffu`);
      const eight = bind(`(${four} | (${four} << 4u)) & 0x0f0f0f0fu`);
      const [w0, w1, w2, w3] = spread(
        bind(`${w} & 0x0f0f0f0fu`),
        bind(`(${w} >> 4u) & 0x0f0f0f0fu`),
        eight,
        "0x01010101u",
      );
      if (!natural)
        return [w0, w1, w2, w3].flatMap((each) => [
          bind(`halves((${each} & 0x000f000fu) ^ 0x64086408u, ${scale})`),
          bind(`halves(((${each} >> 8u) & 0x000f000fu) ^ 0x64086408u, ${scale})`),
        ]);
      const low = [bind(`(${w0} & 0xffffu) | (${w1} << 16u)`), bind(`(${w2} & 0xffffu) | (${w3} << 16u)`)];
      const high = [bind(`(${w0} >> 16u) | (${w1} & 0xffff0000u)`), bind(`(${w2} >> 16u) | (${w3} & 0xffff0000u)`)];
      return [...low, ...low.map((each) => `(${each} >> 8u)`), ...high, ...high.map((each) => `(${each} >> 8u)`)].map(
        (each) => bind(`halves((${each} & 0x000f000fu) ^ 0x64086408u, ${scale})`),
      );
    }
    return upTo(blocks / 2).flatMap((two) => {
      const at = phase * blocks + 2 * two;
      const [low, high] = [word(p, at), word(p, at + 1)];
      const first = bind(`(${low} & 0x0f0f0f0fu) | ((${high} << 4u) & 0xf0f0f0f0u)`);
      const second = bind(`((${low} >> 4u) & 0x0f0f0f0fu) | (${high} & 0xf0f0f0f0u)`);
      const swap = (w, by, outer, down, up) =>
        bind(`(${w} & ${outer}) | ((${w} >> ${by}u) & ${down}) | ((${w} << ${by}u) & ${up})`);
      const bytes = swap(place(at), 8, "0xff0000ffu", "0x0000ff00u", "0x00ff0000u");
      const ordered = swap(bytes, 4, "0xf00ff00fu", "0x00f000f0u", "0x0f000f00u");
      const [w0, w1, w2, w3] = spread(first, second, ordered, "0x11111111u");
      // nibbles are of groups 0, 4, 1, 5, 2, 6, 3, 7
      const four = (z) => {
        const up = bind(`${z} >> 8u`);
        return [
          bind(`halves((${z} & 0x000f000fu) ^ 0x64086408u, ${scale})`),
          bind(`higher((${z} & 0x00f000f0u) ^ 0x64806480u, ${scale})`),
          bind(`halves((${up} & 0x000f000fu) ^ 0x64086408u, ${scale})`),
          bind(`higher((${up} & 0x00f000f0u) ^ 0x64806480u, ${scale})`),
        ];
      };
      if (!natural) return [w0, w1, w2, w3].flatMap(four);
      const [la, lb] = [
        four(bind(`(${w0} & 0xffffu) | (${w1} << 16u)`)),
        four(bind(`(${w2} & 0xffffu) | (${w3} << 16u)`)),
      ];
      const [ha, hb] = [
        four(bind(`(${w0} >> 16u) | (${w1} & 0xffff0000u)`)),
        four(bind(`(${w2} >> 16u) | (${w3} & 0xffff0000u)`)),
      ];
      // la: groups 0, 4, 1, 5; ha: 2, 6, 3, 7
      const groups = [
        [la, lb, 0],
        [la, lb, 2],
        [ha, hb, 0],
        [ha, hb, 2],
        [la, lb, 1],
        [la, lb, 3],
        [ha, hb, 1],
        [ha, hb, 3],
      ];
      return groups.flatMap(([a, b, which]) => [a[which], b[which]]);
    });
  };
  for (const phase of upTo(phases)) {
    const buffer = buffers === 1 ? 0 : phase % 2;
    const offset = buffer * region;
    const leftNames = [];
    if (left === "direct")
      for (const s of upTo(steps)) {
        const column = 64 * Math.floor(s / blocks) + 16 * (blocks * phase + (s % blocks));
        leftNames.push(
          upTo(mm).map((i) =>
            bind(
              `subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&x, ((first_m + ${16 * i}u) * ${k}u + first + ${column}u) / 8u, ${k / 8}u)`,
            ),
          ),
        );
      }
    for (const p of upTo(pieces)) {
      const words =
        without === "unpacking"
          ? upTo(8 * blocks).map((at) => `(a_${p}.${"xyzw"[at % 4]} ^ ${at + phase}u)`)
          : unpack(p, phase);
      for (let at = 0; at < (without === "stores" ? 4 : words.length); at += 4)
        say(
          `tiles[put + ${offset + p * lines * stride + at / 4}u] = vec4<u32>(${words.slice(at, at + 4).join(", ")});`,
        );
    }
    if (left === "staged") {
      upTo(leftVectors).forEach((v) => {
        const at = `(lane + ${32 * v}u)`;
        say(
          `tiles[base + ${offset + all * stride}u + ${at} / ${2 * steps}u * ${stride}u + ${at} % ${2 * steps}u] = left_${v};`,
        );
      });
      upTo(leftVectors).forEach((v) =>
        say(`left_${v} = ${phase + 1 < phases ? leftLoad(v, "first", phase + 1) : leftLoad(v, "next", 0)};`),
      );
    }
    if (barrier) say("workgroupBarrier();");
    for (const s of upTo(without === "products" ? 1 : steps)) {
      const lefts =
        left === "direct"
          ? leftNames[s]
          : upTo(mm).map((i) =>
              bind(
                `subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tiles, base + ${offset + (all + 16 * i) * stride + 2 * s}u, ${stride}u)`,
              ),
            );
      for (const j of upTo(nn)) {
        const right = bind(
          `subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tiles, base + ${offset + 16 * j * stride + 2 * s}u, ${stride}u)`,
        );
        lefts.forEach((each, i) =>
          say(`sum_${i}_${j} = subgroupMatrixMultiplyAccumulate(${each}, ${right}, sum_${i}_${j});`),
        );
      }
    }
    if (barrier && buffers === 1) say("workgroupBarrier();");
  }
  if (ahead) upTo(pieces).forEach((p) => held.forEach((each) => say(`${each}_${p} = n${each}_${p};`)));
  say("}");
  for (const i of upTo(mm)) {
    say("workgroupBarrier();");
    for (const j of upTo(nn))
      say(
        `subgroupMatrixStore<row_major>(&tiles, group * ${16 * resultStride}u + ${4 * j}u, sum_${i}_${j}, ${resultStride}u);`,
      );
    say(`workgroupBarrier();
for (var element = local_index; element < ${(16 * rows) / 4}u; element += ${32 * subgroups}u) {
let row = element / ${rows / 4}u;
let column = element % ${rows / 4}u;`);
    upTo(terms).forEach((term) => {
      say(`var total_${term} = vec4<f32>(0.0f);`);
      upTo(subgroups).forEach((s) =>
        say(
          `total_${term} += bitcast<vec4<f32>>(tiles[row * ${resultStride}u + column + ${s * 16 * resultStride + (term * rows) / 4}u]);`,
        ),
      );
    });
    const value = terms === 2 ? "total_0 / (vec4<f32>(1.0f) + exp(-total_0)) * total_1" : "total_0";
    say(`let value = ${value};
y[((first_m + ${16 * i}u + row) * ${n}u + first_n + column * 4u) / 4u] = vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
}`);
  }
  say("}");
  return { wgsl: out.join("\n"), workgroups: [n / rows, m / tokens, 1], views: sparse ? 3 : 2 };
}

const few = (terms) => {
  const rows = terms === 2 ? 16 : 32;
  const bases = [
    { subgroups: 1, block: 128, blocks: 2, left: "staged", rows: 2 * rows },
    { subgroups: 1, block: 64, blocks: 2, left: "direct", rows: 2 * rows },
    { subgroups: 1, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 2, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 2, block: 64, blocks: 2, left: "staged", rows },
    { subgroups: 4, block: 64, blocks: 2, left: "direct", rows },
    { subgroups: 4, block: 64, blocks: 1, left: "staged", rows },
  ].map((each) => ({ tokens: 16, ...each, block: each.rows < 32 ? 128 : each.block }));
  return bases.flatMap((each, at) => [
    each,
    { ...each, order: "tiles" },
    ...(at === 0 || at === 3
      ? ["loads", "unpacking", "stores", "products"].map((without) => ({ ...each, without }))
      : []),
  ]);
};
const some = (terms) => {
  const list = [];
  for (const tokens of [64, 32])
    for (const rows of terms === 2 ? [32, 16] : [64, 32])
      for (const [subgroups, block, blocks, buffers] of [
        [8, 64, 1, 1],
        [8, 64, 2, 1],
        [8, 64, 1, 2],
        [4, 64, 2, 1],
        [4, 128, 1, 1],
        [4, 64, 4, 1],
        [16, 64, 1, 1],
      ])
        for (const left of ["direct", "staged"]) list.push({ tokens, rows, subgroups, block, blocks, buffers, left });
  return list;
};

const { values: options } = parseArgs({
  options: {
    tokens: { type: "string", default: "16,64" },
    shapes: { type: "string", default: "gate+up,down,o,qkv" },
    formats: { type: "string", default: "2:4-int4,int4" },
    seconds: { type: "string", default: "110" },
    null: { type: "boolean" },
  },
});
const shapes = {
  qkv: { n: 6144, k: 4096 },
  o: { n: 4096, k: 4096 },
  "gate+up": { n: 14336, k: 4096 },
  down: { n: 4096, k: 14336 },
};
const device = options.null
  ? await openDevice({ backend: "null" })
  : await openDevice({ kind: "gpu", unchecked: true });
const { gpu } = device;
const library = standardLibrary();
const until = performance.now() + 1000 * Number(options.seconds);
const silu = (x) => x / (1 + Math.exp(-x));
console.log(device.name);
const watch = options.null ? null : await stopwatch(device);
/** WGSL that also counts the workgroups that are under way at a time, and keeps the largest number. */
function counted(wgsl) {
  const binding = Math.max(...[...wgsl.matchAll(/@binding\((\d+)\)/g)].map(([, at]) => Number(at))) + 1;
  const main = wgsl.indexOf("@compute");
  const open = wgsl.indexOf("{\n", main) + 2;
  const close = wgsl.lastIndexOf("}");
  return {
    binding,
    wgsl: `${wgsl.slice(0, main)}@group(0) @binding(${binding}) var<storage, read_write> under_way: array<atomic<u32>>;
${wgsl.slice(main, open)}if (local_index == 0u) { atomicMax(&under_way[1], atomicAdd(&under_way[0], 1u) + 1u); }
${wgsl.slice(open, close)}workgroupBarrier();
if (local_index == 0u) { atomicSub(&under_way[0], 1u); }
}`,
  };
}
const cases = options.formats
  .split(",")
  .flatMap((format) =>
    options.tokens
      .split(",")
      .flatMap((m) => options.shapes.split(",").map((shape) => ({ format, m: Number(m), shape }))),
  );
for (const { m, shape, format } of cases) {
  if (performance.now() > until) continue;
  const { n, k } = shapes[shape];
  const sparse = format === "2:4-int4";
  const terms = shape === "gate+up" ? 2 : 1;
  const spec = formats[format];
  const bytes = terms * formatBytes(spec, { rows: n, columns: k });
  const weights = options.null ? null : repeatedWeights(spec, n, k, n + k);
  const x = randomValues(m * k, 7).map((value) => roundF16(value / 8));
  const tokens = [...new Set([0, m >> 1, m - 1])];
  const expected =
    weights &&
    tokens.map((token) =>
      Array.from({ length: weights.rows }, (_, row) => {
        let sum = 0;
        for (let at = 0; at < k; at++) sum += x[token * k + at] * weights.values[row * k + at];
        return terms === 2 ? silu(sum) * sum : sum;
      }),
    );
  const list = (m <= 16 ? few(terms) : m <= 64 ? some(terms) : []).flatMap((cut) => {
    const made = prototype({ format, m, n, k, terms }, cut);
    return made === null ? [] : [{ cut, ...made }];
  });
  if (options.null) {
    for (const { cut, wgsl } of list) {
      const { messages } = await gpu.createShaderModule({ code: wgsl }).getCompilationInfo();
      if (messages.length > 0)
        throw new Error(`${JSON.stringify(cut)} ${messages.map(({ message }) => message).join("; ")}\n${wgsl}`);
    }
    console.log(m, shape, format, list.length);
    continue;
  }
  await withBuffers(device, async (make) => {
    const input = await make(Uint16Array.from(x, f16Bits), "activations");
    const sets = [];
    for (let taken = 0; taken === 0 || taken < 2 ** 28; taken += bytes) {
      const w = await make(weights.words, "weights");
      sets.push({ x: input, w, gate: w, up: terms === 2 ? await make(weights.words, "weights") : w });
    }
    const result = await make(2 * m * n, "result");
    const times = [];
    const show = (text, { us, slow }, error) =>
      times.push([
        us,
        `${String(m).padStart(4)} ${shape.padEnd(7)} ${format.padEnd(8)} ${text.padEnd(76)} ${us.toFixed(1).padStart(7)} us${slow > 1.04 ? ` at ${(1 / slow).toFixed(2)} of the clock` : ""}${error < 0.02 ? "" : ` WRONG ${error}`}`,
      ]);
    const errorNow = async () => {
      let [worst, norm, count] = [0, 0, 0];
      for (const [at, token] of tokens.entries()) {
        const found = new Uint16Array((await device.read(result, 2 * token * n, 2 * n)).buffer);
        for (let row = 0; row < n; row++) {
          const want = expected[at][row % expected[at].length];
          const error = Math.abs(f16FromBits(found[row]) - want);
          worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
          norm += want ** 2;
          count++;
        }
      }
      return worst / Math.sqrt(norm / count);
    };
    const target = targetOf(device);
    const sizes = terms === 2 ? { B: 1, T: m, M: n, D: k } : { B: 1, T: m, N: n, K: k };
    for (const each of ["f16", format]) {
      const bound = formats[each];
      const own = [];
      const size = terms * formatBytes(bound, { rows: n, columns: k });
      if (each === "f16")
        for (let taken = 0; taken < 2 ** 28; taken += size) {
          const w = await make(size / terms, "weights");
          own.push({ x: input, w, gate: w, up: terms === 2 ? await make(size / terms, "weights") : w });
        }
      const { program } = compileStages(
        library.get(terms === 2 ? "gated" : "linear"),
        { sizes, dtypes: { E: "f16" }, formats: terms === 2 ? { P: bound, U: bound } : { F: bound } },
        target,
      );
      const prepared = await prepare(device, make, program, each === "f16" ? own : sets, result);
      if (program.kernels.length === 1) {
        const code = counted(program.kernels[0].wgsl);
        const under = await make(16, "under way");
        const step = program.steps.find(({ kind }) => kind === "dispatch");
        const extra = { ...program, kernels: [{ wgsl: code.wgsl }], steps: [step] };
        const [[dispatch]] = await prepare(
          device,
          make,
          extra,
          (each === "f16" ? own : sets).slice(0, 1),
          result,
          under,
        );
        const encoder = gpu.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(dispatch.pipeline);
        pass.setBindGroup(0, dispatch.group);
        pass.dispatchWorkgroups(...dispatch.workgroups);
        pass.end();
        gpu.queue.submit([encoder.finish()]);
        const [, most] = new Uint32Array((await device.read(under, 0, 8)).buffer);
        console.log(`${most} workgroups of ${dispatch.workgroups.join("x")} at a time: ${each} as chosen`);
      }
      show(`${each} as the compiler chooses`, await watch.time(prepared), each === "f16" ? 0 : await errorNow());
    }
    const buffersOf = (set) => {
      const weightsOf = terms === 2 ? [set.gate, set.up] : [set.w];
      return [set.x, ...weightsOf.flatMap((w) => Array(sparse ? 3 : 2).fill(w)), result];
    };
    const pipelineOf = (code) =>
      gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: gpu.createShaderModule({ code }), entryPoint: "main" },
      });
    const groupOf = (pipeline, buffers) =>
      gpu.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: buffers.map((buffer, at) => ({ binding: at, resource: { buffer } })),
      });
    const started = performance.now();
    const pipelines = await watch.busyUntil(Promise.all(list.map(({ wgsl }) => pipelineOf(wgsl))));
    console.log(
      `${m} ${shape} ${format}: ${list.length} compiled in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
    const made = [];
    for (const [at, { cut, workgroups }] of list.entries()) {
      if (performance.now() > until) continue;
      const pipeline = pipelines[at];
      const time = await watch.time(
        sets.map((set) => [{ pipeline, group: groupOf(pipeline, buffersOf(set)), workgroups }]),
        600,
      );
      const name = Object.entries(cut)
        .map(([key, value]) => `${key}=${value}`)
        .join(" ");
      show(name, time, await errorNow());
      made.push({ ...time, name, ...list[at] });
    }
    for (const { name, wgsl, workgroups } of made.sort((a, b) => a.us - b.us).slice(0, 4)) {
      const code = counted(wgsl);
      const pipeline = await pipelineOf(code.wgsl);
      const under = await make(16, "under way");
      const group = groupOf(pipeline, [...buffersOf(sets[0]), under]);
      const encoder = gpu.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(...workgroups);
      pass.end();
      gpu.queue.submit([encoder.finish()]);
      const [, most] = new Uint32Array((await device.read(under, 0, 8)).buffer);
      console.log(`${most} workgroups of ${workgroups.join("x")} at a time: ${name}`);
    }
    for (const [, text] of times.sort((a, b) => a[0] - b[0])) console.log(text);
  });
}
if (watch !== null) {
  console.log(`clock ${watch.clock().toFixed(2)} GHz by the reference; ${clocks()}`);
  watch.close();
}
device.close();
