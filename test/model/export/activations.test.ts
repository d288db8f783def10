/** Models that round what their layers receive: what compressed-tensors says of it, and others do not. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActivationFormat, ActivationGroup } from "../../../compiler/types/activation-format.js";
import { differenceOf } from "../../../runtime/model/difference.js";
import { exportModel } from "../../../runtime/model/export/export.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { tensorsIn } from "../interchange/support.js";
import { runs } from "../../support/runs.js";
import { failure, inDirectory } from "../support.js";
import { writePacked } from "./support.js";

const test = suite("model/export/activations");

const sizes = {
  hidden_size: 32,
  intermediate_size: 64,
  num_attention_heads: 1,
  num_key_value_heads: 1,
  num_hidden_layers: 1,
  head_dim: 32,
};
const layers = ["q_proj", "k_proj", "v_proj", "o_proj"]
  .map((name) => `model.layers.0.self_attn.${name}`)
  .concat(["gate_proj", "up_proj", "down_proj"].map((name) => `model.layers.0.mlp.${name}`));

/** A model of such weights that takes such activations, layer by layer in turn. */
async function withModel(
  formats: readonly (string | null)[],
  activations: readonly (ActivationGroup | null)[],
  work: (model: Model, output: string) => Promise<void>,
): Promise<void> {
  const groups = layers.flatMap((layer, at) => {
    const group = activations[at % activations.length]!;
    if (group === null) return [];
    const format: ActivationFormat =
      group === "tensor" ? { name: "int8", group, scale: Math.fround(0.01 * (at + 1)) } : { name: "int8", group };
    return [[layer, format] as const];
  });
  await inDirectory(async (directory) => {
    await writePacked(directory, sizes, (_, at) => formats[at % formats.length]!, {
      activations: Object.fromEntries(groups),
    });
    const model = await openModel(directory);
    try {
      await inDirectory((place) => work(model, join(place, "out")));
    } finally {
      await model.close();
    }
  });
}

test("round trips: weights of any kind beside activations of any kind, dense layers among them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("int8(channel)", "int8(8)", "int4(8, asymmetric)", "nm(2, 4) of int4(8)", null), {
        minLength: 2,
        maxLength: 5,
      }),
      fc.array(fc.constantFrom<(ActivationGroup | null)[]>("token", "tensor", 8, 32, null), {
        minLength: 1,
        maxLength: 3,
      }),
      async (formats, activations) => {
        await withModel(["int8(channel)", ...formats], activations, async (model, output) => {
          await exportModel(model, { to: "compressed-tensors", output, version: "0" });
          const back = await openModel(output);
          assert.equal(back.warnings, []);
          assert.ok((await differenceOf(model, back)).same);
          await back.close();
        });
      },
    ),
    runs(10),
  );
});

test("a dense layer has a group without weights, and is told of", async () => {
  await withModel(["int8(channel)", "int8(channel)", null], ["token"], async (model, output) => {
    const { notes } = await exportModel(model, { to: "compressed-tensors", output, version: "0" });
    const text = await readFile(join(output, "config.json"), "utf8");
    const { quantization_config: config } = JSON.parse(text) as {
      quantization_config: {
        format: string;
        ignore: readonly string[];
        config_groups: { [name: string]: { format: string; weights: unknown; targets: readonly string[] } };
      };
    };
    assert.is(config.format, "int-quantized");
    assert.equal(config.ignore, ["lm_head"]);
    const { group_0: packed, group_1: dense } = config.config_groups;
    assert.is(packed!.targets.length, 5);
    assert.equal(
      { ...dense },
      {
        format: "dense",
        input_activations: {
          dynamic: true,
          group_size: null,
          num_bits: 8,
          strategy: "token",
          symmetric: true,
          type: "int",
        },
        output_activations: null,
        targets: [layers[2], layers[5]],
        weights: null,
      },
    );
    assert.match(notes.join(), /2 layers \(`model.layers.0.self_attn.v_proj` the first\) are dense, and what they/);
  });
});

test("one scale for all that a layer receives is a tensor beside its weight, of dense layers too", async () => {
  await withModel(["int8(channel)", null], ["tensor", "token"], async (model, output) => {
    await exportModel(model, { to: "compressed-tensors", output, version: "0" });
    const text = await readFile(join(output, "config.json"), "utf8");
    const { quantization_config: config } = JSON.parse(text) as {
      quantization_config: { config_groups: { [name: string]: { input_activations: object; weights: object | null } } };
    };
    const asked = Object.values(config.config_groups).find(({ weights }) => weights !== null)!;
    assert.equal(
      { ...asked.input_activations },
      { dynamic: false, group_size: null, num_bits: 8, strategy: "tensor", symmetric: true, type: "int" },
    );
    const tensors = tensorsIn(join(output, "model.safetensors"));
    const scales = [...tensors].filter(([name]) => name.endsWith("input_scale"));
    assert.equal(
      scales.map(([name, { dtype, shape, data }]) => [
        name,
        dtype,
        [...shape],
        new Float32Array(data.slice().buffer)[0],
      ]),
      layers.flatMap((layer, at) =>
        at % 2 === 0 ? [[`${layer}.input_scale`, "F32", [1], Math.fround(0.01 * (at + 1))]] : [],
      ),
    );
    const [first] = (await inspect(output)).activations;
    assert.equal(first, { format: "int8(tensor)", layers: 4, scales: [Math.fround(0.01), Math.fround(0.07)] });
  });
});

test("a difference of scales is told, layer by layer", async () => {
  await withModel(["int8(channel)"], ["tensor"], async (model, output) => {
    await exportModel(model, { to: "compressed-tensors", output, version: "0" });
    const path = join(output, "model.safetensors");
    const bytes = await readFile(path);
    const scale = tensorsIn(path).get(`${layers[1]}.input_scale`)!.data;
    const at = bytes.indexOf(scale);
    bytes.writeFloatLE(3, at);
    await writeFile(path, bytes);
    const other = await openModel(output);
    const found = await differenceOf(model, other);
    await other.close();
    assert.not(found.same);
    assert.equal(found.activations, [
      {
        layer: layers[1],
        first: `int8(tensor) with scale ${Math.fround(0.02)}`,
        second: "int8(tensor) with scale 3",
      },
    ]);
  });
});

test("what others do not say is refused, with what is possible", async () => {
  await withModel(["int8(channel)", null], ["token"], async (model, output) => {
    for (const to of ["gptq", "safetensors", "marlin-24"] as const) {
      const { message, help } = await failure("M155", () => exportModel(model, { to, output, version: "0" }));
      assert.match(message, /the activations of 7 layers .* are rounded to int8, which \S+ does not say/);
      assert.is(help, "possible for this model: --to compressed-tensors");
    }
  });
  // where nothing is without loss, what is with one
  await withModel(["nm(2, 4) of bf16"], ["token"], async (model, output) => {
    const { help } = await failure("M155", () =>
      exportModel(model, { to: "compressed-tensors", output, version: "0" }),
    );
    assert.is(help, "possible for this model: --to safetensors --requantize, --to sparse-24-bitmask --requantize");
  });
});

test.run();
