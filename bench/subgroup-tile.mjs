/** A tile of one subgroup written out by hand, for `subgroup-tiles.mjs`: its words and its WGSL. */

export const upTo = (count) => Array.from({ length: count }, (_, at) => at);

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
