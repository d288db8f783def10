/**
 * Where the time of a pass goes, dispatch by dispatch: a token of each of many sequences, or a prompt.
 *
 *   npm run build && node bench/many-tokens.mjs [--formats f16,int4,2:4-int4] [--passes 16x1,64x1,1x512] [--blocks 12]
 *     [--shape llama-3.1-8b] [--context 128] [--cuts FILE] [--alone] [--seconds 120] [--device gpu] [--json] [--null]
 *
 * `--passes`: sequences x tokens of each. The model is of random weights; its pass is linked and bound as `generate` does
 * it. Of each dispatch of a block: `alone`, those of all blocks one after the other, so that weights come from memory;
 * `left out`, how much sooner the whole pass is over without it; and the bytes of weights that it reads, over the time
 * alone. The gap between dispatches that wait for each other is in every figure. Times are taken at full clock
 * (`steady.mjs`). `--alone`: nothing is left out, which takes half the time; `--whole`: only the passes are timed. `--plain`: weights as files have them. `--cuts`: choices of schedules as `tune` writes them. `--null` only lists, on the backend that computes
 * nothing.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { boundElements } from "../dist/compiler/wgsl/rebind.js";
import { shapeOfModel } from "../dist/runtime/bench/shapes.js";
import { syntheticSession } from "../dist/runtime/bench/synthetic.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { createChain } from "../dist/runtime/llama/inference/chain.js";
import { forward, logits } from "../dist/runtime/llama/inference/pass.js";
import { withArena } from "../dist/runtime/run/arena.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { clocks, stopwatch } from "./steady.mjs";
import { compiledFor, formats } from "./tiles.mjs";

const { values: options } = parseArgs({
  options: {
    formats: { type: "string", default: "f16,int4,2:4-int4" },
    passes: { type: "string", default: "16x1,64x1,1x512" },
    blocks: { type: "string", default: "12" },
    shape: { type: "string", default: "llama-3.1-8b" },
    context: { type: "string", default: "128" },
    cuts: { type: "string" },
    alone: { type: "boolean" },
    whole: { type: "boolean" },
    plain: { type: "boolean" },
    seconds: { type: "string", default: "120" },
    json: { type: "boolean" },
    device: { type: "string", default: "gpu" },
    null: { type: "boolean" },
  },
});
const until = performance.now() + 1000 * Number(options.seconds);
const device = await openDevice(options.null ? { backend: "null" } : { kind: options.device, unchecked: true });
const own = targetOf(device);
const target = options.null ? compiledFor(own) : own;
const { gpu } = device;
const watch = options.null ? null : await stopwatch(device);
const choices = options.cuts === undefined ? {} : JSON.parse(readFileSync(options.cuts, "utf8"));
const config = {
  ...shapeOfModel(options.shape, options.null ? 2 : Number(options.blocks)),
};
const context = Number(options.context);
const say = (text, row) => console.log(options.json ? JSON.stringify(row) : text);
say(`${device.name} ${clocks()}`, { device: device.name });

/** An executor that has no memory: programs are made for its tensors, and nothing is run. */
function emptyExecutor() {
  const tensor = async (dtype, shape, format = null) => ({ dtype, shape, format, buffer: {}, offset: 0, bytes: 16 });
  const encoder = { copyBufferToBuffer() {}, finish() {} };
  return {
    device: {
      ...device,
      gpu: { createCommandEncoder: () => encoder, queue: { submit() {} } },
      guarded: async (_, body) => body(),
    },
    allocate: ({ dtype, shape, format }) => tensor(dtype, shape, format),
    upload: ({ dtype, shape, format }) => tensor(dtype, shape, format),
    fill: tensor,
    prepare: async (given) => ({ program: given, kernels: [] }),
    bind: async () => ({ outputs: {}, dispatches: 0 }),
    unbind() {},
    release() {},
    tie() {},
    run: async () => ({}),
    write: async () => {},
    finish: async () => {},
    close() {},
  };
}

/** An executor that keeps the last program that was bound. */
async function watchedExecutor() {
  const executor = options.null ? emptyExecutor() : await createExecutor(device);
  let program = null;
  const bind = (prepared, ...rest) => {
    program = prepared.program;
    return executor.bind(prepared, ...rest);
  };
  return { executor: { ...executor, bind }, program: () => program };
}

/** The dispatches that a replay records, with their kernels. */
function takenDown(program, replay) {
  const flat = (steps) =>
    steps.flatMap((step) => (step.kind === "dispatch" ? [step] : step.kind === "repeat" ? flat(step.steps) : []));
  const steps = flat(program.steps);

  const inputs = new Map(program.inputs.map(({ buffer, mutable }) => [buffer, mutable]));
  const list = [];
  if (!options.null) {
    const real = gpu.createCommandEncoder;
    let current = {};
    const pass = {
      setPipeline: (pipeline) => (current = { ...current, pipeline }),
      setBindGroup(at, group, offsets = []) {
        current = at === 0 ? { ...current, group } : { ...current, parameters: group, offsets };
      },
      dispatchWorkgroups: (...workgroups) => list.push({ ...current, workgroups }),
      end() {},
    };
    gpu.createCommandEncoder = () => ({ beginComputePass: () => pass, finish: () => real.call(gpu).finish() });
    replay();
    gpu.createCommandEncoder = real;
    if (list.length !== steps.length) throw new Error(`${steps.length} dispatches, and ${list.length} were recorded`);
  }
  return steps.map((step, at) => ({
    ...(list[at] ?? { workgroups: step.workgroups }),
    id: step.kernel,
    kernel: program.kernels[step.kernel],
    /** Bytes of weights that the kernel reads, of all that its group binds. */
    bytes: [...new Set([...boundElements(program.kernels[step.kernel].wgsl).keys()].map((at) => step.buffers[at]))]
      .filter((id) => inputs.get(id) === false && program.buffers[id].bytes > 2 ** 20)
      .reduce((sum, id) => sum + program.buffers[id].bytes, 0),
  }));
}

