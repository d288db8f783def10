/** What a format cannot hold is refused with what can, and leaves nothing behind; what is rounded is told. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exportModel, type Exported, type ExportOptions } from "../../../runtime/model/export/export.js";
import type { ExportTarget } from "../../../runtime/model/export/targets.js";
import { openModel } from "../../../runtime/model/model.js";
import { recipeHash } from "../../../runtime/model/write.js";
import { failure, inDirectory, writeJson } from "../support.js";
import { digestsAt, writePacked } from "./support.js";

const test = suite("model/export/refused");

const sizes = { hidden_size: 64, intermediate_size: 64, num_attention_heads: 2, head_dim: 32, num_hidden_layers: 1 };

/** Exports a model of these formats, layer by layer in turn; `check` sees what was written. */
async function exported(
  formats: readonly (string | null)[],
  to: ExportTarget,
  options: Partial<ExportOptions> = {},
  check: (path: string, result: Exported) => unknown = () => undefined,
  dtype: "BF16" | "F16" | "F32" = "BF16",
): Promise<void> {
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, (_, at) => formats[at % formats.length]!, { dtype });
    const model = await openModel(directory);
    try {
      await inDirectory(async (place) => {
        const output = join(place, to === "gguf" ? "out.gguf" : "out");
        try {
          await check(output, await exportModel(model, { to, output, version: "0", ...options }));
        } catch (error) {
          assert.equal(await readdir(dirname(output)), [], "nothing is left");
          throw error;
        }
      });
    } finally {
      await model.close();
    }
  });
}

