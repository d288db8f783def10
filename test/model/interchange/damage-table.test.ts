/** Every damage for every container: a table whose rows are damages and whose columns are the samples of all tools. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ModelErrorCode } from "../../../runtime/model/error.js";
import { failure } from "../support.js";
import { given, samples, valuesOf, type Given, type Tensor } from "./support.js";

const test = suite("model/interchange/damage-table");

type Fields = { [name: string]: unknown };

/** What a damage gives, and the change; null where a container has nothing of the kind. */
interface Damage {
  readonly what: string;
  readonly codes: readonly ModelErrorCode[];
  readonly message: RegExp;
  /** The changes of a sample, each by itself. */
  changes(layer: Given): readonly ((layer: Given) => void)[];
}

const parts = (layer: Given): readonly string[] => [...layer.tensors.keys()];
const tensor = (layer: Given, part: string): Tensor => layer.tensors.get(part)!;
const replace = (layer: Given, part: string, change: Partial<Tensor>): void => {
  layer.tensors.set(part, { ...tensor(layer, part), ...change });
};
/** Tensors that a layer need not have. */
const optional: ReadonlySet<string> = new Set(["g_idx", "weight_g_idx", "weight_format"]);
const config = (layer: Given): Fields => layer.config;
/** The section of the weights of compressed-tensors. */
function weights(layer: Given): Fields | null {
  const groups = config(layer)["config_groups"] as { group_0: { weights: Fields } } | undefined;
  return groups?.group_0.weights ?? null;
}
const method = (layer: Given): string => String(config(layer)["quant_method"] ?? "compressed-tensors");
const scaleParts = ["weight_scale", "scale_packed", "scales", "weight.absmax", "weight.nested_absmax", "SCB"];
const orders = (layer: Given): readonly string[] => parts(layer).filter((part) => part.endsWith("g_idx"));
/** Where the group of a config stands. */
function groupField(layer: Given): { readonly fields: Fields; readonly group: number } | null {
  const fields = weights(layer) ?? config(layer);
  const group = fields["group_size"];
  return typeof group === "number" && group > 0 ? { fields, group } : null;
}
const grouped = (layer: Given, to: (group: number) => number): readonly ((layer: Given) => void)[] =>
  groupField(layer) === null
    ? []
    : [
        (own) => {
          const { fields, group } = groupField(own)!;
          fields["group_size"] = to(group);
        },
      ];
/** The first number of a tensor of floats. */
function setFirst(layer: Given, part: string, infinite: { readonly [dtype: string]: readonly number[] }): void {
  tensor(layer, part).data.set(infinite[tensor(layer, part).dtype]!);
}

