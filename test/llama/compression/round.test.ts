/** Activations that a stored model rounds: said in its config, computed so, exported or refused. */
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/diagnostic.js";
import { blockArguments, blockCall } from "../../../runtime/llama/blocks.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { roundingFor, type RoundingChoice } from "../../../runtime/llama/rounding.js";
import { loadBlock } from "../../../runtime/llama/weights.js";
import { standardLibrary } from "../../../runtime/library.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import { difference } from "../../support/tolerance.js";
import { failure } from "../../model/support.js";
import { openToyWorkshop } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("llama/round");
const { caller, model, folder } = await openToyWorkshop(test, "round");
const width = model.config.hiddenSize;

const rounding = (how: string, chosen = ""): ReturnType<typeof writtenRecipe> =>
  writtenRecipe(`use quantize
recipe r(model: llama) {
  for block in model.blocks {
    for w in block.inputs${chosen} {
      round w as ${how}
    }
    for w in block.linears {
      store w as pack w as int8(channel) with scale int8_channel_scale(w)
    }
  }
}
`);

async function made(how: string, chosen = ""): Promise<Model> {
  const output = join(folder, `${how}${chosen.length}`);
  if (existsSync(output)) return openModel(output);
  const { recipe, source } = rounding(how, chosen);
  await compress(caller, model, recipe, { output, source });
  return openModel(output);
}

/** What block 0 of a model gives for numbers. */
async function result(of: Model, choice: RoundingChoice): Promise<Float32Array> {
  return withArena(caller.executor, async (arena) => {
    const weights = await loadBlock(caller, of, 0, "stored", "f32", arena);
    const { graph, sizes } = blockCall(caller.functions, weights, { whole: true, rounding: choice });
    const [batch, tokens, half] = [1, 5, of.config.headDim / 2];
    const fill = async (shape: readonly number[], value: (at: number) => number) => {
      const values = Float32Array.from({ length: shape.reduce((all, each) => all * each, 1) }, (_, at) => value(at));
      return arena.own(await caller.executor.fill("f32", shape, values));
    };
    const x = await fill([batch, tokens, width], (at) => Math.sin(at * 1.7));
    const cosine = await fill([batch, tokens, half], (at) => Math.cos(at));
    const sine = await fill([batch, tokens, half], (at) => Math.sin(at));
    const positions = arena.own(await caller.executor.fill("i32", [batch], [0]));
    const args = blockArguments(graph, weights, { x, cosine, sine, positions });
    const [y] = arena.ownAll(await caller.callGraph(graph, args, { sizes }));
    return Float32Array.from(await caller.executor.values(y!));
  });
}

test("a model says in what its layers take what they multiply, and computes so", async () => {
  const tokens = await made("int8(token)");
  const names = tokens.linears.map(({ name }) => name);
  assert.equal([...tokens.activations.keys()].sort(), [...names].sort());
  const report = await inspect(tokens.directory);
  assert.equal(report.activations, [{ format: "int8(token)", layers: names.length }]);
  // all inputs of this model are as wide: a scale for so many channels is one for a token
  const stored = await result(tokens, "stored");
  assert.is(difference(stored, await result(tokens, width), "chain"), null);
  assert.is.not(difference(stored, await result(tokens, null), "chain"), null, "it makes a difference");
  await tokens.close();
});

test("groups of channels, and some inputs only", async () => {
  const [groups, some] = [await made(`int8(${width / 2})`), await made("int8(token)", ' matching "q_proj", "up_proj"')];
  const grouped = await result(groups, "stored");
  assert.is(difference(grouped, await result(groups, width / 2), "chain"), null);
  assert.equal(
    some.linears
      .filter(({ block, name }) => block === 0 && !some.activations.has(name))
      .map(({ parameter }) => parameter),
    ["wo", "down"],
  );
  const both = await result(some, "stored");
  for (const other of [width, null]) assert.is.not(difference(both, await result(some, other), "chain"), null);
  for (const each of [groups, some]) await each.close();
});

test("what is asked for at a run goes before: as they are, and else as the model says", async () => {
  const tokens = await made("int8(token)");
  await withArena(caller.executor, async (arena) => {
    const weights = await loadBlock(caller, tokens, 0, "stored", "f32", arena);
    const asked = (["auto", "int8", "f16"] as const).map((choice) => roundingFor(choice, weights, caller.target, 100));
    assert.equal(asked, ["stored", "stored", null]);
  });
  await tokens.close();
});

test("compressed-tensors carries it, others are refused or told", async () => {
  const tokens = await made("int8(token)");
  const output = join(folder, "exported");
  await exportModel(tokens, { to: "compressed-tensors", output });
  const other = await openModel(output);
  const text = await readFile(join(output, "config.json"), "utf8");
  assert.match(text, /"format": "int-quantized"/);
  assert.equal([...other.activations].sort(), [...tokens.activations].sort());
  assert.equal(other.warnings, []);
  assert.equal(await result(other, "stored"), await result(tokens, "stored"));
  await other.close();
  const dense = join(folder, "dense");
  const refused = await failure("M155", exportModel(tokens, { to: "safetensors", output: dense }));
  assert.match(refused.message, /are rounded to int8, which safetensors does not say: --requantize leaves/);
  const { notes } = await exportModel(tokens, { to: "safetensors", output: dense, requantize: true });
  assert.match(notes.join(), /were rounded to int8, and are not here/);
  await tokens.close();
});

test("a config that is wrong is refused", async () => {
  const tokens = await made("int8(token)");
  const { directory } = tokens;
  await tokens.close();
  const path = join(directory, "config.json"); // of the last test that needs it
  const config = await readFile(path, "utf8");
  const layer = "model.layers.0.mlp.up_proj";
  for (const [entry, message] of [
    [`"${layer}": { "name": "int8", "group": ${width - 4} }`, /no groups of/],
    [`"${layer}": { "name": "int4", "group": "token" }`, /should be `int8`/],
    [`"${layer}": { "name": "int8", "group": 1e300 }`, /should be `int8`/],
    [`"nowhere": { "name": "int8", "group": "token" }`, /no linear layer .nowhere/],
  ] as const) {
    const wrong = JSON.parse(config) as { espalier: { activations: unknown } };
    wrong.espalier.activations = JSON.parse(`{ ${entry} }`);
    await writeFile(path, JSON.stringify(wrong));
    assert.match((await failure("M134", openModel(directory))).message, message);
  }
});

test("a group that divides no input, and a training behind, are told with what to do", () => {
  const wrong = rounding("int8(20)").recipe;
  try {
    checkAgainst(model, wrong, standardLibrary());
    assert.unreachable();
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    assert.equal(
      [...new Set(error.diagnostics.map(({ code, message }) => `${code} ${message}`))][0],
      `E621 the ${width} inputs of model.layers.0.self_attn.q_proj are no groups of 20`,
    );
  }
  const trained = `use quantize, train
recipe r(model: llama, text: tokens) {
  for block in model.blocks {
    for w in block.inputs { round w as int8(token) }
    train block on text by block_error(steps: 1, rate: 1e-4) {
      for w in block.linears { store w as w }
    }
  }
}
`;
  assert.throws(() => writtenRecipe(trained), /`train` stands behind `round`/);
});

test.run();
