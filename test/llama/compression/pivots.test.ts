import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { Compression } from "../../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { pivotsOf, refusePivots, suggestedDamp } from "../../../runtime/llama/compression/pivots.js";
import { findSensitivity } from "../../../runtime/llama/compression/sensitivity.js";
import { calibrationWindows, scoredWindows } from "../../../runtime/llama/windows.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe, type Written } from "../recipes.js";

const test = suite("pivots");

test("the smallest pivot is found by value and column", () => {
  assert.equal(pivotsOf("h", [2, 1, 3, 4, 2, 9]), { matrix: "h", size: 3, lost: 0, smallest: 1, column: 1, mean: 5 });
  assert.equal(pivotsOf("h", [2, -4, -1, 4, 1, 1]), {
    matrix: "h",
    size: 3,
    lost: 2,
    smallest: -4,
    column: 1,
    mean: 2,
  });
  const nan = pivotsOf("h", [2, -4, NaN, 4, 1, 1]);
  assert.equal([nan.lost, nan.column, nan.smallest], [2, 2, NaN]);
});

test("a pivot that is less than rounding is lost though it is positive; a small one beside a small diagonal is not", () => {
  assert.equal(pivotsOf("h", [1, 2e-4, 1, 1]).lost, 1);
  assert.equal(pivotsOf("h", [1, 1e-3, 1, 1]).lost, 0);
  assert.equal(pivotsOf("h", [1, 2e-4, 1, 4.1e-8]).lost, 0);
  assert.equal(pivotsOf("h", [0, 1, 0, 1]).lost, 1);
});

test("the dampening to try is the next step that is more, and makes up for the smallest pivot", () => {
  const cases: readonly (readonly [number, number, number, number])[] = [
    // smallest pivot, mean of the diagonal, damp, the damp to try
    [0, 1, 0, 0.01],
    [-0.001, 1, 0, 0.01],
    [-0.006, 1, 0, 0.02],
    [-0.03, 1, 0, 0.1],
    [-0.001, 1, 0.01, 0.02],
    [-0.02, 1.05, 0.05, 0.1],
    [-0.04, 1, 0.1, 0.2],
    [-0.11, 10, 0, 0.05],
    [-1e6, 1, 0, 1],
    [-1e6, 1, 1, 2],
    [NaN, 1, 0.02, 0.05],
    [0, 0, 0, 0.01],
    [-3, 1, -1, 0.01],
    [-3, -2, -2, 0.01],
  ];
  for (const [smallest, mean, damp, expected] of cases)
    assert.is(suggestedDamp({ smallest, mean }, damp), expected, `${smallest} of ${mean} at ${damp}`);
});

test("what is said where the diagonal itself is infinite", () => {
  const found = [pivotsOf("h", [1, 1, 1, 1]), pivotsOf("h", [NaN, 1, Infinity, 1])];
  assert.throws(
    () => refusePivots(found, { layer: "q_proj", tokens: null, parameters: [] }),
    (error: unknown) =>
      error instanceof LlamaError &&
      error.code === "not-positive-definite" &&
      /^q_proj: the matrix `h` .* diagonal that is NaN or infinite/.test(error.message),
  );
  refusePivots(found.slice(0, 1), { layer: "q_proj", tokens: 1, parameters: [] });
});

const { caller, model, bos, folder } = await openToyWorkshop(test, "pivots");
const ids = await calibrationIds(model);
/** 48 tokens: fewer than the 128 features that the layer receives. */
const text = { ids, bos, windows: 2, window: 24 };

function walk(damp: number): Written {
  return writtenRecipe(`use statistics, quantize, solve, gptq
recipe walk(model: llama, text: tokens, group = 128, damp = ${damp}) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears matching "model.layers.1.self_attn.k_proj" {
      let u = walk_factor(x2[w], windows(text), damp)
      let q, s = gptq_dynamic(without_dead(w, x2[w]), u, group, -8.0, 7.0)
      store w as pack q as int4(group) with scale s
    }
  }
}
`);
}

function run({ recipe, source }: Written, output: string): Promise<Compression> {
  return compress(caller, model, recipe, { output: join(folder, output), source, text });
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "not-positive-definite", String(error));
  return error instanceof Error ? error.message : "";
}

test("without dampening, on too few tokens, the layer, the pivot and the dampening are reported; with that it works", async () => {
  const message = await refusal(run(walk(0), "out"));
  const [, pivot, column, lost, damp] =
    /^model\.layers\.1\.self_attn\.k_proj: the matrix `reversed` \[128, 128\] .* smallest pivot is (\S+), at column (\d+) .*; (\d+) of 128 pivots .*--set damp=(\S+) \(it is 0\)\. The calibration text has 48 tokens, fewer than the 128 columns/.exec(
      message,
    ) ?? [];
  assert.ok(Number(pivot) < 1e-3 && Number(column) >= 48 && Number(column) < 128, message);
  // the rank is at most 48: half of what is left after it comes out negative, more or less
  assert.ok(Number(lost) > 20 && Number(lost) <= 80, message);
  assert.equal(await readdir(folder), []);
  const { tensors } = await run(walk(Number(damp)), "out");
  assert.equal(
    tensors.map(({ name }) => name),
    ["model.layers.1.self_attn.k_proj.weight"],
  );
  assert.ok(tensors[0]!.relativeError > 0 && tensors[0]!.relativeError < 1);
  await rm(join(folder, "out"), { recursive: true });
});

test("a negative dampening is treated like none, and a result that is finite is refused all the same", async () => {
  assert.match(await refusal(run(walk(-1), "out")), /--set damp=0\.01 \(it is -1\)/);
  // what this makes of the factor is finite whatever the pivots are, and the format is one that the host packs
  const finite = writtenRecipe(`use statistics, prune
recipe finite(model: llama, text: tokens) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears matching "model.layers.0.self_attn.k_proj" {
      let l = cholesky(x2[w])
      let v[n, k] = w[n, k] / (1.0 + abs(l[k, k]))
      store w as pack v where top 64 of 128 along k in magnitude(v) as bitmask of f16
    }
  }
}
`);
  assert.match(
    await refusal(run(finite, "out")),
    /^model\.layers\.0\.self_attn\.k_proj: the matrix `x2` .* Give it more dampening: add 0\.01 of the mean of its diagonal to the diagonal, as `damped`/,
  );
  assert.equal(await readdir(folder), []);
});

test("sensitivity reports it, too, without an option that it does not have", async () => {
  const windows = { scored: scoredWindows(ids, 24, bos, 1), calibration: calibrationWindows(ids, 24, bos, 2) };
  const message = await refusal(
    findSensitivity(caller, model, [{ name: "walk", recipe: walk(0).recipe }], { ...windows, by: "layer" }),
  );
  assert.match(message, /^model\.layers\.1\.self_attn\.k_proj: .* not positive definite/);
  assert.not.match(message, /--set/);
});

test.run();
