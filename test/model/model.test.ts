import { mkdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../runtime/model/config.js";
import { byteCount, type ElementType } from "../../runtime/model/elements.js";
import { expectedTensors, openModel } from "../../runtime/model/model.js";
import { exampleModel, failure, inDirectory, smallConfig, writeJson, writeTensors } from "./support.js";

const test = suite("model/model");

type Tensor = { name: string; dtype: ElementType; shape: readonly number[] };

function smallTensors(): Tensor[] {
  return [...expectedTensors(parseConfig("c", smallConfig))].map(([name, shape]) => ({ name, dtype: "BF16", shape }));
}

/** Writes the small model, its tensors and config changed. */
async function writeSmall(
  directory: string,
  change: (tensors: Tensor[]) => Tensor[] = (tensors) => tensors,
  config: object = {},
): Promise<void> {
  await writeJson(join(directory, "config.json"), { ...smallConfig, ...config });
  await writeTensors(join(directory, "model.safetensors"), change(smallTensors()));
}

test("the example: tensors, layers, values, tokenizer", async () => {
  const model = await openModel(exampleModel);
  assert.is(model.tensors.length, 38);
  assert.equal(
    model.linears
      .slice(0, 7)
      .map(({ name, outputs, inputs }) => [name.replace("model.layers.0.", ""), outputs, inputs]),
    [
      ["self_attn.q_proj", 256, 256],
      ["self_attn.k_proj", 128, 256],
      ["self_attn.v_proj", 128, 256],
      ["self_attn.o_proj", 256, 256],
      ["mlp.gate_proj", 768, 256],
      ["mlp.up_proj", 768, 256],
      ["mlp.down_proj", 256, 768],
    ],
  );
  assert.equal(
    model.blocks.map(({ name, linears }) => [name, linears.length]),
    [0, 1, 2, 3].map((i) => [`model.layers.${i}`, 7]),
  );
  const name = "model.layers.2.mlp.down_proj.weight";
  const tensor = model.tensor(name);
  assert.equal(
    [tensor.shape, tensor.dtype, tensor.bytes, tensor.format, tensor.pattern],
    [[256, 768], "BF16", 393216, null, { kind: "full" }],
  );
  const all = await model.floats(name);
  assert.equal(await model.floats(name, 768 * 3 + 5, 11), all.subarray(768 * 3 + 5, 768 * 3 + 16));
  const whole = await model.read(name);
  let joined = 0;
  for await (const { begin, bytes } of model.chunks(name, 100_000)) {
    assert.equal(bytes, whole.subarray(begin, begin + bytes.length));
    joined += bytes.length;
  }
  assert.is(joined, whole.length);
  assert.is((await model.tokenizer()).bos, 0);
  assert.is(await model.tokenizer(), await model.tokenizer());
  await model.read(name, { begin: 0, end: 393217 }).then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, RangeError),
  );
  assert.throws(() => model.tensor("x"), RangeError);
  await model.close();
});

test("weights that are not the config's, several faults at once", async () => {
  await inDirectory(async (directory) => {
    await writeSmall(directory, (tensors) =>
      tensors
        .filter(({ name }) => !name.endsWith("1.mlp.up_proj.weight"))
        .map((tensor): Tensor => {
          if (tensor.name === "model.norm.weight") return { ...tensor, shape: [9] };
          return tensor.name === "model.layers.0.self_attn.q_proj.weight" ? { ...tensor, dtype: "I8" } : tensor;
        })
        .concat(
          { name: "model.layers.2.input_layernorm.weight", dtype: "BF16", shape: [8] },
          { name: "model.layers.0.self_attn.q_proj.bias", dtype: "BF16", shape: [16] },
        ),
    );
    const { message } = await failure("M135", openModel(directory));
    assert.match(message, /`model\.layers\.1\.mlp\.up_proj\.weight` is missing/);
    assert.match(message, /`model\.norm\.weight` has the shape \[9\]; expected \[8\]/);
    assert.match(message, /q_proj\.weight` has the dtype I8; expected BF16, F16 or F32/);
    assert.match(message, /`model\.layers\.2\.input_layernorm\.weight` has no place in a Llama with 2 blocks/);
    assert.match(message, /q_proj\.bias` has no place/);
    assert.is(message.split("\n").length, 6);
  });
});

test("an untied head is needed; a tied one, old frequencies and foreign parts are left out", async () => {
  await inDirectory(async (directory) => {
    const head: Tensor = { name: "lm_head.weight", dtype: "F16", shape: [2048, 8] };
    const extra: Tensor[] = [
      head,
      { name: "model.layers.0.self_attn.rotary_emb.inv_freq", dtype: "F32", shape: [2] },
      { name: "score.weight", dtype: "F32", shape: [1] },
    ];
    await writeSmall(directory, (tensors) => [...tensors, ...extra]);
    const model = await openModel(directory);
    assert.is(model.tensors.length, smallTensors().length);
    await model.close();
    await writeSmall(directory, (tensors) => tensors, { tie_word_embeddings: false });
    assert.match((await failure("M135", openModel(directory))).message, /`lm_head\.weight` is missing/);
    await writeSmall(directory, (tensors) => [...tensors, ...extra], { tie_word_embeddings: false });
    await (await openModel(directory)).close();
  });
});

