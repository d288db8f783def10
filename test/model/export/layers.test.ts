/** Layers that other tools have written are written again to the same bytes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { awqWriter } from "../../../runtime/model/interchange/containers/awq.js";
import { gptqWriter } from "../../../runtime/model/interchange/containers/gptq.js";
import { marlin24Writer } from "../../../runtime/model/interchange/containers/marlin-24.js";
import { packQuantizedWriter } from "../../../runtime/model/interchange/containers/pack-quantized.js";
import { sparse24Bytes, sparse24Parts } from "../../../runtime/model/interchange/containers/sparse-24-bitmask.js";
import {
  nonzerosIn,
  sparseBitmaskBytes,
  sparseBitmaskParts,
} from "../../../runtime/model/interchange/containers/sparse-bitmask.js";
import { gridFacts, gridLayerOf } from "../../../runtime/model/interchange/grid-values.js";
import { bytesOf, type GridWriter } from "../../../runtime/model/interchange/written.js";
import { toFloats } from "../../../runtime/model/elements.js";
import { given, opened, wordsOf } from "../interchange/support.js";

const test = suite("model/export/layers");

const writers: { readonly [sample: string]: GridWriter } = {
  "ct-pack-int4-g128": packQuantizedWriter,
  "ct-pack-int4-g128-asym": packQuantizedWriter,
  "ct-pack-int4-g128-actorder": packQuantizedWriter,
  "ct-marlin-24-g128": marlin24Writer,
  "ct-marlin-24-channel": marlin24Writer,
  "gptq-int4-g128": gptqWriter("gptq"),
  "gptq-int4-g128-desc-act": gptqWriter("gptq"),
  "awq-int4-g128-gemm": awqWriter,
};

for (const [name, writer] of Object.entries(writers))
  test(`${name}: the bytes of its tensors`, async () => {
    const layer = given(name);
    const found = await opened(layer);
    const { format } = found.packed.get(`${layer.module}.weight`)!;
    const [outputs, inputs] = layer.shape;
    const module = { name: layer.module, outputs, inputs };
    const facts = gridFacts(format)!;
    const written = writer.layer(module, facts);
    if (typeof written === "string") throw new Error(written);
    const bytes = written.bytes(gridLayerOf(format, facts, module, await wordsOf(layer, found)));
    assert.equal(written.parts.map(({ part }) => part).sort(), [...layer.tensors.keys()].sort());
    for (const [at, { part, dtype, shape }] of written.parts.entries()) {
      const expected = layer.tensors.get(part)!;
      assert.equal(shape, expected.shape, part);
      if (dtype === expected.dtype) assert.equal(bytes[at], expected.data, part);
      else {
        // scales of bf16 that f16 holds
        assert.is(`${expected.dtype} ${dtype}`, "BF16 F16");
        assert.equal(toFloats("F16", bytes[at]!), toFloats("BF16", expected.data), part);
      }
    }
  });

test("ct-sparse-24-bitmask: values and masks; where fewer than two are kept, zeros at other places", async () => {
  const layer = given("ct-sparse-24-bitmask");
  const found = await opened(layer);
  const { format } = found.packed.get(`${layer.module}.weight`)!;
  const [outputs, inputs] = layer.shape;
  const module = { name: layer.module, outputs, inputs };
  const parts = sparse24Parts(module, "BF16");
  const bytes = sparse24Bytes(module, format, {
    shape: { rows: outputs, columns: inputs },
    words: await wordsOf(layer, found),
  });
  const [mask, kept] = [bytes[0]!, new Uint16Array(bytes[1]!.buffer)];
  const expected = new Uint16Array(layer.tensors.get("compressed")!.data.buffer);
  for (const [at, { part, dtype, shape }] of parts.entries()) {
    assert.equal({ dtype, shape }, { dtype: layer.tensors.get(part)!.dtype, shape: layer.tensors.get(part)!.shape });
    assert.is(bytes[at]!.length, layer.tensors.get(part)!.data.length);
  }
  let [same, zeros] = [0, 0];
  for (let four = 0; four < kept.length / 2; four++) {
    const pair = (items: Uint16Array): readonly number[] => [...items.subarray(2 * four, 2 * four + 2)];
    if (pair(expected).some((item) => (item & 0x7fff) === 0)) zeros++;
    else {
      const bits = (from: Uint8Array): number => (from[four >> 1]! >> (4 * (four & 1))) & 15;
      assert.is(bits(mask), bits(layer.tensors.get("bitmask")!.data));
      assert.equal(pair(kept), pair(expected));
      same++;
    }
  }
  assert.ok(same > 0 && zeros > 0, `${same}, ${zeros}`);
  assert.equal(bytes[2], bytesOf(BigInt64Array.of(BigInt(outputs), BigInt(inputs))));
});

test("ct-sparse-bitmask: the bytes of its tensors", async () => {
  const layer = given("ct-sparse-bitmask");
  const found = await opened(layer);
  const { format } = found.packed.get(`${layer.module}.weight`)!;
  const [outputs, inputs] = layer.shape;
  const module = { name: layer.module, outputs, inputs };
  const words = await wordsOf(layer, found);
  const nonzeros = nonzerosIn(module, format, words);
  const bytes = sparseBitmaskBytes(module, format, words, nonzeros);
  const parts = sparseBitmaskParts(module, "BF16", nonzeros);
  assert.equal(parts.map(({ part }) => part).sort(), [...layer.tensors.keys()].sort());
  for (const [at, { part, dtype, shape }] of parts.entries()) {
    const expected = layer.tensors.get(part)!;
    assert.equal(
      { dtype, shape, data: bytes[at] },
      { dtype: expected.dtype, shape: expected.shape, data: expected.data },
    );
  }
});

test.run();
