/**
 * One token's attention over keys and values in pages, Llama 3.1 8B's heads: cuts of the compiler, and kernels written
 * out by hand, to see what pays before the compiler learns it. Each is held to the first.
 *
 *   npm run build && node bench/attention-cuts.mjs [--only TEXT] [--seconds 80] [--null]
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { compileFunction } from "../dist/compiler/compile.js";
import { bufferUsage, openDevice } from "../dist/runtime/device/device.js";
import { createHost } from "../dist/runtime/library.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, stopwatch } from "./steady.mjs";
import { compiledFor } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    seconds: { type: "string", default: "80" },
    null: { type: "boolean" },
  },
});
const [A, G, H, PAGE] = [32, 8, 128, 16];
const pool = 8192;
const upTo = (count) => Array.from({ length: count }, (_, at) => at);
const head = `enable f16;
enable subgroups;
diagnostic(off, subgroup_uniformity);`;
const exp = `fn total_exp(x: f32) -> f32 { return select(exp(x), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u); }`;

/** Each subgroup keeps a softmax of its own, of whole rows; no barriers until the end. */
function subgroups({ W, R, parts, only = "" }) {
  const N = 4 * R;
  const step = 2 * R;
  const out = [];
  const say = (text) => out.push(text);
  say(`${head}
@group(0) @binding(0) var<storage, read> positions: array<i32>;
@group(0) @binding(1) var<storage, read> q: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> pages: array<i32>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> states: array<f32>;
var<workgroup> all: array<f32, ${W * 512}>;
var<workgroup> state: array<f32, ${W * 8}>;
${exp}
@compute @workgroup_size(${32 * W})
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_id) sg: u32) {
let group = id.x;
let part = id.y;
let length = u32(positions[0] + 1);
let part_keys = (length + ${16 * parts - 1}u) / ${16 * parts}u * 16u;
let begin = part * part_keys;
let end = min(begin + part_keys, length);
if (begin >= end) {
  if (local < 4u) { let at = (group * 4u + local) * ${parts}u + part; states[2u * at] = -3.4028234e38f; states[2u * at + 1u] = 0f; }
  return;
}
let last = end - 1u;
let row = lane / 16u;
let column = lane % 16u;
let offset = group * 16u + column;`);
  for (const at of upTo(4)) {
    say(`let q${at} = q[(group * 4u + ${at}u) * 16u + column];`);
    for (const word of upTo(4)) say(`let q${at}_${word} = unpack2x16float(q${at}.${"xyzw"[word]}) * 0.088388346f;`);
  }
  for (const at of upTo(4)) for (const h of upTo(8)) say(`var s${at}_${h} = 0f;`);
  say(`var highest = -3.4028234e38f; var total = 0f;`);
  /** The vectors of a step, whose keys are of one page. */
  const load = (start) =>
    [
      `{ let first = ${start}; let at = u32(pages[min(first, last) / 16u]); let page = select(0u, at, at < ${pool}u) * 16u;`,
      ...upTo(R).map((i) => `let p${i} = (page + min(first + ${2 * i}u + row, last) % 16u) * 128u + offset;`),
      ...upTo(R).map((i) => `k${i} = keys[p${i}];`),
      ...upTo(R).map((i) => `v${i} = values[p${i}];`),
      "}",
    ].join("\n");
  for (const i of upTo(R)) say(`var k${i}: vec4<u32>; var v${i}: vec4<u32>;`);
  say(load(`begin + sg * ${step}u`));
  say(`for (var start = begin + sg * ${step}u; start < end; start += ${step * W}u) {`);
  if (only === "loads") {
    for (const i of upTo(R))
      say(
        `s0_0 += bitcast<f32>((k${i}.x ^ k${i}.y ^ k${i}.z ^ k${i}.w ^ v${i}.x ^ v${i}.y ^ v${i}.z ^ v${i}.w) & 0x3fffffffu);`,
      );
    say(load(`start + ${step * W}u`));
    say("}");
  } else {
    for (const i of upTo(R)) {
      for (const word of upTo(4)) say(`let k${i}_${word} = unpack2x16float(k${i}.${"xyzw"[word]});`);
      for (const at of upTo(4)) {
        const terms = upTo(4).flatMap((word) => [
          [`k${i}_${word}.x`, `q${at}_${word}.x`],
          [`k${i}_${word}.y`, `q${at}_${word}.y`],
        ]);
        say(
          `let d${at * R + i} = ${terms.reduce((sum, [a, b]) => (sum === "" ? `${a} * ${b}` : `fma(${a}, ${b}, ${sum})`), "")};`,
        );
      }
    }
    say(
      upTo(R)
        .map((i) => `let w${i} = v${i};`)
        .join(" "),
    );
    say(load(`start + ${step * W}u`));
    let names = upTo(N).map((at) => `d${at}`);
    for (const bit of [8, 4, 2, 1]) {
      const half = names.length / 2;
      say(`let up${bit} = (lane & ${bit}u) != 0u;`);
      names = upTo(half).map((at) => {
        const name = `r${bit}_${at}`;
        say(
          `let ${name} = select(${names[at]}, ${names[at + half]}, up${bit}) + subgroupShuffleXor(select(${names[at + half]}, ${names[at]}, up${bit}), ${bit}u);`,
        );
        return name;
      });
    }
    const own = N / 16;
    for (const j of upTo(own)) {
      say(`let in${j} = start + 2u * ((column * ${own}u + ${j}u) % ${R}u) + row < end;`);
      say(`let score${j} = select(-3.4028234e38f, ${names[j]}, in${j});`);
    }
    say(`var peak = ${upTo(own).reduce((m, j) => (m === "" ? `score${j}` : `max(${m}, score${j})`), "")};`);
    for (const bit of [1, 2, 16].slice(0)) say(`peak = max(peak, subgroupShuffleXor(peak, ${bit}u));`);
    say(`let most = max(highest, peak);
if (subgroupMax(select(0u, 1u, most > highest)) == 1u) {
let below = total_exp(highest - most);
total *= below;
highest = most;`);
    for (const at of upTo(4)) {
      say(`let b${at} = subgroupShuffle(below, ${at * 4}u);`);
      for (const h of upTo(8)) say(`s${at}_${h} *= b${at};`);
    }
    say("}");
    for (const j of upTo(own))
      say(`let weight${j} = select(0f, total_exp(score${j} - highest), in${j}); total += weight${j};`);
    say(`let half = lane & 16u;`);
    for (const i of upTo(R)) {
      for (const word of upTo(4)) say(`let v${i}_${word} = unpack2x16float(w${i}.${"xyzw"[word]});`);
      for (const at of upTo(4)) {
        // value at * R + i lies in lane (at * R + i) / own, slot % own
        say(
          `let w${at}_${i} = subgroupShuffle(weight${(at * R + i) % own}, half + ${Math.floor((at * R + i) / own)}u);`,
        );
        for (const word of upTo(4))
          say(
            `s${at}_${2 * word} = fma(w${at}_${i}, v${i}_${word}.x, s${at}_${2 * word}); s${at}_${2 * word + 1} = fma(w${at}_${i}, v${i}_${word}.y, s${at}_${2 * word + 1});`,
          );
      }
    }
    say("}");
  }
  say(`total += subgroupShuffleXor(total, 1u); total += subgroupShuffleXor(total, 2u); total += subgroupShuffleXor(total, 16u);
if (lane < 16u && lane % 4u == 0u) { state[sg * 8u + lane / 4u] = highest; state[sg * 8u + 4u + lane / 4u] = total; }`);
  for (const at of upTo(4)) for (const h of upTo(8)) say(`s${at}_${h} += subgroupShuffleXor(s${at}_${h}, 16u);`);
  say("if (row == 0u) {");
  for (const at of upTo(4))
    for (const h of upTo(8)) say(`all[sg * 512u + ${at * 128 + h}u + column * 8u] = s${at}_${h};`);
  say(`}
workgroupBarrier();
for (var at = local; at < 512u; at += ${32 * W}u) {
  let query = at / 128u;
  var most = state[query];`);
  for (const s of upTo(W).slice(1)) say(`most = max(most, state[${8 * s}u + query]);`);
  say("var sum = 0f; var whole = 0f;");
  for (const s of upTo(W))
    say(
      `{ let share = total_exp(state[${8 * s}u + query] - most); sum = fma(all[${512 * s}u + at], share, sum); whole = fma(state[${8 * s + 4}u + query], share, whole); }`,
    );
  say(`let place = (group * 4u + query) * ${parts}u + part;
  sums[place * 128u + at % 128u] = sum;
  if (at % 128u == 0u) { states[2u * place] = most; states[2u * place + 1u] = whole; }
}
}`);
  return { code: out.join("\n"), workgroups: [G, parts, 1] };
}

