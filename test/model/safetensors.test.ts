import { readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { byteCount, elementBits, type ElementType } from "../../runtime/model/elements.js";
import { ModelError, type ModelErrorCode } from "../../runtime/model/error.js";
import { headerLimit, parseHeader, printHeader } from "../../runtime/model/header.js";
import { openSafetensors } from "../support/open-safetensors.js";
import { createSafetensors, writeError } from "../../runtime/model/safetensors-writer.js";
import { failure, inDirectory, rawSafetensors, writeTensors } from "./support.js";
import { runs } from "../support/runs.js";

const test = suite("model/safetensors");

const a = `"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}`;

/** Headers that are refused, with the bytes of data beside them, and words that the message has. */
const refused: readonly (readonly [ModelErrorCode, string, number, RegExp])[] = [
  ["M112", "", 0, /does not start with/],
  ["M112", "[]", 0, /does not start with/],
  ["M112", " {}", 0, /does not start with/],
  ["M112", "{", 0, /found the end/],
  ["M112", `{${a}`, 8, /found the end/],
  ["M112", `{${a},}`, 8, /expected `"`/],
  ["M112", `{${a}}}`, 8, /after the closing brace/],
  ["M112", `{"a`, 0, /not ended/],
  ["M112", `{"a\\q":1}`, 0, /invalid escape/],
  ["M112", `{${a},${a}}`, 8, /`a` stands twice/],
  ["M112", `{${a},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}}`, 8, /`a` stands twice/],
  ["M112", `{"__metadata__":{"k":[1}}}`, 0, /found `}` where a value should be/],
  ["M112", `{"__metadata__":[[],{"k":"`, 0, /not ended/],
  ["M112", `{"__metadata__":}`, 0, /found `}` where a value should be/],
  ["M112", `{"__metadata__":[`, 0, /expected a value, found the end/],
  ["M112", `{"a":{"dtype":"F16","dtype":"F16","shape":[],"data_offsets":[0,2]}}`, 2, /two values of `dtype`/],
  ["M112", `{"a":{"dtype":"F16","shape":[2]}}`, 4, /no `data_offsets`/],
  ["M112", `{"a":{}}`, 0, /no `dtype`/],
  ["M112", `{"a":{"dtype":"U8","shape":[1],"offsets":[0,1]}}`, 1, /no `data_offsets`/],
  ["M112", `{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1, /non-negative integer/],
  ["M112", `{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1, /expected/],
  ["M112", `{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}`, 1, /below 2\^53/],
  ["M112", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1, /expected 2/],
  ["M112", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1, /more than 2 numbers/],
  ["M112", `{"a":{"dtype":"U8","shape":[${"1,".repeat(40)}1],"data_offsets":[0,1]}}`, 1, /more than 32 numbers/],
  ["M112", `{"a":{"dtype":"F17","shape":[1],"data_offsets":[2,0]}}`, 2, /end before they begin/],
  ["M114", `{${a},"b":{"dtype":"F17","shape":[1],"data_offsets":[6,10]}}`, 10, /`a` and `b` overlap at byte 6/],
  ["M114", `{${a}}`, 7, /ends at byte 8 of the data, but the file holds 7/],
  ["M114", `{${a}}`, 9, /1 byte after the last tensor belongs to no tensor/],
  [
    "M114",
    `{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,8]}}`,
    8,
    /needs 16 bytes, but its data_offsets \[0, 8\] span 8/,
  ],
  ["M114", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1, /span -1/],
  ["M114", `{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 1, /no whole number of bytes/],
  ["M114", `{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}`, 8, /too many/],
  ["M114", `{${a},"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}}`, 10, /`a` and `b` overlap at byte 6/],
  ["M114", `{${a},"b":{"dtype":"U8","shape":[2],"data_offsets":[10,12]}}`, 12, /bytes 8 to 10 .* belong to no tensor/],
];

test("each fault of a header has its error", async () => {
  await inDirectory(async (directory) => {
    for (const [code, header, data, message] of refused) {
      const path = join(directory, "f.safetensors");
      await writeFile(path, rawSafetensors(header, data));
      assert.match((await failure(code, openSafetensors(path))).message, message, header);
    }
  });
});

test("files that are cut short, or are something else", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    const whole = rawSafetensors(`{${a}}`, 8);
    for (let size = 0; size < whole.length; size++) {
      await writeFile(path, whole.subarray(0, size));
      await failure(size < whole.length - 8 ? "M110" : "M114", openSafetensors(path));
    }
    await writeFile(path, "version https://git-lfs.github.com/spec/v1\n");
    assert.match((await failure("M111", openSafetensors(path))).message, /at most 100000000/);
    const large = Buffer.alloc(16);
    large.writeBigUInt64LE(BigInt(headerLimit));
    await writeFile(path, large);
    await failure("M110", openSafetensors(path));
    large.writeBigUInt64LE(2n ** 64n - 1n);
    await writeFile(path, large);
    await failure("M111", openSafetensors(path));
    await writeFile(path, Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([0x7b, 0xff, 0x7d])]));
    assert.match((await failure("M112", openSafetensors(path))).message, /not UTF-8/);
  });
});

