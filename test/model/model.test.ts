import { mkdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../runtime/model/config.js";
import { byteCount, type ElementType } from "../../runtime/model/elements.js";
import { inspect } from "../../runtime/model/inspect.js";
import { expectedTensors } from "../../runtime/model/layout.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { leftOut } from "../../runtime/model/parts.js";
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
        }),
    );
    const { message } = await failure("M135", openModel(directory));
    assert.match(message, /`model\.layers\.1\.mlp\.up_proj\.weight` is missing/);
    assert.match(message, /`model\.norm\.weight` has the shape \[9\]; expected \[8\]/);
    assert.match(message, /q_proj\.weight` has the dtype `I8`; expected BF16, F16 or F32/);
    assert.is(message.split("\n").length, 4);
  });
});

/** Values of a tensor that no other has. */
function valuesOf(name: string, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at % 2 === 0 ? name.length + (at % 7) : 0x3f));
}

/** What `openModel` says of the small model, its tensors and config changed. */
async function opened(
  directory: string,
  change: (tensors: Tensor[]) => Tensor[],
  config: object = {},
  fill: (name: string, bytes: number) => Uint8Array = valuesOf,
): Promise<Model> {
  await writeJson(join(directory, "config.json"), { ...smallConfig, ...config });
  await writeTensors(join(directory, "model.safetensors"), change(smallTensors()), fill);
  const model = await openModel(directory);
  await model.close();
  return model;
}

const head: Tensor = { name: "lm_head.weight", dtype: "BF16", shape: [2048, 8] };

test("what a Llama has no place for is left out, and reported", async () => {
  await inDirectory(async (directory) => {
    const extra: Tensor[] = [
      { name: "model.layers.0.self_attn.rotary_emb.inv_freq", dtype: "F32", shape: [2] },
      { name: "model.layers.2.input_layernorm.weight", dtype: "BF16", shape: [8] },
      { name: "model.layers.0.self_attn.q_proj.bias", dtype: "I64", shape: [16] },
      { name: "score.weight", dtype: "F8_E4M3", shape: [3] },
    ];
    const model = await opened(directory, (tensors) => [...extra, ...tensors]);
    assert.is(model.tensors.length, smallTensors().length);
    assert.equal(model.warnings, [
      "3 tensors have no place in a Llama with 2 blocks and are left out: `model.layers.2.input_layernorm.weight`, `model.layers.0.self_attn.q_proj.bias`, `score.weight`",
    ]);
    assert.is(
      leftOut(model.unused),
      "not carried over: `model.layers.2.input_layernorm.weight`, `model.layers.0.self_attn.q_proj.bias`, `score.weight` (no part of the model); `model.layers.0.self_attn.rotary_emb.inv_freq` (computed from the config)",
    );
    const one = await opened(directory, (tensors) => [...tensors, ...extra.slice(3)]);
    assert.equal(one.warnings, ["the tensor `score.weight` has no place in a Llama with 2 blocks and is left out"]);
    const path = join(directory, "model.safetensors");
    const bytes = await readFile(path);
    bytes.write("F9_NEW1", bytes.indexOf("F8_E4M3"));
    await writeFile(path, bytes);
    const renamed = await openModel(directory);
    await renamed.close();
    assert.equal(renamed.warnings, one.warnings);
    assert.is((await inspect(directory)).tensors.find(({ name }) => name === "score.weight")?.dtype, "F9_NEW1");
    bytes.write("F16 ", bytes.indexOf("BF16") - 1);
    await writeFile(path, bytes);
    await failure("M112", openModel(directory));
    assert.equal((await opened(directory, (tensors) => tensors)).warnings, []);
    assert.is(leftOut((await opened(directory, (tensors) => tensors)).unused), null);
  });
});

test("an output head is tied only where it is the embedding, as the Hugging Face library does", async () => {
  await inDirectory(async (directory) => {
    const same = (name: string, bytes: number): Uint8Array => valuesOf(name === head.name ? embedding : name, bytes);
    const embedding = "model.embed_tokens.weight";
    const tied = await opened(directory, (tensors) => [...tensors, head], {}, same);
    assert.equal([tied.config.tiedEmbeddings, tied.warnings, tied.tensors.length], [true, [], smallTensors().length]);
    assert.is(leftOut(tied.unused), "not carried over: `lm_head.weight` (the embedding again)");

    // the same values as other types, and zeros of either sign
    const wide = (name: string, bytes: number): Uint8Array =>
      name === head.name
        ? new Uint8Array(Uint32Array.from({ length: 2048 * 8 }, () => 0x80000000).buffer)
        : new Uint8Array(bytes);
    const f32 = await opened(directory, (tensors) => [...tensors, { ...head, dtype: "F32" }], {}, wide);
    assert.is(f32.config.tiedEmbeddings, true);

    const untied = await opened(directory, (tensors) => [...tensors, head]);
    assert.is(untied.config.tiedEmbeddings, false);
    assert.is(untied.config.raw["tie_word_embeddings"], false);
    assert.ok(untied.tensors.some(({ name }) => name === head.name));
    assert.match(
      untied.warnings.join(),
      /`tie_word_embeddings` is true, but `lm_head\.weight` is there and is not the/,
    );
    assert.equal(untied.unused, []);
    const last = (name: string, bytes: number): Uint8Array =>
      name === head.name ? same(name, bytes).fill(7, bytes - 1) : same(name, bytes);
    assert.is((await opened(directory, (tensors) => [...tensors, head], {}, last)).config.tiedEmbeddings, false);
    const smaller = { ...head, shape: [2047, 8] };
    const error = await failure(
      "M135",
      opened(directory, (tensors) => [...tensors, smaller]),
    );
    assert.match(error.message, /`lm_head\.weight` has the shape \[2047, 8\]/);

    const alone = await opened(directory, (tensors) => [head, ...tensors.filter(({ name }) => name !== embedding)]);
    assert.equal([alone.config.tiedEmbeddings, alone.warnings, alone.unused], [true, [], []]);
    assert.is(alone.tensor(embedding).bytes, 2048 * 8 * 2);

    const missing = await failure(
      "M135",
      opened(directory, (tensors) => tensors, { tie_word_embeddings: false }),
    );
    assert.match(missing.message, /`lm_head\.weight` is missing/);
    const own = await opened(directory, (tensors) => [...tensors, head], { tie_word_embeddings: false });
    assert.equal([own.config.tiedEmbeddings, own.warnings], [false, []]);
  });
});

test("an index is held to what is needed of it", async () => {
  await inDirectory(async (directory) => {
    await writeJson(join(directory, "config.json"), smallConfig);
    const tensors = smallTensors();
    const halves = [tensors.slice(0, 9), tensors.slice(9)];
    for (const [i, half] of halves.entries()) await writeTensors(join(directory, `${i}.safetensors`), half);
    const index = join(directory, "model.safetensors.index.json");
    const map = Object.fromEntries(halves.flatMap((half, i) => half.map(({ name }) => [name, `${i}.safetensors`])));
    const inverse = "model.layers.0.self_attn.rotary_emb.inv_freq";
    const { "model.norm.weight": _, ...unnamed } = map;
    const lenient: readonly (readonly [object, ...RegExp[]])[] = [
      [{ ...map, [head.name]: "0.safetensors", [inverse]: "1.safetensors" }, /names a tensor `lm_head/, /inv_freq/],
      [{ ...map, x: "gone.safetensors" }, /the shard `gone\.safetensors` is missing/, /names a tensor `x`/],
      [{ ...map, x: 3 }, /the shard of `x` should be a file name, found 3/],
      [{ ...map, x: "config.json" }, /shard `config\.json` is needed, and it cannot be read/, /names a tensor `x`/],
      [{ ...map, "model.norm.weight": "0.safetensors" }],
      [unnamed],
    ];
    for (const [given, ...warnings] of lenient) {
      await writeJson(index, { weight_map: given });
      const model = await openModel(directory);
      await model.close();
      assert.is(model.tensors.length, tensors.length);
      assert.is(model.warnings.length, warnings.length, model.warnings.join("\n"));
      for (const [at, warning] of warnings.entries()) assert.match(model.warnings[at] ?? "", warning);
      assert.equal((await inspect(directory)).warnings, model.warnings);
    }
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

