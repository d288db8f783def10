/** Blocks are packed to the bytes that llama.cpp's own quantiser gives (`test/data/gguf/packed.py`). */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec } from "../../compiler/formats/registry.js";
import { projectFile } from "../support/project.js";
import { spec } from "../support/samples.js";

const test = suite("blocks that are packed");

const { values: hex, blocks } = JSON.parse(readFileSync(projectFile("test/data/gguf/packed.json"), "utf8")) as {
  readonly values: string;
  readonly blocks: string;
};
const values = new Float32Array(new Uint8Array(Buffer.from(hex, "hex")).buffer);
const q4 = formatOfSpec(spec("q4_k"));
const shape = { rows: values.length / 256, columns: 256 };

test("q4_k: weights, one sign only, sizes far apart, an outlier, constants, zeros", () => {
  const words = q4.encode(spec("q4_k"), shape, values, null);
  const bytes = Buffer.from(words.buffer, 0, shape.rows * 144);
  for (let row = 0; row < shape.rows; row++)
    assert.is(bytes.subarray(144 * row, 144 * (row + 1)).toString("hex"), blocks.slice(288 * row, 288 * (row + 1)));
});

test("q4_k: what f16 cannot hold, and what is no number, is an error that names its place", () => {
  const large = values.slice();
  large[300] = 3e38;
  assert.throws(
    () => q4.encode(spec("q4_k"), shape, large, null),
    /^In row 1, columns 0 to 255, the (scale|minimum) is /,
  );
  large[300] = NaN;
  assert.throws(
    () => q4.encode(spec("q4_k"), shape, large, null),
    /^In row 1, columns 0 to 255, a value is not finite/,
  );
});

test.run();