const device = await openDevice(options.null ? { backend: "null" } : { kind: "gpu", unchecked: true });
const { gpu } = device;
const own = targetOf(device);
const target = options.null ? compiledFor(own) : own;
const watch = options.null ? null : await stopwatch(device);
console.log(device.name, clocks());
const { value, diagnostics } = check(fileURLToPath(new URL("attention.esp", import.meta.url)), createHost());
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const compiled = (cut, { B, L }) =>
  compileFunction(
    value.functions.get("attention_in_pages"),
    { sizes: { B, T: 1, A, G, H, PAGE, POOL: pool, L }, dtypes: { E: "f16" }, formats: {} },
    target,
    {
      schedule:
        cut.by === "subgroup"
          ? { kind: "attention", queries: 4, loads: 4, ...cut }
          : { kind: "attention", by: "workgroup", lanes: 256, queries: 4, tile: 64, ahead: 0, parts: 64, ...cut },
    },
  );

/** Random f16 of +-[0.5, 1). */
function noise(count, seed) {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  return Uint16Array.from({ length: count }, () => ((next() >>> 16) & 0x83ff) | 0x3800);
}
const buffer = (size) =>
  gpu.createBuffer({
    size: Math.max(16, Math.ceil(size / 16) * 16),
    usage: bufferUsage.storage | bufferUsage.copyDst | bufferUsage.copySrc,
  });
