/**
 * What the host takes for a token, apart from the GPU: a model of small layers with as many dispatches as one of a usual
 * shape.
 *
 *   npm run build && node bench/host.mjs [--device null|gpu|cpu] [--blocks 32] [--format FORMAT] [--shape NAME] [--steps 400] [--json]
 *
 * On Dawn's backend that computes nothing, the default, all of it is the binding's and Dawn's own time; on a GPU also
 * its driver's. `record`: the calls of a step into Dawn; `submit`: its commands and the read of its token go to the
 * queue, where Dawn makes them the driver's; `token`: all of a step, the wait for the token before it included. Of all
 * steps the tenth that takes least, in us: what else the machine does only adds to it.
 */
import { parseFormat } from "../dist/runtime/cli/format.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { shapeOfModel } from "../dist/runtime/bench/shapes.js";
import { syntheticSession } from "../dist/runtime/bench/synthetic.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { createDecoder } from "../dist/runtime/llama/inference/decode.js";
import { withArena } from "../dist/runtime/run/arena.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const option = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? usual : process.argv[at + 1];
};
const blocks = Number(option("blocks", "32"));
const steps = Number(option("steps", "400"));
const kind = option("device", "null");
const device = await openDevice(kind === "null" ? { backend: "null" } : { kind, unchecked: true });
const own = targetOf(device);
const target = kind === "null" ? { ...own, subgroups: { min: 32, max: 32 } } : own;
const executor = await createExecutor(device, { submitLimit: 256 });
const caller = createCaller(executor, target, standardLibrary());
const shape = option("shape", null);
const small = { hiddenSize: 512, intermediateSize: 1024, vocabSize: 512, heads: 8, keyValueHeads: 2, headDim: 64 };
const config = shape === null ? { ...shapeOfModel("classics-3.7m", blocks), ...small } : shapeOfModel(shape, blocks);
const session = await syntheticSession(caller, config, parseFormat(option("format", "int4(128)")), "auto");
const quantile = (values, share) => values.sort((a, b) => a - b)[Math.floor(values.length * share)];
/** The tenth that takes least, and the median. */
const [least, median] = [0.1, 0.5].map((share) => (values) => quantile(values, share));
const warmUp = 100;
await withArena(executor, async (arena) => {
  const cache = await session.allocateCache(1, 256);
  arena.defer(() => session.releaseCache(cache));
  const ids = arena.own(await executor.fill("i32", [1, 1], [1]));
  const positions = arena.own(await executor.fill("i32", [1], [0]));
  const decoder = await createDecoder(
    arena,
    caller,
    session,
    cache,
    { ids, positions },
    async (calls, logits) => (await calls.call("greedy", { logits }))[0],
  );
  const [record, submit, token] = [[], [], []];
  let reading = executor.values(ids);
  for (let step = 0; step < steps + warmUp; step++) {
    const begun = performance.now();
    decoder.step();
    const recorded = performance.now();
    const next = executor.values(ids);
    const submitted = performance.now();
    await reading;
    reading = next;
    if (step < warmUp) continue;
    record.push(1000 * (recorded - begun));
    submit.push(1000 * (submitted - recorded));
    token.push(1000 * (performance.now() - begun));
  }
  await reading;
  const row = {
    device: device.name,
    dispatches: decoder.dispatches,
    record: least(record),
    submit: least(submit),
    token: least(token),
    median: { record: median(record), submit: median(submit), token: median(token) },
  };
  const us = (value) => value.toFixed(0);
  if (process.argv.includes("--json")) console.log(JSON.stringify(row));
  else
    console.log(
      `${row.dispatches} dispatches on ${row.device}: record ${us(row.record)} us (${(row.record / row.dispatches).toFixed(2)} a dispatch), submit ${us(row.submit)} us, token ${us(row.token)} us; medians ${us(row.median.record)}, ${us(row.median.submit)}, ${us(row.median.token)}`,
    );
});
session.release();
executor.close();
device.close();
