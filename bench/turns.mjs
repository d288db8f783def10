/**
 * Models beside each other, in turns on one device: a prompt, and tokens after it, and what they take of the first
 * model's time.
 *
 *   npm run build && node bench/turns.mjs [--prompt 224] [--tokens 16] [--turns 15] [--device cpu] MODEL MODEL...
 *
 * Each turn takes every model once, so that what else the machine does falls on all of them alike. Told are the medians,
 * and the median and quartiles of the quotients of each turn. Beside them stand bytes of all weights, and
 * multiplications of a token of a prompt, in the linear layers of the blocks.
 */
import { parseArgs } from "node:util";
import { openDevice } from "../dist/runtime/device/device.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { generate } from "../dist/runtime/llama/inference/generate.js";
import { openSession } from "../dist/runtime/llama/inference/session.js";
import { openModel } from "../dist/runtime/model/model.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const { values: options, positionals: paths } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: { type: "string", default: "224" },
    tokens: { type: "string", default: "16" },
    turns: { type: "string", default: "15" },
    device: { type: "string", default: "cpu" },
  },
});
const [length, maxNewTokens, turns] = [options.prompt, options.tokens, options.turns].map(Number);
const device = await openDevice({ kind: options.device, unchecked: true });
const caller = createCaller(await createExecutor(device), targetOf(device), standardLibrary());
const models = await Promise.all(paths.map((path) => openModel(path)));
const sessions = [];
for (const model of models) sessions.push(await openSession(caller, model, { dtype: "f32" }));

const sorted = (values) => [...values].sort((a, b) => a - b);
const at = (values, share) => sorted(values)[Math.round((values.length - 1) * share)];
const times = models.map(() => ({ prompt: [], token: [] }));
// the first turn compiles
for (let turn = 0; turn <= turns; turn++)
  for (const [which, session] of sessions.entries()) {
    const prompt = Array.from({ length }, (_, place) => 3 + ((place * 7919 + turn * 104729) % 1000));
    const run = async (maxNewTokens) => {
      const started = performance.now();
      await generate(session, prompt, { maxNewTokens, eosTokens: [], temperature: 0 });
      return performance.now() - started;
    };
    const one = await run(1);
    const more = await run(1 + maxNewTokens);
    if (turn === 0) continue;
    times[which].prompt.push(one);
    times[which].token.push((more - one) / maxNewTokens);
  }

console.log(`${device.name}, prompts of ${length} tokens, ${turns} turns`);
for (const [which, model] of models.entries()) {
  const bytes = model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const products = model.linears.reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0);
  console.log(`${paths[which]}: ${bytes} bytes, ${products} multiplications a token`);
  for (const what of ["prompt", "token"]) {
    const quotients = times[which][what].map((value, turn) => value / times[0][what][turn]);
    const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => at(quotients, share).toFixed(3));
    console.log(
      `  ${what}: ${at(times[which][what], 0.5).toFixed(2)} ms, ${middle} of the first's (${low} to ${high})`,
    );
  }
}
for (const session of sessions) session.close?.();
for (const model of models) await model.close();
device.close?.();
process.exit(0);
