import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatBytes, formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { createModel } from "../../../runtime/model/write.js";
import { exampleModel, inDirectory, failure } from "../support.js";
import { fixture, fixtures, small, withTensor, writeGguf, type Expected } from "./support.js";
import { projectFile } from "../../support/project.js";
import { runs } from "../../support/runs.js";

const test = suite("model/gguf/tensors");

async function expectedOf(name: (typeof fixtures)[number]): Promise<Expected> {
  return JSON.parse(await readFile(fixture(name).expected, "utf8")) as Expected;
}

/** A tensor's values, as its format decodes them. */
async function denseOf(model: Model, name: string): Promise<Float32Array> {
  const { format, shape } = model.tensor(name);
  if (format === null) return model.floats(name);
  const bytes = await model.read(name);
  assert.is(bytes.length, formatBytes(format, shapeOf(shape)));
  return formatOfSpec(format).decode(format, shapeOf(shape), new Uint32Array(bytes.buffer));
}

for (const name of fixtures) {
  test(`${name}: values as the gguf package has them, rows as Hugging Face has them`, async () => {
    const expected = await expectedOf(name);
    const model = await openModel(fixture(name).model);
    for (const [tensor, { shape, first8, sha256_f32le: hash }] of Object.entries(expected.tensors)) {
      const dense = await denseOf(model, tensor);
      assert.equal(model.tensor(tensor).shape, shape);
      assert.equal(
        [...dense.subarray(0, 8)].map((value) => value + 0),
        first8.map((value) => value + 0),
        tensor,
      );
      assert.is(createHash("sha256").update(new Uint8Array(dense.buffer)).digest("hex"), hash, tensor);
    }
    await model.close();
  });
}

for (const name of ["mix-q4_k_m", "mix-q5_k_m"] as const) {
  test(`${name}, made by llama.cpp: every tensor bit for bit as the gguf package has it`, async () => {
    const made = JSON.parse(await readFile(projectFile("test/data/gguf/mixes.json"), "utf8")) as Readonly<
      Record<
        string,
        Readonly<Record<string, { readonly type: string; readonly shape: number[]; readonly sha256: string }>>
      >
    >;
    const model = await openModel(projectFile(`test/data/gguf/${name}.gguf`));
    const expected = Object.entries(made[name] ?? {});
    assert.is(expected.length, 20);
    assert.equal([...new Set(expected.map(([, { type }]) => type))].sort(), [
      "F32",
      name === "mix-q4_k_m" ? "Q4_K" : "Q5_K",
      "Q6_K",
    ]);
    for (const [tensor, { shape, sha256 }] of expected) {
      assert.equal(model.tensor(tensor).shape, shape, tensor);
      // no -0.0
      const dense = (await denseOf(model, tensor)).map((value) => value + 0);
      assert.is(createHash("sha256").update(new Uint8Array(dense.buffer)).digest("hex"), sha256, `${name} ${tensor}`);
    }
    await model.close();
  });
}

test("packing gives the bytes of llama.cpp's quantiser", async () => {
  const source = await openModel(exampleModel);
  for (const name of fixtures) {
    const model = await openModel(fixture(name).model);
    for (const { name: tensor, format, shape } of model.tensors) {
      if (format === null) continue;
      const words = formatOfSpec(format).encode(format, shapeOf(shape), await source.floats(tensor), null);
      assert.ok(Buffer.from(words.buffer).equals(await model.read(tensor)), `${name} ${tensor}`);
    }
    await model.close();
  }
  await source.close();
});

test("a range of a tensor is that part of the whole", async () => {
  for (const name of ["classics-1l-f16", "classics-4l-q4_0", "classics-2l-q6_k"] as const) {
    const model = await openModel(fixture(name).model);
    for (const tensor of [
      "model.layers.0.self_attn.q_proj.weight",
      "model.layers.0.self_attn.k_proj.weight",
      "model.layers.0.self_attn.v_proj.weight",
    ]) {
      const whole = await model.read(tensor);
      const at = fc.integer({ min: 0, max: whole.length });
      await fc.assert(
        fc.asyncProperty(at, at, async (a, b) => {
          const [begin, end] = [Math.min(a, b), Math.max(a, b)];
          assert.ok(Buffer.from(await model.read(tensor, { begin, end })).equals(whole.subarray(begin, end)));
        }),
        runs(25),
      );
      assert.instance(
        await model.readInto(tensor, new Uint8Array(2), whole.length - 1).catch((error: unknown) => error),
        RangeError,
      );
    }
    await model.close();
  }
});

