/**
 * What others take as the peers of `espalier bench --plot`:
 *
 *   node bench/peers.mjs [--cublas cublas.json] [--llama-cpp llama-cpp.json --parameters 8.03e9] [--ceiling NAME=TFLOPS]
 *     > peers.json
 */
import { readFileSync } from "node:fs";

const options = new Map();
for (let at = 2; at + 1 < process.argv.length; at += 2)
  options.set(process.argv[at], [...(options.get(process.argv[at]) ?? []), process.argv[at + 1]]);
const json = (name) => (options.get(name) ?? []).map((path) => JSON.parse(readFileSync(path, "utf8")));

const peers = [
  ...json("--cublas").map(({ rows }) => ({
    name: "cuBLAS f16",
    points: rows.map(({ layer, n, k, batch, us }) => ({
      label: `${layer}, ${batch} x ${n} x ${k}`,
      operations: 2 * n * k * batch,
      bytes: 2 * (n * k + batch * (n + k)),
      us,
    })),
  })),
  ...json("--llama-cpp").map(({ bytes, prefill, decode }) => {
    const [parameters] = (options.get("--parameters") ?? []).map(Number);
    if (!(parameters > 0)) throw new Error("--parameters says how many weights the model of --llama-cpp has");
    const point = (label, tokens, tokensPerSecond) => ({
      label,
      operations: 2 * parameters * tokens,
      bytes,
      us: (1e6 * tokens) / tokensPerSecond,
    });
    return {
      name: "llama.cpp",
      points: [
        point(`a prompt of ${prefill.tokens}`, prefill.tokens, prefill.tokensPerSecond),
        ...decode.map((row) =>
          point(`${row.sequences} x 1 token after ${row.context}`, row.sequences, row.tokensPerSecond),
        ),
      ],
    };
  }),
];
const ceilings = (options.get("--ceiling") ?? []).map((text) => {
  const at = text.lastIndexOf("=");
  return { name: text.slice(0, at), teraflops: Number(text.slice(at + 1)) };
});
console.log(JSON.stringify({ ceilings, peers }, null, 1));
