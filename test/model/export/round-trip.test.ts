/** What is exported and opened again has the same values, bit for bit, in every container and at odd sizes. */
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printFormat } from "../../../compiler/formats/registry.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import type { ExportTarget, ExportType } from "../../../runtime/model/export/targets.js";
import { openModel } from "../../../runtime/model/model.js";
import { runs } from "../../support/runs.js";
import { inDirectory } from "../support.js";
import { digests, digestsAt, writePacked, type Sizes } from "./support.js";

const test = suite("model/export/round-trip");

/** Whether the formats of an export are those of the model, too. */
type Kept = "same" | "other";

/** A target, what it is given, a step of its sizes. Formats in turn: the layers of a model have several. */
const cases: readonly (readonly [ExportTarget, readonly (string | null)[], number, Kept, ExportType?])[] = [
  ["gguf", ["q4_0", "q8_0", null, "q4_1"], 32, "same"],
  ["gguf", ["f16", "f32", null], 32, "other"],
  ["gguf", ["int4(32)", "int8(32)", "int4(channel)", "int8(channel)"], 32, "other"],
  ["gguf", ["int4(32, asymmetric)", "int8(32)", "nm(2, 4) of int4(channel)", "q8_0"], 32, "other", "q8_0"],
  ["gguf", ["int4(32)", "nm(2, 4) of int4(channel)", "q4_0"], 32, "other", "q4_0"],
  ["gguf", ["regrouped of int4(8)", "nm(2, 4) of bf16", "int8(8, asymmetric)", "bitmask of f16"], 8, "other", "f32"],
  ["safetensors", ["int4(8, asymmetric)", "nm(2, 4) of bf16", null, "q8_0", "q4_1", "bitmask of f16"], 32, "other"],
  ["gguf", ["int2(32)", "int3(channel)", "int3(32)", "int2(channel)"], 32, "other"],
  ["gguf", ["nm(8, 16) of int4(32)", "nm(2, 4, positions: together) of int4(32)", "int3(32)"], 32, "other", "q4_0"],
  [
    "safetensors",
    ["fp8_e4m3(8)", "nm(2, 4) of fp8_e4m3(channel)", "bitmask of int4(8)", "int3(8, asymmetric)"],
    8,
    "other",
  ],
  [
    "safetensors",
    ["int5(8)", "int6(8, asymmetric)", "fp8_e5m2(8)", "int4(8, asymmetric, zero: f16)", "fp8_e4m3"],
    8,
    "other",
  ],
  ["gguf", ["q4_k", "q6_k"], 256, "same"],
  ["safetensors", ["int8(channel)", "nm(1, 4) of f16", "int4(8)"], 8, "other"],
  ["compressed-tensors", ["int4(8)", null, "int8(channel, asymmetric)", "int4(8, asymmetric)"], 8, "same"],
  ["compressed-tensors", ["int8(8, scale: f32)", "regrouped of int4(8)", "int4(channel)"], 8, "other"],
  ["compressed-tensors", ["nm(2, 4) of int4(8)", "nm(1, 4) of int8(8)", "nm(2, 4) of int4(8, asymmetric)"], 8, "other"],
  ["compressed-tensors", ["q4_0", "q8_0"], 32, "other"],
  ["compressed-tensors", ["int2(8)", "int2(8, asymmetric)", "int2(channel)"], 8, "same"],
  ["compressed-tensors", ["nm(8, 16) of int4(16)", "nm(2, 4, positions: together) of int8(16)"], 16, "other"],
  ["gptq", ["int4(8)", "int4(8)", null], 8, "same"],
  ["gptq", ["int4(8, asymmetric)", "int4(8)", "regrouped of int4(8)"], 8, "same"],
  ["gptq", ["int8(channel, asymmetric)", "int8(channel)"], 8, "same"],
  ["gptq", ["int3(32)", "int3(32, asymmetric)", "regrouped of int3(32)"], 32, "same"],
  ["gptq", ["int2(16, asymmetric)", "int2(16)"], 16, "same"],
  ["gptq", ["int3(channel)", "int3(channel)"], 32, "same"],
  ["gptq", ["nm(2, 4) of int8(8)", "nm(1, 4) of int8(8)"], 8, "other"],
  ["awq", ["int4(8)", "int4(8, asymmetric)", null, "nm(2, 4) of int4(8)"], 8, "other"],
  ["awq", ["int4(channel, asymmetric)", "int4(channel)"], 8, "same"],
  ["marlin-24", ["nm(2, 4) of int4(channel)", null, "nm(1, 4) of int8(channel)"], 64, "other"],
  ["marlin-24", ["nm(2, 4) of int4(128)", "nm(2, 4) of int8(128)"], 128, "same"],
  ["sparse-24-bitmask", ["nm(2, 4) of f16", "nm(2, 4) of bf16", null, "nm(2, 4) of f32"], 4, "same"],
  ["sparse-bitmask", ["bitmask of f16", "bitmask of bf16", null, "bitmask of f32"], 2, "other"],
];

