/** Files of llama.cpp, damaged: each is refused as a model error with a code, or is a model. */
import { copyFile, open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError } from "../../../runtime/model/error.js";
import { openContainer } from "../../../runtime/model/gguf/container.js";
import { openModel } from "../../../runtime/model/model.js";
import { failure, inDirectory } from "../support.js";
import { fixture, fixtures, ggufBytes, small, smallTensors, u32, u64 } from "./support.js";

const test = suite("model/gguf/damage");

/** Numbers below `most`, the same at each run. */
function numbers(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (state * 48271) % 2147483647;
    return state % most;
  };
}

/**
 * Opens a file, its tokenizer, and bytes of each tensor: null where all of that goes, else the error, which must be a
 * model error in sentences.
 */
async function look(path: string): Promise<ModelError | null> {
  try {
    const model = await openModel(path);
    try {
      await model.tokenizer();
      await model.companions();
      for (const { name, bytes } of model.tensors)
        await model.read(name, { begin: Math.max(0, bytes - 64), end: bytes });
    } finally {
      await model.close();
    }
    return null;
  } catch (error) {
    assert.instance(error, ModelError, error instanceof Error ? error.stack : String(error));
    const found = error as ModelError;
    assert.match(found.code, /^M\d{3}$/);
    assert.match(found.message, /[.:][^]*$/);
    assert.ok(found.message.length < 10_000, `a message of ${found.message.length} characters`);
    return found;
  }
}

for (const [index, name] of fixtures.entries()) {
  test(`${name} cut short anywhere is refused`, async () => {
    const { model } = fixture(name);
    const file = await openContainer(model);
    const { dataStart, tensors } = file;
    await file.close();
    const ends = tensors.map((tensor) => dataStart + tensor.offset + tensor.bytes).sort((a, b) => a - b);
    const whole = ends.at(-1)!;
    const random = numbers(index + 1);
    const places = [
      0,
      3,
      4,
      7,
      8,
      15,
      16,
      23,
      24,
      31,
      dataStart - 1,
      dataStart,
      whole - 1,
      ends[0]!,
      ...Array.from({ length: 12 }, () => random(dataStart)),
      ...Array.from({ length: 4 }, () => random(whole)),
    ];
    await inDirectory(async (directory) => {
      const path = join(directory, "cut.gguf");
      await copyFile(model, path);
      assert.is(await look(path), null);
      for (const at of [...new Set(places)].sort((a, b) => b - a)) {
        await truncate(path, at);
        const error = await look(path);
        assert.ok(
          error !== null && ["M160", "M161", "M162", "M164"].includes(error.code),
          `at byte ${at}: ${String(error)}`,
        );
      }
    });
  });

  test(`${name} with bytes of its header changed is refused or is a model`, async () => {
    const { model } = fixture(name);
    const file = await openContainer(model);
    const { dataStart } = file;
    await file.close();
    const random = numbers(index + 101);
    await inDirectory(async (directory) => {
      const path = join(directory, "changed.gguf");
      await copyFile(model, path);
      const header = (await readFile(path)).subarray(0, dataStart);
      const handle = await open(path, "r+");
      try {
        const change = async (at: number, bytes: Uint8Array): Promise<void> => {
          await handle.write(bytes, 0, bytes.length, at);
          await look(path);
          await handle.write(header, at, Math.min(bytes.length, dataStart - at), at);
        };
        // half of the changes where counts, types and short entries are, which most bytes are not
        for (let count = 0; count < 40; count++)
          await change(random(count % 2 === 0 ? dataStart : Math.min(dataStart, 1500)), Uint8Array.of(random(256)));
        for (const value of [0n, 2n ** 31n, 2n ** 53n, 2n ** 64n - 1n])
          for (const at of [8, 16, random(1000), random(dataStart - 8)]) await change(at, u64(value));
        for (const at of [random(600), random(dataStart - 600)])
          await change(
            at,
            Uint8Array.from({ length: 200 }, () => random(256)),
          );
      } finally {
        await handle.close();
      }
      assert.is(await look(path), null, "the file is whole again");
    });
  });
}

test("very many tensors of unknown types, and very long lists, take no longer than reading them", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "many.gguf");
    const tensors = Array.from({ length: 60_000 }, (_, at) => ({
      name: `t${at}`,
      shape: [1],
      type: 1000 + at,
      offset: 0,
      bytes: 4,
    }));
    await writeFile(path, ggufBytes(small({}, [...smallTensors, ...tensors])));
    const started = performance.now();
    const model = await openModel(path);
    await model.close();
    assert.match(model.warnings.join(), /^60000 tensors have no place in a Llama with 1 block.*`t0`.*and 59996 more$/);
    const list = Buffer.concat([u32(9), u32(0), u64(40 * 2 ** 20), Buffer.alloc(40 * 2 ** 20)]);
    await writeFile(
      path,
      ggufBytes(
        small(
          { "some.list": { type: "raw", value: list }, "llama.block_count": { type: "raw", value: list } },
          smallTensors,
        ),
      ),
    );
    const before = process.memoryUsage().rss;
    assert.match((await failure("M131", openModel(path))).message, /`llama.block_count`.*found a list/);
    assert.ok(process.memoryUsage().rss - before < 400 * 2 ** 20, "memory of a few times the file");
    assert.ok(performance.now() - started < 20_000);
  });
});

test.run();
