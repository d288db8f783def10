import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { inspect } from "../../runtime/model/inspect.js";
import { failure, inDirectory, rawSafetensors, writeJson, writeTensors } from "./support.js";

const test = suite("model/inspect");

test("any safetensors file: types, zeros, patterns", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    // Which of 8 neighbours are kept, by tensor.
    const kept: { readonly [name: string]: readonly number[] } = {
      quarter: [1, 7],
      half: [0, 1, 6, 7],
      eight: [0, 1, 2, 7],
      full: [0, 1, 2, 3, 4, 5, 6, 7],
      few: [0, 1, 2, 3, 4, 5, 6],
      norm: [0],
      none: [],
    };
    const names = Object.keys(kept);
    const tensors = [
      ...names.map((name) => ({ name, dtype: "F16" as const, shape: name === "norm" ? [64] : [8, 8] })),
      { name: "ids", dtype: "I64" as const, shape: [3] },
      { name: "scalar", dtype: "F32" as const, shape: [] },
      { name: "tiny", dtype: "F4" as const, shape: [4] },
      { name: "odd", dtype: "F32" as const, shape: [3, 5] },
    ];
    await writeTensors(path, tensors, (name, bytes) => {
      if (kept[name] === undefined) return new Uint8Array(bytes);
      return new Uint8Array(
        Uint16Array.from({ length: 64 }, (_, i) => (kept[name]?.includes(i % 8) ? 0x3c00 : 0x8000)).buffer,
      );
    });
    const report = await inspect(path);
    assert.equal(
      report.tensors.map(({ name, pattern, zeros }) => [name, pattern, zeros]),
      [
        ["quarter", "1:4", 48],
        ["half", "2:4", 32],
        ["eight", "4:8", 32],
        ["full", "full", 0],
        ["few", "masked", 8],
        ["norm", "full", 56],
        ["none", "masked", 64],
        ["ids", "full", 3],
        ["scalar", "full", 1],
        ["tiny", "full", null],
        ["odd", "masked", 15],
      ],
    );
    assert.equal(report.tensors.at(-2), {
      name: "tiny",
      shape: [4],
      dtype: "F4",
      pattern: "full",
      format: "f4",
      bitsPerWeight: 4,
      bytes: 2,
      zeros: null,
    });
    assert.is(report.parameters, 7 * 64 + 3 + 1 + 4 + 15);
    assert.is(report.bytes, 7 * 128 + 24 + 4 + 2 + 60);
    assert.is(report.bitsPerWeight, (8 * report.bytes) / report.parameters);
  });
});

test("pieces of large tensors, and the progress", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    await writeTensors(path, [
      { name: "a", dtype: "F32", shape: [1500, 2048] },
      { name: "b", dtype: "U8", shape: [10] },
    ]);
    const steps: number[] = [];
    const report = await inspect(path, (done, all) => steps.push(done / all));
    assert.is(report.tensors[0]?.zeros, 1500 * 2048);
    assert.is(steps.length, 2);
    assert.is(steps.at(-1), 1);
  });
});

test("directories with other files, and none", async () => {
  await inDirectory(async (directory) => {
    await failure("M121", inspect(directory));
    await failure("M100", inspect(join(directory, "none")));
    await writeTensors(join(directory, "b.safetensors"), [{ name: "b", dtype: "U8", shape: [1] }]);
    await writeTensors(join(directory, "a.safetensors"), [{ name: "a", dtype: "U8", shape: [1] }]);
    assert.equal(
      (await inspect(directory)).tensors.map(({ name }) => name),
      ["a", "b"],
    );
    await writeFile(join(directory, "config.json"), "no json");
    await failure("M104", inspect(directory));
    assert.is((await inspect(join(directory, "a.safetensors"))).parameters, 1);
    await writeTensors(join(directory, "c.safetensors"), [{ name: "a", dtype: "U8", shape: [1] }]);
    await writeJson(join(directory, "config.json"), { model_type: "gpt2" });
    await failure("M120", inspect(directory));
    await writeFile(join(directory, "d.safetensors"), rawSafetensors("{}", 0));
    assert.equal(await inspect(join(directory, "d.safetensors")), {
      tensors: [],
      parameters: 0,
      bytes: 0,
      bitsPerWeight: 0,
      quantization: null,
      warnings: [],
      activations: [],
    });
  });
});

test("a section that does not fit its tensors", async () => {
  await inDirectory(async (directory) => {
    await mkdir(join(directory, "m"));
    const file = join(directory, "m", "model.safetensors");
    await writeTensors(file, [{ name: "w", dtype: "U32", shape: [4] }]);
    const entry = {
      format: { name: "nm", args: { n: 2, m: 4 }, of: { name: "f16", args: {}, of: null } },
      pattern: { kind: "nm", n: 2, m: 4, axis: 1 },
      shape: [8, 8],
      dtype: "BF16",
    };
    const write = (change: object): Promise<void> =>
      writeJson(join(directory, "m", "config.json"), {
        espalier: { version: 1, recipe: null, tensors: { w: { ...entry, ...change } } },
      });
    await write({});
    assert.match((await failure("M135", inspect(file))).message, /nm\(2, 4\) of f16/);
    for (const change of [
      { shape: [8, 6] },
      { shape: [-1] },
      { dtype: "F99" },
      { pattern: { kind: "nm", n: 5, m: 4, axis: 1 } },
      { format: { name: "zip", args: {} } },
      { format: 3 },
      { format: { name: "int4", args: { group: "x" } } },
      { format: { name: "nm", args: {}, of: null } },
    ]) {
      await write(change);
      await failure("M134", inspect(file));
    }
  });
});

test.run();
