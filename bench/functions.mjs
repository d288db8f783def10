/**
 * GPU time of the functions that compressing Llama 3.1 8B spends its time in, kernel by kernel, on a window of 2048
 * tokens:
 *
 *   npm run build && node bench/functions.mjs [NAME...]
 *
 * Each is run twice, and the second run is reported. FLOP/s count a multiplication and an addition as two, and symmetric
 * products as if all of them were computed.
 */
import { fileURLToPath } from "node:url";
import { check } from "../dist/compiler/check/check.js";
import { accumulating, totalName } from "../dist/compiler/graph/passes/accumulate.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { createHost, standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const wanted = process.argv.slice(2);
const { value, diagnostics } = check(fileURLToPath(new URL("functions.esp", import.meta.url)), createHost());
if (value === null) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
const device = await openDevice({ kind: "gpu", unchecked: true });
const executor = await createExecutor(device, { profile: true });
const library = standardLibrary();
const caller = createCaller(executor, targetOf(device), new Map([...library, ...value.functions]));

const one = async (name, args, sizes) => (await caller.call(name, args, { sizes }))[0];
const noise = (rows, columns, seed) => one("noise", { seed }, { rows, columns });
const activations = async (tokens, width, seed) => ({
  ...(await one("noise_f16", { seed }, { rows: tokens, columns: width })),
  shape: [1, tokens, width],
});
const weight = async (rows, columns, seed) => {
  const dense = await noise(rows, columns, seed);
  const half = await one("dense_f16", { w: dense });
  executor.release(dense);
  return half;
};
const free = (...tensors) => {
  for (const tensor of tensors) if (tensor) executor.release(tensor);
  executor.trim();
};

async function time(label, graph, args, sizes, flops) {
  if (wanted.length > 0 && !wanted.some((name) => label.includes(name))) return [];
  let results = [];
  let kernels = [];
  for (let run = 0; run < 2; run++) {
    free(...results);
    await executor.finish();
    await executor.profile();
    results = [
      ...(await caller.callGraph(typeof graph === "string" ? caller.functions.get(graph) : graph, args, { sizes })),
    ];
    await executor.finish();
    kernels = await executor.profile();
  }
  const milliseconds = kernels.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / 1e6;
  console.log(
    `${label.padEnd(32)} ${milliseconds.toFixed(2).padStart(9)} ms ${(flops / milliseconds / 1e9).toFixed(1).padStart(7)} TFLOP/s`,
  );
  for (const { kernel, schedule, dispatches, nanoseconds } of kernels.slice(0, 5)) {
    console.log(
      `    ${(nanoseconds / 1e6).toFixed(2).padStart(9)} ms ${String(dispatches).padStart(5)} x ${schedule.padEnd(8)} ${kernel}`,
    );
  }
  return results;
}

const [D, M, T, A, G, H, group] = [4096, 14336, 2048, 32, 8, 128, 128];
console.log(device.name);
{
  const x = await activations(T, D, 1);
  const h = await activations(T, M, 2);
  const [square, gate, up, down] = [
    await weight(D, D, 3),
    await weight(M, D, 4),
    await weight(M, D, 5),
    await weight(D, M, 6),
  ];
  free(...(await time("linear", "linear", { x, w: square }, {}, 2 * T * D * D)));
  free(...(await time("gated", "gated", { x, gate, up }, {}, 4 * T * D * M)));
  free(...(await time("add_linear", "add_linear", { x, h, w: down }, {}, 2 * T * D * M)));
  free(square, gate, up, down);
  const cache = { ...(await activations(T, G * H, 7)), shape: [1, T, G, H] };
  const positions = await executor.fill("i32", [1], [0]);
  free(
    ...(await time(
      "attention",
      "attention",
      { q: { ...x, shape: [1, T, A, H] }, keys: cache, values: cache, positions },
      {},
      4 * T * T * A * H,
    )),
  );
  for (const [K, input] of [
    [D, x],
    [M, h],
  ]) {
    const total = await noise(K, K, 8);
    await time(
      `gram ${K}, added up`,
      accumulating(library.get("gram")),
      { x: { ...input, shape: [T, K] }, [totalName]: total },
      {},
      2 * T * K * K,
    );
    free(total);
  }
  free(x, h, cache, positions);
}
for (const [N, K] of [
  [D, D],
  [M, D],
  [D, M],
]) {
  const h = await one("definite", {}, { size: K });
  const [u] = N === M ? [h] : await time(`inverse_factor ${K}`, "inverse_factor", { h }, {}, (4 / 3) * K ** 3);
  const [w, other] = [await noise(N, K, 3), await noise(N, K, 4)];
  const keep = await one("larger_half", { w });
  free(...(await time(`sparsegpt ${N} x ${K}`, "sparsegpt", { w0: w, u: u ?? h }, { kept: 2, of_each: 4 }, N * K * K)));
  free(
    ...(await time(
      `gptq_kept_search ${N} x ${K}`,
      "gptq_kept_search",
      { w0: w, u: u ?? h, keep, low: -8, high: 7 },
      { group },
      N * K * K,
    )),
  );
  free(...(await time(`pair_sweep ${N} x ${K}`, "pair_sweep", { w0: w, w1: other, h }, {}, 3 * N * K * K)));
  free(...(await time(`output_error ${N} x ${K}`, "output_error", { w, original: other, h }, {}, 4 * N * K * K)));
  free(w, other, keep, h, ...(u === undefined || u === h ? [] : [u]));
}
executor.close();
device.close();
