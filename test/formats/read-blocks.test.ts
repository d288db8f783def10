/** Block formats that are only read, and q4_k: bit for bit what the package gguf decodes, on the host and by kernels. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec, formats } from "../../compiler/formats/registry.js";
import { projectFile } from "../support/project.js";
import { spec } from "../support/samples.js";
import { lawKernels, readsAlike } from "./laws.js";

const test = suite("blocks that are read");

const blocks = JSON.parse(readFileSync(projectFile("test/data/gguf/blocks.json"), "utf8")) as Readonly<
  Record<string, { readonly blocks: string; readonly sha256: string; readonly last: readonly number[] }>
>;

test("each format that is read only has blocks", () => {
  const readOnly = formats
    .filter(({ readOnly: isRead, made }) => isRead === true && made === undefined)
    .map(({ name }) => name);
  assert.equal([...readOnly, "q4_k"].sort(), Object.keys(blocks).sort());
});

for (const [name, { blocks: hex, sha256, last }] of Object.entries(blocks))
  test(name, () => {
    const format = spec(name);
    const bytes = Buffer.from(hex, "hex");
    const columns = name.endsWith("_k") ? 256 : 32;
    const count = name.endsWith("_k") ? 3 : 6;
    for (const rows of [1, count]) {
      const shape = { rows, columns: (columns * count) / rows };
      const words = new Uint32Array(Math.ceil(bytes.length / 16) * 4);
      new Uint8Array(words.buffer).set(bytes);
      const values = formatOfSpec(format).decode(format, shape, words);
      assert.equal([...values.slice(-4)], last);
      const plain = values.map((value) => value + 0);
      assert.is(createHash("sha256").update(new Uint8Array(plain.buffer)).digest("hex"), sha256);
      readsAlike(lawKernels(format, shape), format, shape, words);
      if (name !== "q4_k")
        assert.throws(
          () => formatOfSpec(format).encode(format, shape, values, null),
          /read from files, and not packed/,
        );
    }
  });

test.run();
