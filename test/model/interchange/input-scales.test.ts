/** Scales of activations that compressed-tensors stores: read with the layer, and refused by name where they are none. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ModelErrorCode } from "../../../runtime/model/error.js";
import { failure } from "../support.js";
import { given, opened, type Given } from "./support.js";

const test = suite("model/interchange/input-scales");

type Change = (layer: Given) => void;

const groupOf = ({ config }: Given): { [name: string]: unknown } =>
  (config["config_groups"] as { [name: string]: { [name: string]: unknown } })["group_0"]!;

/** The int8 layer of the samples, its activations with one scale that is stored. */
function withStoredScale(change: Change = () => {}): Given {
  const layer = given("ct-int8-channel");
  groupOf(layer)["input_activations"] = {
    num_bits: 8,
    type: "int",
    symmetric: true,
    strategy: "tensor",
    dynamic: false,
  };
  layer.tensors.set("input_scale", { dtype: "F32", shape: [1], data: bytesOfFloats(0.03125) });
  change(layer);
  return layer;
}

function bytesOfFloats(...values: readonly number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Float32Array.from(values).buffer);
}

test("one scale of activations that is stored beside its layer: of any float type, with a zero point of 0", async () => {
  const stored: Change = () => {};
  for (const change of [
    stored,
    (layer) => layer.tensors.set("input_scale", { dtype: "BF16", shape: [], data: Uint8Array.of(0, 0x3d) }),
    (layer) => layer.tensors.set("input_zero_point", { dtype: "I8", shape: [1], data: Uint8Array.of(0) }),
    (layer) => (groupOf(layer)["input_activations"] = { num_bits: 8 }),
  ] as readonly Change[]) {
    const layer = withStoredScale(change);
    const { activations, weights, findings } = await opened(layer);
    assert.equal([...activations], [[layer.module, { name: "int8", group: "tensor", scale: 0.03125 }]]);
    // nothing of it is left over for tensors that no model has
    assert.equal([...weights.tensors.keys()], [`${layer.module}.weight`]);
    assert.is(findings.layers.length, 1);
  }
});

for (const [what, code, message, change] of [
  ["no scale", "M135", /it has no `input_scale`/, (l) => l.tensors.delete("input_scale")],
  [
    "two scales",
    "M135",
    /`input_scale` should have the shape \[1\] or \[\] by the config, found \[2\]/,
    (l) => l.tensors.set("input_scale", { dtype: "F32", shape: [2], data: bytesOfFloats(1, 1) }),
  ],
  [
    "a scale of integers",
    "M135",
    /`input_scale` should be of BF16, F16, F32, found `I32`/,
    (l) => l.tensors.set("input_scale", { ...l.tensors.get("input_scale")!, dtype: "I32" }),
  ],
  ...[0, -1, NaN, Infinity, 2 ** -130].map(
    (scale) =>
      [
        `a scale of ${scale}`,
        "M136",
        new RegExp(`its \`input_scale\` is ${String(scale)}, and should be at least 2\\^-126 and finite`),
        (l) => l.tensors.set("input_scale", { dtype: "F32", shape: [1], data: bytesOfFloats(scale) }),
      ] as const satisfies readonly [string, ModelErrorCode, RegExp, Change],
  ),
  [
    "a zero point",
    "M136",
    /its `input_zero_point` is -3, and symmetric activations have 0/,
    (l) => l.tensors.set("input_zero_point", { dtype: "I8", shape: [1], data: Uint8Array.of(253) }),
  ],
] as readonly (readonly [string, ModelErrorCode, RegExp, Change])[])
  test(`activations with a stored scale: ${what}`, async () => {
    assert.match((await failure(code, opened(withStoredScale(change)))).message, message);
  });

test.run();
