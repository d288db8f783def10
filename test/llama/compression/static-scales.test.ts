/** One scale for all that a layer receives: found over a text, stored with the model, and used whenever that runs. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/diagnostic.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { compressionPage } from "../../../runtime/cli/report/compression.js";
import { standardLibrary } from "../../../runtime/library.js";
import { blockArguments, blockCall, weightSizes } from "../../../runtime/llama/blocks.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { CompressOptions } from "../../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { roundingFor, type RoundingChoice } from "../../../runtime/llama/rounding.js";
import { loadBlock } from "../../../runtime/llama/weights.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import type { DeviceTensor } from "../../../runtime/run/run.js";
import { failure } from "../../model/support.js";
import { difference } from "../../support/tolerance.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe, type Written } from "../recipes.js";

const test = suite("llama/static-scales");
const { caller, model, bos, folder } = await openToyWorkshop(test, "static-scales");
const text = { ids: await calibrationIds(model), bos, windows: 2, window: 8 };

/** W8A8 with this scale of `most[w]`, the largest magnitudes of what a layer receives. */
function recipeWith(scale: string, before = ""): Written {
  return writtenRecipe(`use statistics, quantize, smoothquant, activations
recipe r(model: llama, text: tokens) {
  for block in model.blocks {
    let most = observe block on text by feature_maxima
    ${before}
    for w in block.inputs {
      round w as int8(tensor) with scale ${scale}
    }
    for w in block.linears {
      store w as pack w as int8(channel) with scale int8_channel_scale(w)
    }
  }
}
`);
}

const largest = recipeWith("input_scale(most[w])");
const run = ({ recipe, source }: Written, name: string, options: Partial<CompressOptions> = {}) =>
  compress(caller, model, recipe, { output: join(folder, name), source, text, ...options });

async function made(): Promise<Model> {
  const output = join(folder, "largest");
  if (!existsSync(output)) await run(largest, "largest");
  return openModel(output);
}

test("the scale is that of the largest magnitude over the text, one for the layers of an input", async () => {
  const rounded = await made();
  const scaleOf = (name: string): number | null => {
    const format = rounded.activations.get(`model.layers.0.${name}`);
    return format?.group === "tensor" ? format.scale : null;
  };
  // what block 0 receives is known from the embedding alone
  const width = model.config.hiddenSize;
  const table = await model.floats("model.embed_tokens.weight");
  const gain = await model.floats("model.layers.0.input_layernorm.weight");
  const seen = [...(bos === null ? [] : [bos]), ...text.ids.slice(0, 2 * text.window)];
  let most = 0;
  for (const id of seen.slice(0, 2 * text.window)) {
    const row = table.subarray(id * width, (id + 1) * width);
    const mean = row.reduce((sum, value) => sum + value * value, 0) / width;
    for (const [k, value] of row.entries())
      most = Math.max(most, Math.abs((value * gain[k]!) / Math.sqrt(mean + model.config.normEpsilon)));
  }
  const found = scaleOf("self_attn.q_proj");
  assert.ok(found !== null && Math.abs(found * 127 - most) < 1e-4 * most, `${found! * 127}, expected ${most}`);
  for (const name of ["k_proj", "v_proj"]) assert.is(scaleOf(`self_attn.${name}`), found);
  assert.is.not(scaleOf("self_attn.o_proj"), found);
  const config = JSON.parse(await readFile(join(rounded.directory, "config.json"), "utf8")) as {
    espalier: { version: number; activations: { [layer: string]: object } };
  };
  assert.is(config.espalier.version, 3);
  assert.equal(
    { ...config.espalier.activations["model.layers.0.self_attn.q_proj"] },
    { name: "int8", group: "tensor", scale: found },
  );
  await rounded.close();
});

