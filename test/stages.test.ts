/** The stages of a few small functions as text, as `espalier compile --emit` prints them: graph, kernel, WGSL, plan. */
import { suite } from "uvu";
import { compileStages, lowerConcrete, type Stages } from "../compiler/compile.js";
import { buildGraph } from "../compiler/graph/build.js";
import { printGraph } from "../compiler/graph/print.js";
import { printKernel } from "../compiler/kernel/print.js";
import type { Target } from "../compiler/target.js";
import { graphOf } from "./check/support.js";
import { stagesOf } from "./lower/support.js";
import { golden } from "./support/golden.js";
import { targets } from "./support/targets.js";

const test = suite("stages");

const gpu = targets["a GPU with subgroups of 32"];
/** So little workgroup memory that tiles are as small as they come, and can be read. */
const toy: Target = { ...targets.baseline, name: "toy", maxWorkgroupMemory: 8704 };
const toyMatrices: Target = { ...gpu, name: "toy with matrices", f16: true, matrices: true, maxWorkgroupMemory: 12288 };
const sparse = { sizes: { B: 1, T: 1, K: 128, N: 6 }, formats: { F: "nm(2, 4) of int4(128)" } };

/** By the name of the files. */
const shown: { readonly [as: string]: () => Stages } = {
  rms_norm: () => stagesOf("rms_norm", { sizes: { B: 1, T: 2, D: 64 } }, gpu),
  linear: () =>
    stagesOf("linear", { sizes: { B: 1, T: 1, K: 16, N: 6 }, formats: { F: "int4(8)" } }, targets["a CPU driver"]),
  linear_loops: () => stagesOf("linear", sparse, targets.baseline, { schedule: "loops" }),
  mask_2of4: () => stagesOf("mask_2of4", { sizes: { N: 3, K: 8 } }, targets.baseline),
  // a sum that ends with each token's range, as the mixture of an attention does
  tiled: () => {
    const mixture = graphOf(
      "fn mixture(p: f32[T, C], v: f32[C, H]) -> f32[T, H] {\n  return y where y[t, h] = sum[c in 0 .. t + 1] p[t, c] * v[c, h]\n}",
      "mixture",
    );
    const stages = compileStages(mixture, { sizes: { T: 3, C: 5, H: 7 } }, toy, { schedule: "tiled" });
    if ("diagnostics" in stages) throw new Error("the mixture does not compile");
    return stages;
  },
  matrix: () =>
    stagesOf("linear", { sizes: { B: 1, T: 32, K: 32, N: 32 }, formats: { F: "f16" }, dtype: "f16" }, toyMatrices, {
      schedule: { kind: "matrix", tokens: 32, rows: 32, subgroups: [2, 2, 1], slice: 32, ahead: 0, parts: 1 },
    }),
  matrix_packed: () =>
    stagesOf(
      "linear",
      { sizes: { B: 1, T: 16, K: 64, N: 32 }, formats: { F: "nm(2, 4) of int4(64)" }, dtype: "f16" },
      toyMatrices,
      { schedule: { kind: "matrix", tokens: 16, rows: 32, subgroups: [1, 1, 2], slice: 32, ahead: 1, parts: 1 } },
    ),
  gptq: () => stagesOf("gptq", { sizes: { N: 2, K: 8, group: 4 } }, targets.baseline, { scan: { block: 4 } }),
  cholesky: () => {
    const build = buildGraph("factor");
    build.output("l", build.factorize("l", build.input("a", "f32", [40, 40]), "cholesky"));
    return lowerConcrete(build.graph(), targets.baseline);
  },
};

for (const [as, stages] of Object.entries(shown)) {
  test(as, () => {
    const { fused, kernels, program } = stages();
    golden(`stages/${as}.graph.txt`, printGraph(fused));
    golden(`stages/${as}.kernel.txt`, kernels.flat().map(printKernel).join("\n"));
    golden(`stages/${as}.wgsl`, program.kernels.map(({ wgsl }) => wgsl).join("\n"));
    // the text of the kernels stands in the file beside it
    const plan = { ...program, kernels: program.kernels.map((kernel) => ({ ...kernel, wgsl: "" })) };
    golden(`stages/${as}.plan.json`, `${JSON.stringify(plan, null, 1)}\n`);
  });
}

test.run();
