/**
 * What decoding takes, a whole model at a time: tokens a second as `generate` does it, the host's share of a token, and
 * the GPU's time by kernel.
 *
 *   node bench/decode.mjs DIR [SEQUENCES] [CONTEXT]
 *
 * `one by one` calls each function for itself, as before programs were linked; `replayed` is what `generate` does.
 */
import { openDevice } from "../dist/run.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { openArena } from "../dist/runtime/run/arena.js";
import { targetOf } from "../dist/runtime/run/target.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { createDecoder } from "../dist/runtime/llama/inference/decode.js";
import { first } from "../dist/runtime/llama/results.js";
import { openSession } from "../dist/runtime/llama/inference/session.js";
import { openModel } from "../dist/runtime/model/model.js";
import { standardLibrary } from "../dist/runtime/library.js";

const [folder, sequencesText = "1", contextText = "128"] = process.argv.slice(2);
const [sequences, context] = [Number(sequencesText), Number(contextText)];
if (folder === undefined || !(sequences > 0) || !(context > 0))
  throw new Error("usage: node bench/decode.mjs DIR [SEQUENCES] [CONTEXT]");
const device = await openDevice({ unchecked: true });
const model = await openModel(folder);
const steps = 64;
const capacity = Math.ceil((context + 3 * steps) / 64) * 64;

for (const profile of [false, true]) {
  const executor = await createExecutor(device, { profile });
  const caller = createCaller(executor, targetOf(device), standardLibrary());
  const session = await openSession(caller, model);
  const cache = await session.allocateCache(sequences, capacity);
  const zeros = new Uint8Array(cache.blocks[0].keys.bytes);
  for (const { keys, values } of cache.blocks) {
    await executor.write(keys, zeros);
    await executor.write(values, zeros);
  }
  const ids = await executor.fill(
    "i32",
    [sequences, 1],
    Array.from({ length: sequences }, (_, at) => 300 + at),
  );
  const positions = await executor.fill("i32", [sequences], new Array(sequences).fill(context));
  const pick = await executor.fill("i32", [sequences], new Array(sequences).fill(0));
  const choose = async (calls, logits) => first(await calls.call("greedy", { logits }));
  const bindStart = performance.now();
  const arena = openArena(executor);
  const decoder = await createDecoder(arena, caller, session, cache, { ids, positions }, choose);
  const bindSeconds = (performance.now() - bindStart) / 1000;

  const ways = {
    replayed: async () => decoder.step(),
    "one by one": async () => {
      const x = await session.forward(ids, positions, cache);
      const logits = await session.logits(x, pick);
      const next = first(await caller.call("greedy", { logits }));
      await caller.call("follow", { ids, positions, next, logits });
      for (const tensor of [x, logits, next]) executor.release(tensor);
    },
  };
  for (const [way, step] of Object.entries(ways)) {
    if (profile && way !== "replayed") continue;
    for (let count = 0; count < steps; count++) await step();
    await executor.finish();
    await executor.profile();
    await executor.write(positions, new Int32Array(sequences).fill(context));
    let host = 0;
    const started = performance.now();
    let reading = executor.values(ids);
    for (let count = 0; count < steps; count++) {
      const begun = performance.now();
      await step();
      executor.flush();
      host += performance.now() - begun;
      await reading;
      reading = executor.values(ids);
    }
    await reading;
    const seconds = (performance.now() - started) / 1000;
    if (!profile)
      console.log(
        `${way.padEnd(10)} ${sequences} x 1 token after ${context}: ${((sequences * steps) / seconds).toFixed(1)} tokens/s, ` +
          `${((1000 * seconds) / steps).toFixed(3)} ms a step, host ${(host / steps).toFixed(3)} ms${way === "replayed" ? `, bound in ${bindSeconds.toFixed(2)} s` : ""}`,
      );
    else {
      const rows = await executor.profile();
      const total = rows.reduce((sum, row) => sum + row.nanoseconds, 0);
      const dispatches = rows.reduce((sum, row) => sum + row.dispatches, 0);
      console.log(
        `GPU ${(total / steps / 1e6).toFixed(3)} ms a step with a pass around each of ${dispatches / steps} dispatches`,
      );
      for (const row of rows.slice(0, 16))
        console.log(
          `  ${(row.nanoseconds / steps / 1e3).toFixed(1).padStart(8)} us ${String(row.dispatches / steps).padStart(4)} x ${(row.nanoseconds / row.dispatches / 1e3).toFixed(1).padStart(7)} us  ${row.kernel} [${row.schedule}]`,
        );
    }
  }
  arena.close();
  for (const tensor of [ids, positions, pick]) executor.release(tensor);
  session.releaseCache(cache);
  session.release();
  executor.close();
}
await model.close();
device.close();