/** Where the blocks begin, and how many dispatches each has. */
function blocksOf(list) {
  const first = list.findIndex(({ id }) => list.filter((other) => other.id === id).length >= config.layers);
  const next = list.findIndex(({ id }, at) => at > first && id === list[first].id);
  return { first, length: next - first };
}

async function measure(name, session, watched, sequences, tokens) {
  const { executor } = session.caller;
  await withArena(executor, async (arena) => {
    const cache = await session.allocateCache(sequences, Math.ceil((context + tokens + 1) / 64) * 64);
    arena.defer(() => session.releaseCache(cache));
    const numbers = (length, value) => Int32Array.from({ length }, value);
    const start = tokens > 1 ? 0 : context;
    const ids = arena.own(
      await executor.fill(
        "i32",
        [sequences, tokens],
        numbers(sequences * tokens, (_, at) => 1 + (at % 1000)),
      ),
    );
    const positions = arena.own(
      await executor.fill(
        "i32",
        [sequences],
        numbers(sequences, () => start),
      ),
    );
    const pick = arena.own(
      await executor.fill(
        "i32",
        [sequences],
        numbers(sequences, () => tokens - 1),
      ),
    );
    const built = (async () => {
      const chain = createChain(arena, session.caller, "pass");
      const found = await logits(chain, session, await forward(chain, session, ids, positions, cache), pick);
      const [next] = await chain.call("greedy", { logits: found });
      return chain.bind([next]);
    })();
    const bound = await (watch === null ? built : watch.busyUntil(built));
    await executor.finish();
    const list = takenDown(watched.program(), bound.replay);
    await executor.finish();
    const { first, length } = blocksOf(list);
    const end = first + config.layers * length;
    const titled = `${name}, ${sequences} x ${tokens}`;
    const whole = watch === null ? { us: NaN, slow: 1 } : await watch.time([list], 600);
    const blocks = watch === null ? { us: NaN, slow: 1 } : await watch.time([list.slice(first, end)], 600);
    const slow = ({ slow: by }) => (by > 1.04 ? ` at ${(1 / by).toFixed(2)} of the clock` : "");
    say(
      `\n${titled}: ${list.length} dispatches, ${length} a block; a pass of ${config.layers} blocks and the head ${whole.us.toFixed(0)} us${slow(whole)}, a block ${(blocks.us / config.layers).toFixed(1)} us${slow(blocks)}; of 32 blocks ${((whole.us - blocks.us + (32 * blocks.us) / config.layers) / 1000).toFixed(2)} ms`,
      { name, sequences, tokens, dispatches: list.length, length, whole, blocks, layers: config.layers },
    );
    if (options.whole) return;
    say(
      `${"kernel".padEnd(34)} ${"schedule".padEnd(14)} ${"workgroups x invocations".padEnd(26)} ${"MB".padStart(7)} ${"alone".padStart(8)} ${"GB/s".padStart(6)} ${"left out".padStart(9)}`,
      {},
    );
    let [sum, saved] = [0, 0];
    for (let at = 0; at < list.length; at++) {
      if (at >= first + length && at < end) continue;
      const inBlock = at >= first && at < end;
      const every = inBlock
        ? list.filter((_, other) => other >= first && other < end && (other - first) % length === at - first)
        : [list[at]];
      const others = list.slice(first, end).filter((_, other) => !inBlock || other % length !== at - first);
      const alone =
        watch === null
          ? { us: NaN, slow: 1 }
          : await watch.time(
              every.map((one) => [one]),
              300,
            );
      const without = watch === null || !inBlock || options.alone ? null : await watch.time([others], 400);
      const left = without === null ? NaN : (blocks.us - without.us) / config.layers;
      const { kernel, workgroups, bytes } = list[at];
      if (inBlock) [sum, saved] = [sum + alone.us, saved + left];
      const { name: called, schedule, workgroupSize } = kernel;
      say(
        `${(inBlock ? called : `(${called})`).padEnd(34)} ${schedule.padEnd(14)} ${`${workgroups.join("x")} x ${workgroupSize.join("x")}`.padEnd(26)} ${(bytes / 1e6).toFixed(1).padStart(7)} ${alone.us.toFixed(1).padStart(8)} ${(bytes / alone.us / 1000).toFixed(0).padStart(6)} ${Number.isNaN(left) ? "" : left.toFixed(1).padStart(9)}${slow(alone)}`,
        { name, sequences, tokens, kernel: called, schedule, workgroups, workgroupSize, bytes, alone, left, inBlock },
      );
      if (performance.now() > until) break;
    }
    say(
      `${"a block's".padEnd(84)} ${sum.toFixed(1).padStart(8)} ${"".padStart(6)} ${saved.toFixed(1).padStart(9)}`,
      {},
    );
  });
}

for (const name of options.formats.split(",")) {
  if (performance.now() > until) break;
  const watched = await watchedExecutor();
  const { executor } = watched;
  const made = syntheticSession(
    createCaller(executor, target, standardLibrary(), { choices, interleave: options.plain !== true }),
    config,
    formats[name],
    "auto",
  );
  const session = await (watch === null ? made : watch.busyUntil(made));
  for (const pass of options.passes.split(",")) {
    const [sequences, tokens] = pass.split("x").map(Number);
    if (performance.now() < until) await measure(name, session, watched, sequences, tokens);
  }
  session.release();
  executor.close();
}
watch?.close();
device.close();