test("headers may be padded, tensors empty or of rank 0", () => {
  const { tensors, metadata } = parseHeader(
    "f",
    `{"__metadata__":{"format":"pt"}, "s" : {"shape":[],"dtype":"F32","data_offsets":[0,4]},\n"e":{"dtype":"I64","shape":[0,3],"data_offsets":[4,4]}}   `,
    4,
  );
  assert.equal(
    tensors.map(({ name, shape, begin, end }) => [name, shape, begin, end]),
    [
      ["s", [], 0, 4],
      ["e", [0, 3], 4, 4],
    ],
  );
  assert.equal([...metadata], [["format", "pt"]]);
});

test("what says nothing of a tensor may be anything, and types that are not known are kept by name", () => {
  for (const [given, kept] of [
    ["null", []],
    ["[[], {}, true]", []],
    [`{"a": 1, "b": {"c": [null, "]"]}, "d": "e", "d": "f"}`, [["d", "f"]]],
  ] as const) {
    const { tensors, metadata } = parseHeader(
      "f",
      `{"__metadata__": ${given}, "a": {"dtype":"constructor","more":{"x":[-1.5e3]},"shape":[3],"data_offsets":[0,2]}}`,
      2,
    );
    assert.equal([...metadata], kept);
    assert.equal(tensors, [{ name: "a", dtype: "constructor", shape: [3], begin: 0, end: 2 }]);
  }
  parseHeader("f", `{"__metadata__":${"[".repeat(1e5)}${"]".repeat(1e5)}}`, 0);
});

const layouts = fc.uniqueArray(
  fc
    .record(
      {
        name: fc.string({ unit: "binary", maxLength: 12 }).filter((name) => name !== "__metadata__"),
        dtype: fc.constantFrom(...(Object.keys(elementBits) as ElementType[])),
        shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
      },
      { noNullPrototype: true },
    )
    .filter(({ dtype, shape }) => byteCount(dtype, shape) !== null),
  { selector: ({ name }) => name, maxLength: 6 },
);

test("what is written in pieces, tensors interleaved, is read back by ranges", async () => {
  await inDirectory(async (directory) => {
    await fc.assert(
      fc.asyncProperty(layouts, fc.integer({ min: 1, max: 7 }), async (tensors, step) => {
        const path = join(directory, "f.safetensors");
        const contents = tensors.map(({ dtype, shape }, i) =>
          Uint8Array.from({ length: byteCount(dtype, shape) ?? 0 }, (_, j) => i * 31 + j),
        );
        const writer = await createSafetensors(path, tensors, new Map([["k", "ü"]]));
        for (let at = 0; at < 2000; at += step)
          for (const [i, { name }] of tensors.entries())
            await writer.append(name, contents[i]!.subarray(at, at + step));
        await writer.finish();
        const bytes = await readFile(path);
        assert.is(bytes.length, writer.bytes);
        const file = await openSafetensors(path);
        assert.is(file.dataStart % 8, 0);
        assert.equal([...file.metadata], [["k", "ü"]]);
        assert.equal(
          file.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
          tensors,
        );
        for (const [i, stored] of file.tensors.entries()) {
          const begin = Math.min(step, contents[i]!.length);
          const part = new Uint8Array(contents[i]!.length - begin);
          await file.read(stored, part, begin);
          assert.equal(part, contents[i]!.subarray(begin));
        }
        await file.close();
      }),
      runs(30),
    );
    assert.equal(await readdir(directory), ["f.safetensors"]);
  });
});

