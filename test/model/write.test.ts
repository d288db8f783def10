import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec, normalizeFormat, shapeOf } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { parseConfig } from "../../runtime/model/config.js";
import { inspect } from "../../runtime/model/inspect.js";
import { expectedTensors } from "../../runtime/model/layout.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { checkOutput } from "../../runtime/model/output.js";
import type { SavedRecipe } from "../../runtime/model/packed.js";
import { createModel, recipeHash, type OutputPlan, type OutputTensor } from "../../runtime/model/write.js";
import { exampleModel, failure, inDirectory, smallConfig, writeJson, writeTensors } from "./support.js";
import { partNotRun } from "../support/not-run.js";

const test = suite("model/write");

function normalized(spec: FormatSpec): FormatSpec {
  const format = normalizeFormat(spec);
  if (typeof format === "string") throw new Error(format);
  return format;
}

const sparse = normalized({ name: "nm", args: { n: 2, m: 4 }, of: { name: "f16", args: {}, of: null } });
const half: FormatSpec = { name: "f16", args: {}, of: null };
const packedName = "model.layers.1.mlp.up_proj.weight";
const denseName = "model.layers.0.self_attn.q_proj.weight";
const [main, module] = ["recipe half() {}\n", "fn f(x: f32[N]) -> f32[N] {\n  return x\n}\n"];
const recipe: SavedRecipe = {
  record: {
    name: "half",
    hash: recipeHash(main),
    parameters: { damp: 0.01, fast: true },
    modules: { "recipe-mine.esp": recipeHash(module) },
    library: { version: "1.2.3", modules: { prune: recipeHash("") } },
  },
  files: new Map([
    ["recipe.esp", main],
    ["recipe-mine.esp", module],
  ]),
};

/** One tensor as 2:4 of f16, one as f16, the rest as they are. */
function plan(source: Model, options: Partial<OutputPlan> = {}): OutputPlan {
  const tensors = source.tensors.map(({ name, shape, dtype, format, pattern }): OutputTensor => {
    if (name === packedName)
      return { name, shape, dtype, format: sparse, pattern: { kind: "nm", n: 2, m: 4, axis: 1 } };
    return name === denseName
      ? { name, shape, dtype, format: half, pattern: { kind: "full" } }
      : { name, shape, dtype, format, pattern };
  });
  return { source, tensors, recipe, force: false, ...options };
}

/** Zeros for half of every four, so that the pattern holds, and values that f16 has. */
async function prunedValues(source: Model): Promise<Float32Array> {
  return (await source.floats(packedName)).map((value, i) => (i % 4 < 2 ? Math.round(value * 1024) / 1024 : 0));
}

async function writeAll(
  source: Model,
  path: string,
  options: Partial<OutputPlan> = {},
): Promise<{ readonly files: readonly string[]; readonly bytes: number }> {
  const writer = await createModel(path, plan(source, options));
  for (const { name, shape } of source.tensors) {
    if (name !== packedName && name !== denseName) {
      await writer.copy(name);
      continue;
    }
    const format = name === packedName ? sparse : half;
    const values = name === packedName ? await prunedValues(source) : await source.floats(name);
    const words = new Uint8Array(formatOfSpec(format).encode(format, shapeOf(shape), values, null).buffer);
    for (let at = 0; at < words.length; at += 50_000) await writer.append(name, words.subarray(at, at + 50_000));
  }
  return writer.finish();
}

test("an output head that is not the embedding is written, and the config says so", async () => {
  await inDirectory(async (directory) => {
    const config = { ...smallConfig, tie_word_embeddings: true };
    const head = { name: "lm_head.weight", dtype: "BF16" as const, shape: [2048, 8] };
    const tensors = [...expectedTensors(parseConfig("c", config))].map(([name, shape]) => ({
      name,
      dtype: head.dtype,
      shape,
    }));
    await writeJson(join(directory, "config.json"), config);
    await writeTensors(join(directory, "model.safetensors"), [...tensors, head], (name, bytes) =>
      new Uint8Array(bytes).fill(name === head.name ? 0x40 : 0x3f),
    );
    const source = await openModel(directory);
    const written = join(directory, "..", `${basename(directory)}-written`);
    const writer = await createModel(written, {
      source,
      tensors: source.tensors.map(({ name, shape, dtype, format, pattern }) => ({
        name,
        shape,
        dtype,
        format,
        pattern,
      })),
      recipe: null,
      force: false,
    });
    for (const { name } of source.tensors) await writer.copy(name);
    await writer.finish();
    await source.close();
    const model = await openModel(written);
    assert.equal([model.config.tiedEmbeddings, model.warnings], [false, []]);
    assert.equal(await model.read(head.name), new Uint8Array(2048 * 8 * 2).fill(0x40));
    await model.close();
    await rm(written, { recursive: true });
  });
});

