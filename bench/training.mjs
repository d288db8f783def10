/**
 * A step of training a whole model under a 2:4 mask towards its dense self, by parts: random weights of a shape that is
 * known by name, made on the device.
 *
 *   npm run build && node bench/training.mjs [--shape smollm2-135m] [--blocks N] [--window 512] [--batch 32]
 *     [--store f16|int4] [--device cpu] [--steps N] [--profile]
 *
 * One line a part: milliseconds of its passes over all windows of a step, the median of several. What is taken off from
 * longer programs is marked with ~. The loss of the first and of the last step is told: it has to fall.
 */
import { parseArgs } from "node:util";
import { check } from "../dist/compiler/check/check.js";
import { modelShapes } from "../dist/runtime/bench/model-shapes.js";
import { syntheticSession } from "../dist/runtime/bench/synthetic.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { formatBytes } from "../dist/runtime/device/error.js";
import { createHost, standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { treatmentGraphs } from "../dist/runtime/llama/training/gradients.js";
import { createLearner } from "../dist/runtime/llama/training/learner.js";
import { lossOf } from "../dist/runtime/llama/training/loss.js";
import { createBatch, createModelPass } from "../dist/runtime/llama/training/passes.js";
import { rowsOfHead, windowsOfPass } from "../dist/runtime/llama/training/room.js";
import { beginTraining } from "../dist/runtime/llama/training/trained.js";
import { createOptimizer, createUpdate } from "../dist/runtime/llama/training/update.js";
import { parseConfig } from "../dist/runtime/model/config.js";
import { openArena } from "../dist/runtime/run/arena.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const { values: options } = parseArgs({
  options: {
    shape: { type: "string", default: "smollm2-135m" },
    blocks: { type: "string" },
    window: { type: "string", default: "512" },
    batch: { type: "string", default: "32" },
    store: { type: "string", default: "f16" },
    device: { type: "string", default: "gpu" },
    steps: { type: "string", default: "10" },
    profile: { type: "boolean", default: false },
    group: { type: "string", default: "64" },
  },
});
const stores = {
  f16: "pack kept as nm(2, 4) of f16",
  int4: `pack kept as nm(2, 4) of int4(${options.group}) with scale int4_scale(kept, ${options.group})`,
};
const source = `use prune, quantize
recipe trained(model: llama) {
  for w in model.linears {
    let kept = w where mask_2of4(magnitude(w.dense))
    store w as ${stores[options.store]}
  }
}
`;
const host = createHost();
const file = "trained.esp";
const { value, diagnostics } = check(file, { ...host, read: (path) => (path === file ? source : host.read(path)) });
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const [treatment] = [...value.recipes.values()][0].steps[0].treatments;

const shape = modelShapes[options.shape];
const config = parseConfig("config.json", {
  ...shape,
  ...(options.blocks === undefined ? {} : { num_hidden_layers: Number(options.blocks) }),
});
const [tokens, batchSize, steps] = [Number(options.window), Number(options.batch), Number(options.steps)];
const device = await openDevice({ kind: options.device, unchecked: true });
const target = targetOf(device);
const dtype = target.f16 && target.kind === "gpu" ? "f16" : "f32";

