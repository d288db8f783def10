import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../../compiler/check/check.js";
import { CompileError } from "../../../compiler/compile.js";
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import { compressionPage } from "../../../runtime/cli/report/compression.js";
import { createHost, standardLibrary } from "../../../runtime/library.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { CompressOptions } from "../../../runtime/llama/compression/compression.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { openModel } from "../../../runtime/model/model.js";
import { classics, openMachine } from "../machine.js";

const test = suite<{ folder: string; machine: Awaited<ReturnType<typeof openMachine>> }>("what a loop measures");

test.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), "espalier-measured-"));
  context.machine = await openMachine();
});
test.after(({ folder, machine }) => {
  machine.close();
  rmSync(folder, { recursive: true });
});

function recipeOf(source: string): Recipe {
  const host = createHost();
  const { value, diagnostics } = check("m.esp", {
    ...host,
    read: (path) => (path === "m.esp" ? source : host.read(path)),
  });
  const recipe = value?.recipes.get("m");
  if (recipe === undefined) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
  return recipe;
}

const chooses = `use quantize
recipe m(model: llama, group = 128) {
  for w in model.linears matching "k_proj", "v_proj" {
    measure size = f32(w.rows)
    measure most = max[n, k] abs(w[n, k])
    measure depth = w.block / w.blocks
  }
  for w in model.linears matching "k_proj", "v_proj" {
    let above = count[l] (most[l] > most[w])
    let total = sum[l] size[l] / size[w] + 0.0 * depth[w]
    if f32(above) < 0.5 * total {
      store w as pack w as int8(group) with scale int8_scale(w, group)
    } else {
      store w as pack w as int4(group) with scale int4_scale(w, group)
    }
  }
}
`;

test("what a loop prints is told of each layer as it was before the loop stores, and changes nothing", async ({
  folder,
  machine,
}) => {
  const source = `recipe m(model: llama, layers = "v_proj") {
  for block in model.blocks {
    for w in block.linears matching layers {
      print f32(w.rows), w[0, 0], w[0, 0] / 0.0
      let half[n, k] = w[n, k] / 2.0
      store w as half
    }
  }
}
`;
  const model = await openModel(classics);
  const lines: string[] = [];
  const recipe = recipeOf(source);
  const report = await compress(machine.caller, model, recipe, {
    output: join(folder, "printed"),
    source,
    note: (line) => lines.push(line),
  });
  const { printed, tensors } = report;
  const layers = model.blocks.flatMap(({ linears }) => linears.filter(({ name }) => name.endsWith("v_proj")));
  const expected = await Promise.all(
    layers.map(async ({ name, block, weight, outputs }) => {
      const first = (await model.floats(weight))[0]!;
      return [
        { block, layer: name, text: "f32(w.rows)", value: outputs },
        { block, layer: name, text: "w[0, 0]", value: first },
        { block, layer: name, text: "w[0, 0] / 0.0", value: null },
      ];
    }),
  );
  assert.equal(printed, expected.flat());
  assert.is(tensors.length, layers.length);
  const page = compressionPage(report, {
    model,
    device: "a device",
    recipe: { file: "m.esp", name: "m", parameters: [], source, modules: new Map() },
    evaluation: null,
    calibration: null,
  });
  const table = page.sections.find(({ title }) => title === "Printed by the recipe");
  assert.ok(table?.kind === "table");
  assert.equal(table.rows.slice(0, 3), [
    [layers[0]!.name, "f32(w.rows)", { value: layers[0]!.outputs, text: String(layers[0]!.outputs) }],
    [layers[0]!.name, "w[0, 0]", { value: printed[1]!.value, text: String(Number(printed[1]!.value!.toPrecision(6))) }],
    [layers[0]!.name, "w[0, 0] / 0.0", "not finite"],
  ]);
  assert.is(table.rows.length, 3 * layers.length);
  await model.close();
  assert.ok(lines.includes(`${layers[1]!.name}: f32(w.rows) = ${layers[1]!.outputs}`), lines.join("\n"));
});

test("a run that goes on has what was printed before it was stopped, each number once", async ({ folder, machine }) => {
  const source = `recipe m(model: llama) {
  for block in model.blocks {
    for w in block.linears matching "v_proj", "o_proj" {
      print w[0, 0]
      store w as pack w as f16
    }
  }
}
`;
  const model = await openModel(classics);
  const options = (lines: string[]): Omit<CompressOptions, "onProgress"> => ({
    output: join(folder, "print-stopped"),
    source,
    note: (line) => lines.push(line),
  });
  const [before, after]: [string[], string[]] = [[], []];
  class Killed extends Error {}
  const error = await compress(machine.caller, model, recipeOf(source), {
    ...options(before),
    // its first layer is stored, and printed again when the block begins anew
    onProgress({ stage, subject }) {
      if (stage === "compress" && subject === "model.layers.2.self_attn.v_proj") throw new Killed();
    },
  }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, Killed);
  const { printed } = await compress(machine.caller, model, recipeOf(source), { ...options(after), resume: true });
  const layers = model.linears.filter(({ name }) => /[vo]_proj$/.test(name)).map(({ name }) => name);
  await model.close();
  assert.equal(
    printed.map(({ layer }) => layer),
    layers,
  );
  // lines are of each run's own
  const told = (lines: readonly string[]): number => lines.filter((line) => line.includes("w[0, 0] = ")).length;
  assert.equal([told(before), told(after)], [6, 4]);
});

