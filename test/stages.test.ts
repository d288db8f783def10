/** The stages of a few small functions as text, as `espalier compile --emit` prints them: graph, kernel, WGSL, plan. */
import { suite } from "uvu";
import { printGraph } from "../compiler/graph/print.js";
import { printKernel } from "../compiler/kernel/print.js";
import type { Schedule } from "../compiler/lower/schedules/choose.js";
import type { Target } from "../compiler/target.js";
import { stagesOf, type Bound } from "./lower/support.js";
import { golden } from "./support/golden.js";
import { targets } from "./support/targets.js";

const test = suite("stages");

interface Shown {
  /** Of the files. */
  readonly as: string;
  readonly name: string;
  readonly bound: Bound;
  readonly target: Target;
  readonly schedule?: Schedule;
}

const sparse = { sizes: { B: 1, T: 1, K: 128, N: 6 }, formats: { F: "nm(2, 4) of int4(128)" } };

const shown: readonly Shown[] = [
  {
    as: "rms_norm",
    name: "rms_norm",
    bound: { sizes: { B: 1, T: 2, D: 64 } },
    target: targets["a GPU with subgroups of 32"],
  },
  { as: "linear", name: "linear", bound: sparse, target: targets["a CPU driver"] },
  { as: "linear_loops", name: "linear", bound: sparse, target: targets.baseline, schedule: "loops" },
  { as: "mask_2of4", name: "mask_2of4", bound: { sizes: { N: 3, K: 8 } }, target: targets.baseline },
];

for (const { as, name, bound, target, schedule = null } of shown) {
  test(as, () => {
    const { fused, kernels, program } = stagesOf(name, bound, target, { schedule });
    golden(`stages/${as}.graph.txt`, printGraph(fused));
    golden(`stages/${as}.kernel.txt`, kernels.flat().map(printKernel).join("\n"));
    golden(`stages/${as}.wgsl`, program.kernels.map(({ wgsl }) => wgsl).join("\n"));
    // the text of the kernels stands in the file beside it
    const plan = { ...program, kernels: program.kernels.map((kernel) => ({ ...kernel, wgsl: "" })) };
    golden(`stages/${as}.plan.json`, `${JSON.stringify(plan, null, 1)}\n`);
  });
}

test.run();
