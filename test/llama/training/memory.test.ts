/** What is told of a training's memory before it begins is what it takes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { openMachine } from "../machine.js";
import { writtenRecipe, type Written } from "../recipes.js";
import { tinyModel } from "../tiny.js";
import { sparse, trainingRecipe } from "./support.js";

const test = suite("memory of trainings, told and taken");
const { caller, close } = await openMachine({ poison: false });
const folder = await mkdtemp(join(tmpdir(), "espalier-memory-"));
const model = await tinyModel(join(folder, "model"), () => {}, {
  hidden_size: 256,
  intermediate_size: 768,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 32,
});
test.after(async () => {
  await model.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

const text = { ids: Array.from({ length: 640 }, (_, at) => (at * at * 7 + at * 3) % 61), bos: null, window: 16 };
const unit = { KiB: 2 ** 10, MiB: 2 ** 20 };

/** Bytes that were told first, and the most that lived on the device while it was trained. */
async function memoryOf({ recipe, source }: Written): Promise<{ readonly told: number; readonly taken: number }> {
  let [told, taken] = [0, 0];
  await compress(caller, model, recipe, {
    output: join(folder, "out"),
    force: true,
    source,
    text,
    note(line) {
      const found = /^note: Training (?:a block )?takes ([\d.]+) ([KM]iB)/.exec(line);
      if (found !== null && told === 0) told = Number(found[1]) * unit[found[2] as keyof typeof unit];
    },
    onProgress: ({ stage }) => {
      if (stage === "train") taken = Math.max(taken, caller.executor.memory.live);
    },
  });
  return { told, taken };
}

const settings = { steps: 1, batch: 2 };
const cases: { readonly [name: string]: Written } = {
  "a model, 2:4": trainingRecipe(sparse, { settings }),
  "a block, masks that are learned": writtenRecipe(`use prune, train, masks
recipe learned(model: llama, text: tokens) {
  for block in model.blocks {
    train block on text by block_error(steps: 1, rate: 0.05, batch: 2, norms: false) {
      for w in block.linears {
        let logits = parameter(prior_logits(w.start, 3.0))
        let drawn = explored(logits, 1.0, 0, w.step, w.steps, w.number)
        store w as pack chosen(w.dense, drawn, 0.5) as nm(2, 4) of f16
      }
    }
  }
}
`),
};

/** What is told before anything is read, up to the memory of the first training. */
async function toldOf({ recipe, source }: Written): Promise<readonly string[]> {
  const notes: string[] = [];
  await compress(caller, model, recipe, {
    output: join(folder, "none"),
    source,
    text,
    note(line) {
      notes.push(line);
      if (/Training .*takes/.test(line)) throw new Error("that is enough");
    },
  }).catch(() => {});
  return notes;
}

test("what a block was given in the dense model stays on the device as well, and is told", async () => {
  const activations = async (dense_inputs: boolean): Promise<number> => {
    const block = { scope: "block", loss: "block_error", settings: { ...settings, dense_inputs } } as const;
    const [line = ""] = (await toldOf(trainingRecipe(sparse, block))).slice(-1);
    return unit.MiB * Number(/about ([\d.]+) MiB for activations/.exec(line)?.[1]);
  };
  const [without, both] = [await activations(false), await activations(true)];
  // 40 windows of 16 tokens of 256 values
  assert.ok(Math.abs(both - without - 40 * 16 * 256 * 4) < 0.02 * unit.MiB, `${without}, ${both}`);
});

test("a rate that grows over more steps than there are is told", async () => {
  const [line] = await toldOf(trainingRecipe(sparse, { settings: { steps: 5, warmup: 20, rate: 1e-3 } }));
  assert.match(line ?? "", /makes 5 steps, and its rate grows over 20 \(`warmup`\): it never comes to 0\.001/);
  const usual = await toldOf(trainingRecipe(sparse, { settings: { steps: 50, warmup: 20 } }));
  assert.is(usual.length, 1, usual.join("\n"));
});

for (const [name, written] of Object.entries(cases))
  test(name, async () => {
    const { told, taken } = await memoryOf(written);
    assert.ok(taken <= told, `${told} bytes were told, ${taken} are taken`);
    assert.ok(told < 1.3 * taken, `${told} bytes were told, only ${taken} are taken`);
  });

test.run();