test("a packed model is a model again, in one file or in shards", async () => {
  const source = await openModel(exampleModel);
  await inDirectory(async (directory) => {
    for (const maxShardBytes of [undefined, 1_200_000]) {
      const path = join(directory, "made", maxShardBytes === undefined ? "one" : "many");
      const { files, bytes } = await writeAll(source, path, { maxShardBytes });
      assert.equal(
        files.filter((name) => !name.startsWith("model")),
        [
          "config.json",
          "generation_config.json",
          "recipe-mine.esp",
          "recipe.esp",
          "tokenizer.json",
          "tokenizer_config.json",
        ],
      );
      if (maxShardBytes === undefined) assert.ok(files.includes("model.safetensors"));
      else
        assert.ok(
          files.includes("model.safetensors.index.json") && files.includes("model-00007-of-00007.safetensors"),
          files.join(),
        );
      const model = await openModel(path);
      assert.equal(
        model.tensors.map(({ name }) => name),
        source.tensors.map(({ name }) => name),
      );
      assert.is(
        model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
        bytes,
      );
      const packed = model.tensor(packedName);
      assert.equal(
        [packed.format, packed.pattern, packed.shape, packed.dtype],
        [sparse, { kind: "nm", n: 2, m: 4, axis: 1 }, [768, 256], "BF16"],
      );
      const words = new Uint32Array((await model.read(packedName)).buffer);
      assert.equal(formatOfSpec(sparse).decode(sparse, shapeOf(packed.shape), words), await prunedValues(source));
      assert.equal(await model.floats("model.embed_tokens.weight"), await source.floats("model.embed_tokens.weight"));
      assert.is(model.tensor(denseName).bytes, 256 * 256 * 2);
      assert.equal(model.packed?.recipe, recipe.record);
      for (const [name, text] of recipe.files) assert.is(await readFile(join(path, name), "utf8"), text);
      assert.is((await model.tokenizer()).size, 2048);
      const report = await inspect(path);
      const one = (name: string) => report.tensors.find((tensor) => tensor.name === name);
      assert.equal(one(packedName), {
        name: packedName,
        shape: [768, 256],
        dtype: "BF16",
        pattern: "2:4",
        format: "nm(2, 4) of f16",
        bitsPerWeight: 9,
        bytes: packed.bytes,
        zeros: (await prunedValues(source)).filter((value) => value === 0).length,
      });
      assert.equal([one(denseName)?.format, one(denseName)?.pattern], ["f16", "full"]);
      assert.is(report.parameters, 3672320);
      assert.is(report.bytes, bytes);
      await model.close();
    }
    assert.equal((await readdir(join(directory, "made"))).sort(), ["many", "one"]);

    // A compressed model is compressed again.
    const again = await openModel(join(directory, "made", "one"));
    const writer = await createModel(join(directory, "again"), {
      source: again,
      tensors: again.tensors,
      recipe: { ...recipe, record: { ...recipe.record, name: "second" } },
      force: false,
    });
    for (const { name } of again.tensors) await writer.copy(name);
    await writer.finish();
    const second = await openModel(join(directory, "again"));
    assert.equal(second.packed?.history, [recipe.record]);
    assert.is(second.packed?.recipe?.name, "second");
    assert.equal(await second.read(packedName), await again.read(packedName));
    await again.close();
    await second.close();
  });
  await source.close();
});

