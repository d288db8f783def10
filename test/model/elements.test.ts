import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bf16FromBits, f16FromBits } from "../../compiler/float.js";
import { byteCount, countZeros, toFloats } from "../../runtime/model/elements.js";
import { countsPatterns } from "../../runtime/model/zeros.js";
import { runs } from "../support/runs.js";

const test = suite("model/elements");

test("every f16 and bf16 becomes the f32 of the same value", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const bytes = new Uint8Array(bits.buffer);
  for (const [type, value] of [
    ["F16", f16FromBits],
    ["BF16", bf16FromBits],
  ] as const) {
    const floats = toFloats(type, bytes);
    for (let i = 0; i < 65536; i++)
      if (!Object.is(floats[i], value(i))) throw new Error(`${type} ${i}: ${floats[i]}, not ${value(i)}`);
  }
});

test("bytes may start anywhere, and go into a target", () => {
  const bytes = new Uint8Array([9, 0x80, 0x3f, 0, 0xc0, 7]).subarray(1, 5);
  const target = new Float32Array(4);
  const floats = toFloats("BF16", bytes, target);
  assert.equal([...floats], [1, -2]);
  assert.is(floats.buffer, target.buffer);
  assert.equal([...toFloats("F32", new Uint8Array([0, 0, 0, 0x80, 0x3f]).subarray(1))], [1]);
});

test("byte counts", () => {
  assert.is(byteCount("F16", []), 2);
  assert.is(byteCount("F4", [3]), null);
  assert.is(byteCount("F6_E2M3", [4]), 3);
  assert.is(byteCount("U8", [2 ** 30, 2 ** 30]), null);
  assert.is(byteCount("F32", [0, 5]), 0);
});

test("zeros, -0 included, by type", () => {
  assert.is(countZeros("F16", new Uint8Array([0, 0, 0, 0x80, 1, 0, 0, 0x3c])), 2);
  assert.is(countZeros("I16", new Uint8Array([0, 0, 0, 0x80])), 1);
  assert.is(countZeros("F8_E4M3", new Uint8Array([0, 0x80, 1])), 2);
  assert.is(countZeros("F8_E4M3FNUZ", new Uint8Array([0, 0x80])), 1);
  assert.is(countZeros("F4", new Uint8Array([0])), null);
});

test("group counts do not depend on how the bytes are cut", () => {
  const value = fc.constantFrom(0, 0, 0, 0x8000, 0x3f80, 1);
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 64, maxLength: 64 }),
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom(4, 8, 16, 12, 6),
      (halves, groups, columns) => {
        const bytes = new Uint8Array(Uint16Array.from(halves).buffer);
        const counter = countsPatterns("BF16", columns);
        for (let at = 0; at < bytes.length; at += groups * 16) counter.add(bytes.subarray(at, at + groups * 16));
        const most = (m: number): number =>
          Math.max(
            ...Array.from(
              { length: 64 / m },
              (_, g) => halves.slice(g * m, g * m + m).filter((half) => (half & 0x7fff) !== 0).length,
            ),
          );
        assert.equal(counter.counts(), {
          zeros: halves.filter((half) => (half & 0x7fff) === 0).length,
          mostOf4: columns % 4 === 0 ? most(4) : null,
          mostOf8: columns % 8 === 0 ? most(8) : null,
        });
      },
    ),
    runs(100),
  );
});

test.run();