test("what lies beside a model is copied where it is a file, and found wrong before anything is written", async () => {
  await inDirectory(async (directory) => {
    await writeSmall(directory);
    await mkdir(join(directory, "tokenizer"));
    await writeFile(join(directory, "LICENSE"), "free");
    const names = async (): Promise<readonly string[]> => {
      const model = await openModel(directory);
      return model
        .companions()
        .then((found) => found.map(({ name }) => name))
        .finally(() => model.close());
    };
    assert.equal(await names(), ["LICENSE"]);
    await symlink(join(directory, "gone"), join(directory, "NOTICE"));
    const error = await failure("M100", names());
    assert.match(
      error.message,
      /A file that is copied along with the model cannot be read: There is no file or directory .*NOTICE/,
    );
    assert.ok(error.help !== null);
    await rm(join(directory, "NOTICE"));
    await writeFile(join(directory, "tokenizer.model"), "");
    await truncate(join(directory, "tokenizer.model"), 2 ** 29);
    assert.match((await failure("M102", names())).message, /tokenizer.model` has 512 MiB; at most 256 MiB are copied/);
  });
});

test("shards, by links as in the Hugging Face cache", async () => {
  await inDirectory(async (root) => {
    const directory = join(root, "snapshot");
    await mkdir(directory);
    await mkdir(join(root, "blobs"));
    await writeJson(join(directory, "config.json"), smallConfig);
    const tensors = smallTensors();
    const halves = [tensors.slice(0, 9), tensors.slice(9)];
    for (const [i, half] of halves.entries()) {
      await writeTensors(join(root, "blobs", String(i)), half, (name, bytes) =>
        new Uint8Array(bytes).fill(name.length),
      );
      await symlink(`../blobs/${i}`, join(directory, `model-${i}.safetensors`));
    }
    const index = join(directory, "model.safetensors.index.json");
    const map = Object.fromEntries(
      halves.flatMap((half, i) => half.map(({ name }) => [name, `model-${i}.safetensors`])),
    );
    await writeJson(index, { metadata: {}, weight_map: map });
    const model = await openModel(directory);
    assert.is(model.tensors.length, tensors.length);
    for (const { name, dtype, shape } of tensors)
      assert.equal(await model.read(name), new Uint8Array(byteCount(dtype, shape) ?? 0).fill(name.length));
    await model.close();

    await writeJson(index, { weight_map: { ...map, "model.norm.weight": "../blobs/0" } });
    assert.match((await failure("M103", openModel(directory))).message, /\.\.\/blobs\/0/);
    await writeJson(index, { weight_map: { ...map, "model.norm.weight": "model-0.safetensors" } });
    assert.match(
      (await failure("M120", openModel(directory))).message,
      /`model\.norm\.weight` is not in `model-0\.safetensors`/,
    );
    await writeJson(index, { weight_map: { ...map, x: "b.safetensors", y: "c.safetensors" } });
    assert.match(
      (await failure("M122", openModel(directory))).message,
      /lacks 2 of the 4 shards[^]*b\.safetensors[^]*c\.safetensors/,
    );
    for (const weights of [{}, { a: 3 }, null]) {
      await writeJson(index, { weight_map: weights });
      await failure("M120", openModel(directory));
    }
    await writeJson(index, { weight_map: map });
    await rm(join(directory, "model-1.safetensors"));
    execFileSync("mkfifo", [join(directory, "model-1.safetensors")]);
    await failure("M101", openModel(directory));
  });
});

test("directories that are no models", async () => {
  await inDirectory(async (directory) => {
    await failure("M100", openModel(join(directory, "none")));
    await failure("M100", openModel(directory));
    await writeSmall(directory);
    assert.match(
      (await failure("M160", openModel(join(directory, "config.json")))).help ?? "",
      /directory of a Hugging Face model/,
    );
    await rename(join(directory, "model.safetensors"), join(directory, "other.safetensors"));
    await failure("M121", openModel(directory));
    await writeFile(join(directory, "pytorch_model.bin"), "");
    assert.match((await failure("M121", openModel(directory))).help ?? "", /PyTorch/);
    await symlink("/dev/zero", join(directory, "model.safetensors"));
    await failure("M101", openModel(directory));
    await writeJson(join(directory, "config.json"), { ...smallConfig, espalier: { version: 2 } });
    assert.match((await failure("M134", openModel(directory))).message, /version should be 1, found 2/);
  });
});

test.run();
