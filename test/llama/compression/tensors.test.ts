/** Embedding, head and norms are stored as a recipe says, and a tied head stays one with the embedding while it is. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { openToyWorkshop } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("llama/tensors");
const { caller, model, folder } = await openToyWorkshop(test, "tensors", 32);
const [embedding, head, norm] = ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"] as const;

/** What a recipe with these loops makes of the model. */
async function made(name: string, loops: string, use: (saved: Model) => Promise<void>): Promise<void> {
  const { recipe, source } = writtenRecipe(`use quantize, prune\nrecipe r(model: llama) {\n${loops}\n}\n`);
  const output = join(folder, name);
  const report = await compress(caller, model, recipe, { output, source });
  const saved = await openModel(output);
  assert.is(
    report.bytesAfter,
    saved.tensors.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  await use(saved);
  await saved.close();
}

async function decoded(of: Model, name: string): Promise<Float32Array> {
  const { format, shape } = of.tensor(name);
  if (format === null || ["bf16", "f32"].includes(format.name)) return Float32Array.from(await of.floats(name));
  return formatOfSpec(format).decode(format, shapeOf(shape), new Uint32Array((await of.read(name)).buffer));
}

const int8 = "store w as pack w as int8(32) with scale int8_scale(w, 32)";
const sparse = `let kept = w where mask_2of4(magnitude(w))
  store w as pack kept as nm(2, 4) of int4(32) with scale int4_scale(kept, 32)`;

test("one packed table of a tied model is both, and runs", () =>
  made("tables", `for w in model.tables { ${sparse} }`, async (saved) => {
    assert.ok(saved.config.tiedEmbeddings);
    assert.is(saved.tensor(embedding).format?.name, "nm");
    assert.is(saved.tensors.length, model.tensors.length);
    const session = await openSession(caller, saved, { dtype: "f32" });
    const table = session.frame.embedding.parts[0]!.tensor;
    assert.is(table.format?.name, "nm", "as it is stored on the device, too");
    assert.is(session.frame.head, session.frame.embedding);
    session.release();
  }));

test("the embedding alone leaves the head what it was, and the other way round", async () => {
  await made("embedding", `for w in model.embedding { ${int8} }`, async (saved) => {
    assert.not(saved.config.tiedEmbeddings);
    assert.is(saved.tensor(embedding).format?.name, "int8");
    assert.equal(await decoded(saved, head), await decoded(model, embedding));
  });
  await made("head", `for w in model.head { ${int8} }`, async (saved) => {
    assert.is(saved.tensor(head).format?.name, "int8");
    assert.equal(await decoded(saved, embedding), await decoded(model, embedding));
  });
});

test("both stored alike are one again; after a split `tables` are two", async () => {
  await made("alike", `for w in model.embedding { ${int8} } for w in model.head { ${int8} }`, (saved) => {
    assert.ok(saved.config.tiedEmbeddings);
    return Promise.resolve();
  });
  await made(
    "split",
    `for w in model.head { let y[n, k] = 2.0 * w[n, k] store w as y } for w in model.tables matching "lm_head" { ${int8} }`,
    async (saved) => {
      assert.not(saved.config.tiedEmbeddings);
      assert.is(saved.tensor(head).format?.name, "int8");
      const [twice, once] = [await decoded(saved, head), await decoded(model, embedding)];
      twice.forEach((value, at) => assert.ok(Math.abs(value - 2 * once[at]!) < 0.05));
    },
  );
});

test("norms are stored dense, of blocks and of the model", () =>
  made(
    "norms",
    `for block in model.blocks { for g in block.norms matching "input_layernorm" { let y[k] = g[k] * f32(g.columns) store g as y } }
     for g in model.norms matching "model.norm" { let y[k] = g.dense[k] + 1.0 store g as y }`,
    async (saved) => {
      for (const [name, change] of [
        [norm, (x: number) => x + 1],
        ["model.layers.1.input_layernorm.weight", (x: number) => 32 * x],
        ["model.layers.1.post_attention_layernorm.weight", (x: number) => x],
      ] as const)
        assert.equal(
          [...(await decoded(saved, name))],
          [...(await decoded(model, name))].map((x) => Math.fround(change(x))),
        );
    },
  ));

test.run();