const damages: readonly Damage[] = [
  {
    what: "a tensor that is not there",
    codes: ["M135"],
    message: /but has no `|it has no `|stored as it is, but it has/,
    changes: (layer) =>
      parts(layer)
        .filter((part) => !optional.has(part))
        .map((part) => (own) => own.tensors.delete(part)),
  },
  {
    what: "a tensor of another shape",
    codes: ["M135"],
    message: /should have the shape .*found \[/,
    changes: (layer) =>
      parts(layer).map((part) => (own) => {
        const { shape } = tensor(own, part);
        replace(own, part, { shape: [...shape, 3] });
      }),
  },
  {
    what: "a tensor of another type",
    codes: ["M135"],
    message: /should be of .*, found `F64`/,
    changes: (layer) => parts(layer).map((part) => (own) => replace(own, part, { dtype: "F64" })),
  },
  {
    what: "rows and columns that are not those of the model",
    codes: ["M135", "M136"],
    message: /should have the shape|should say|says \[|no multiple|`marlin-24` holds|divide/,
    changes: ({ shape: [rows, columns] }) => [
      (own) => Object.assign(own, { shape: [own.shape[0] + 64, own.shape[1]] }),
      (own) => Object.assign(own, { shape: [own.shape[0], own.shape[1] + 128] }),
      ...(rows === columns ? [] : [(own: Given) => Object.assign(own, { shape: [columns, rows] })]),
    ],
  },
  {
    what: "a tensor of another container besides",
    codes: ["M135"],
    message: /, (?:but|and) has `|but it has `/,
    changes: (layer) =>
      ["qweight", "weight_packed", "compressed", "weight.absmax", "SCB", "meta"]
        .filter((part) => !layer.tensors.has(part))
        .map((part) => (own) => own.tensors.set(part, tensor(own, parts(own)[0]!))),
  },
  {
    what: "the dense weight besides",
    codes: ["M135"],
    message: /has `weight`/,
    changes: (layer) =>
      layer.tensors.has("weight")
        ? []
        : [(own) => own.tensors.set("weight", { dtype: "BF16", shape: own.shape, data: new Uint8Array(2) })],
  },
  {
    what: "a layer that is to be left as it is, and is packed",
    codes: ["M135"],
    message: /stored as it is, but it has|by the config it is stored as `sparse-24-bitmask`/,
    changes: (layer) =>
      ({
        "compressed-tensors": [
          (own: Given): void => {
            config(own)["ignore"] = [own.module];
            const sparsity = config(own)["sparsity_config"] as Fields | undefined;
            if (sparsity?.["format"] !== undefined) sparsity["ignore"] = [own.module];
          },
        ],
        gptq: [(own: Given) => (config(own)["dynamic"] = { [`-:${own.module}`]: {} })],
        awq: [(own: Given) => (config(own)["modules_to_not_convert"] = [own.module])],
        bitsandbytes: [(own: Given) => (config(own)["llm_int8_skip_modules"] = ["self_attn"])],
      })[method(layer)] ?? [],
  },
  {
    what: "a config of another tool",
    codes: ["M131", "M133", "M135"],
    message: /but has no|stored as it is, but it has|should be|not supported|should have the shape/,
    changes: (layer) => [
      ...(method(layer) === "gptq"
        ? []
        : [(own: Given) => Object.assign(own, { config: { quant_method: "gptq", bits: 4 } })]),
      ...(method(layer) === "bitsandbytes"
        ? []
        : [(own: Given) => Object.assign(own, { config: { quant_method: "bitsandbytes", load_in_8bit: true } })]),
      ...(method(layer) === "compressed-tensors"
        ? []
        : [
            (own: Given) =>
              Object.assign(own, {
                config: { quant_method: "compressed-tensors", sparsity_config: { format: "dense" } },
              }),
          ]),
      (own) => Object.assign(own, { config: { quant_method: "hqq" } }),
    ],
  },
  {
    what: "a group that does not divide the columns",
    codes: ["M135"],
    message: /its 256 columns are no multiple of the group of 96/,
    changes: (layer) => grouped(layer, () => 96),
  },
  {
    what: "another group",
    codes: ["M135", "M133"],
    message: /should have the shape/,
    changes: (layer) => grouped(layer, (group) => group / 2),
  },
  {
    what: "another number of bits",
    codes: ["M133", "M135", "M136"],
    message: /should have the shape|not supported|no code of|4 or 8 bits/,
    changes: (layer) => {
      const fields = weights(layer) ?? config(layer);
      const field = weights(layer) === null ? "bits" : "num_bits";
      return typeof fields[field] === "number" ? [(own) => ((weights(own) ?? config(own))[field] = 2)] : [];
    },
  },
  {
    what: "a scale that is no number",
    codes: ["M136"],
    message: /a scale is (?:NaN|-?Infinity), number \d+ of \d+/,
    changes: (layer) =>
      scaleParts
        .filter((part) => layer.tensors.has(part) && tensor(layer, part).dtype !== "U8")
        .flatMap((part) => [
          (own: Given) => setFirst(own, part, { F32: [0, 0, 0x80, 0x7f], F16: [0, 0x7c], BF16: [0x80, 0x7f] }),
          (own: Given) => setFirst(own, part, { F32: [0, 0, 0xc0, 0x7f], F16: [1, 0x7e], BF16: [0xc0, 0x7f] }),
        ]),
  },
  {
    what: "a group of columns that there is not",
    codes: ["M136"],
    message: /puts column 5 in group (?:99|-7) of [24]/,
    changes: (layer) =>
      orders(layer).flatMap((part) =>
        [99, -7].map((group) => (own: Given) => {
          new Int32Array(tensor(own, part).data.buffer)[5] = group;
        }),
      ),
  },
  {
    what: "an order that is no permutation of the groups",
    codes: ["M136", "M135"],
    message: /gives group \d \d+ columns; each has \d+|`g_idx` orders groups/,
    changes: (layer) =>
      orders(layer).map((part) => (own) => {
        const order = new Int32Array(tensor(own, part).data.buffer);
        order[0] = order[0] === 0 ? 1 : 0;
      }),
  },
  {
    what: "a mask with more bits, and with fewer",
    codes: ["M136"],
    message: /`bitmask` keeps [13] of columns|`row_offsets` of row \d+ is|`bitmask` has \d+ bits/,
    changes: (layer) =>
      layer.tensors.has("bitmask")
        ? [
            (own) => {
              const { data } = tensor(own, "bitmask");
              const at = data.findIndex((byte) => byte !== 0xff);
              data[at] = data[at]! | (data[at]! + 1);
            },
            (own) => {
              const { data } = tensor(own, "bitmask");
              const at = data.findIndex((byte) => byte !== 0);
              data[at] = data[at]! & (data[at]! - 1);
            },
          ]
        : [],
  },
  {
    what: "positions that are not two of four",
    codes: ["M136"],
    message: /`meta` has the positions 0 and 0/,
    changes: (layer) => (layer.tensors.has("meta") ? [(own) => tensor(own, "meta").data.fill(0, 0, 2)] : []),
  },
  {
    what: "a float that is no number",
    codes: ["M136"],
    message: /`(?:weight|compressed)` has a NaN, number 7/,
    changes: (layer) =>
      parts(layer)
        .filter((part) => tensor(layer, part).dtype === "F8_E4M3")
        .flatMap((part) => [0x7f, 0xff].map((bits) => (own: Given) => tensor(own, part).data.fill(bits, 7, 8))),
  },
  {
    what: "numbers of a table that are none",
    codes: ["M136"],
    message: /`weight\.(?:nested_)?quant_map` has numbers that are not finite/,
    changes: (layer) =>
      parts(layer)
        .filter((part) => part.endsWith("quant_map"))
        .map((part) => (own) => setFirst(own, part, { F32: [0, 0, 0xc0, 0x7f] })),
  },
  {
    what: "what is said beside a layer is another's, is nothing, is cut",
    codes: ["M133", "M135", "M136"],
    message: /should say|cross its rows|should have the shape/,
    changes: (layer) => {
      const state = parts(layer).find((part) => part.includes("quant_state"));
      if (state === undefined) return [];
      const write = (own: Given, text: string): void => {
        const data = new Uint8Array(Buffer.from(text));
        replace(own, state, { data, shape: [data.length] });
      };
      const said = (own: Given): Fields => JSON.parse(Buffer.from(tensor(own, state).data).toString()) as Fields;
      return [
        (own) => write(own, "{}"),
        (own) => write(own, "[]"),
        (own) => write(own, JSON.stringify(said(own)).slice(0, 20)),
        (own) => write(own, JSON.stringify({ ...said(own), quant_type: "int4" })),
        (own) => write(own, JSON.stringify({ ...said(own), shape: [256, 128] })),
        (own) => write(own, JSON.stringify({ ...said(own), blocksize: 0 })),
        (own) => write(own, JSON.stringify({ ...said(own), blocksize: 2 ** 19 })),
        (own) => write(own, JSON.stringify({ ...said(own), blocksize: 32 })),
        (own) => write(own, JSON.stringify({ ...said(own), nested_offset: "x" })),
      ];
    },
  },
];

/** How many changes each damage has over all samples: one that changes nothing tests nothing. */
const counts = new Map<string, number>();

const groupOf = (layer: Given): Fields => (config(layer)["config_groups"] as { group_0: Fields }).group_0;
/** Samples by another name of theirs, and those of which the config says more or less. */
const variants: { readonly [name: string]: readonly [string, (layer: Given) => void] } = {
  "naive-quantized, int8": ["ct-int8-channel", (layer) => (groupOf(layer)["format"] = "naive-quantized")],
  "naive-quantized, fp8": ["ct-fp8-channel", (layer) => (groupOf(layer)["format"] = "naive-quantized")],
  gptq_v2: ["gptq-int4-g128-desc-act", (layer) => (config(layer)["checkpoint_format"] = "gptq_v2")],
  "gptq of another tool": ["gptq-int4-g128", (layer) => delete config(layer)["meta"]],
};
/** A sample, or a variant of one, anew. */
function column(name: string): Given {
  const [sample, change] = variants[name] ?? [name, null];
  const layer = given(sample);
  change?.(layer);
  return layer;
}

for (const name of [...Object.keys(samples), ...Object.keys(variants)])
  test(name, async () => {
    const [outputs, inputs] = column(name).shape;
    assert.is((await valuesOf(column(name))).length, outputs * inputs);
    for (const { what, codes, message, changes } of damages)
      for (const [at, change] of changes(column(name)).entries()) {
        const layer = column(name);
        change(layer);
        let found: { readonly code?: string; readonly message: string } | null = null;
        await valuesOf(layer).catch((error: Error) => (found = error));
        const said = found === null ? "nothing" : `${(found as { code?: string }).code}: ${(found as Error).message}`;
        assert.ok(
          codes.some((code) => said.startsWith(`${code}: `)) && message.test(said),
          `${what} (${at}): found ${said}`,
        );
        counts.set(what, (counts.get(what) ?? 0) + 1);
      }
  });

test("every damage was done", () => {
  assert.equal(
    damages.filter(({ what }) => (counts.get(what) ?? 0) < 2).map(({ what }) => what),
    [],
  );
});

test("zero points out of range: of bytes that stand for fewer bits, of floats, of what is left of 0 - 1", async () => {
  const few = given("ct-int8-channel");
  Object.assign(weights(few)!, { num_bits: 4, symmetric: false });
  const [rows] = few.shape;
  few.tensors.set("weight", { ...tensor(few, "weight"), data: new Uint8Array(few.shape[0] * few.shape[1]) });
  few.tensors.set("weight_zero_point", { dtype: "I8", shape: [rows, 1], data: new Uint8Array(rows).fill(8) });
  assert.match((await failure("M136", () => valuesOf(few))).message, /byte 0 is 8, no code of 4 bits/);
  const floats = given("ct-fp8-channel");
  floats.tensors.set("weight_zero_point", { dtype: "F8_E4M3", shape: [rows, 1], data: new Uint8Array(rows).fill(9) });
  assert.match((await failure("M136", () => valuesOf(floats))).message, /`weight_zero_point` of floats is not zero/);
  const four = column("gptq of another tool");
  tensor(four, "qzeros").data[5] = 0xf7;
  assert.match((await failure("M133", () => valuesOf(four))).message, /`qzeros` has 15 for zero point 11, less one/);
  const three = given("gptq-int3-g64");
  three.config["meta"] = {};
  assert.match((await failure("M133", () => valuesOf(three))).message, /`qzeros` has 7 for zero point 0/);
  three.config["meta"] = { quantizer: ["gptqmodel:5.8.0"] };
  assert.match((await failure("M133", () => valuesOf(three))).message, /GPTQModel before 7\.0\.0/);
});

test.run();