const refusals: readonly (readonly [ExportTarget, readonly (string | null)[], RegExp, RegExp])[] = [
  [
    "compressed-tensors",
    ["nm(2, 4) of bf16"],
    /7 layers \(`model.layers.0.self_attn.q_proj` the first\) are stored as nm\(2, 4\) of bf16; `pack-quantized` holds integers/,
    /--to safetensors, --to sparse-24-bitmask$/,
  ],
  [
    "compressed-tensors",
    [null],
    /no linear layer is packed as integers: compress the model first/,
    /--to safetensors, --to gguf$/,
  ],
  [
    "gptq",
    ["int4(32)", "int4(64)"],
    /one number of bits and one group.*4 of 4 bits in groups of 32.*3 of 4 bits in groups of 64/,
    /--to compressed-tensors/,
  ],
  [
    "gptq",
    ["q6_k"].map(() => "bitmask of bf16"),
    /stored as bitmask\(nonzeros: \d+\) of bf16; GPTQ holds/,
    /--to safetensors, --to sparse-bitmask$/,
  ],
  [
    "gptq",
    ["bitmask of int4(32)"],
    /stored as bitmask\(nonzeros: \d+\) of int4\(32.*; GPTQ holds/,
    /--to safetensors$/,
  ],
  ["compressed-tensors", ["fp8_e4m3(32)"], /stored as fp8_e4m3\(32\); `pack-quantized` holds/, /--to safetensors$/],
  ["compressed-tensors", ["int3(32)"], /codes of 2, 4 or 8 bits, not 3/, /--to gguf, --to gptq$/],
  ["marlin-24", ["nm(2, 4) of int2(channel)"], /codes of 4 or 8 bits, not 2/, /--to gptq$/],
  ["awq", ["int4(32, asymmetric, zero: f16)"], /stored as int4\(32.*zero: f16.*\); AWQ holds/, /--to safetensors$/],
  ["sparse-24-bitmask", ["nm(2, 4) of fp8_e4m3"], /stored as nm\(2, 4\) of fp8_e4m3/, /--to safetensors$/],
  ["gguf", ["fp8_e4m3(32)"], /no type for fp8_e4m3\(32\): `--type f32` holds the values/, /--to safetensors$/],
  ["awq", ["int8(32)"], /AWQ has codes of 4 bits, not 8/, /--to compressed-tensors, --to gptq$/],
  ["awq", ["regrouped of int4(32)"], /AWQ has groups of neighbours only/, /--to gptq/],
  ["marlin-24", ["int4(32)"], /`marlin-24` holds 2:4 only/, /--to awq/],
  ["marlin-24", ["nm(2, 4) of int4(32)"], /groups of 128 or a row, not of 32/, /--to compressed-tensors/],
  ["marlin-24", ["nm(2, 4) of int4(channel, asymmetric)"], /symmetric codes only/, /--to awq/],
  ["sparse-24-bitmask", ["nm(2, 4) of int4(32)"], /holds 2:4 of f16, bf16 or f32/, /--to compressed-tensors/],
  ["sparse-24-bitmask", ["nm(4, 8) of f16"], /stored as nm\(4, 8\) of f16/, /--to safetensors$/],
  ["sparse-bitmask", ["nm(2, 4) of f16"], /`sparse-bitmask` holds unstructured zeros/, /--to sparse-24-bitmask$/],
  ["sparse-bitmask", ["bitmask of int4(32)"], /stored as bitmask\(nonzeros: \d+\) of int4/, /--to safetensors$/],
  ["sparse-24-bitmask", [null], /no linear layer is packed as 2:4/, /--to safetensors, --to gguf$/],
  [
    "gguf",
    ["nm(2, 4) of int4(32)", "int4(32)"],
    /4 tensors \(`model.layers.0.self_attn.q_proj.weight` the first\): GGUF has no type for nm\(2, 4\) of int4\(32\): `--type q4_0` stores/,
    /--to safetensors, --to compressed-tensors, --to gptq, --to awq$/,
  ],
  [
    "gguf",
    ["nm(2, 4) of f16"],
    /no type for nm\(2, 4\) of f16: `--type f16` stores the zeros, too/,
    /--to sparse-24-bitmask/,
  ],
  ["gguf", ["regrouped of int4(32)"], /groups in another order/, /--to gptq/],
  ["gguf", ["int4(16)"], /blocks of 32 columns, not of 16: `--type f32`/, /--to gptq/],
  ["gguf", ["int8(32, asymmetric)"], /no zero points of 8 bits/, /--to gptq/],
];

for (const [to, formats, message, help] of refusals)
  test(`${to} of ${formats.join(", ")}`, async () => {
    const error = await failure("M155", () => exported(formats, to));
    assert.match(error.message, message);
    assert.match(error.help ?? "", help);
  });

test("scales that f16 does not hold are refused, or rounded and told", async () => {
  const wide = ["int4(32, scale: f32)"];
  await exported(wide, "gptq", {}, (_, { tensors }) => assert.ok(tensors.every(({ loss }) => loss === null)));
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, () => "int4(32, scale: f32)");
    const path = join(directory, "model.safetensors");
    const bytes = await readFile(path);
    // the last layer's scales stand at its end; those of the last row are of zeros
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString()) as {
      [name: string]: { data_offsets: [number, number] };
    };
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const [, end] = header["model.layers.0.mlp.down_proj.weight"]!.data_offsets;
    bytes.writeFloatLE(1 / 3, start + end - 12);
    await writeFile(path, bytes);
    const model = await openModel(directory);
    const output = `${directory}-out`;
    const error = await failure("M155", () => exportModel(model, { to: "gptq", output, version: "0" }));
    assert.match(error.message, /down_proj.weight` are not all among those of gptq, whose scales are f16/);
    await exported(["int4(32)"], "gptq");
    await inDirectory(async (place) => {
      const { tensors } = await exportModel(model, {
        to: "gptq",
        output: join(place, "o"),
        version: "0",
        requantize: true,
      });
      const rounded = tensors.filter(({ loss }) => loss !== null);
      assert.equal(
        rounded.map(({ source }) => source),
        ["model.layers.0.mlp.down_proj.weight"],
      );
      assert.ok(rounded[0]!.loss!.relative > 0 && rounded[0]!.loss!.relative < 1e-3);
      assert.match(await readFile(join(place, "o", "README.md"), "utf8"), /1 of \d+ tensors were rounded/);
    });
    await model.close();
  });
});

test("dense safetensors of another type: only rounded where that is allowed", async () => {
  const error = await failure("M155", () => exported(["int4(32)"], "safetensors", { type: "bf16" }, undefined, "F32"));
  assert.match(error.message, /`model.embed_tokens.weight` are not all among those of bf16/);
  await exported(["int4(32)"], "safetensors", { type: "bf16", requantize: true }, async (path, { tensors }) => {
    const model = await openModel(path);
    assert.ok(model.tensors.every(({ dtype, format }) => dtype === "BF16" && format === null));
    assert.is(model.config.dtype, "BF16");
    await model.close();
    const lost = tensors.filter(({ loss }) => loss !== null);
    assert.ok(lost.length > 0 && lost.every(({ loss }) => loss!.relative < 2 ** -8));
  });
});

test("GGUF: other types only where values are theirs, or where they may be rounded", async () => {
  const error = await failure("M155", () => exported([null], "gguf", { type: "q4_0" }));
  assert.match(
    error.message,
    /q_proj.weight` are not all among those of Q4_0: they would differ by 0\.\d+ of their size/,
  );
  const odd = await failure("M155", () => exported([null], "gguf", { type: "q6_k" }));
  assert.match(odd.message, /rows of 64 columns are no multiple of the 256 of a block of Q6_K/);
  await exported([null], "gguf", { type: "q4_0", requantize: true, embedding: "q8_0" }, async (path, { tensors }) => {
    const model = await openModel(path);
    assert.ok(model.linears.every(({ weight }) => model.tensor(weight).format?.name === "q4_0"));
    assert.is(model.tensor("model.embed_tokens.weight").format?.name, "q8_0");
    assert.is(model.tensor("model.norm.weight").dtype, "F32");
    await model.close();
    assert.is(tensors.filter(({ loss }) => loss !== null).length, 8);
  });
});

