/** A whole checkpoint of fp8 as transformers and compressed-tensors save it has the values that the library gives. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toFloats } from "../../../runtime/model/elements.js";
import { fromFloats, rowsOf } from "../../../runtime/model/export/values.js";
import { openModel } from "../../../runtime/model/model.js";

const test = suite("model/interchange/fp8-checkpoint");

const path = "test/data/interchange/fp8-checkpoint";

test("every tensor, rounded to bf16 as the library rounds it", async () => {
  const { sha256_bf16_as_f32: expected } = JSON.parse(readFileSync(`${path}/expected.json`, "utf8")) as {
    readonly sha256_bf16_as_f32: Readonly<Record<string, string>>;
  };
  const model = await openModel(path);
  try {
    assert.equal(model.tensors.map(({ name }) => name).sort(), Object.keys(expected).sort());
    for (const tensor of model.tensors) {
      const hash = createHash("sha256");
      // -0 is 0
      for await (const rows of rowsOf(model, tensor))
        hash.update(new Uint8Array(toFloats("BF16", fromFloats("BF16", rows)).map((value) => value + 0).buffer));
      assert.is(hash.digest("hex"), expected[tensor.name], tensor.name);
    }
    // one layer is left out by the config; rows of small scales are shifted
    const formats = model.linears.map(({ weight }) => model.tensor(weight).format);
    assert.is(formats.filter((format) => format?.name === "fp8_e4m3" && format.args["group"] === "channel").length, 13);
    assert.is(formats.filter((format) => format === null).length, 1);
  } finally {
    await model.close();
  }
});

test.run();