test("a damaged file is read, or refused as such: never another error", async () => {
  const header = printHeader({
    tensors: [
      { name: "a", dtype: "F16", shape: [2, 2], begin: 0, end: 8 },
      { name: "b.weight", dtype: "U8", shape: [3], begin: 8, end: 11 },
    ],
    metadata: new Map([["format", "pt"]]),
  });
  const whole = rawSafetensors(header, 11);
  const byte = fc.oneof(fc.constantFrom(...Buffer.from('{}[]",:\\0129eu')), fc.integer({ min: 0, max: 255 }));
  const edit = fc.record({
    at: fc.integer({ min: 0, max: whole.length - 1 }),
    remove: fc.integer({ min: 0, max: 4 }),
    insert: fc.array(byte, { maxLength: 3 }),
  });
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean(), async (edits, fixLength) => {
        let bytes = whole;
        for (const { at, remove, insert } of edits)
          bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(insert), bytes.subarray(at + remove)]);
        // Most edits would be found by the length alone.
        if (fixLength && bytes.length > 19) bytes.writeBigUInt64LE(BigInt(bytes.length - 19));
        await writeFile(path, bytes);
        try {
          const file = await openSafetensors(path);
          for (const stored of file.tensors) await file.read(stored, new Uint8Array(stored.end - stored.begin));
          await file.close();
        } catch (error) {
          assert.instance(error, ModelError, String(error));
          assert.match((error as ModelError).code, /^M11[0-4]$/);
        }
      }),
      runs(400),
    );
  });
});

test("a header of many tensors is read in linear time, one of too many refused", () => {
  const entry = (i: number): string => `"${i}":{"dtype":"U8","shape":[],"data_offsets":[${i},${i + 1}]}`;
  const many = Array.from({ length: 50_000 }, (_, i) => entry(i));
  assert.is(parseHeader("f", `{${many.join(",")}}`, many.length).tensors.length, many.length);
  const nested = `{"a":${"[".repeat(1_000_000)}`;
  assert.throws(
    () => parseHeader("f", nested, 0),
    (error: unknown) => error instanceof ModelError && error.code === "M112",
  );
});

test("a file that shrinks while it is open", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    await writeTensors(path, [{ name: "a", dtype: "U8", shape: [100] }]);
    const file = await openSafetensors(path);
    await truncate(path, file.dataStart + 50);
    await failure("M115", file.read(file.tensors[0]!, new Uint8Array(100)));
    await file.close();
  });
});

test("a writer keeps nothing of a file that is not completed", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.safetensors");
    const incomplete = await createSafetensors(path, [{ name: "a", dtype: "U8", shape: [4] }]);
    await incomplete.append("a", new Uint8Array(3));
    assert.is((await readdir(directory)).includes("f.safetensors"), false);
    await incomplete.finish().then(
      () => assert.unreachable(),
      (error: unknown) => assert.instance(error, RangeError),
    );
    const discarded = await createSafetensors(path, [{ name: "a", dtype: "U8", shape: [4] }]);
    await discarded.discard();
    const overfull = await createSafetensors(path, [{ name: "a", dtype: "U8", shape: [4] }]);
    await overfull.append("a", new Uint8Array(5)).then(
      () => assert.unreachable(),
      (error: unknown) => assert.instance(error, RangeError),
    );
    assert.equal(await readdir(directory), []);
    await failure("M154", createSafetensors(join(directory, "none", "f"), []));
  });
});

test("system errors while writing are distinguished", () => {
  const codeOf = (code: string): string => writeError("f", Object.assign(new Error(code), { code })).code;
  assert.equal(["ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EROFS", "EIO"].map(codeOf), [
    "M153",
    "M153",
    "M153",
    "M151",
    "M151",
    "M154",
  ]);
});

test.run();
