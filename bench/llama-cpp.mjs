/**
 * Tokens a second of llama.cpp, by the package node-llama-cpp, which is installed apart (bench/peers.md):
 *
 *   node bench/llama-cpp.mjs MODEL.gguf > llama-cpp.json
 *
 * One prompt of 512 tokens (the best of three), one sequence decoded after 64 tokens, 16 and 64 at once after 8.
 */
import { statSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const path = process.argv[2];
const llama = await getLlama({ gpu: "vulkan", build: "never", skipDownload: true, logLevel: "warn" });
const model = await llama.loadModel({ modelPath: path, gpuLayers: "max" });
const tokens = Array.from({ length: 512 }, (_, at) => 300 + ((at * 7919) % 30_000));
const how = { temperature: 0, yieldEogToken: true };

/** The first tokens are for the clocks. */
async function decoded(sequence, prompt, warm, count, onStart = () => {}, onToken = () => {}) {
  let seen = 0;
  let begun = 0;
  for await (const _ of sequence.evaluate(prompt, how)) {
    seen++;
    if (seen === warm) {
      begun = performance.now();
      onStart();
    } else if (seen > warm) onToken();
    if (seen >= warm + count) break;
  }
  return (1000 * (seen - warm)) / (performance.now() - begun);
}

const context = await model.createContext({ contextSize: 2048, batchSize: 2048, sequences: 1, flashAttention: true });
const sequence = context.getSequence();
let prefill = 0;
for (let run = 0; run < 3; run++) {
  await sequence.clearHistory();
  const begun = performance.now();
  const answer = sequence.evaluate(tokens, how);
  await answer.next();
  prefill = Math.max(prefill, (1000 * tokens.length) / (performance.now() - begun));
  await answer.return?.();
}
await sequence.clearHistory();
const decode = [{ sequences: 1, context: 64, tokensPerSecond: await decoded(sequence, tokens.slice(0, 64), 8, 128) }];
await context.dispose();
for (const count of [16, 64]) {
  const many = await model.createContext({ contextSize: 256, batchSize: 512, sequences: count, flashAttention: true });
  let [done, begun] = [0, 0];
  await Promise.all(
    Array.from({ length: count }, (_, at) =>
      decoded(
        many.getSequence(),
        tokens.slice(at, at + 8),
        4,
        36,
        () => {
          if (at === 0) [done, begun] = [0, performance.now()];
        },
        () => done++,
      ),
    ),
  );
  decode.push({ sequences: count, context: 8, tokensPerSecond: (1000 * done) / (performance.now() - begun) });
  await many.dispose();
}
const [device] = await llama.getGpuDeviceNames();
console.log(
  JSON.stringify({ device, bytes: statSync(path).size, prefill: { tokens: 512, tokensPerSecond: prefill }, decode }),
);
process.exit(0);