test("GGUF: a zero point whose minimum f16 does not hold is rounded, by less than its last digit", async () => {
  const mixed = ["int4(32, asymmetric)"];
  const error = await failure("M155", () => exported(mixed, "gguf"));
  assert.match(error.help ?? "", /q8_0 holds integers of 4 bits/);
  await exported(mixed, "gguf", { requantize: true }, (_, { tensors }) => {
    const lost = tensors.flatMap(({ loss }) => (loss === null ? [] : [loss.relative]));
    assert.ok(lost.length > 0 && lost.every((relative) => relative < 1e-3), String(lost));
  });
});

test("GGUF: a file that is there is kept, unless it is forced and one of these", async () => {
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, () => "int4(32)");
    const model = await openModel(directory);
    await inDirectory(async (place) => {
      const output = join(place, "new", "m.gguf");
      const options = { to: "gguf", output, version: "0" } as const;
      await exportModel(model, options);
      assert.equal((await readdir(dirname(output))).sort(), ["m.gguf", "m.md"]);
      assert.match((await failure("M150", () => exportModel(model, options))).help ?? "", /--force/);
      await exportModel(model, { ...options, force: true });
      await writeFile(output, "a diary");
      assert.match(
        (await failure("M150", () => exportModel(model, { ...options, force: true }))).message,
        /is no file of a model/,
      );
      assert.is(await readFile(output, "utf8"), "a diary");
      assert.match(
        (await failure("M155", () => exportModel(model, { ...options, output: place }))).message,
        /should be a file whose name ends in `.gguf`/,
      );
    });
    await model.close();
  });
});

test("shards, with an index that tells of them", async () => {
  await exported(["int4(32)"], "compressed-tensors", { maxShardBytes: 4000 }, async (path, { files }) => {
    const shards = files.filter((name) => /^model-\d{5}-of-\d{5}\.safetensors$/.test(name));
    assert.ok(shards.length > 3);
    const index = JSON.parse(await readFile(join(path, "model.safetensors.index.json"), "utf8")) as {
      weight_map: { [name: string]: string };
    };
    assert.equal([...new Set(Object.values(index.weight_map))].sort(), shards);
    await digestsAt(path);
  });
});

test("the card has recipe, parameters and figures; the config nothing of ours", async () => {
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, () => "int4(32)");
    const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
    const recipe = "recipe mine() {}\n";
    config.espalier.recipe = { name: "mine", hash: recipeHash(recipe), parameters: { group: 32, fast: true } };
    config.espalier.history = [{ name: "older", hash: "sha256:00", parameters: {} }];
    await writeJson(join(directory, "config.json"), config);
    await writeFile(join(directory, "recipe.esp"), `// Saved by espalier 0.1.0: and so on\n${recipe}`);
    const model = await openModel(directory);
    await inDirectory(async (place) => {
      const path = join(place, "out");
      const figures = [{ what: "perplexity on a.txt", value: "25.1" }];
      await exportModel(model, { to: "gptq", output: path, version: "1.2.3", figures });
      const card = await readFile(join(path, "README.md"), "utf8");
      assert.match(card, /^---\n[\s\S]*\ntags:\n- llama\n- espalier\n- gptq\n---\n/);
      assert.match(card, /Written by espalier 1\.2\.3\. \d+ parameters/);
      assert.match(card, /\| gptq \| 7 \| int4\(32, symmetric\) \| full \| 4\.500 \|/);
      assert.match(card, /- `older` \(sha256:00\)\n- `mine` with `group = 32`, `fast = true` \(sha256:[0-9a-f]{64}\)/);
      assert.match(card, /```esp\n\/\/ Saved[^\n]*\nrecipe mine\(\) \{\}\n```/);
      assert.match(card, /\| perplexity on a\.txt \| 25\.1 \|/);
      const written = JSON.parse(await readFile(join(path, "config.json"), "utf8"));
      assert.is(written.espalier, undefined);
      assert.is(written.quantization_config.quant_method, "gptq");
      const outside = await failure("M150", () => exportModel(model, { to: "gptq", output: path, version: "0" }));
      assert.match(outside.help ?? "", /--force/);
      await exportModel(model, { to: "awq", output: path, version: "0", force: true });
    });
    await failure("M152", () => exportModel(model, { to: "gptq", output: join(directory, "inside"), version: "0" }));
    await model.close();
  });
});

test.run();
