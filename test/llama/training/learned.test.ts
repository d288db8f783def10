/** Masks that are learned: parameters of a training, its clock, and noise that can be repeated. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress, type Compression } from "../../../runtime/llama/compression/compress.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { openModel } from "../../../runtime/model/model.js";
import { openMachine } from "../machine.js";
import { writtenRecipe, type Written } from "../recipes.js";
import { tinyModel } from "../tiny.js";

const test = suite("masks that are learned");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-learned-"));
const model = await tinyModel(join(folder, "model"));
test.after(async () => {
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

const text = { ids: Array.from({ length: 640 }, (_, at) => (at * at * 7 + at * 3) % 61), bos: null, window: 16 };

/** Magnitude pruning, then its mask is learned for some steps, and then the weights under that mask. */
const recipe = (seed: number): Written =>
  writtenRecipe(`use prune, train, masks
recipe learned(model: llama, text: tokens) {
  for block in model.blocks {
    for w in block.linears {
      store w as pack w where mask_2of4(magnitude(w)) as nm(2, 4) of f16
    }
    train block on text by block_error(steps: 8, rate: 0.2, batch: 8, watch: 4, seed: ${seed}, norms: false) {
      for w in block.linears matching "up_proj", "down_proj" {
        let logits = parameter(prior_logits(w.start, 0.5))
        let drawn = explored(logits, 0.5, ${seed}, w.step, w.steps, w.number)
        store w as pack chosen(w.dense, drawn, 1.0 - 0.9 * w.step / w.steps) as nm(2, 4) of f16
      }
    }
    save "masks"
    train block on text by block_error(steps: 8, rate: 3e-3, batch: 8, watch: 4) {
      for w in block.linears {
        store w as pack w where mask_2of4(magnitude(w.start)) as nm(2, 4) of f16
      }
    }
    save "both"
  }
}
`);

function run({ recipe: made, source }: Written, name: string): Promise<Compression> {
  return compress(caller, model, made, { output: join(folder, name), source, text });
}

const name = "model.layers.0.mlp.up_proj.weight";

async function weights(from: string): Promise<Float32Array> {
  const written = await openModel(join(folder, from));
  const { format, shape, pattern } = written.tensor(name);
  assert.equal(pattern, { kind: "nm", n: 2, m: 4, axis: 1 });
  const words = new Uint32Array((await written.read(name)).buffer);
  await written.close();
  return formatOfSpec(format!).decode(format!, shapeOf(shape), words);
}

test("they move away from where they began, what is watched falls, weights follow, and the same comes again", async () => {
  const { trainings } = await run(recipe(1), "once");
  const [masks, kept] = trainings;
  assert.ok(masks!.best!.step > 0 && masks!.best!.loss < masks!.watched[0]!.loss, JSON.stringify(masks!.watched));
  const [learned, trained, dense] = [await weights("once/masks"), await weights("once/both"), await model.floats(name)];
  let moved = 0;
  for (let group = 0; group < learned.length; group += 4) {
    const four = [0, 1, 2, 3].map((at) => group + at);
    const chosen = four.filter((at) => learned[at] !== 0);
    assert.is(chosen.length, 2);
    for (const at of chosen) assert.ok(Math.abs(learned[at]! - dense[at]!) < 1e-3 * Math.abs(dense[at]!) + 1e-6);
    const largest = four.sort((a, b) => Math.abs(dense[b]!) - Math.abs(dense[a]!)).slice(0, 2);
    if (!largest.every((at) => chosen.includes(at))) moved++;
  }
  assert.ok(moved > 5, `${moved} groups keep another pair than that of the largest`);

  // what is watched of windows that do not fill a pass is measured as any other
  assert.ok(kept!.watched[0]!.loss < 1.01 * masks!.best!.loss, "the second begins where the first has ended");
  assert.ok(kept!.best!.loss < masks!.best!.loss);
  assert.ok(learned.every((value, at) => (value === 0) === (trained[at] === 0)));

  const bytes = (from: string): Promise<Buffer> => readFile(join(folder, from, "both", "model.safetensors"));
  await run(recipe(1), "again");
  assert.equal(await bytes("once"), await bytes("again"));
});

test.run();