test("places where a model must not be written", async () => {
  await inDirectory(async (directory) => {
    const model = join(directory, "model");
    const rules = { model, force: false };
    await mkdir(join(model, "sub"), { recursive: true });
    await symlink("model", join(directory, "link"));
    for (const path of [
      model,
      join(model, "sub", "new"),
      join(directory, "link"),
      join(directory, "link", "new"),
      directory,
      dirname(directory),
      join(directory, "x", "..", "model"),
    ]) {
      for (const force of [false, true]) await failure("M152", checkOutput(path, { model, force }));
    }
    await writeFile(join(directory, "file"), "");
    await mkdir(join(directory, "empty"));
    await symlink("nowhere", join(directory, "dangling"));
    for (const name of ["file", "dangling", "empty"]) await failure("M150", checkOutput(join(directory, name), rules));
    for (const name of ["file", "dangling"])
      await failure("M150", checkOutput(join(directory, name), { model, force: true }));
    await checkOutput(join(directory, "empty"), { model, force: true });
    await failure("M151", checkOutput(join(directory, "file", "new"), rules));
    await mkdir(join(directory, "mine"));
    await writeFile(join(directory, "mine", "letter.txt"), "dear");
    assert.match(
      (await failure("M150", checkOutput(join(directory, "mine"), { model, force: true }))).message,
      /other things than a model/,
    );
    if (process.getuid?.() === 0) partNotRun("a folder that may not be written", "root may write everything");
    else {
      await mkdir(join(directory, "locked"));
      await chmod(join(directory, "locked"), 0o500);
      await failure("M151", checkOutput(join(directory, "locked", "new"), rules));
    }
    await failure("M151", checkOutput(join(directory, "x".repeat(300)), rules));
    const before = await readdir(directory);
    assert.is(await checkOutput(join(directory, "deep", "new"), rules), join(directory, "deep", "new"));
    assert.equal(await readdir(directory), before);
  });
});

test("--force replaces a model when the new one is complete", async () => {
  const source = await openModel(exampleModel);
  await inDirectory(async (directory) => {
    const path = join(directory, "out");
    await mkdir(path);
    await writeJson(join(path, "config.json"), { old: true });
    const writer = await createModel(path, plan(source, { force: true }));
    await writer.copy("model.norm.weight");
    assert.equal(await readdir(path), ["config.json"]);
    await writer.discard();
    assert.equal(await readdir(directory), ["out"]);
    await writeAll(source, path, { force: true });
    assert.ok((await readdir(path)).includes("model.safetensors"));
    assert.equal(await readdir(directory), ["out"]);
  });
  await source.close();
});

test("errors, also an incomplete model, leave nothing", async () => {
  const source = await openModel(exampleModel);
  await inDirectory(async (directory) => {
    const path = join(directory, "made", "for", "it");
    const writer = await createModel(path, plan(source));
    await writer.append(packedName, new Uint8Array(16));
    await writer.finish().then(
      () => assert.unreachable(),
      (error: unknown) => assert.instance(error, RangeError),
    );
    assert.equal(await readdir(directory), []);
    const wrong = await createModel(path, plan(source));
    await wrong.append(packedName, new Uint8Array(10_000_000)).then(
      () => assert.unreachable(),
      (error: unknown) => assert.instance(error, RangeError),
    );
    assert.equal(await readdir(directory), []);
  });
  await source.close();
});

test("what killed runs left is removed, or comes back", async () => {
  const source = await openModel(exampleModel);
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  await inDirectory(async (directory) => {
    const path = join(directory, "out");
    const first = await createModel(path, plan(source));
    const own = (await readdir(directory))[0] ?? "";
    await first.discard();
    const stale = own.replace(`-${process.pid}-`, `-${dead}-`);
    const other = stale.replace(
      hostname()
        .replace(/[^A-Za-z0-9]/g, "_")
        .slice(0, 40),
      "elsewhere",
    );
    for (const name of [stale, other, stale.replace("-new-", "-old-")]) {
      await mkdir(join(directory, name));
      await writeJson(join(directory, name, "config.json"), { name });
    }
    // The model that a killed run had moved away is there again: a new one needs --force.
    await failure("M150", createModel(path, plan(source)));
    assert.equal((await readdir(directory)).sort(), [other, "out"].sort());
    assert.equal(await readdir(path), ["config.json"]);
  });
  await source.close();
});

test.run();
