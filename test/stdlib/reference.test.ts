/** The methods against an implementation of their papers in PyTorch: see `test/data/methods/README.md`. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../compiler/compile.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import { bind } from "../../runtime/llama/call.js";
import { standardLibrary } from "../../runtime/library.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { referenceLayer, type ReferenceLayer } from "../support/reference-layers.js";
import { otherwise, tolerances } from "../support/tolerance.js";
import { call, tensor } from "./support.js";

type Arguments = Readonly<Record<string, TensorValue | number>>;
/** Calls a function of the standard library; its results in order. */
type Call = (
  name: string,
  args: Arguments,
  sizes?: Readonly<Record<string, number>>,
) => Promise<readonly TensorValue[]>;

const test = suite<{ machine: Machine }>("stdlib: against the reference implementation");
test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const library = standardLibrary();
const grid = { low: -8, high: 7 };
const dtypes = { E: "f32" } as const;

const evaluator: Call = (name, args, sizes = {}) => Promise.resolve(call(name, args, { sizes, dtypes }));

/** Calls on the device; scans must run in blocks there. */
function onDevice(machine: Machine): Call {
  return async (name, args, sizes = {}) => {
    const graph = library.get(name)!;
    const forms = Object.fromEntries(
      Object.entries(args).map(([key, value]) => [key, typeof value === "number" ? value : { ...value, format: null }]),
    );
    const stages = compileStages(graph, bind(graph, forms, { sizes, dtypes }), machine.target);
    if ("diagnostics" in stages)
      throw new Error(`${name}: ${stages.diagnostics.map(({ message }) => message).join("; ")}`);
    assert.equal(stages.notes, [], name);
    if (graph.eqns.some((eqn) => eqn.kind === "scan"))
      assert.ok(
        stages.kernels.flat().some((kernel) => kernel.origin.schedule === "block"),
        `${name} runs in blocks`,
      );
    const given = Object.entries(args).map(
      ([key, value]) => [key, typeof value === "number" ? tensor([], [value]) : value] as const,
    );
    const outputs = await machine.run(stages, new Map(given));
    return stages.fused.outputs.map((output) => outputs.get(output.name)!);
  };
}

/** Weights: the norm of the difference, and how many elements are not within the tolerance. */
function sameWeights(actual: TensorValue, expected: TensorValue, what: string): void {
  assert.equal(actual.shape, expected.shape, what);
  const { relative, ofPeak } = tolerances.reference;
  let [difference, norm, far] = [0, 0, 0];
  const peak = Math.max(...expected.data.map(Math.abs));
  expected.data.forEach((value, at) => {
    const distance = Math.abs(actual.data[at]! - value);
    difference += distance ** 2;
    norm += value ** 2;
    if (!(distance <= relative * Math.abs(value) + ofPeak * peak)) far += 1;
  });
  const found = `${what}: the weights differ by ${Math.sqrt(difference / norm)} of their norm, ${far} of ${expected.data.length} elements by more than the tolerance`;
  assert.ok(Math.sqrt(difference / norm) <= relative, found);
  assert.ok(far <= otherwise * expected.data.length, found);
}

/** Masks: how many groups of a row are not the same. */
function sameMask(actual: TensorValue, expected: TensorValue, group: number, what: string): void {
  assert.equal(actual.shape, expected.shape, what);
  const groups = expected.data.length / group;
  let other = 0;
  for (let from = 0; from < expected.data.length; from += group) {
    if (expected.data.subarray(from, from + group).some((value, at) => value !== actual.data[from + at])) other += 1;
  }
  assert.ok(other <= otherwise * groups, `${what}: ${other} of ${groups} groups of ${group} have another mask`);
}

