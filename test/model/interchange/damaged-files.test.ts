/** Files of other tools' containers, damaged anywhere: each is refused with a code, or is a model. */
import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError, type ModelErrorCode } from "../../../runtime/model/error.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import type { ExportTarget } from "../../../runtime/model/export/targets.js";
import { openModel } from "../../../runtime/model/model.js";
import { createSafetensors, type TensorLayout } from "../../../runtime/model/safetensors-writer.js";
import { runs } from "../../support/runs.js";
import { writePacked } from "../export/support.js";
import { failure, inDirectory } from "../support.js";
import { given, samples, tensorsIn, valuesOf, type Tensor } from "./support.js";

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

/** Writes a file of such tensors. */
async function writeTensors(path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  const layouts = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }) as TensorLayout);
  const writer = await createSafetensors(path, layouts);
  for (const [name, { data }] of tensors) await writer.append(name, data);
  await writer.finish();
}

type Json = { [field: string]: unknown };

const damaged = "model.layers.0.mlp.up_proj";
const own = (name: string): boolean => name.startsWith(`${damaged}.`);
/** Of a whole model: config, tensors and those of another container; what is said of it. */
const disagreements: readonly (readonly [
  string,
  readonly ModelErrorCode[],
  RegExp,
  (config: Json, tensors: Map<string, Tensor>, other: ReadonlyMap<string, Tensor>) => void,
])[] = [
  [
    "packed layers, and a config that says nothing of them",
    ["M135"],
    /up_proj.weight` is missing.*is of a layer that another tool has packed: `config.json` should say how, as `quanti/s,
    (config) => delete config["quantization_config"],
  ],
  [
    "packed layers, and a section of ours that does not know them",
    ["M135"],
    /is missing.*but by `config.json`, which has a section `espalier`, Espalier has/s,
    (config) => (config["espalier"] = { version: 1, tensors: {}, recipe: null, history: [] }),
  ],
  [
    "one layer in another container",
    ["M135"],
    /up_proj`: (?:.* stored as .*, but has|`qweight` should have the shape)/,
    (_, tensors, other) => {
      for (const name of tensors.keys()) if (own(name)) tensors.delete(name);
      for (const [name, tensor] of other) if (own(name)) tensors.set(name, tensor);
    },
  ],
  [
    "one layer that is not there",
    ["M135"],
    /`model.layers.0.mlp.up_proj.weight` is missing|up_proj`: .*but has no/,
    (_, tensors) => {
      for (const name of tensors.keys()) if (own(name)) tensors.delete(name);
    },
  ],
  [
    "a width that is not that of the layers",
    ["M135", "M136"],
    /up_proj.*(?:should have the shape|says \[)/s,
    (config) => (config["intermediate_size"] = 256),
  ],
  [
    "a block more than there is",
    ["M135"],
    /`model.layers.1.input_layernorm.weight` is missing/,
    (config) => (config["num_hidden_layers"] = 2),
  ],
  [
    "another tool's name",
    ["M133"],
    /"quanto"\), which is not supported/,
    (config) => ((config["quantization_config"] as Json)["quant_method"] = "quanto"),
  ],
];

for (const [at, target] of targets.entries())
  test(`${target[0]}: a config and tensors that disagree, formats that are mixed`, async () => {
    await withCheckpoint(targets[(at + 1) % targets.length]!, false, async (elsewhere) => {
      const other = tensorsIn(join(elsewhere, "model.safetensors"));
      await withCheckpoint(target, false, async (path) => {
        const [weights, config] = [join(path, "model.safetensors"), join(path, "config.json")];
        const [whole, said] = [await readFile(weights), await readFile(config, "utf8")];
        for (const [what, codes, message, change] of disagreements) {
          const [fields, tensors] = [JSON.parse(said) as Json, tensorsIn(weights)];
          change(fields, tensors, other);
          await writeFile(config, JSON.stringify(fields));
          await writeTensors(weights, tensors);
          const error = await refused(() => readAll(path));
          const text = error === null ? "nothing" : `${error.message}\n${error.help ?? ""}`;
          assert.ok(error !== null && codes.includes(error.code) && message.test(text), `${what}: ${text}`);
          await writeFile(weights, whole);
          await writeFile(config, said);
        }
        await readAll(path);
      });
    });
  });

test.run();