/** What block 1 of a model gives for numbers: by the device, and by the evaluator. */
async function results(of: Model, choice: RoundingChoice): Promise<readonly [Float32Array, ArrayLike<number>]> {
  return withArena(caller.executor, async (arena) => {
    const weights = await loadBlock(caller, of, 1, "stored", "f32", arena);
    const { graph, sizes } = blockCall(caller.functions, weights, { whole: true, rounding: choice });
    const [batch, tokens, half, width] = [1, 5, of.config.headDim / 2, of.config.hiddenSize];
    const fill = async (shape: readonly number[], value: (at: number) => number): Promise<DeviceTensor> =>
      arena.own(
        await caller.executor.fill(
          "f32",
          shape,
          Float32Array.from({ length: elementCount(shape) }, (_, at) => value(at)),
        ),
      );
    const own = {
      x: await fill([batch, tokens, width], (at) => Math.sin(at * 1.7)),
      cosine: await fill([batch, tokens, half], (at) => Math.cos(at)),
      sine: await fill([batch, tokens, half], (at) => Math.sin(at)),
      positions: arena.own(await caller.executor.fill("i32", [batch], [0])),
    };
    const args = blockArguments(graph, weights, own);
    const [y] = arena.ownAll(await caller.callGraph(graph, args, { sizes }));
    const block = of.blocks[1]!;
    const bound = specialize(
      graph,
      {
        sizes: new Map(Object.entries({ ...weightSizes(graph, block), ...sizes, B: batch, T: tokens })),
        dtypes: new Map(graph.parameters.dtypes.map((name) => [name, "f32"])),
        formats: new Map(graph.parameters.formats.map((name) => [name, null])),
      },
      { f16: false },
    );
    if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
    const inputs = new Map<string, ReturnType<typeof tensorValue>>();
    for (const [name, value] of Object.entries(args)) {
      if (typeof value === "number") {
        const input = bound.graph.inputs.find((each) => each.name === name)!;
        inputs.set(name, tensorValue(bound.graph.values[input.value]!.type.dtype, [], [value]));
      } else {
        const dense = value.format === null ? value : arena.own((await caller.call("dense", { w: value }))[0]!);
        inputs.set(name, tensorValue(value.dtype, value.shape, await caller.executor.values(dense)));
      }
    }
    const [expected] = [...evaluate(bound.graph, inputs).values()];
    return [Float32Array.from(await caller.executor.values(y!)), expected!.data] as const;
  });
}

test("a block is what the evaluator makes of it with its scales, and as given without them", async () => {
  const rounded = await made();
  const [device, expected] = await results(rounded, "stored");
  assert.is(difference(device, expected, "chain"), null);
  const [plain] = await results(rounded, null);
  assert.is.not(difference(device, plain, "chain"), null, "it makes a difference");
  await withArena(caller.executor, async (arena) => {
    const weights = await loadBlock(caller, rounded, 0, "stored", "f32", arena);
    const asked = (["auto", "int8", "f16"] as const).map((choice) => roundingFor(choice, weights, caller.target, 100));
    assert.equal(asked, ["stored", "stored", null]);
    // the graph does not depend on the numbers, so that blocks share what is compiled
    const next = await loadBlock(caller, rounded, 1, "stored", "f32", arena);
    const graphs = [weights, next].map((each) => blockCall(caller.functions, each, { rounding: "stored" }).graph);
    assert.is(graphs[0], graphs[1]);
    assert.equal(
      graphs[0]!.inputs.map(({ name }) => name).filter((name) => name.endsWith("_input_scale")),
      ["wq_input_scale", "wo_input_scale", "gate_input_scale", "down_input_scale"],
    );
  });
  await rounded.close();
});

test("a run that is stopped and gone on with has the scales of the blocks that were done", async () => {
  await (await made()).close();
  class Killed extends Error {}
  const stopped = await run(largest, "stopped", {
    onProgress({ stage, subject }) {
      if (stage === "compress" && subject.startsWith("model.layers.2.")) throw new Killed();
    },
  }).then(
    () => null,
    (error: unknown) => error,
  );
  assert.instance(stopped, Killed);
  const report = await run(largest, "stopped", { resume: true });
  const { activations } = report;
  const page = compressionPage(report, {
    model,
    device: "a device",
    recipe: { file: "r.esp", name: "r", parameters: [], source: largest.source, modules: new Map() },
    evaluation: null,
    calibration: null,
  });
  const told = page.facts?.find(([name]) => name === "Activations");
  assert.match(
    told?.[1] ?? "",
    /^activations of 28 linear layers: rounded to int8\(tensor\), scales 0\.\d+ to 0\.\d+$/,
  );
  const scales = activations.flatMap((each) => each.scales ?? []);
  assert.equal(activations, [{ format: "int8(tensor)", layers: model.linears.length, scales }]);
  assert.ok(scales[0]! < scales[1]!);
  for (const file of ["config.json", "model.safetensors"])
    assert.ok(
      (await readFile(join(folder, "stopped", file))).equals(await readFile(join(folder, "largest", file))),
      file,
    );
});

