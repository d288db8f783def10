/**
 * Every element of a result is written, and by one invocation, where there are more workgroups than a dimension of a
 * dispatch holds. All invocations of each dispatch are counted, whatever its schedule.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages, type Stages } from "../../compiler/compile.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import type { Target } from "../../compiler/target.js";
import { graphOf } from "../check/support.js";
import { countWrites, type Written } from "../support/coverage.js";
import { targets } from "../support/targets.js";
import { stagesOf } from "./support.js";

const test = suite("coverage of results");

const gpu: Target = { ...targets["a GPU with subgroups of 32"], maxBinding: 2 ** 31 - 4 };
const half: Target = { ...gpu, name: "f16 and matrices", f16: true, matrices: true };
const cpu: Target = { ...targets["a CPU driver"], maxBinding: 2 ** 31 - 4 };

/** Whether a dispatch has a second row of workgroups. */
const isSpread = ({ kernels }: Stages): boolean => kernels.flat().some(({ workgroups }) => workgroups[1] > 1);

/** Throws unless the kernels of a program write each element of what they write once. */
function holdsOnce(stages: Stages, target: Target): void {
  let written: Written = new Map();
  for (const kernel of stages.kernels.flat())
    written = countWrites(kernel, { subgroupSize: target.subgroups?.min ?? 4, written });
  for (const [tensor, counts] of written) {
    // a buffer is a whole number of 16 bytes
    const length = counts.lastIndexOf(1) + 1;
    assert.ok(counts.length - length < 4, `${tensor}: the last ${counts.length - length} are not written`);
    const at = counts.subarray(0, length).findIndex((count) => count !== 1);
    assert.is(at, -1, `${target.name}, ${tensor}: element ${at} is written ${counts[at]} times`);
  }
}

const product = graphOf(
  "fn main(x: E[G, T, K], w: E[G, N, K]) -> f32[G, T, N] {\n  return y where y[g, t, n] = sum[k] f32(x[g, t, k]) * f32(w[g, n, k])\n}",
  "main",
);

/** Just more than 65,535 workgroups of each schedule, along each axis, with tiles that are not whole and that are. */
const sizes: { readonly [axis: string]: { readonly [size: string]: number } } = {
  outputs: { G: 1, T: 2, N: 2 ** 19 + 8, K: 32 },
  tokens: { G: 1, T: 2 ** 19 + 16, N: 16, K: 32 },
  batch: { G: 65_537, T: 3, N: 5, K: 32 },
};

for (const [axis, bound] of Object.entries(sizes))
  test(`products with many ${axis}, by every schedule`, () => {
    const spread = new Set<string>();
    for (const target of [gpu, cpu, half])
      for (const schedule of schedules) {
        const stages = compileStages(product, { sizes: bound, dtypes: { E: target.f16 ? "f16" : "f32" } }, target, {
          schedule,
        });
        if ("diagnostics" in stages) throw new Error("it does not compile");
        const [kernel] = stages.kernels.flat();
        const what = `${target.kind} ${kernel!.origin.schedule}`;
        if (!isSpread(stages) || spread.has(what)) continue;
        spread.add(what);
        holdsOnce(stages, target);
      }
    assert.ok(spread.size >= 3, [...spread].join());
  });

// just more elements than 65,535 workgroups of 1024 have
const layer = { N: 4736, K: 14336 };

test("maps of a large layer", () => {
  for (const name of ["scaled", "mask_2of4"]) {
    const stages = stagesOf(name, { sizes: layer }, gpu);
    assert.ok(isSpread(stages), name);
    holdsOnce(stages, gpu);
  }
});

test("attention of many sequences", () => {
  for (const target of [gpu, cpu, half])
    for (const T of [1, 3]) {
      const sizes = { B: 32_769, T, A: 2, H: 16, C: 32, G: 2 };
      const stages = stagesOf("attention", { sizes, dtype: target.f16 ? "f16" : "f32" }, target);
      assert.ok(isSpread(stages), target.name);
      holdsOnce(stages, target);
    }
});

const formats = ["int4(128)", "nm(2, 4) of int4(128)"];

test("packed weights of a large layer, made dense", () => {
  for (const format of formats) {
    const stages = stagesOf("dense_f16", { sizes: layer, formats: { F: format } }, half);
    assert.ok(isSpread(stages));
    holdsOnce(stages, half);
  }
});

for (const format of formats)
  test(`packs of a large layer as ${format}, each word of every section`, () => {
    const kept = format.startsWith("nm") ? ["  let keep = top 2 of 4 along k in w\n", "where keep "] : ["", ""];
    const pack = graphOf(
      `fn main(w: f32[N, K], s: f32[N, K / 128]) -> f32[N, K] as ${format} where K % 128 == 0 {\n${kept[0]}  return pack w ${kept[1]}as ${format} with scale s\n}`,
      "main",
    );
    const stages = compileStages(pack, { sizes: layer }, gpu);
    if ("diagnostics" in stages) throw new Error(stages.diagnostics.map(({ message }) => message).join());
    assert.ok(isSpread(stages));
    holdsOnce(stages, gpu);
  });

test.run();
