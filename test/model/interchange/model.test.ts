/** Whole models that other tools have packed. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inspect } from "../../../runtime/model/inspect.js";
import { blocksOf, expectedTensors } from "../../../runtime/model/layout.js";
import { parseConfig } from "../../../runtime/model/config.js";
import { openModel } from "../../../runtime/model/model.js";
import { createModel } from "../../../runtime/model/write.js";
import { failure, inDirectory, smallConfig, writeJson, writeTensors } from "../support.js";

const test = suite("model/interchange/model");

const quantization = {
  quant_method: "compressed-tensors",
  format: "int-quantized",
  ignore: ["lm_head", "re:.*layers\\.1\\..*v_proj"],
  config_groups: {
    group_0: { targets: ["Linear"], weights: { num_bits: 8, type: "int", symmetric: true, strategy: "channel" } },
  },
};

const llama = parseConfig("c", smallConfig);
const layers = blocksOf(llama).flatMap(({ linears }) => linears);
const dense = "model.layers.1.self_attn.v_proj";

/** A small model, int8 but for one layer and the embedding; `shards`: in so many files. */
async function write(directory: string, shards = 1): Promise<void> {
  await writeJson(join(directory, "config.json"), { ...smallConfig, quantization_config: quantization });
  const packed = layers.filter(({ name }) => name !== dense);
  const tensors = [
    ...[...expectedTensors(llama)]
      .filter(([name]) => !packed.some(({ weight }) => weight === name))
      .map(([name, shape]) => ({ name, shape, dtype: "BF16" as const })),
    ...packed.flatMap(({ name, weight, outputs, inputs }) => [
      { name: `${name}.weight_scale`, shape: [outputs, 1], dtype: "BF16" as const },
      { name: weight, shape: [outputs, inputs], dtype: "I8" as const },
    ]),
  ];
  const fill = (name: string, bytes: number): Uint8Array =>
    name.endsWith("_scale")
      ? new Uint8Array(new Uint16Array(bytes / 2).fill(0x3f00).buffer)
      : Uint8Array.from({ length: bytes }, (_, at) => at * 5 + name.length);
  if (shards === 1) return writeTensors(join(directory, "model.safetensors"), tensors, fill);
  const map: { [name: string]: string } = {};
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${shard}.safetensors`;
    // a layer's scales and codes lie in different files
    const own = tensors.filter((_, at) => at % shards === shard);
    for (const { name } of own) map[name] = file;
    await writeTensors(join(directory, file), own, fill);
  }
  await writeJson(join(directory, "model.safetensors.index.json"), { weight_map: map });
}

for (const shards of [1, 2])
  test(`opened packed, and told, from ${shards} files`, async () => {
    await inDirectory(async (directory) => {
      await write(directory, shards);
      const model = await openModel(directory);
      assert.equal(model.warnings, []);
      assert.equal(model.unused, []);
      const { weight } = layers[0]!;
      assert.equal(model.tensor(weight).format?.name, "int8");
      const bytes = await model.read(weight);
      assert.equal(
        [...bytes.subarray(0, 8)],
        Array.from({ length: 8 }, (_, at) => (at * 5 + weight.length) & 0xff),
      );
      assert.is(model.tensor(`${dense}.weight`).format, null);
      await model.close();
      const report = await inspect(directory);
      assert.equal(report.quantization, {
        method: "compressed-tensors",
        layers: [{ container: "int-quantized", what: "int8, one scale a row, symmetric", count: 13 }],
        dense: [dense],
      });
      assert.is(report.tensors.find(({ name }) => name === weight)?.format, "int8(channel, symmetric)");
      assert.is(report.tensors.length, expectedTensors(llama).size);
    });
  });

test("a head of its own is a linear layer like any other", async () => {
  await inDirectory(async (directory) => {
    await writeJson(join(directory, "config.json"), {
      ...smallConfig,
      tie_word_embeddings: false,
      quantization_config: { ...quantization, ignore: ["re:model\\.layers"] },
    });
    const head = [smallConfig.vocab_size, smallConfig.hidden_size];
    const tensors = [
      ...[...expectedTensors(llama)].map(([name, shape]) => ({ name, shape, dtype: "BF16" as const })),
      { name: "lm_head.weight", shape: head, dtype: "I8" as const },
      { name: "lm_head.weight_scale", shape: [head[0]!, 1], dtype: "BF16" as const },
    ];
    await writeTensors(join(directory, "model.safetensors"), tensors);
    const model = await openModel(directory);
    assert.is(model.tensor("lm_head.weight").format?.name, "int8");
    assert.equal(model.tensor("lm_head.weight").shape, head);
    assert.equal(model.unused, []);
    await model.close();
  });
});

test("what is written from it is a model of ours: packed as it was, and without the config of the other tool", async () => {
  await inDirectory(async (directory) => {
    await write(directory);
    const model = await openModel(directory);
    const tensors = model.tensors.map(({ name, shape, dtype, format, pattern }) => ({
      name,
      shape,
      dtype,
      format,
      pattern,
    }));
    const target = `${directory}-out`;
    const writer = await createModel(target, { source: model, tensors, recipe: null, force: true });
    for (const { name } of tensors) await writer.copy(name);
    await writer.finish();
    const copy = await openModel(target);
    for (const { name, format } of model.tensors) {
      assert.equal(copy.tensor(name).format, format);
      assert.equal(await copy.read(name), await model.read(name));
    }
    assert.is(copy.config.raw["quantization_config"], undefined);
    await copy.close();
    await model.close();
  });
});

test("methods that are not known are refused by name; inspect shows the files as they are", async () => {
  await inDirectory(async (directory) => {
    await write(directory);
    await writeJson(join(directory, "config.json"), {
      ...smallConfig,
      quantization_config: { ...quantization, quant_method: "hqq" },
    });
    const error = await failure("M133", () => openModel(directory));
    assert.match(error.message, /"hqq"/);
    assert.match(error.help ?? "", /compressed-tensors, gptq, awq/);
    const report = await inspect(directory);
    assert.is(report.quantization, null);
    assert.match(report.warnings.join(), /"hqq"/);
    assert.is(report.tensors.find(({ name }) => name === layers[0]!.weight)?.format, "i8");
  });
});

test("layers are reported together, and files stay as they were", async () => {
  await inDirectory(async (directory) => {
    await write(directory);
    const path = join(directory, "model.safetensors");
    const before = await readFile(path);
    await writeJson(join(directory, "config.json"), {
      ...smallConfig,
      quantization_config: { ...quantization, ignore: [] },
    });
    const one = await failure("M135", () => openModel(directory));
    assert.match(one.message, /v_proj.*stored as `int-quantized`, but has no `weight_scale`/);
    await writeJson(join(directory, "config.json"), {
      ...smallConfig,
      quantization_config: { ...quantization, format: "pack-quantized" },
    });
    const all = await failure("M135", () => openModel(directory));
    assert.match(all.message, /cannot be read:\n(.*\n){12}.*has no `weight_packed`/);
    assert.equal(await readFile(path), before);
  });
});

test("a model without any layer that is packed is a dense one", async () => {
  await inDirectory(async (directory) => {
    await writeJson(join(directory, "config.json"), {
      ...smallConfig,
      quantization_config: { quant_method: "compressed-tensors", sparsity_config: { format: "dense" } },
    });
    const tensors = [...expectedTensors(llama)].map(([name, shape]) => ({ name, shape, dtype: "BF16" as const }));
    await writeTensors(join(directory, "model.safetensors"), tensors);
    const model = await openModel(directory);
    assert.ok(model.tensors.every(({ format }) => format === null));
    await model.close();
    await writeFile(join(directory, "config.json"), JSON.stringify({ ...smallConfig, quantization_config: null }));
    await (await openModel(directory)).close();
  });
});

test.run();