test("a tokenizer that is cut off, or another model's, is found before anything is written, whatever its parts", async () => {
  await inDirectory(async (directory) => {
    await writeSmall(directory);
    const path = join(directory, "tokenizer.json");
    const companions = async (): Promise<readonly string[]> => {
      const model = await openModel(directory);
      return model
        .companions()
        .then((found) => found.map(({ name }) => name))
        .finally(() => model.close());
    };
    const vocab = Object.fromEntries(Array.from({ length: 2048 }, (_, id) => [`t${id}`, id]));
    const tokenizer = { decoder: { type: "Unknown" }, model: { type: "Unknown", vocab } };
    await writeJson(path, tokenizer);
    assert.equal(await companions(), ["tokenizer.json"]);
    await truncate(path, 1000);
    assert.match((await failure("M104", companions())).message, /tokenizer\.json` is not valid JSON/);
    await writeJson(path, { model: { vocab: { ...vocab, beyond: 2048 } } });
    assert.match((await failure("M142", companions())).message, /1 of them with an id of 2048 and above/);
    await writeJson(path, { model: { vocab: 3 } });
    await failure("M141", companions());
    await writeJson(path, tokenizer);
    await writeFile(join(directory, "tokenizer_config.json"), `{"a`);
    assert.match((await failure("M104", companions())).message, /tokenizer_config\.json` is not valid JSON/);
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
    const up = "model.layers.1.mlp.up_proj.weight";
    await writeJson(index, {
      weight_map: { ...map, "model.norm.weight": "b.safetensors", [up]: "c.safetensors" },
    });
    assert.match(
      (await failure("M122", openModel(directory))).message,
      /lacks 2 of the 4 shards[^]*c\.safetensors[^]*b\.safetensors/,
    );
    for (const weights of [{}, { a: 3 }, null, { ...map, [up]: 3 }]) {
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
    await writeJson(join(directory, "config.json"), { ...smallConfig, espalier: { version: 4 } });
    assert.match((await failure("M134", openModel(directory))).message, /version should be 1, 2 or 3, found 4/);
  });
});

test.run();
