/**
 * Perplexity of GGUF files by llama.cpp on a CPU, a line of JSON for each:
 *
 *   node llama.mjs FOLDER_OF_NODE_MODULES TEXT WINDOWS FILE...
 *
 * The protocol is that of checkpoint.py; llama.cpp tokenises the text itself.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, text, windows, ...files] = process.argv.slice(2);
const found = createRequire(join(resolve(folder), "package.json")).resolve("node-llama-cpp");
const { getLlama } = await import(pathToFileURL(found).href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
for (const file of files) {
  try {
    const model = await llama.loadModel({ modelPath: resolve(file), gpuLayers: 0 });
    const ids = model.tokenize(readFileSync(text, "utf8"));
    const context = await model.createContext({ contextSize: 512, batchSize: 512, sequences: 1 });
    const sequence = context.getSequence();
    let [total, count] = [0, 0];
    for (let start = 0; start + 256 <= ids.length && start / 256 < Number(windows); start += 256) {
      await sequence.clearHistory();
      const input = [model.tokens.bos, ...ids.slice(start, start + 256)];
      const asked = input.map((token, at) => (at === 256 ? token : [token, { generateNext: { probabilities: true } }]));
      const outputs = await sequence.controlledEvaluate(asked);
      for (let at = 0; at < 256; at++) {
        total -= Math.log(outputs[at].next.probabilities.get(input[at + 1]));
        count++;
      }
    }
    console.log(JSON.stringify({ path: file, loader: "llama.cpp", perplexity: Math.exp(total / count) }));
    await context.dispose();
    await model.dispose();
  } catch (error) {
    console.log(JSON.stringify({ path: file, error: String(error?.message ?? error).slice(0, 300) }));
  }
}
process.exit(0);
