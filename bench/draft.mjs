/**
 * Speculative decoding by a compressed model of the same family: tokens a second without and with the draft, how many of
 * its proposals are accepted, and whether the text is the same to the token.
 *
 *   npm run build && node bench/draft.mjs --model DIR --draft DIR [--tokens 128] [--proposed 2,4,6] [--device auto]
 *   node bench/draft.mjs --shape llama-3.1-8b [--format "nm(2, 4) of int4(128)"] [--tokens 128]
 *
 * With `--shape` the draft has random weights in the format, and the model the same weights decoded to f16: what both
 * compute differs by rounding alone, so that acceptance is near its most and tells nothing of a trained model.
 */
import { parseFormat } from "../dist/runtime/cli/format.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { shapeOfModel } from "../dist/runtime/bench/shapes.js";
import { syntheticSession } from "../dist/runtime/bench/synthetic.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { generate } from "../dist/runtime/llama/inference/generate.js";
import { openSession, unpackSession } from "../dist/runtime/llama/inference/session.js";
import { speculate } from "../dist/runtime/llama/inference/speculate.js";
import { openModel } from "../dist/runtime/model/model.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const option = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? usual : process.argv[at + 1];
};
const tokens = Number(option("tokens", "128"));
const device = await openDevice({ kind: option("device", "auto"), unchecked: true });
const caller = createCaller(await createExecutor(device), targetOf(device), standardLibrary());
const shape = option("shape", null);
const prompts = [];
let [model, draft] = [null, null];
if (shape === null) {
  const [large, small] = [await openModel(option("model")), await openModel(option("draft"))];
  model = await openSession(caller, large);
  draft = await openSession(caller, small);
  const tokenizer = await large.tokenizer();
  for (const text of [
    "The history of the city begins in the",
    "Question: Why is the sky blue?\nAnswer:",
    "def fibonacci(n):\n",
    "Once upon a time there was a",
  ])
    prompts.push(await tokenizer.encode(text, { prefix: true }));
} else {
  draft = await syntheticSession(
    caller,
    shapeOfModel(shape),
    parseFormat(option("format", "nm(2, 4) of int4(128)")),
    "auto",
  );
  model = await unpackSession(draft);
  for (const seed of [1, 2])
    prompts.push(Array.from({ length: 32 }, (_, at) => 1 + ((at * 7919 + seed * 104729) % 1000)));
}

const greedy = { maxNewTokens: tokens, eosTokens: [], temperature: 0 };
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** A run that makes programs, then those that count. */
async function each(run) {
  await run(prompts[0]);
  const found = [];
  for (const prompt of prompts) found.push(await run(prompt));
  return found;
}
const [plain, alone] = [
  await each((prompt) => generate(model, prompt, greedy)),
  await each((prompt) => generate(draft, prompt, greedy)),
];
const speed = (runs) => mean(runs.map(({ decodeTokensPerSecond }) => decodeTokensPerSecond));
console.log(`${shape ?? option("model")}, ${prompts.length} prompts, ${tokens} new tokens each, ${device.name}`);
console.log(`the model alone ${speed(plain).toFixed(0)} tokens/s, the draft alone ${speed(alone).toFixed(0)}`);
for (const proposed of option("proposed", "2,4,6").split(",").map(Number)) {
  const runs = await each((prompt) => speculate(model, draft, prompt, { ...greedy, proposed }));
  const sum = (name) => runs.reduce((total, run) => total + run[name], 0);
  const same = runs.filter(({ ids }, at) => ids.every((id, place) => id === plain[at].ids[place])).length;
  console.log(
    `${proposed} proposed: ${speed(runs).toFixed(0)} tokens/s, ${((100 * sum("acceptedTokens")) / sum("proposedTokens")).toFixed(1)}% of ${sum("proposedTokens")} accepted, ${sum("passes")} passes, ${sum("nearTies")} for near ties, ${same} of ${runs.length} texts the same`,
  );
}
process.exit(0);
