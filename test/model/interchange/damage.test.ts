/** What is wrong with layers of other tools is said by name, and nothing is guessed. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ModelErrorCode } from "../../../runtime/model/error.js";
import { parseQuantization } from "../../../runtime/model/interchange/quantization.js";
import { failure } from "../support.js";
import { given, samples, valuesOf, type Given } from "./support.js";

const test = suite("model/interchange/damage");

type Change = (layer: Given) => void;

const group = (layer: Given): { [name: string]: unknown } =>
  (layer.config["config_groups"] as { [name: string]: { [name: string]: unknown } })["group_0"]!;
const weights = (layer: Given): { [name: string]: unknown } => group(layer)["weights"] as { [name: string]: unknown };
const words = (layer: Given, part: string): Int32Array => new Int32Array(layer.tensors.get(part)!.data.buffer);
const halves = (layer: Given, part: string): Uint16Array => new Uint16Array(layer.tensors.get(part)!.data.buffer);
const reshape = (layer: Given, part: string, shape: readonly number[]): unknown =>
  layer.tensors.set(part, { ...layer.tensors.get(part)!, shape });
const retype = (layer: Given, part: string, dtype: string): unknown =>
  layer.tensors.set(part, { ...layer.tensors.get(part)!, dtype });

/** A change of a sample, and what is said of it. */
const damages: readonly (readonly [string, string, ModelErrorCode, RegExp, Change])[] = [
  // shapes
  [
    "ct-pack-int4-g128",
    "fewer words",
    "M135",
    /`weight_packed` should have the shape \[128, 32\] by the config, found \[64, 64\]/,
    (l) => reshape(l, "weight_packed", [64, 64]),
  ],
  [
    "ct-pack-int4-g128",
    "another shape said",
    "M136",
    /`weight_shape` says \[128, 255\], but the config \[128, 256\]/,
    (l) => (new BigInt64Array(l.tensors.get("weight_shape")!.data.buffer)[1] = 255n),
  ],
  [
    "ct-pack-int4-g128",
    "scales turned",
    "M135",
    /`weight_scale` should have the shape \[128, 2\].*found \[2, 128\]/,
    (l) => reshape(l, "weight_scale", [2, 128]),
  ],
  [
    "ct-pack-int4-g128",
    "words of 16 bits",
    "M135",
    /`weight_packed` should be of I32, found `I16`/,
    (l) => retype(l, "weight_packed", "I16"),
  ],
  [
    "ct-pack-int4-g128",
    "scales of f64",
    "M135",
    /`weight_scale` should be of BF16, F16, F32, found `F64`/,
    (l) => retype(l, "weight_scale", "F64"),
  ],
  [
    "ct-pack-int4-g128",
    "no scales",
    "M135",
    /stored as `pack-quantized`, but has no `weight_scale`/,
    (l) => l.tensors.delete("weight_scale"),
  ],
  [
    "ct-pack-int4-g128",
    "a scale that is infinite",
    "M136",
    /a scale is Infinity, number 5 of 256/,
    (l) => (halves(l, "weight_scale")[5] = 0x7f80),
  ],
  [
    "ct-marlin-24-g128",
    "meta turned",
    "M135",
    /`meta` should have the shape \[8, 512\]/,
    (l) => reshape(l, "meta", [512, 8]),
  ],
  [
    "awq-int4-g128-gemm",
    "gemv order",
    "M135",
    /`qweight` should have the shape \[256, 16\].*found \[128, 32\]/,
    (l) => reshape(l, "qweight", [128, 32]),
  ],
  // config and tensors
  [
    "ct-pack-int4-g128",
    "a group that does not divide",
    "M135",
    /its 256 columns are no multiple of the group of 96/,
    (l) => (weights(l)["group_size"] = 96),
  ],
  [
    "ct-pack-int4-g128",
    "another group",
    "M135",
    /`weight_scale` should have the shape \[128, 4\]/,
    (l) => (weights(l)["group_size"] = 64),
  ],
  [
    "ct-pack-int4-g128",
    "groups too small for any format",
    "M133",
    /group of int4 must be a positive multiple of 8/,
    (l) => {
      weights(l)["group_size"] = 4;
      l.tensors.set("weight_scale", { dtype: "BF16", shape: [128, 64], data: new Uint8Array(128 * 64 * 2) });
    },
  ],
  [
    "ct-pack-int4-g128",
    "asymmetric without zero points",
    "M135",
    /has no `weight_zero_point`/,
    (l) => (weights(l)["symmetric"] = false),
  ],
  [
    "ct-pack-int4-g128-asym",
    "symmetric with zero points",
    "M135",
    /but has `weight_zero_point`/,
    (l) => (weights(l)["symmetric"] = true),
  ],
  [
    "ct-pack-int4-g128",
    "two formats at once",
    "M135",
    /stored as `pack-quantized`, but has `qweight`/,
    (l) => l.tensors.set("qweight", l.tensors.get("weight_packed")!),
  ],
  [
    "ct-pack-int4-g128",
    "packed and dense",
    "M135",
    /stored as `pack-quantized`, but has `weight`/,
    (l) => l.tensors.set("weight", l.tensors.get("weight_packed")!),
  ],
  [
    "ct-pack-int4-g128",
    "an ignored layer that is packed",
    "M135",
    /it is stored as it is, but it has `weight_packed`, `weight_scale`, `weight_shape`/,
    (l) => (l.config["ignore"] = ["re:.*k_proj"]),
  ],
  [
    "ct-int8-channel",
    "packed otherwise than said",
    "M135",
    /stored as `pack-quantized`, but has no `weight_packed`, `weight_shape`, and has `weight`/,
    (l) => (group(l)["format"] = "pack-quantized"),
  ],
  [
    "ct-sparse-bitmask",
    "a mask that the config does not know",
    "M135",
    /it is stored as it is, but it has `compressed`, `bitmask`/,
    (l) => (l.config["sparsity_config"] = { format: "dense" }),
  ],
  [
    "gptq-int4-g128",
    "codes of 8 bits said",
    "M135",
    /`qweight` should have the shape \[64, 128\]/,
    (l) => (l.config["bits"] = 8),
  ],
  [
    "gptq-int4-g128-desc-act",
    "an order that the config denies",
    "M135",
    /`g_idx` orders groups, but the config says `desc_act: false`/,
    (l) => (l.config["desc_act"] = false),
  ],
  // orders
  [
    "gptq-int4-g128-desc-act",
    "a group that is not there",
    "M136",
    /`g_idx` puts column 3 in group 2 of 2/,
    (l) => (words(l, "g_idx")[3] = 2),
  ],
  [
    "gptq-int4-g128-desc-act",
    "a negative group",
    "M136",
    /`g_idx` puts column 9 in group -1 of 2/,
    (l) => (words(l, "g_idx")[9] = -1),
  ],
  [
    "ct-pack-int4-g128-actorder",
    "a group with too many columns",
    "M136",
    /`weight_g_idx` gives group 0 \d+ columns; each has 128/,
    (l) => words(l, "weight_g_idx").fill(0, 0, 200),
  ],
  // masks
  [
    "ct-sparse-24-bitmask",
    "three of four",
    "M136",
    /`bitmask` keeps 3 of columns 0 to 3 of row 0; expected 2/,
    (l) => (l.tensors.get("bitmask")!.data[0] = 0x37),
  ],
  [
    "ct-sparse-24-bitmask",
    "one of four",
    "M136",
    /`bitmask` keeps 1 of columns 4 to 7 of row 1; expected 2/,
    (l) => (l.tensors.get("bitmask")!.data[32] = 0x13),
  ],
  [
    "ct-sparse-bitmask",
    "a bit more than values",
    "M136",
    /`row_offsets` of row \d+ is \d+, but `bitmask` has \d+ bits before it|`bitmask` has 16129 bits/,
    (l) => {
      const { data } = l.tensors.get("bitmask")!;
      const at = data.findIndex((byte) => byte !== 255);
      data[at] = data[at]! | (data[at]! + 1);
    },
  ],
  [
    "ct-sparse-bitmask",
    "a value too few",
    "M136",
    /`bitmask` has 16128 bits, but `compressed` 16127 values/,
    (l) => {
      const { data } = l.tensors.get("compressed")!;
      l.tensors.set("compressed", { dtype: "BF16", shape: [16127], data: data.slice(2) });
    },
  ],
  [
    "ct-sparse-bitmask",
    "rows that begin elsewhere",
    "M136",
    /`row_offsets` of row 1 is 7/,
    (l) => (new BigInt64Array(l.tensors.get("row_offsets")!.data.buffer)[1] = 7n),
  ],
  [
    "ct-marlin-24-channel",
    "positions that fall",
    "M136",
    /`meta` has the positions 1 and 0 for columns \d+ to \d+ of row \d+/,
    (l) => (halves(l, "meta")[7] = 0x4441),
  ],
  // what is not supported
  [
    "ct-int8-channel",
    "floats of 4 bits",
    "M133",
    /the format `float-quantized` for weights of float of 4 bits is not supported/,
    (l) => {
      Object.assign(weights(l), { type: "float", num_bits: 4 });
      group(l)["format"] = "float-quantized";
    },
  ],
  [
    "ct-pack-int4-g128",
    "nvfp4",
    "M133",
    /the format `nvfp4-pack-quantized` for weights of int of 4 bits/,
    (l) => (group(l)["format"] = "nvfp4-pack-quantized"),
  ],
  [
    "ct-pack-int4-g128",
    "blocks",
    "M133",
    /the `strategy` `block` of weights/,
    (l) => (weights(l)["strategy"] = "block"),
  ],
  [
    "ct-pack-int4-g128",
    "rotations",
    "M133",
    /`transform_config`, rotations/,
    (l) => (l.config["transform_config"] = { config_groups: { a: {} } }),
  ],
  [
    "ct-pack-int4-g128",
    "an expression without end",
    "M133",
    /the expression `\(a\+\)\+b` for names of layers is too involved/,
    (l) => (l.config["ignore"] = ["re:(a+)+b"]),
  ],
  [
    "ct-pack-int4-g128",
    "an expression that is none",
    "M133",
    /the expression `\[` for names of layers is not one/,
    (l) => (l.config["ignore"] = ["re:["]),
  ],
  [
    "ct-pack-int4-g128",
    "targets that are no names",
    "M131",
    /`quantization_config.config_groups.group_0.targets` should be a list of names/,
    (l) => (group(l)["targets"] = 3),
  ],
  [
    "ct-sparse-bitmask",
    "another sparsity",
    "M133",
    /the sparsity format `sparse-48` is not supported/,
    (l) => ((l.config["sparsity_config"] as { format: string }).format = "sparse-48"),
  ],
  ["gptq-int4-g128", "five bits", "M133", /GPTQ of 5 bits/, (l) => (l.config["bits"] = 5)],
  [
    "gptq-int4-g128",
    "another layout of GPTQ",
    "M133",
    /the format `marlin` of GPTQ/,
    (l) => (l.config["checkpoint_format"] = "marlin"),
  ],
  [
    "gptq-int4-g128",
    "layers with settings of their own",
    "M133",
    /`dynamic`, settings of single layers/,
    (l) => (l.config["dynamic"] = { "+:.*down.*": { bits: 8 } }),
  ],
  [
    "gptq-int4-g128",
    "no group at all",
    "M131",
    /`quantization_config.group_size` should be a number of columns/,
    (l) => (l.config["group_size"] = 0),
  ],
  [
    "awq-int4-g128-gemm",
    "another layout of AWQ",
    "M133",
    /the version `gemv_fast` of AWQ/,
    (l) => (l.config["version"] = "gemv_fast"),
  ],
  [
    "gptq-int4-g128",
    "another tool",
    "M133",
    /`quant_method` "hqq"\), which is not supported/,
    (l) => (l.config["quant_method"] = "hqq"),
  ],
  [
    "gptq-int4-g128",
    "no tool",
    "M133",
    /`quant_method` nothing\), which is not supported/,
    (l) => delete l.config["quant_method"],
  ],
  [
    "gptq-int4-g128",
    "a name of Object",
    "M133",
    /`quant_method` "constructor"\)/,
    (l) => (l.config["quant_method"] = "constructor"),
  ],
];

