/** GGUF models in several files are the model in one. */
import { join } from "node:path";
import { readFile, rm, writeFile } from "node:fs/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError } from "../../../runtime/model/error.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel } from "../../../runtime/model/model.js";
import { failure, inDirectory } from "../support.js";
import { small, smallTensors, writeGguf, type GgufParts, type Tensor, type Value } from "./support.js";

const test = suite("model/gguf/split");

/** The small model's tensors, with bytes that differ. */
const filled: readonly Tensor[] = smallTensors.map((tensor, which) => {
  const bytes = tensor.bytes ?? tensor.shape.reduce((product, size) => product * size, 4);
  // small numbers, whichever type they are read as
  return {
    ...tensor,
    data: Uint8Array.from({ length: bytes }, (_, at) => (at % 4 === 3 ? 0x3c : (at * 7 + which) % 61)),
  };
});

function number(value: number): Value {
  return { type: "u32", value };
}

/** Part `no` of `count`, with its share of the tensors. */
function part(no: number, count: number, changes: Readonly<Record<string, Value>> = {}): GgufParts {
  const tensors = filled.filter((_, at) => at % count === no);
  const split = {
    "split.no": number(no),
    "split.count": number(count),
    "split.tensors.count": { type: "i32", value: filled.length } as const,
    ...changes,
  };
  return no === 0 ? small(split, tensors) : { metadata: Object.entries(split), tensors };
}

async function writeParts(directory: string, count: number): Promise<readonly string[]> {
  const names = Array.from({ length: count }, (_, no) => join(directory, `m-0000${no + 1}-of-0000${count}.gguf`));
  for (const [no, path] of names.entries()) await writeGguf(path, part(no, count));
  return names;
}

test("three files have what one has, each tensor where it lies", async () => {
  await inDirectory(async (directory) => {
    const names = await writeParts(directory, 3);
    const whole = await openModel(await writeGguf(join(directory, "whole.gguf"), small({}, filled)));
    const split = await openModel(names[0]!);
    assert.equal(split.tensors.map(({ name }) => name).sort(), whole.tensors.map(({ name }) => name).sort());
    for (const { name, format, shape } of whole.tensors) {
      assert.equal(split.tensor(name).format, format);
      assert.equal(split.tensor(name).shape, shape);
      assert.equal(await split.read(name), await whole.read(name), name);
    }
    assert.equal(new Set(split.tensors.map(({ file }) => file)), new Set(names));
    assert.equal({ ...split.config, raw: null }, { ...whole.config, raw: null });
    await split.close();
    await whole.close();
    assert.is((await inspect(names[0]!)).tensors.length, filled.length);
  });
});

test("parts that are missing, not the first, or another model's", async () => {
  await inDirectory(async (directory) => {
    const [first = "", second = "", third = ""] = await writeParts(directory, 3);
    assert.match((await failure("M132", openModel(second))).message, /not the first/);
    await writeGguf(third, part(1, 3));
    assert.match((await failure("M122", openModel(first))).message, /should be part 3 of 3/);
    await writeGguf(third, { ...part(2, 3), tensors: [] });
    assert.match((await failure("M122", openModel(first))).message, /the model has 11 tensors, but its parts have 8/);
    await writeGguf(third, { ...part(2, 3), tensors: part(1, 3).tensors });
    assert.match((await failure("M120", openModel(first))).message, /is both in/);
    await rm(third);
    await rm(second);
    assert.match((await failure("M122", openModel(first))).message, /2 of the 3 parts.*are missing/);
    const other = join(directory, "m-00001-of-00004.gguf");
    await writeGguf(other, part(0, 3));
    assert.match((await failure("M132", openModel(other))).message, /one of 3 files, but its name says 00004/);
    const many = join(directory, "m.gguf");
    await writeGguf(many, part(0, 3, { "split.count": number(2 ** 32 - 1) }));
    await failure("M132", openModel(many));
  });
});

test("a part that is cut anywhere is refused; one with a byte of its header changed is, or is a model", async () => {
  await inDirectory(async (directory) => {
    const names = await writeParts(directory, 2);
    const look = async (): Promise<ModelError | null> => {
      try {
        const model = await openModel(names[0]!);
        for (const { name } of model.tensors) await model.read(name);
        await model.close();
        return null;
      } catch (error) {
        assert.instance(error, ModelError, String(error));
        return error as ModelError;
      }
    };
    assert.is(await look(), null);
    for (const path of names) {
      const whole = await readFile(path);
      for (let at = 0; at < 24; at += 1) {
        const length = Math.floor((whole.length * at) / 24);
        await writeFile(path, whole.subarray(0, length));
        const error = await look();
        assert.ok(error !== null && /^M16[0-4]$|^M122$/.test(error.code), `${length} bytes: ${String(error)}`);
      }
      for (let at = 0; at < 400; at += 7) {
        const changed = Buffer.from(whole);
        changed[at]! ^= 1 << (at % 7);
        await writeFile(path, changed);
        await look();
      }
      await writeFile(path, whole);
    }
    assert.is(await look(), null);
  });
});

test("parts that say otherwise how many they are, or which", async () => {
  await inDirectory(async (directory) => {
    const [first = "", second = ""] = await writeParts(directory, 2);
    for (const [changes, message] of [
      [{ "split.count": number(3) }, /should be part 2 of 2/],
      [{ "split.no": number(0) }, /should be part 2 of 2/],
      [{ "split.no": { type: "string", value: "1" } }, /`split.no`|should be part 2 of 2/],
    ] as const) {
      await writeGguf(second, part(1, 2, changes));
      assert.match((await failure("M122", openModel(first))).message, message);
    }
    await writeGguf(second, part(1, 2));
    await writeGguf(first, part(0, 2, { "split.tensors.count": number(99) }));
    assert.match((await failure("M122", openModel(first))).message, /the model has 99 tensors, but its parts have 11/);
  });
});

test.run();