function upload(data) {
  const made = buffer(data.byteLength);
  gpu.queue.writeBuffer(made, 0, data);
  return made;
}
function filled(bytes, seed) {
  const made = buffer(bytes);
  const piece = noise(2 ** 22 + 7 * 64 + seed * 8, seed);
  for (let at = 0; at < bytes; at += piece.byteLength)
    gpu.queue.writeBuffer(made, at, piece, 0, Math.min(piece.length, (bytes - at) / 2));
  return made;
}
const heavy = options.null ? 1024 : pool * PAGE * G * H * 2;
const shared = { q: upload(noise(64 * A * H, 5)), keys: filled(heavy, 1), values: filled(heavy, 2) };
/** Tables for batches of texts of so many tokens, as many as the pool has room for. */
function texts(context, { B, L }) {
  const each = Math.ceil(context / PAGE);
  const count = Math.max(1, Math.min(16, Math.floor(pool / (each * B))));
  return upTo(count).map((text) => ({
    ...shared,
    pages: upload(
      Int32Array.from({ length: B * L }, (_, at) =>
        at % L < each ? (((text * B + Math.floor(at / L)) * each + (at % L)) * 5) % pool : -1,
      ),
    ),
    positions: upload(new Int32Array(B).fill(context - 1)),
  }));
}
const temporaries = new Map();
const temporary = (name, bytes) => {
  if (!temporaries.has(`${name}.${bytes}`)) temporaries.set(`${name}.${bytes}`, buffer(bytes));
  return temporaries.get(`${name}.${bytes}`);
};
const result = buffer(64 * A * H * 2);

