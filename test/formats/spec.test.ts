/** The examples and sizes of `spec/formats.md`, recomputed. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bitsPerWeight,
  formatBytes,
  formatOf,
  formatOfSpec,
  formats,
  printFormat,
  shapeOf,
} from "../../compiler/formats/registry.js";
import { projectFile } from "../support/project.js";
import { parseFormat } from "../support/format-text.js";

const text = readFileSync(projectFile("spec/formats.md"), "utf8");
const examples = [...text.matchAll(/```format\n(.*?)```/gs)].map((match) => match[1]!.trim());
const spec = suite("spec/formats.md");

spec("has examples of every format that tensors are packed in", () => {
  const shown = new Set(examples.map((example) => formatOf(example.split(/[( ]/)[0]!)?.name));
  // a correction comes from no values; a block of q4_k is held to llama.cpp's own, as those are that are only read
  const elsewhere = new Set(["i32", "u32", "q4_k"]);
  for (const { name, made, readOnly } of formats)
    assert.is(shown.has(name), made === undefined && readOnly !== true && !elsewhere.has(name), name);
});

for (const example of examples) {
  const [head = "", ...lines] = example.split("\n");
  spec(head, () => {
    const [, formatText = "", dims = ""] = /^(.*) \[(.*)\]$/.exec(head)!;
    const format = parseFormat(formatText);
    assert.is(printFormat(format), formatText);
    const shape = shapeOf(dims.split(",").map(Number));
    const line = (name: string): readonly string[] | null =>
      lines
        .find((each) => each.startsWith(`${name} `))
        ?.split(/\s+/)
        .slice(1) ?? null;
    const dense = numbers(line("dense") ?? []);
    assert.is(dense.length, shape.rows * shape.columns);
    const [scale, zero] = [line("scale"), line("zero")];
    const words = formatOfSpec(format).encode(
      format,
      shape,
      dense,
      scale === null ? null : { scale: numbers(scale), zero: zero === null ? null : numbers(zero) },
    );
    for (const section of formatOfSpec(format).sections(format, shape)) {
      const hex = [...words.subarray(section.offset, section.offset + section.words)].map((word) =>
        word.toString(16).padStart(8, "0"),
      );
      assert.equal(hex, line(section.name), section.name);
    }
    assert.equal(formatOfSpec(format).decode(format, shape, words), dense);
  });
}

spec("the table of sizes", () => {
  const rows = [...text.split("## Sizes")[1]!.matchAll(/^\| `(.*)` \| ([\d.]+) \| (\d+) \|$/gm)];
  assert.ok(rows.length > 8);
  for (const [, name = "", bits, bytes] of rows) {
    const format = parseFormat(name);
    assert.is(bitsPerWeight(format, shapeOf([4096, 14336])), Number(bits), name);
    assert.is(formatBytes(format, shapeOf([4096, 14336])), Number(bytes), name);
  }
});

/** Numbers as the examples write them: `0*77` is 77 zeros, `|` only for the eye. */
function numbers(parts: readonly string[]): Float32Array {
  return Float32Array.from(
    parts
      .filter((part) => part !== "|")
      .flatMap((part) => {
        const [value = "", count = "1"] = part.split("*");
        return Array<number>(Number(count)).fill(Number(value));
      }),
  );
}

spec.run();