/** Sizes that are multiples of a step, otherwise odd. */
function sizesOf(step: number): fc.Arbitrary<Sizes> {
  const times = (most: number): fc.Arbitrary<number> => fc.integer({ min: 1, max: most }).map((count) => count * step);
  const heads = fc.constantFrom([1, 1], [2, 1], [3, 3]);
  return fc.tuple(times(step > 32 ? 2 : 5), times(step > 32 ? 2 : 5), heads).map(([hidden, inner, [query, key]]) => ({
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: 1,
    num_attention_heads: query!,
    num_key_value_heads: key!,
    head_dim: step,
  }));
}

for (const [to, formats, step, kept, type] of cases)
  test(`${to}${type === undefined ? "" : ` ${type}`} of ${formats.join(", ")}`, async () => {
    await fc.assert(
      fc.asyncProperty(sizesOf(step), fc.nat(1000), async (sizes, seed) => {
        await inDirectory(async (directory) => {
          await writePacked(directory, sizes, (_, at) => formats[at % formats.length]!, { seed });
          const model = await openModel(directory);
          const before = await digests(model);
          await inDirectory(async (place) => {
            const path = join(place, to === "gguf" ? "out.gguf" : "out");
            const exported = await exportModel(model, { to, type, output: path, version: "0" });
            assert.ok(exported.tensors.every(({ loss }) => loss === null));
            assert.equal(await digestsAt(path), before);
            if (kept === "other") return;
            const copy = await openModel(path);
            for (const { name, format } of model.tensors) {
              const other = copy.tensor(name).format;
              // groups that are neighbours are groups like any other
              if (format?.name === "regrouped") continue;
              assert.is(
                other === null ? null : printFormat(other, "short"),
                format === null ? null : printFormat(format, "short"),
                name,
              );
            }
            await copy.close();
          });
          await model.close();
        });
      }),
      runs(3),
    );
  });

/** Of layers that are taken in several strips. */
const long = { hidden_size: 32, intermediate_size: 2 ** 14 + 40 * 8, num_hidden_layers: 1, head_dim: 32 };
const strips: readonly (readonly [ExportTarget, readonly (string | null)[], ExportType?])[] = [
  ["compressed-tensors", ["int4(8, asymmetric)", "nm(2, 4) of int4(8)"]],
  ["gguf", ["int4(32)", "int8(32)"]],
  ["gguf", ["int4(32, asymmetric)", "nm(2, 4) of int4(channel)"], "q8_0"],
  ["sparse-24-bitmask", ["nm(2, 4) of f16"]],
  ["safetensors", ["int3(8)", "bitmask of f16"]],
];

for (const [to, formats, type] of strips)
  test(`${to}${type === undefined ? "" : ` ${type}`} of long layers of ${formats.join(", ")}`, async () => {
    const sizes = { ...long, num_attention_heads: 1, num_key_value_heads: 1 };
    await inDirectory(async (directory) => {
      await writePacked(directory, sizes, (_, at) => formats[at % formats.length]!);
      const model = await openModel(directory);
      await inDirectory(async (place) => {
        const output = join(place, to === "gguf" ? "out.gguf" : "out");
        const { tensors } = await exportModel(model, { to, type, output, version: "0" });
        assert.ok(tensors.every(({ loss }) => loss === null));
        assert.equal(await digestsAt(output), await digests(model));
      });
      await model.close();
    });
  });

test.run();
