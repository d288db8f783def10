import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError, type ModelErrorCode } from "../../../runtime/model/error.js";
import { openContainer } from "../../../runtime/model/gguf/container.js";
import { openModel } from "../../../runtime/model/model.js";
import { failure, inDirectory } from "../support.js";
import {
  fixture,
  fixtures,
  ggufBytes,
  small,
  smallTensors,
  u32,
  u64,
  withTensor,
  writeGguf,
  type GgufParts,
} from "./support.js";
import { runs } from "../../support/runs.js";

const test = suite("model/gguf/container");

async function refused(code: ModelErrorCode, parts: GgufParts | Uint8Array, message: RegExp): Promise<void> {
  await inDirectory(async (directory) => {
    const path = join(directory, "m.gguf");
    await writeFile(path, parts instanceof Uint8Array ? parts : ggufBytes(parts));
    assert.match((await failure(code, openContainer(path))).message, message);
  });
}

/** Bytes of an entry whose value is given raw, type first. */
function entry(...bytes: readonly Uint8Array[]): GgufParts {
  return small({ extra: { type: "raw", value: Buffer.concat(bytes) } });
}

test("files of llama.cpp", async () => {
  for (const name of fixtures) {
    const { model, expected } = fixture(name);
    const file = await openContainer(model);
    const { types } = JSON.parse(await readFile(expected, "utf8")) as { types: Record<string, string> };
    assert.equal(Object.fromEntries(file.tensors.map((tensor) => [tensor.name, tensor.type.name])), types);
    assert.is(file.metadata.get("llama.embedding_length"), 256);
    assert.equal(file.tensors.find((tensor) => tensor.name === "blk.0.ffn_down.weight")?.shape, [256, 768]);
    await file.close();
  }
});

test("nothing beyond a tensor is read as if it were the tensor's", async () => {
  const file = await openContainer(fixture(fixtures[0]).model);
  const [tensor] = file.tensors;
  assert.ok(tensor !== undefined);
  for (const begin of [-1, 1]) {
    const error = await file.read(tensor, new Uint8Array(tensor.bytes), begin).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof RangeError && error.message.includes(tensor.name), String(error));
  }
  await file.close();
});

test("values of all types", async () => {
  await inDirectory(async (directory) => {
    const path = await writeGguf(join(directory, "m.gguf"), {
      metadata: [
        ["bool", { type: "bool", value: true }],
        ["i32", { type: "i32", value: -5 }],
        ["u8", { type: "u8", value: 200 }],
        ["u64", { type: "u64", value: 2 ** 40 }],
        ["large", { type: "raw", value: Buffer.concat([u32(10), u64(2n ** 63n)]) }],
        ["f64", { type: "raw", value: Buffer.concat([u32(12), u64(0x3ff8000000000000n)]) }],
        ["f32s", { type: "f32s", value: [0.5, -1] }],
        ["i64s", { type: "raw", value: Buffer.concat([u32(9), u32(11), u64(1), u64(7)]) }],
        ["strings", { type: "strings", value: ["", "é"] }],
        ["general.alignment", { type: "u32", value: 64 }],
      ],
      tensors: [
        { name: "a", shape: [2, 3] },
        { name: "b", shape: [1], data: Buffer.from([1, 2, 3, 4]) },
      ],
      alignment: 64,
    });
    const file = await openContainer(path);
    const { metadata } = file;
    assert.equal(
      ["bool", "i32", "u8", "u64", "large", "f64"].map((key) => metadata.get(key)),
      [true, -5, 200, 2 ** 40, 2n ** 63n, 1.5],
    );
    assert.equal(metadata.get("f32s"), { kind: "numbers", items: Float32Array.of(0.5, -1) });
    assert.equal(metadata.get("i64s"), { kind: "bigints", items: BigInt64Array.of(7n) });
    assert.equal(metadata.get("strings"), { kind: "strings", items: ["", "é"] });
    assert.equal(
      file.tensors.map(({ shape, offset }) => [shape, offset]),
      [
        [[2, 3], 0],
        [[1], 64],
      ],
    );
    const bytes = new Uint8Array(2);
    await file.read(file.tensors[1]!, bytes, 1);
    assert.equal([...bytes], [2, 3]);
    await file.close();
  });
});