test("rows of heads are put back in order, whatever the type", async () => {
  const rows = Buffer.alloc(32 * 18);
  for (let row = 0; row < 32; row++) rows[row * 18 + 5] = row + 1;
  await inDirectory(async (directory) => {
    const model = await openModel(
      await writeGguf(join(directory, "m.gguf"), small({}, withTensor("blk.0.attn_q.weight", { data: rows }))),
    );
    const bytes = await model.read("model.layers.0.self_attn.q_proj.weight");
    // two heads of 16: halves of 8 rows, interleaved in the file
    const inFile = Array.from({ length: 32 }, (_, row) => (bytes[row * 18 + 5] ?? 0) - 1);
    assert.equal(
      inFile,
      [0, 1].flatMap((head) => [0, 1].flatMap((half) => Array.from({ length: 8 }, (_, i) => 16 * head + 2 * i + half))),
    );
    // 16 rows of 34 bytes are a whole number of words, but none of four
    assert.is((await model.read("model.layers.0.self_attn.k_proj.weight")).length, 544);
    await model.close();
  });
});

test("a Hugging Face directory made from a file is the same model", async () => {
  const name = "classics-4l-q4_0";
  const expected = await expectedOf(name);
  const source = await openModel(fixture(name).model);
  const text = await readFile(join(exampleModel, "eval.txt"), "utf8");
  await inDirectory(async (directory) => {
    const path = join(directory, "made");
    const writer = await createModel(path, { source, tensors: source.tensors, recipe: null, force: false });
    for (const tensor of source.tensors) await writer.copy(tensor.name);
    assert.equal((await writer.finish()).files, [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const made = await openModel(path);
    const { raw: _, ...config } = source.config;
    const { raw: __, ...again } = made.config;
    assert.equal(again, config);
    assert.equal(made.generation, source.generation);
    for (const [tensor, { sha256_f32le: hash }] of Object.entries(expected.tensors)) {
      assert.is(
        createHash("sha256")
          .update(new Uint8Array((await denseOf(made, tensor)).buffer))
          .digest("hex"),
        hash,
        tensor,
      );
    }
    const [first, second] = [await source.tokenizer(), await made.tokenizer()];
    assert.equal([second.bos, ...second.prefix], [0, 0]);
    assert.equal(second.encode(text, { prefix: true }), first.encode(text, { prefix: true }));
    await made.close();
    await failure("M150", createModel(path, { source, tensors: source.tensors, recipe: null, force: false }));
    await failure(
      "M150",
      createModel(fixture(name).model, { source: made, tensors: made.tensors, recipe: null, force: true }),
    );
  });
  await failure(
    "M152",
    createModel(fixture(name).model, { source, tensors: source.tensors, recipe: null, force: true }),
  );
  await source.close();
});

test("inspection", async () => {
  const report = await inspect(fixture("classics-4l-q4_0").model);
  const linear = report.tensors.find(({ name }) => name === "model.layers.3.self_attn.o_proj.weight");
  const { zeros } = (await expectedOf("classics-4l-q4_0")).tensors["model.layers.3.self_attn.o_proj.weight"] ?? {};
  assert.equal(linear, {
    name: "model.layers.3.self_attn.o_proj.weight",
    shape: [256, 256],
    dtype: "F32",
    pattern: "full",
    format: "q4_0",
    bitsPerWeight: 4.5,
    bytes: 36864,
    zeros,
  });
  assert.is(report.tensors.find(({ name }) => name === "model.embed_tokens.weight")?.bitsPerWeight, 6.5625);
  assert.is(report.parameters, (await inspect(exampleModel)).parameters);
});

test.run();
