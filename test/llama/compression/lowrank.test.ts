/** Corrections of low rank beside packed weights: stored, scored, written for others, trained, merged. */
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/compile.js";
import { bitsPerWeight, formatOfSpec, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { compress, type Compression, type CompressOptions } from "../../../runtime/llama/compression/compress.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { ModelError } from "../../../runtime/model/error.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { openMachine } from "../machine.js";
import { writtenRecipe, type Written } from "../recipes.js";
import { tinyModel } from "../tiny.js";

const test = suite("corrections of low rank, end to end");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-lowrank-"));
const model = await tinyModel(join(folder, "model"));
test.after(async () => {
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

const text = { ids: Array.from({ length: 640 }, (_, at) => (at * at * 7 + at * 3) % 61), bos: null, window: 16 };
const up = "model.layers.0.mlp.up_proj.weight";

function run(
  { recipe, source }: Written,
  name: string,
  options: Partial<CompressOptions> = {},
  from: Model = model,
): Promise<Compression> {
  return compress(caller, from, recipe, { output: join(folder, name), source, text, ...options });
}

async function bytesOf(name: string): Promise<readonly Buffer[]> {
  const files = (await readdir(join(folder, name))).sort();
  return Promise.all(files.map((file) => readFile(join(folder, name, file))));
}

async function scored(directory: string): Promise<number> {
  const opened = await openModel(directory);
  try {
    const session = await openSession(caller, opened, { dtype: "f32" });
    try {
      return (await perplexity(session, text.ids, { window: 16, bos: null })).perplexity;
    } finally {
      session.release();
    }
  } finally {
    await opened.close();
  }
}

async function decoded(name: string, tensor: string, packedOnly = false): Promise<Float32Array> {
  const opened = await openModel(join(folder, name));
  const { format, shape } = opened.tensor(tensor);
  const own = packedOnly && format!.name === "lowrank" ? format!.of! : format!;
  const values = formatOfSpec(own).decode(own, shapeOf(shape), new Uint32Array((await opened.read(tensor)).buffer));
  await opened.close();
  return values;
}

const recipe = (steps: string): Written =>
  writtenRecipe(
    `use statistics, solve, prune, quantize, lowrank, train\nrecipe r(model: llama, text: tokens) {\n${steps}\n}\n`,
  );
const packing = `let sparse = w where mask_2of4(magnitude(w))
      let packed = pack sparse as nm(2, 4) of int4(8) with scale int4_scale(sparse, 8)`;
const corrected = (rank: number): string => `for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears {
      ${packing}
      let a, b = eora(w, unpack packed, damped(hessian(x2[w], windows(text)), 0.01), ${rank})
      store w as packed plus lowrank(a, b)
    }
  }`;
const plain = `for w in model.linears {
      ${packing}
      store w as packed
    }`;

test("is stored, told, scored as the dense sum is, and comes again byte for byte", async () => {
  const notes = await run(recipe(plain), "plain");
  const report = await run(recipe(corrected(2)), "once");
  for (const [at, { name, format, pattern, bitsPerWeight: bits, layerError }] of report.tensors.entries()) {
    assert.equal([pattern, format], ["full", "lowrank(2) of nm(2, 4) of int4(8, symmetric)"]);
    const [n = 1, k = 1] = model.tensor(name).shape;
    assert.ok(Math.abs(bits - notes.tensors[at]!.bitsPerWeight - 16 * 2 * (1 / n + 1 / k)) < 1e-9, name);
    assert.ok(layerError! < 1, name);
  }
  await run(recipe(corrected(2)), "again");
  assert.equal(await bytesOf("once"), await bytesOf("again"));
  const opened = await openModel(join(folder, "once"));
  const { format, shape } = opened.tensor(up);
  assert.is(printFormat(format!), "lowrank(2) of nm(2, 4) of int4(8, symmetric)");
  const told = (await inspect(join(folder, "once"))).tensors.find(({ name }) => name === up)!;
  assert.is(told.bitsPerWeight, bitsPerWeight(format!, shapeOf(shape)));
  assert.is(told.pattern, "full");
  await exportModel(opened, { to: "safetensors", output: join(folder, "dense"), version: "0", type: "f32" });
  const refused = await exportModel(opened, { to: "gptq", output: join(folder, "gptq"), version: "0" }).then(
    () => null,
    (error: unknown) => error,
  );
  assert.ok(refused instanceof ModelError && /lowrank\(2\)/.test(refused.message), String(refused));
  await opened.close();
  const [own, dense, without] = [
    await scored(join(folder, "once")),
    await scored(join(folder, "dense")),
    await scored(join(folder, "plain")),
  ];
  assert.ok(Math.abs(own - dense) < 1e-4 * dense, `${own}, folded ${dense}`);
  assert.ok(Math.abs(own - without) > 1e-3, `${own}, without ${without}`);
});

test("a run that was stopped goes on to the same bytes", async () => {
  let told = 0;
  const failed = await run(recipe(`${plain}\n${corrected(1)}`), "stopped", {
    onProgress({ stage }) {
      if (stage === "compress" && ++told === 10) throw new Error("pulled the plug");
    },
  }).then(
    () => "",
    (error: unknown) => String(error),
  );
  assert.match(failed, /pulled the plug/);
  await run(recipe(`${plain}\n${corrected(1)}`), "stopped", { resume: true });
  await run(recipe(`${plain}\n${corrected(1)}`), "whole");
  assert.equal(await bytesOf("stopped"), await bytesOf("whole"));
});

test("its factors are trained, and what they stand beside stays", async () => {
  const train = (
    scope: string,
    loss: string,
  ): string => `train ${scope} on text by ${loss}(steps: 10, rate: 1e-2, warmup: 2, batch: 4, norms: false) {
    for w in ${scope}.linears { store w as w.packed plus lowrank(w.left, w.right) }
  }`;
  const report = await run(recipe(`${corrected(2)}\n${train("model", "kl")}`), "trained");
  const [training] = report.trainings;
  const mean = (some: readonly { readonly loss: number }[]): number =>
    some.reduce((sum, { loss }) => sum + loss, 0) / some.length;
  assert.ok(
    mean(training!.losses.slice(-3)) < 0.95 * mean(training!.losses.slice(0, 3)),
    JSON.stringify(training!.losses),
  );
  assert.is(report.tensors.find(({ name }) => name === up)!.format, "lowrank(2) of nm(2, 4) of int4(8, symmetric)");
  assert.equal(await decoded("trained", up, true), await decoded("once", up, true));
  assert.is.not(String(await decoded("trained", up)), String(await decoded("once", up)));
  await run(recipe(`${corrected(2)}\n${train("model", "kl")}`), "trained again");
  assert.equal(await bytesOf("trained"), await bytesOf("trained again"));
  const block = `for block in model.blocks {\n${train("block", "block_error")}\n}`;
  const [one] = (await run(recipe(`${corrected(2)}\n${block}`), "block")).trainings;
  assert.ok(mean(one!.losses.slice(-3)) < 0.95 * mean(one!.losses.slice(0, 3)), JSON.stringify(one!.losses));
});

test("adapters are merged under the mask: what was pruned stays so, and nothing is left beside", async () => {
  const adapters = `for w in model.linears {
    let a, b = adapter_start(w, 2)
    store w as w.packed plus lowrank(a, b)
  }
  train model on text by cross_entropy(steps: 10, rate: 1e-2, warmup: 2, batch: 4, norms: false) {
    for w in model.linears {
      let packed = unpack w.packed
      store w as pack merged(packed, w.left, w.right) where mask_2of4(magnitude(packed)) as nm(2, 4) of f16
    }
  }`;
  const report = await run(recipe(`${plain}\n${adapters}`), "merged");
  const { pattern, format } = report.tensors.find(({ name }) => name === up)!;
  assert.equal([pattern, format], ["2:4", "nm(2, 4) of f16"]);
  const [before, after] = [await decoded("plain", up), await decoded("merged", up)];
  let moved = 0;
  after.forEach((value, at) => {
    if (before[at] === 0) assert.is(Math.abs(value), 0);
    else if (value !== before[at]) moved++;
  });
  assert.ok(moved > after.length / 4, String(moved));
});

test("a correction that is not there, or of too high a rank, is refused before it is looked for", async () => {
  const failure = async (written: () => Promise<unknown>): Promise<unknown> =>
    written().then(
      () => null,
      (error: unknown) => error,
    );
  const none = await failure(() =>
    run(recipe("for w in model.linears { store w as w.packed plus lowrank(w.left, w.right) }"), "none"),
  );
  assert.ok(none instanceof LlamaError && none.code === "recipe", String(none));
  assert.match(String(none), /has none by then/);
  const wide = await failure(() => run(recipe(corrected(64)), "wide"));
  assert.ok(wide instanceof CompileError, String(wide));
  const said = wide.diagnostics.map(({ message }) => message).join();
  assert.match(said, /64/, said);
});

test("files that say another rank, or have fewer words, are refused", async () => {
  const config = join(folder, "again", "config.json");
  const written = await readFile(config, "utf8");
  const refused = async (change: (text: string) => string): Promise<string> => {
    await writeFile(config, change(written));
    return openModel(join(folder, "again")).then(
      async (opened) => {
        await opened.close();
        return "";
      },
      (error: unknown) => String(error),
    );
  };
  assert.match(
    await refused((from) => from.replaceAll('"rank":2', '"rank":3').replaceAll('"rank": 2', '"rank": 3')),
    /./,
  );
  for (const rank of ["9999999999", "0", "-1", "1.5", '"2"', "null"])
    assert.match(await refused((from) => from.replaceAll(/"rank": ?2/g, `"rank": ${rank}`)), /rank/, rank);
  assert.match(await refused((from) => from.replaceAll('"lowrank"', '"slice"')), /no format `slice`/);
  await writeFile(config, written);
  await (await openModel(join(folder, "again"))).close();
});

test.run();
