/** Gains that files have less 1: recipes and scales take what norms multiply by, and what is written is as files have it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openModel } from "../../../runtime/model/model.js";
import { projectFile } from "../../support/project.js";
import { close } from "../../support/tolerance.js";
import { openMachine } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite<{ folder: string; machine: Awaited<ReturnType<typeof openMachine>> }>(
  "gains that files have less 1",
);
test.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), "espalier-gains-"));
  context.machine = await openMachine();
});
test.after(({ folder, machine }) => {
  machine.close();
  rmSync(folder, { recursive: true });
});

const path = projectFile("test/data/architectures/gemma3");
const ids = Array.from({ length: 23 }, (_, at) => 3 + ((at * 37) % 90));
const bodies = {
  stored: `for g in model.norms {
    let same[k] = 1.0 * g[k]
    store g as same
  }`,
  scaled: `for block in model.blocks {
    for w in block.inputs {
      let most[k] = max[n] abs(w[n, k])
      scale w by smooth_scale(w, most, 0.3)
    }
  }`,
};

for (const [name, body] of Object.entries(bodies))
  test(`${name}: the model gives what it gave`, async ({ folder, machine }) => {
    const { recipe, source } = writtenRecipe(`use smoothquant\n\nrecipe r(model: llama) {\n  ${body}\n}\n`);
    const found: number[] = [];
    const gains: Float32Array[] = [];
    const output = join(folder, name);
    for (const from of [path, output]) {
      const model = await openModel(from);
      gains.push(await model.floats("model.layers.0.input_layernorm.weight"));
      const session = await openSession(machine.caller, model, { dtype: "f32" });
      found.push((await perplexity(session, ids, { window: ids.length, bos: 1 })).perplexity);
      session.release();
      if (from === path) await compress(machine.caller, model, recipe, { output, source });
      await model.close();
    }
    close([found[1]!], [found[0]!], "model", name);
    if (name === "stored") close(gains[1]!, gains[0]!, "pointwise", name);
    else
      assert.ok(
        gains[1]!.some((gain, at) => Math.abs(gain - gains[0]![at]!) > 0.1),
        "a gain was divided",
      );
  });

test.run();