async function pipelineOf(code) {
  gpu.pushErrorScope("validation");
  const module = gpu.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const wrong = messages.filter(({ type }) => type === "error");
  if (wrong.length > 0)
    throw new Error(wrong.map(({ message, lineNum }) => `${message} at ${code.split("\n")[lineNum - 1]}`).join("; "));
  if (options.null) {
    await gpu.popErrorScope();
    return null;
  }
  const pipeline = await gpu.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
  const error = await gpu.popErrorScope();
  if (error) throw new Error(error.message);
  return pipeline;
}

const merges = new Map();
async function mergeOf(parts, batch) {
  const key = `${parts} ${batch.B} ${batch.L}`;
  if (!merges.has(key)) {
    const program = compiled({ parts }, batch);
    const [, at] = program.steps.filter(({ kind }) => kind === "dispatch");
    merges.set(key, { pipeline: await pipelineOf(program.kernels[at.kernel].wgsl), workgroups: at.workgroups });
  }
  return merges.get(key);
}

const long = { B: 1, L: 8196 };
const short = { B: 1, L: 32 };
const candidates = [];
const cut = (shape, batch = long) =>
  candidates.push({
    name: `${batch.B} x ${batch.L * PAGE} ${JSON.stringify(shape)}`,
    cut: shape,
    batch,
  });
const proto = (name, make, shape) =>
  candidates.push({
    name: `${name} by hand ${JSON.stringify(shape)}`,
    make,
    shape,
    batch: long,
    parts: shape.parts,
    only: shape.only,
  });
cut({ parts: 64 });
cut({ by: "subgroup", subgroups: 16, parts: 16 });
cut({ by: "subgroup", subgroups: 8, parts: 33 });
proto("subgroups", subgroups, { W: 16, R: 4, parts: 16 });
proto("subgroups", subgroups, { W: 16, R: 4, parts: 16, only: "loads" });
cut({ ahead: 1, parts: 33 });
cut({ by: "subgroup", subgroups: 4, parts: 66 });
cut({ by: "subgroup", subgroups: 16, parts: 33 });
cut({ by: "subgroup", subgroups: 8, loads: 8, parts: 33 });
for (const B of [1, 16, 64]) {
  const batch = { ...short, B };
  cut({ parts: 1 }, batch);
  cut({ parts: 1, ahead: 1 }, batch);
  for (const subgroups of [16, 8, 4]) cut({ by: "subgroup", subgroups, parts: 1 }, batch);
}
cut({ parts: 5 }, { B: 16, L: 8196 });
cut({ by: "subgroup", subgroups: 16, parts: 1 }, { B: 16, L: 8196 });
cut({ by: "subgroup", subgroups: 4, parts: 4 }, { B: 16, L: 8196 });

async function stepsOf({ cut, make, shape, batch, parts }, sets) {
  if (make === undefined) {
    const program = compiled(cut, batch);
    const pipelines = await Promise.all(program.kernels.map(({ wgsl }) => pipelineOf(wgsl)));
    return sets.map((set) =>
      program.steps
        .filter(({ kind }) => kind === "dispatch")
        .map((step) => {
          const entries = step.buffers.map((id, at) => {
            const { role, bytes } = program.buffers[id];
            const input = program.inputs.find(({ buffer }) => buffer === id)?.name;
            const found = input !== undefined ? set[input] : role === "temporary" ? temporary(id, bytes) : result;
            return { binding: at, resource: { buffer: found } };
          });
          const pipeline = pipelines[step.kernel];
          const group = pipeline && gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
          return { pipeline, group, workgroups: step.workgroups };
        }),
    );
  }
  const { code, workgroups } = make(shape);
  const pipeline = await pipelineOf(code);
  const merge = await mergeOf(parts, batch);
  if (options.null) return [];
  const sums = temporary("sums", A * parts * H * 4);
  const states = temporary("states", A * parts * 8);
  return sets.map((set) => {
    const buffers = [set.positions, set.q, set.keys, set.values, set.pages, sums, states];
    const entries = buffers.map((buffer, at) => ({ binding: at, resource: { buffer } }));
    const merged = [states, sums, result].map((buffer, at) => ({ binding: at, resource: { buffer } }));
    return [
      { pipeline, group: gpu.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }), workgroups },
      {
        pipeline: merge.pipeline,
        group: gpu.createBindGroup({ layout: merge.pipeline.getBindGroupLayout(0), entries: merged }),
        workgroups: merge.workgroups,
      },
    ];
  });
}

