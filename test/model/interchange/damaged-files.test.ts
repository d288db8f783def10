/** Files of other tools' containers, damaged anywhere: each is refused with a code, or is a model. */
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError } from "../../../runtime/model/error.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import type { ExportTarget } from "../../../runtime/model/export/targets.js";
import { openModel } from "../../../runtime/model/model.js";
import { runs } from "../../support/runs.js";
import { writePacked } from "../export/support.js";
import { failure, inDirectory } from "../support.js";
import { given, samples, valuesOf } from "./support.js";

const test = suite("model/interchange/damaged-files");

/** Gives what a promise ends with where that is a ModelError, or null; anything else is a fault. */
async function refused(work: () => Promise<unknown>): Promise<ModelError | null> {
  try {
    await work();
    return null;
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

test("bytes of a layer's tensors, changed anywhere: values, or an error with the layer's name", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...Object.keys(samples)),
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }),
      async (name, changes) => {
        const layer = given(name);
        const parts = [...layer.tensors.values()];
        for (const [part, at, bits] of changes) {
          const { data } = parts[part % parts.length]!;
          data[at % data.length]! ^= bits;
        }
        const error = await refused(async () => {
          const values = await valuesOf(layer);
          assert.is(values.length, layer.shape[0] * layer.shape[1]);
        });
        if (error !== null) {
          assert.ok(["M133", "M135", "M136"].includes(error.code), error.code);
          assert.match(error.message, new RegExp(layer.module.replaceAll(".", "\\.")));
        }
      },
    ),
    runs(25),
  );
});

const sizes = { hidden_size: 128, intermediate_size: 128, num_attention_heads: 2, head_dim: 64, num_hidden_layers: 1 };
const targets: readonly (readonly [ExportTarget, string])[] = [
  ["compressed-tensors", "int4(32, asymmetric)"],
  ["gptq", "regrouped of int4(32)"],
  ["awq", "int4(32)"],
  ["marlin-24", "nm(2, 4) of int4(128)"],
  ["sparse-24-bitmask", "nm(2, 4) of bf16"],
  ["sparse-bitmask", "bitmask of bf16"],
];

/** A checkpoint of a tool, in several files where `shards`. */
async function withCheckpoint(
  [to, format]: (typeof targets)[number],
  shards: boolean,
  work: (path: string) => Promise<void>,
): Promise<void> {
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, () => format);
    const model = await openModel(directory);
    await inDirectory(async (place) => {
      const output = join(place, "out");
      await exportModel(model, { to, output, ...(shards ? { maxShardBytes: 40_000 } : {}) });
      await work(output);
    });
    await model.close();
  });
}

/** Opens a model and reads all of it. */
async function readAll(path: string): Promise<void> {
  const model = await openModel(path);
  try {
    for (const { name } of model.tensors) await model.read(name);
  } finally {
    await model.close();
  }
}

for (const target of targets) {
  const [to] = target;
  test(`${to}: a file cut anywhere is refused; a byte of header or config changed anywhere is, or is a model`, async () => {
    await withCheckpoint(target, false, async (path) => {
      await readAll(path);
      const [weights, config] = [join(path, "model.safetensors"), join(path, "config.json")];
      const whole = await readFile(weights);
      const said = await readFile(config);
      const header = 8 + Number(whole.readBigUInt64LE(0));
      await fc.assert(
        fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
          await truncate(weights, length);
          assert.ok((await refused(() => readAll(path))) !== null, `${length} bytes`);
          await writeFile(weights, whole);
        }),
        runs(6),
      );
      for (const [file, bytes, end] of [
        [weights, whole, header],
        [config, said, said.length],
      ] as const)
        await fc.assert(
          fc.asyncProperty(fc.nat(end - 1), fc.integer({ min: 1, max: 127 }), async (at, bits) => {
            const changed = Buffer.from(bytes);
            changed[at]! ^= bits;
            await writeFile(file, changed);
            await refused(() => readAll(path));
            await writeFile(file, bytes);
          }),
          runs(6),
        );
    });
  });

  test(`${to}: an index that leads out of the directory, to files that are not there, or to others`, async () => {
    await withCheckpoint(target, true, async (path) => {
      await readAll(path);
      const index = join(path, "model.safetensors.index.json");
      const text = await readFile(index, "utf8");
      const { weight_map: map } = JSON.parse(text) as { weight_map: { readonly [name: string]: string } };
      const [name] = Object.keys(map).filter((each) => each.includes("down_proj"));
      const others = (await readdir(path)).filter((each) => each.endsWith(".safetensors") && each !== map[name!]);
      const changed = async (file: string): Promise<string> => {
        await writeFile(index, JSON.stringify({ weight_map: { ...map, [name!]: file } }));
        return path;
      };
      for (const file of ["../model.safetensors", "/etc/passwd", "a/../../b.safetensors"])
        await failure("M103", async () => openModel(await changed(file)));
      await failure("M122", async () => openModel(await changed("model-00099-of-00099.safetensors")));
      // of a tensor that lies in another file than is said there is no doubt
      await readAll(await changed(others[0]!));
      await writeFile(index, text);
      await readAll(path);
    });
  });
}

test.run();
