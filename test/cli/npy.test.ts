/** NumPy's files: headers as NumPy writes them, and what is wrong with a file. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readNpy, writeNpy } from "../../runtime/cli/run/npy.js";

const test = suite("npy");

/** A file with this dictionary, of version 1 or 2, and these bytes of elements. */
function file(header: string, elements: ArrayLike<number>, version = 1): Uint8Array {
  const text = new TextEncoder().encode(`${header}\n`);
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.of(
    0x93,
    ...new TextEncoder().encode("NUMPY"),
    version,
    0,
    ...length,
    ...text,
    ...Array.from(elements),
  );
}

const bytesOf = (values: Float32Array | BigInt64Array | Uint16Array): Uint8Array => new Uint8Array(values.buffer);

test("what numpy writes is read", () => {
  const order = file(
    "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
    bytesOf(Float32Array.of(0, 3, 1, 4, 2, 5)),
  );
  assert.equal(readNpy(order), { dtype: "float32", shape: [2, 3], values: Float64Array.of(0, 1, 2, 3, 4, 5) });
  const integers = file(
    "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }",
    bytesOf(BigInt64Array.of(1n, -2n, 3n)),
    2,
  );
  assert.equal(readNpy(integers), { dtype: "int64", shape: [3], values: Float64Array.of(1, -2, 3) });
  const single = file("{'descr': '<f2', 'fortran_order': False, 'shape': (), }", bytesOf(Uint16Array.of(0x3e00)));
  assert.equal(readNpy(single), { dtype: "float16", shape: [], values: Float64Array.of(1.5) });
  const booleans = file("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", [1, 0]);
  assert.equal(readNpy(booleans), { dtype: "bool", shape: [2], values: Float64Array.of(1, 0) });
});

test("what is written is read", () => {
  for (const dtype of ["f32", "f16", "i32", "u32", "bool"] as const)
    for (const shape of [[], [3], [2, 3], [0, 2], [2, 1, 3]]) {
      const values = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, at) => at % 2);
      const written = writeNpy(dtype, shape, values);
      const read = readNpy(written);
      if (typeof read === "string") throw new Error(read);
      assert.equal(read.shape, shape);
      assert.equal([...Array.from(read.values)], values);
      // NumPy maps files, and wants elements aligned
      assert.is((10 + (written[8] ?? 0) + 256 * (written[9] ?? 0)) % 64, 0);
    }
});

test("what cannot be read is refused", () => {
  for (const [bytes, message] of [
    [new Uint8Array(4), /^is no \.npy file/],
    [file("{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }", new Uint8Array(8)), /type ">f8"/],
    [file("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", new Uint8Array(4)), /type ""/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", new Uint8Array(4)), /has 4 bytes .* takes 8/],
    [file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999, 9), }", []), /too large/],
    [file("{'descr': '<f4'}", []), /header that cannot be read/],
    [
      file("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }", bytesOf(BigInt64Array.of(2n ** 60n))),
      /53 bits/,
    ],
    [file("", [], 4), /version 4/],
    [Uint8Array.of(0x93, ...new TextEncoder().encode("NUMPY"), 2, 0, 255, 255, 255, 255), /header of 4294967295/],
  ] as const) {
    const read = readNpy(bytes);
    assert.match(typeof read === "string" ? read : "it was read", message);
  }
});

test.run();