async function once(steps, B) {
  const encoder = gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { pipeline, group, workgroups } of steps) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...workgroups);
  }
  pass.end();
  gpu.queue.submit([encoder.finish()]);
  const bytes = await device.read(result, 0, B * A * H * 2);
  return Float32Array.from(new Uint16Array(bytes.buffer, bytes.byteOffset, B * A * H), (bits) => {
    const size = bits & 0x7fff;
    const value =
      size === 0 ? 0 : size < 1024 ? size * 2 ** -24 : 2 ** ((size >> 10) - 15) * (1 + (size & 0x3ff) / 1024);
    return bits & 0x8000 ? -value : value;
  });
}
const difference = (a, b) =>
  a.reduce((most, each, at) => Math.max(most, Number.isNaN(each) ? Infinity : Math.abs(each - b[at])), 0);

const started = performance.now();
const late = () => performance.now() - started > 1000 * Number(options.seconds);
/** What the first cut of a batch gives, by batch and length. */
const expected = new Map();
const contexts = ({ B, L }) => (B > 1 ? (L > 32 ? [2048] : [128]) : L > 32 ? [32768, 8192, 2048, 128] : [512, 128]);
/** Lengths at which results are compared: several parts, odd ends. */
const checkedAt = ({ L }) => (L > 32 ? [32761, 1999, 5] : [509, 127, 1]);
for (const candidate of candidates) {
  if (late()) break;
  const { name, batch } = candidate;
  if (options.only !== undefined && !name.includes(options.only)) continue;
  try {
    const lengths = contexts(batch);
    const sets = lengths.map((context) => texts(context, batch));
    const made = stepsOf(candidate, sets.flat());
    const steps = await (watch === null ? made : watch.busyUntil(made));
    if (watch === null) {
      console.log(name, "compiles");
      continue;
    }
    let most = 0;
    if (candidate.only === undefined)
      for (const length of checkedAt(batch)) {
        if (batch.B * length > pool * PAGE) continue;
        const [one] = await stepsOf(candidate, texts(length, batch).slice(0, 1));
        const got = await once(one, batch.B);
        const key = `${batch.B} ${batch.L} ${length}`;
        if (!expected.has(key)) expected.set(key, got);
        most = Math.max(most, difference(got, expected.get(key)));
      }
    const found = [];
    let from = 0;
    for (const [at, context] of lengths.entries()) {
      const own = steps.slice(from, (from += sets[at].length));
      const whole = await watch.time(own, 150);
      const alone =
        own[0].length > 1 && context > 8192
          ? await watch.time(
              own.map(([first]) => [first]),
              150,
            )
          : null;
      found.push(
        `${context}: ${whole.us.toFixed(1)}${alone === null ? "" : ` (alone ${alone.us.toFixed(1)})`}${whole.slow > 1.04 ? ` at ${(1 / whole.slow).toFixed(2)}` : ""}`,
      );
    }
    console.log(`${name.padEnd(80)} ${found.join(", ")} us; off by ${most.toExponential(1)}`);
  } catch (error) {
    console.log(name, String(error.message ?? error).slice(0, 400));
  }
}
watch?.close();
device.close();
process.exit(0);