test("what is no GGUF file of version 3", async () => {
  await refused("M160", Buffer.from(""), /0 bytes/);
  await refused("M160", Buffer.from("version https://git-lfs"), /starts with "vers"/);
  await refused("M160", { ...small(), version: 2 }, /version 2; expected version 3/);
  await refused("M160", { ...small(), version: 0x03000000 }, /big-endian/);
  await refused("M161", Buffer.from("GGUF"), /ends at byte 4/);
});

test("absurd counts and lengths", async () => {
  await refused("M162", { ...small(), tensorCount: 2 ** 50 }, /count of tensors is 1125899906842624/);
  await refused("M162", { ...small(), entryCount: 2 ** 31 }, /count of metadata entries is 2147483648/);
  await refused(
    "M162",
    { ...small(), tensorCount: 200_000 },
    /declares 15 metadata entries and 200000 tensors, but only \d+ bytes follow/,
  );
  await refused("M162", entry(u32(8), u64(2n ** 62n)), /length of the value of `extra` is 4611686018427387904/);
  await refused("M161", entry(u32(8), u64(2 ** 20)), /ends at byte \d+, within the value of `extra`/);
  await refused("M162", entry(u32(9), u32(4), u64(2 ** 40)), /length of the list the value of `extra`/);
  await refused("M162", entry(u32(9), u32(4), u64(2 ** 30)), /declares 1073741824 elements, but only \d+ bytes follow/);
  await refused("M162", entry(u32(9), u32(8), u64(2 ** 28)), /declares 268435456 elements/);
  await refused(
    "M162",
    {
      ...small(),
      metadata: [[`k${"x".repeat(40)}`, { type: "raw", value: Buffer.concat([u32(8), Buffer.alloc(8, 255)]) }]],
    },
    /is 18446744073709551615/,
  );
});

test("damaged metadata", async () => {
  await refused("M162", entry(u32(13)), /unknown type 13/);
  await refused("M162", entry(u32(9), u32(9), u64(1)), /list of lists/);
  await refused("M162", entry(u32(9), u32(77), u64(1)), /list of the unknown type 77/);
  await refused("M162", entry(u32(8), u64(2), Buffer.from([0xc3, 0x28])), /not UTF-8/);
  await refused(
    "M162",
    { ...small(), metadata: [...small().metadata, small().metadata[0]!] },
    /`general.architecture` twice/,
  );
  for (const value of [0, 3, 7, 48, 2 ** 21])
    await refused("M162", small({ "general.alignment": { type: "u32", value } }), /power of two from 8/);
  await refused("M162", small({ "general.alignment": { type: "string", value: "32" } }), /found 32/);
});

test("damaged tensor lists", async () => {
  await refused("M162", small({}, [...smallTensors, smallTensors[0]!]), /`output_norm.weight` stands twice/);
  await refused("M162", small({}, withTensor("output_norm.weight", { shape: [] })), /0 axes/);
  await refused("M162", small({}, withTensor("output_norm.weight", { shape: [2, 2, 2, 2, 2] })), /5 axes/);
  await refused("M162", small({}, withTensor("output_norm.weight", { shape: [0, 32], bytes: 0 })), /axis of size 0/);
  await refused("M162", small({}, withTensor("output_norm.weight", { shape: [2 ** 45], bytes: 4 })), /size of axis 0/);
  await refused(
    "M162",
    small({}, withTensor("output_norm.weight", { shape: [2 ** 40, 2 ** 40], bytes: 4 })),
    /too large/,
  );
  await refused(
    "M162",
    small({}, withTensor("blk.0.attn_q.weight", { shape: [32, 40] })),
    /40 elements, no multiple of the 32 of a block of Q4_0/,
  );
  await refused("M162", small({}, withTensor("output_norm.weight", { name: "n".repeat(2000) })), /2000 characters/);
});

