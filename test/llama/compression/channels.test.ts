import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/compile.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { standardLibrary } from "../../../runtime/library.js";
import { openToyWorkshop, type Workshop } from "../machine.js";
import { calibrationIds, exampleRecipe, writtenRecipe } from "../recipes.js";

const test = suite<Workshop>("channels that change places");

test.before(async (context) => void Object.assign(context, await openToyWorkshop(test, "channels", 64)));

const permutes = (layers: string): string => `use prune, channels
recipe m(model: llama) {
  for w in model.linears matching ${layers} { permute w on magnitude(w) by exchange_2of4(rounds: 5) }
}
`;

/** What 2:4 keeps of the magnitudes of a weight. */
async function kept(model: Model, name: string): Promise<number> {
  const values = [...(await model.floats(name))].map(Math.abs);
  let sum = 0;
  for (let at = 0; at < values.length; at += 4) {
    const [a = 0, b = 0] = values.slice(at, at + 4).sort((x, y) => y - x);
    sum += a + b;
  }
  return sum;
}

const block = "model.layers.1";

test("the model gives what it gave, and the pattern keeps more", async ({ caller, model, folder }) => {
  const { recipe, source } = writtenRecipe(permutes(`"${block}.*o_proj", "${block}.*down_proj"`));
  const ids = (await calibrationIds(model)).slice(0, 64);
  const output = join(folder, "moved");
  const report = await compress(caller, model, recipe, {
    output,
    source,
    evaluation: { ids, bos: null, window: 32, windows: 1 },
  });
  const [given, after] = report.perplexities.map(({ value }) => value);
  assert.ok(Math.abs(given! - after!) < 1e-3 * given!, `${given} and ${after}`);
  const saved = await openModel(output);
  for (const name of ["o_proj", "down_proj"]) {
    const weight = `${block}.${name === "o_proj" ? "self_attn" : "mlp"}.${name}.weight`;
    const [before, now] = [await kept(model, weight), await kept(saved, weight)];
    assert.ok(now > before, `${name}: ${before}, then ${now}`);
  }
  // what shares the channels follows, and nothing else changes
  const changed: string[] = [];
  for (const { name } of model.tensors)
    if (Buffer.compare(await model.read(name), await saved.read(name)) !== 0) changed.push(name);
  assert.equal(changed.map((name) => name.split(".").at(-2)).sort(), [
    "down_proj",
    "gate_proj",
    "o_proj",
    "up_proj",
    "v_proj",
  ]);
  const sorted = async (from: Model, name: string): Promise<number[]> =>
    [...(await from.floats(name))].sort((a, b) => a - b);
  for (const name of changed) assert.equal(await sorted(saved, name), await sorted(model, name), name);
  await saved.close();
});

test("what follows is observed and pruned in the new order, and a run goes on with it", async ({
  caller,
  model,
  folder,
}) => {
  const { recipe, source } = exampleRecipe("permuted-2of4.esp", { rounds: 2 });
  const ids = (await calibrationIds(model)).slice(0, 64);
  const text = { ids, bos: null, window: 32, windows: 1 };
  const stop = new Error("stopped");
  const run = async (name: string, at: string | null): Promise<void> => {
    let from = name;
    const options = { output: join(folder, name), source, text };
    try {
      await compress(caller, model, recipe, {
        ...options,
        onProgress: ({ subject }) => {
          if (subject === at) throw stop;
        },
      });
    } catch (error) {
      assert.is(error, stop);
      from = "";
    }
    if (from === "") await compress(caller, model, recipe, { ...options, resume: true });
  };
  await run("whole", null);
  await run("resumed", "model.layers.2.self_attn.k_proj");
  const [whole, resumed] = [await openModel(join(folder, "whole")), await openModel(join(folder, "resumed"))];
  for (const { name, pattern } of whole.tensors) {
    if (/proj/.test(name)) assert.is(pattern.kind, "nm", name);
    assert.is(Buffer.compare(await whole.read(name), await resumed.read(name)), 0, name);
  }
  await whole.close();
  await resumed.close();
});

test("channels that are turned, or go on to all blocks, stay", ({ model }) => {
  for (const layer of ["q_proj", "gate_proj", "v_proj"]) {
    try {
      checkAgainst(model, writtenRecipe(permutes(`"${layer}"`)).recipe, standardLibrary());
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof CompileError, String(error));
      assert.match(error.diagnostics[0]!.message, /cannot change places/);
    }
  }
});

test.run();