/** Times parts of a step on an executor of its own. */
async function measure(profile) {
  const executor = await createExecutor(device, { profile });
  const arena = openArena(executor);
  try {
    const caller = createCaller(executor, target, standardLibrary());
    const format = { name: dtype, args: {}, of: null };
    const session = await syntheticSession(caller, config, format, "f16");
    const { frame, blocks } = session;
    const students = [];
    for (const weights of blocks) {
      const begin = (parameter, start, rounding) =>
        beginTraining(arena, caller, { name: parameter, parameter, start, rounding }, dtype, true);
      const linears = [];
      for (const [name, start] of Object.entries(weights.linears)) {
        linears.push([
          name,
          await begin(name, start, {
            ...treatmentGraphs(treatment, caller.functions),
            clock: null,
            parameters: [],
            weight: treatment.inputs.find(({ kind }) => kind === "weight").name,
            adjoint: `d_${treatment.stores}`,
            sizes: { N: start.shape[0], K: start.shape[1] },
            given: { [treatment.inputs.find(({ kind }) => kind === "original").name]: start },
          }),
        ]);
      }
      const gains = [];
      for (const [name, start] of Object.entries(weights.vectors))
        if (!name.endsWith("bias")) gains.push([name, await begin(name, start, null)]);
      const used = (some) => Object.fromEntries(some.map(([name, { forward }]) => [name, forward]));
      students.push({
        weights: { ...weights, vectors: { ...weights.vectors, ...used(gains) }, linears: used(linears) },
        trained: [...linears, ...gains].map(([, each]) => each),
      });
    }
    const trained = students.flatMap((student) => student.trained);
    const optimizer = await createOptimizer(arena, caller, trained, 1, dtype);
    const places = windowsOfPass(target, config, tokens, batchSize);
    const rows = rowsOfHead(target, config, places * tokens);
    const batch = await createBatch(arena, caller, places, tokens);
    const loss = lossOf(caller.functions.get("kl"));
    const parts = { arena, caller, config, dtype, loss, optimizer, total: optimizer.total, scratch: optimizer.scratch };
    const gain = { weight: frame.gain, trained: null };
    const head = frame.head.parts[0].tensor;
    const bind = (learns, own, dense) =>
      createModelPass(
        { ...parts, learns },
        { frame, students: own, gain, head, dense: { frame, head, blocks: dense }, beside: null },
        batch,
        rows,
      );
    const compiling = performance.now();
    const settings = {
      rate: 3e-4,
      warmup: 0,
      batch: batchSize,
      clip: 1,
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      decay: 0,
    };
    const learn = await bind(true, students, blocks);
    const made = performance.now() - compiling;
    let state = 1;
    const ids = Int32Array.from({ length: 4 * batchSize * tokens }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 8) % Math.min(config.vocabSize, 5000);
    });
    const windows = { count: 4 * batchSize, tokens, ids, scored: null };
    const common = { arena, caller, dtype, settings, steps: 1, trained, optimizer, windows, looksAhead: false, batch };
    const learner = await createLearner({ ...common, learn, watch: null });
    const chosen = Array.from({ length: batchSize }, (_, at) => at);
    const losses = [];
    const step = async () => {
      const { report } = await learner.step(chosen, settings.rate, 0);
      return report;
    };
    losses.push((await step()).loss);
    await step();
    await executor.profile();
    const times = [];
    for (let at = 0; at < steps; at++) {
      const begun = performance.now();
      const { loss: found, skipped } = await step();
      times.push(performance.now() - begun);
      losses.push(found);
      if (skipped > 0 && at === steps - 1) console.log(`${skipped} steps were left out`);
    }
    // as it runs: the next step is recorded while the one before is computed
    const started = performance.now();
    let last = null;
    for (let at = 0; at < steps; at++) {
      const { report } = await learner.step(chosen, settings.rate, 0);
      await last;
      last = report;
    }
    await last;
    const pipelined = (performance.now() - started) / steps;
    if (profile) {
      for (const { kernel, schedule, dispatches, nanoseconds } of (await executor.profile()).slice(0, 45))
        console.log(
          `  ${(nanoseconds / (2 * steps) / 1e6).toFixed(3).padStart(9)} ms ${String(dispatches / (2 * steps)).padStart(6)} x ${kernel} (${schedule})`,
        );
      return;
    }
    const replayed = async (bound) => {
      const found = [];
      for (let at = 0; at < 5; at++) {
        const begun = performance.now();
        for (let done = 0; done < batchSize; done += places) bound.replay();
        await executor.finish();
        if (at > 0) found.push(performance.now() - begun);
      }
      return median(found);
    };
    const whole = await replayed(learn);
    const plain = await replayed(await bind(false, [], []));
    const teacher = await replayed(await bind(false, [], blocks));
    const both = await replayed(await bind(false, students, blocks));
    const headLearns = await replayed(await bind(true, [], []));
    const update = await createUpdate(arena, caller, trained, optimizer, settings, dtype);
    const begun = performance.now();
    for (let at = 0; at < 5; at++) update.replay();
    await executor.finish();
    const updating = (performance.now() - begun) / 5;
    const recording = performance.now();
    learn.replay();
    const host = performance.now() - recording;
    await executor.finish();
    const { allocated, peak } = device.memory;
    console.log(
      `${device.name}: ${options.shape}, ${config.layers} blocks, ${batchSize} windows of ${tokens} tokens a step, ${places} at once, logits of ${rows} rows, ${dtype}, 2:4 of ${options.store}`,
    );
    const line = (name, ms, mark = " ") => console.log(`${name.padEnd(34)} ${mark}${ms.toFixed(1).padStart(8)} ms`);
    line("a step, waited for", median(times));
    line("a step, the next recorded", pipelined);
    line("  passes and the way back", whole);
    line("    dense model forward", teacher - plain, "~");
    line("    trained model forward", both - teacher, "~");
    line("    head and loss", plain);
    line("    the way back through the head", headLearns - plain, "~");
    line("    the way back through blocks", whole - both - (headLearns - plain), "~");
    line("  update", updating);
    line("  recording a pass, by the host", host);
    console.log(
      `${learn.dispatches} dispatches a pass, ${update.dispatches} an update; bound in ${(made / 1000).toFixed(1)} s; ${formatBytes(allocated)} allocated, ${formatBytes(peak)} at most`,
    );
    console.log(
      `${Math.round((1000 * batchSize * tokens) / pipelined)} tokens/s; loss ${losses[0].toFixed(4)} -> ${losses.at(-1).toFixed(4)}`,
    );
    if (!(losses.at(-1) < losses[0])) process.exitCode = 1;
  } finally {
    arena.close();
    executor.close();
  }
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

await measure(false);
if (options.profile) await measure(true);
device.close();