test("calibration windows stay on one device, since the others would not round on the way", async () => {
  const without = writtenRecipe(`use statistics
recipe r(model: llama, text: tokens) {
  for block in model.blocks {
    let most = observe block on text by feature_maxima
    for w in block.linears matching "q_proj" {
      let y[n, k] = w[n, k] + 0.0 * most[w][k]
      store w as y
    }
  }
}
`);
  const asked: string[] = [];
  const notes: string[] = [];
  for (const [name, written] of [
    ["divided", without],
    ["together", largest],
  ] as const)
    await run(written, name, {
      note: (line) => notes.push(line),
      helpers() {
        asked.push(name);
        return [];
      },
    });
  assert.equal(asked, ["divided"]);
  assert.ok(notes.includes("note: blocks are rounded on one device: the calibration windows are not divided."));
});

for (const [scale, told] of [
  ["0.0 * most[w][0]", "0"],
  ["-1.0", "-1"],
  ["(most[w][0] - most[w][0]) / (most[w][1] - most[w][1])", "NaN"],
  ["1.0 / (most[w][1] - most[w][1])", "Infinity"],
] as const)
  test(`a scale of ${told} ends the run, and nothing is written`, async () => {
    const error = await run(recipeWith(scale), `bad${told}`).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof LlamaError && error.code === "not-finite", String(error));
    assert.match(
      error.message,
      new RegExp(`^The scale of what model.layers.0.self_attn.q_proj, .* receive is ${told}: it is divided by`),
    );
    assert.not(existsSync(join(folder, `bad${told}`)));
  });

test("a statistic of the input as it was before a scale is refused", () => {
  const scaled = "for w in block.inputs {\n scale w by smooth_scale(w, most[w], 0.5)\n }";
  for (const [recipe, codes] of [
    [recipeWith("input_scale(most[w])", scaled), ["E614"]],
    [recipeWith("input_scale(now[w])", `${scaled}\nlet now = observe block on text by feature_maxima`), []],
  ] as const) {
    let found: readonly string[] = [];
    try {
      checkAgainst(model, recipe.recipe, standardLibrary());
    } catch (error) {
      if (!(error instanceof CompileError)) throw error;
      found = [...new Set(error.diagnostics.map(({ code }) => code))];
    }
    assert.equal(found, codes);
  }
});

test("a config whose scale is missing or cannot be one is refused", async () => {
  const rounded = await made();
  const { directory } = rounded;
  await rounded.close();
  const path = join(directory, "config.json"); // of the last test that needs it
  const config = await readFile(path, "utf8");
  const layer = "model.layers.0.mlp.up_proj";
  for (const [entry, message] of [
    [`"group": "tensor"`, /should be a number of at least 2\^-126 that f32 holds, found none/],
    [`"group": "tensor", "scale": 0`, /found 0/],
    [`"group": "tensor", "scale": -1`, /found -1/],
    [`"group": "tensor", "scale": null`, /found null/],
    [`"group": "tensor", "scale": "1"`, /found/],
    [`"group": "tensor", "scale": [1]`, /found/],
    [`"group": "tensor", "scale": 1e39`, /that f32 holds/],
    [`"group": "tensor", "scale": 1e-39`, /that f32 holds/],
    [`"group": "row", "scale": 1`, /of "tensor" with a `scale`/],
  ] as const) {
    const wrong = JSON.parse(config) as { espalier: { activations: unknown } };
    wrong.espalier.activations = JSON.parse(`{ "${layer}": { "name": "int8", ${entry} } }`);
    await writeFile(path, JSON.stringify(wrong));
    assert.match((await failure("M134", openModel(directory))).message, message, entry);
  }
});

test.run();