/** All methods on a layer, each from what came before it: nothing of the reference is an input but the layer. */
async function methods(layer: ReferenceLayer, run: Call): Promise<void> {
  const { columns: K } = layer;
  const check = (actual: TensorValue | undefined, name: string, scales?: string): void =>
    sameWeights(actual!, layer.tensor(name, scales), `${layer.name}, ${name}`);
  const [x2] = layer.gram === null ? await run("gram", { x: layer.x! }) : [layer.gram];
  const { windows, damp } = layer;
  const [u] = await run("walk_factor", { x2: x2!, windows, damp });
  sameWeights(u!, layer.factor, `${layer.name}, factor`);
  const [w] = await run("without_dead", { w: layer.tensor("w"), h: x2! });
  const from = { w0: w!, u: u! };

  for (const group of [64, 128]) {
    const [s] = await run("int4_scale", { w: w! }, { group });
    check(s, `scales.${group}`);
    check((await run("gptq", { ...from, s: s!, ...grid }, { group }))[0], `gptq.${group}`, `scales.${group}`);
  }
  const [scale, zero] = await run("int4_grid", { w: w! }, { group: 64 });
  check(scale, "grid.scales");
  check(zero, "grid.zeros");
  check(
    (await run("gptq_asymmetric", { ...from, s: scale!, z: zero!, levels: 15 }, { group: 64 }))[0],
    "gptq_asymmetric",
    "grid.scales",
  );
  for (const group of [64, K]) {
    const [q, s] = await run("gptq_dynamic", { ...from, ...grid }, { group });
    check(s, `gptq_dynamic.${group}.scales`);
    check(q, `gptq_dynamic.${group}`, `gptq_dynamic.${group}.scales`);
  }
  const [searched, searchedScales] = await run("gptq_search", { ...from, ...grid }, { group: 128 });
  check(searchedScales, "gptq_search.scales");
  check(searched, "gptq_search", "gptq_search.scales");

  const [s] = await run("int4_search", { w: w! }, { group: 128 });
  check(s, "search.scales");
  const [rank] = await run("descending_rank", { h: x2! });
  const [h] = await run("hessian", { x2: x2!, windows });
  const [safe] = await run("damped", { h: h!, damp });
  const [ordered] = await run("permuted", { h: safe!, rank: rank! });
  const [factor] = await run("inverse_factor", { h: ordered! });
  check(
    (await run("gptq_ordered", { w0: w!, u: factor!, rank: rank!, s: s!, ...grid }, { group: 128 }))[0],
    "gptq_ordered",
    "search.scales",
  );

  for (const [kept, of] of [
    [2, 4],
    [4, 8],
    [64, 128],
  ] as const) {
    const [sparse, mask] = await run("sparsegpt", from, { kept, of_each: of });
    sameMask(mask!, layer.tensor(`sparsegpt.${kept}:${of}.mask`), of, `${layer.name}, sparsegpt ${kept}:${of}`);
    check(sparse, `sparsegpt.${kept}:${of}`);
    if (of !== 4) continue;
    const [keptScales] = await run("int4_scale", { w: sparse! }, { group: 128 });
    check(keptScales, "kept.scales");
    check(
      (await run("gptq_kept", { w0: sparse!, u: u!, keep: mask!, s: keptScales!, ...grid }, { group: 128 }))[0],
      "gptq_kept",
      "kept.scales",
    );
    const [q, scales] = await run("gptq_kept_search", { w0: sparse!, u: u!, keep: mask!, ...grid }, { group: 128 });
    check(scales, "gptq_kept_search.scales");
    check(q, "gptq_kept_search", "gptq_kept_search.scales");
  }

  const squares = tensor(
    [K],
    Float32Array.from({ length: K }, (_, k) => h!.data[k * K + k]!),
  );
  const [score] = await run("wanda", { w: w!, x2: squares });
  const [mask] = await run("mask_2of4", { score: score! });
  sameMask(mask!, layer.tensor("wanda.mask"), 4, `${layer.name}, wanda`);
  check((await run("sparsegpt_update", { ...from, keep: mask! }))[0], "sparsegpt_update");

  const [q, keep, scales] = await run("sparsegpt_gptq", { ...from, ...grid }, { kept: 2, of_each: 4, group: 128 });
  sameMask(keep!, layer.tensor("one_pass.mask"), 4, `${layer.name}, one pass`);
  check(scales, "one_pass.scales");
  check(q, "one_pass", "one_pass.scales");
}

// rows are independent, and the evaluator is slow
for (const [name, evaluated] of [
  ["synthetic", 8],
  ["real", 8],
] as const) {
  test(`${name}: by the evaluator`, async () => methods(await referenceLayer(name, evaluated), evaluator));
  test(`${name}: on the device, in blocks`, async ({ machine }) =>
    methods(await referenceLayer(name), onDevice(machine)));
}

test.run();