for (const [name, what, code, message, change] of damages)
  test(`${name}: ${what}`, async () => {
    const layer = given(name);
    change(layer);
    const error = await failure(code, () => valuesOf(layer));
    assert.match(error.message, message);
  });

test("a config that is no object", async () => {
  for (const raw of [3, "gptq", [], true]) await failure("M131", () => parseQuantization("c", raw));
});

test("what is asked for besides weights is told", () => {
  const config = structuredClone(samples["ct-int8-channel"]!.quantization_config);
  const found = parseQuantization("c", { ...config, kv_cache_scheme: { num_bits: 8 } });
  assert.equal(found.warnings, ["`kv_cache_scheme` asks for keys and values that are rounded: that is not done here"]);
  // scales as the model runs are computed; of those of a calibration, one for all that a layer receives
  assert.equal(found.activations?.("model.layers.0.mlp.up_proj"), { name: "int8", group: "token" });
  const text = JSON.stringify(config).replace('"dynamic":true', '"dynamic":false');
  assert.equal(parseQuantization("c", JSON.parse(text)).warnings, [
    "`config_groups.group_0.input_activations` asks for rounded activations: that is not done here",
  ]);
});

test("layers by name, by expression, by class", () => {
  const config = structuredClone(samples["ct-pack-int4-g128"]!.quantization_config) as { [name: string]: unknown };
  const stored = (ignore: readonly string[], module: string): boolean =>
    parseQuantization("c", { ...config, ignore }).container(module) !== null;
  const module = "model.layers.10.mlp.down_proj";
  assert.ok(stored([], module));
  assert.not(stored([module], module));
  assert.ok(stored(["model.layers.1.mlp.down_proj"], module));
  assert.not(stored(["re:.*down_proj$"], module));
  assert.not(stored(["re:model\\.layers\\.(0|10)\\."], module));
  assert.ok(stored(["re:layers"], module), "from the beginning on");
  assert.not(stored(["Linear"], module));
});

test.run();
