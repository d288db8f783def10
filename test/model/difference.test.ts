/** Models are compared by their values, whatever their formats. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { differenceOf, type ModelDifference } from "../../runtime/model/difference.js";
import { exportModel } from "../../runtime/model/export/export.js";
import { openModel } from "../../runtime/model/model.js";
import { writePacked, type Sizes } from "./export/support.js";
import { inDirectory } from "./support.js";

const test = suite("model/difference");

const sizes: Sizes = { hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, head_dim: 8 };

/** Compares two models that are written to a place. */
async function compared(
  write: (first: string, second: string) => Promise<void>,
  check: (found: ModelDifference) => void,
): Promise<void> {
  await inDirectory(async (first) => {
    await inDirectory(async (place) => {
      const second = join(place, "second");
      await write(first, second);
      const [one, other] = [await openModel(first), await openModel(second)];
      try {
        check(await differenceOf(one, other));
      } finally {
        await one.close();
        await other.close();
      }
    });
  });
}

test("the same values in other formats are the same", async () => {
  await compared(
    async (first, second) => {
      await writePacked(first, sizes, (_, at) => (at % 2 === 0 ? "int4(8)" : "nm(2, 4) of bf16"));
      const model = await openModel(first);
      await exportModel(model, { to: "safetensors", output: second, version: "0" });
      await model.close();
    },
    ({ same, tensors, config }) => {
      assert.ok(same);
      assert.equal(config, []);
      const q = tensors.find(({ name }) => name.endsWith("q_proj.weight"))!;
      assert.equal(q.formats, ["int4(8)", "f32"]);
      const k = tensors.find(({ name }) => name.endsWith("k_proj.weight"))!;
      assert.equal(k.patterns, ["2:4", "full"]);
      assert.ok(tensors.every(({ count, largest, rms, relative }) => count + largest + rms + relative === 0));
    },
  );
});

test("what was rounded, and by how much", async () => {
  await compared(
    async (first, second) => {
      await writePacked(first, sizes, () => null);
      const model = await openModel(first);
      await exportModel(model, { to: "gguf", output: `${second}.gguf`, type: "q4_0", requantize: true, version: "0" });
      await model.close();
      const rounded = await openModel(`${second}.gguf`);
      await exportModel(rounded, { to: "compressed-tensors", output: second, version: "0" });
      await rounded.close();
    },
    ({ same, tensors }) => {
      assert.not(same);
      const lost = tensors.filter(({ count }) => count > 0);
      assert.is(lost.length, 7);
      for (const { relative, rms, largest, count, shape } of lost) {
        assert.ok(relative > 0.01 && relative < 0.2 && rms <= largest, String(relative));
        assert.ok(count <= shape[0]! * shape[1]!);
      }
    },
  );
});

test("other shapes, other settings, other tensors", async () => {
  await compared(
    async (first, second) => {
      await mkdir(second);
      await writePacked(first, sizes, () => null);
      await writePacked(second, { ...sizes, intermediate_size: 32, num_hidden_layers: 2 }, () => null, {
        extra: { rope_theta: 5000 },
      });
    },
    ({ same, shapes, onlyFirst, onlySecond, config }) => {
      assert.not(same);
      assert.equal(
        shapes.map(({ name }) => name.replace(/^.*mlp\./, "")),
        ["gate_proj.weight", "up_proj.weight", "down_proj.weight"],
      );
      assert.equal(onlyFirst, []);
      assert.is(onlySecond.length, 9);
      assert.equal(
        config.map(({ field }) => field),
        ["intermediateSize", "layers", "rope"],
      );
    },
  );
});

test("what layers receive, where it is rounded otherwise", async () => {
  const layers = ["model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"];
  await compared(
    async (first, second) => {
      await mkdir(second);
      await writePacked(first, sizes, () => "int8(8)", {
        activations: { [layers[0]!]: { name: "int8", group: "token" }, [layers[1]!]: { name: "int8", group: 8 } },
      });
      await writePacked(second, sizes, () => "int8(8)", {
        activations: { [layers[1]!]: { name: "int8", group: 16 } },
      });
    },
    ({ same, tensors, activations }) => {
      assert.not(same);
      assert.ok(tensors.every(({ count }) => count === 0));
      assert.equal(activations, [
        { layer: layers[0], first: "int8(token)", second: null },
        { layer: layers[1], first: "int8(8)", second: "int8(16)" },
      ]);
    },
  );
});

test.run();