test("types that are not supported, by name", async () => {
  const tensors = smallTensors.map((tensor) =>
    tensor.name.includes("ffn_") && tensor.shape.length === 2
      ? { ...tensor, type: 15 }
      : tensor.name.includes("attn_q")
        ? { ...tensor, type: 99 }
        : tensor,
  );
  await inDirectory(async (directory) => {
    const path = join(directory, "m.gguf");
    await writeFile(path, ggufBytes(small({}, tensors)));
    assert.match(
      (await failure("M163", openModel(path))).message,
      /1 tensor is of type number 99, `blk.0.attn_q.weight` it is[\s\S]*3 tensors are of type Q8_K, `blk.0.ffn_gate.weight` the first/,
    );
  });
});

test("offsets", async () => {
  await refused(
    "M164",
    small({}, withTensor("output_norm.weight", { offset: 4 })),
    /byte 4 of the data, no multiple of the alignment 32/,
  );
  await refused(
    "M164",
    small({}, withTensor("blk.0.ffn_down.weight", { offset: 2 ** 41 })),
    /ends at byte 2199023256128/,
  );
  await refused(
    "M164",
    small({}, withTensor("blk.0.attn_norm.weight", { offset: 0 })),
    /`output_norm.weight` and `blk.0.attn_norm.weight` overlap at byte 0/,
  );
  const whole = ggufBytes(small());
  await refused("M164", whole.subarray(0, whole.length - 1), /`blk.0.ffn_down.weight` ends/);
});

test("a file cut anywhere, and a byte changed anywhere, are refused or are a model", async () => {
  const whole = ggufBytes(small());
  const head = ggufBytes({ ...small(), tensors: smallTensors.map((tensor) => ({ ...tensor, offset: 0 })) }).length;
  await inDirectory(async (directory) => {
    const path = join(directory, "m.gguf");
    const opens = async (bytes: Uint8Array): Promise<boolean> => {
      await writeFile(path, bytes);
      try {
        const model = await openModel(path);
        await model.tokenizer().catch((error: unknown) => assert.instance(error, ModelError));
        await model.close();
        return true;
      } catch (error) {
        assert.instance(error, ModelError, String(error));
        return false;
      }
    };
    assert.ok(await opens(whole));
    const position = fc.integer({ min: 0, max: Math.min(head, whole.length) - 1 });
    await fc.assert(
      fc.asyncProperty(position, async (at) => assert.not.ok(await opens(whole.subarray(0, at)))),
      runs(60),
    );
    await fc.assert(
      fc.asyncProperty(position, fc.integer({ min: 0, max: 255 }), async (at, byte) => {
        const changed = Buffer.from(whole);
        changed[at] = byte;
        await opens(changed);
      }),
      runs(300),
    );
    await fc.assert(
      fc.asyncProperty(
        position,
        fc.constantFrom(0n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n),
        async (at, value) => {
          const changed = Buffer.from(whole);
          u64(value).copy(changed, at);
          await opens(changed);
        },
      ),
      runs(150),
    );
  });
});

test("a string longer than what is read at once", async () => {
  await inDirectory(async (directory) => {
    const long = "x".repeat(3 * 2 ** 20);
    const path = await writeGguf(join(directory, "m.gguf"), {
      metadata: [
        ["a", { type: "string", value: long }],
        ["b", { type: "strings", value: [long, "y", long] }],
      ],
      tensors: [],
    });
    const file = await openContainer(path);
    assert.is(file.metadata.get("a"), long);
    assert.equal(file.metadata.get("b"), { kind: "strings", items: [long, "y", long] });
    await file.close();
    await refused("M162", entry(u32(8), u64(17 * 2 ** 20)), /more than the 16777216/);
    // a hole takes no room on the disk
    await writeFile(
      path,
      ggufBytes({
        metadata: [["a", { type: "raw", value: Buffer.concat([u32(9), u32(0), u64(300 * 2 ** 20)]) }]],
        tensors: [],
      }),
    );
    await truncate(path, 400 * 2 ** 20);
    assert.match((await failure("M162", openContainer(path))).message, /takes more than 256/);
  });
});

test.run();
