/** A tile of packed weights written out by hand, for `tile-prototypes.mjs`. */

export const upTo = (count) => Array.from({ length: count }, (_, at) => at);

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