test("later loops see what was measured of all layers, and choose a format by it", async ({ folder, machine }) => {
  const model = await openModel(classics);
  const output = join(folder, "chosen");
  const report = await compress(machine.caller, model, recipeOf(chooses), { output, source: chooses });
  await model.close();
  const [size, most, depth] = report.measured;
  assert.equal([size?.name, most?.name, depth?.name], ["size", "most", "depth"]);
  assert.equal(
    depth!.layers.map(({ value }) => value),
    [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75],
  );
  const layers = most!.layers;
  assert.is(layers.length, 8);
  assert.ok(size!.layers.every(({ value }) => value === 128));
  const saved = await openModel(output);
  for (const { layer, value } of layers) {
    const above = layers.filter((other) => other.value > value).length;
    const format = saved.tensor(`${layer}.weight`).format?.name;
    assert.is(format, above < 4 ? "int8" : "int4", `${layer}: ${above} above`);
  }
  await saved.close();
});

test("what a stopped run has measured is not measured again", async ({ folder, machine }) => {
  const output = join(folder, "stopped");
  const source = chooses
    .replace("for w in model.linears matching", "expect perplexity(model, text) > 0.5 for w in model.linears matching")
    .replace("model: llama", "model: llama, text: tokens");
  const recipe = recipeOf(source);
  const model = await openModel(classics);
  const text = { ids: Array.from({ length: 64 }, (_, at) => 10 + at), bos: null, window: 32, windows: 1 };
  const seen: string[] = [];
  const stop = new Error("stopped");
  const options = { output, source, text };
  try {
    await compress(machine.caller, model, recipe, {
      ...options,
      onProgress: ({ subject }) => {
        if (subject === "model.layers.2.self_attn.v_proj") throw stop;
      },
    });
    assert.unreachable();
  } catch (error) {
    assert.is(error, stop);
  }
  assert.not.ok(existsSync(output));
  const report = await compress(machine.caller, model, recipe, {
    ...options,
    resume: true,
    onProgress: ({ subject }) => void seen.push(subject),
  });
  await model.close();
  assert.is(seen.indexOf("model.layers.0.self_attn.k_proj") > seen.indexOf("model.layers.3.self_attn.k_proj"), true);
  assert.is(report.measured[1]?.layers.length, 8);
});

test("a layer that was not measured is told before anything is computed", async () => {
  const source =
    `recipe m(model: llama) {
  for w in model.linears matching "k_proj" { measure most = max[n, k] abs(w[n, k]) }
  for w in model.linears { store w as pack w where abs(w) > most[w] / 100.0 as bitmask of f16 }
}
`.replace("abs(w) > most[w] / 100.0", "kept(w, most[w])") +
    `
fn kept(w: f32[N, K], most: f32) -> mask[N, K] { return m where m[n, k] = abs(w[n, k]) > most / 100.0 }
`;
  const model = await openModel(classics);
  try {
    checkAgainst(model, recipeOf(source), standardLibrary());
    assert.unreachable();
  } catch (error) {
    assert.ok(error instanceof CompileError);
    assert.equal(
      error.diagnostics.map(({ code, message }) => `${code} ${message}`),
      ["E605 `most` is not measured for model.layers.0.self_attn.q_proj and 23 more"],
    );
  } finally {
    await model.close();
  }
});

test("a number that is not finite ends the run and leaves nothing", async ({ folder, machine }) => {
  const source = `recipe m(model: llama) {
  for w in model.linears { measure broken = log(-1.0 - max[n, k] abs(w[n, k])) }
  for w in model.linears { store w as pack w where kept(w, broken[w]) as bitmask of f16 }
}
fn kept(w: f32[N, K], most: f32) -> mask[N, K] { return m where m[n, k] = abs(w[n, k]) > most / 100.0 }
`;
  const model = await openModel(classics);
  const output = join(folder, "broken");
  try {
    await compress(machine.caller, model, recipeOf(source), { output, source });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /measures as broken is (NaN|-Infinity|Infinity) for model\.layers\.0/);
  } finally {
    await model.close();
  }
  assert.not.ok(existsSync(output));
});

test.run();
