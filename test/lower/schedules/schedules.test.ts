/**
 * Every schedule is really taken at the sizes it is for: those of Llama 3.1 8B, with the window and cache of a test.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Target } from "../../../compiler/target.js";
import { targets } from "../../support/targets.js";
import { stagesOf, taken, type Bound } from "../support.js";

const test = suite("schedules at the sizes they are for");

const plain: Target = targets.baseline;
const gpu: Target = targets["a GPU with subgroups of 32"];
const cpu: Target = targets["a CPU driver"];
const all = [plain, gpu, cpu];
const sparse = "nm(2, 4) of int4(128)";
/** What takes one token of a format on `on`: units of n:m look their activations up where subgroups share them. */
function oneToken(name: string, bound: Bound, out: string, format: string, on: readonly Target[]): readonly Expected[] {
  const schedules = [`${out} matvec`];
  if (!format.startsWith("nm")) return [{ name, bound, on, schedules }];
  return [
    { name, bound, on: on.filter((target) => target !== gpu), schedules },
    { name, bound, on: [gpu], schedules: [`${out} lookup`] },
  ];
}

/** Formats with a name for each weight of a block. */
const allSparse = Object.fromEntries([..."QRSOPUW"].map((name) => [name, sparse]));

interface Expected {
  readonly name: string;
  readonly bound: Bound;
  readonly on: readonly Target[];
  readonly schedules: readonly string[];
}

const blockSizes = { B: 1, D: 4096, C: 512, M: 14336, heads: 32, groups: 8, head: 128 };

const table: readonly Expected[] = [
  // one token: weights are read once
  ...[
    "f32",
    "f16",
    "int4(128)",
    "int8(channel)",
    sparse,
    "nm(2, 4) of f16",
    "bitmask(nonzeros: 8000000) of f16",
    "q8_0",
    "q4_0",
    "q4_1",
    "q6_k",
  ].flatMap((format): Expected[] => [
    ...oneToken("linear", { sizes: { B: 1, T: 1, K: 4096, N: 4096 }, formats: { F: format } }, "y", format, all),
    {
      name: "linear",
      bound: { sizes: { B: 1, T: 256, K: 4096, N: 4096 }, formats: { F: format } },
      on: [plain, gpu],
      schedules: ["y tiled"],
    },
  ]),
  // activations in int8 meet codes as integers, for a few tokens
  ...["int4(128)", "int4(channel)", "int8(128)", sparse, "nm(2, 4) of int8(128)", "q8_0", "q4_0"].flatMap(
    (format): Expected[] => [
      {
        name: "linear_int8",
        bound: { sizes: { B: 1, T: 8, K: 4096, N: 4096, group: 64 }, formats: { F: format } },
        on: [gpu],
        schedules: ["y dot"],
      },
      {
        name: "linear_int8",
        bound: { sizes: { B: 1, T: 9, K: 4096, N: 4096, group: 64 }, formats: { F: format } },
        on: [gpu],
        schedules: ["s rows", "q pack", "q pack", "q_dense loops", "y matvec"],
      },
    ],
  ),
  { name: "linear", bound: { sizes: { B: 16, T: 1, K: 4096, N: 4096 } }, on: [plain, gpu], schedules: ["y matvec"] },
  { name: "linear", bound: { sizes: { B: 1, T: 256, K: 4096, N: 4096 } }, on: [cpu], schedules: ["y quads"] },
  // lanes of a CPU cannot share what they unpack
  {
    name: "linear",
    bound: { sizes: { B: 1, T: 256, K: 4096, N: 4096 }, formats: { F: sparse } },
    on: [cpu],
    schedules: ["w_dense loops", "y quads"],
  },
  // unless there is no room for it
  {
    name: "linear",
    bound: { sizes: { B: 1, T: 256, K: 4096, N: 14336 }, formats: { F: sparse } },
    on: [cpu],
    schedules: ["y tiled"],
  },
  { name: "linear", bound: { sizes: { B: 1, T: 2, K: 8, N: 8 } }, on: [gpu, cpu], schedules: ["y matvec"] },
  // the gate and its product are one kernel, and so is a product that ends a branch
  ...[sparse, "int4(128)", "f16"].flatMap((format): Expected[] => [
    ...oneToken(
      "gated",
      { sizes: { B: 1, T: 1, D: 4096, M: 14336 }, formats: { P: format, U: format } },
      "h",
      format,
      all,
    ),
    {
      name: "gated",
      bound: { sizes: { B: 1, T: 256, D: 4096, M: 14336 }, formats: { P: format, U: format } },
      on: [plain, gpu],
      schedules: ["h tiled"],
    },
    ...oneToken("add_linear", { sizes: { B: 1, T: 1, N: 4096, K: 14336 }, formats: { F: format } }, "y", format, all),
  ]),
  { name: "rms_norm", bound: { sizes: { B: 1, T: 1, D: 4096 } }, on: [plain, gpu, cpu], schedules: ["y rows"] },
  { name: "rms_norm", bound: { sizes: { B: 1, T: 256, D: 4096 } }, on: [plain, gpu, cpu], schedules: ["y rows"] },
  { name: "greedy", bound: { sizes: { B: 1, V: 128256 } }, on: [plain, gpu, cpu], schedules: ["id rows"] },
  {
    name: "token_loss",
    bound: { sizes: { B: 1, T: 256, V: 4096, D: 4096, tokens: 256 } },
    on: [plain, gpu],
    schedules: ["n rows", "logit tiled", "highest rows", "loss rows"],
  },
  // what one workgroup a group of heads would be too slow for is divided, and merged by a second kernel
  {
    name: "attention",
    bound: { sizes: { B: 1, T: 1, A: 32, H: 128, C: 256, G: 8 } },
    on: [plain, gpu, cpu],
    schedules: ["mixed attention", "y loops"],
  },
  {
    name: "attention",
    bound: { sizes: { B: 1, T: 1, A: 32, H: 128, C: 4096, G: 8 } },
    on: [plain, gpu],
    schedules: ["mixed attention", "mixed attention", "y loops"],
  },
  // rows of elements that are no whole vectors
  {
    name: "attention",
    bound: { sizes: { B: 1, T: 16, A: 4, H: 9, C: 512, G: 2 } },
    on: [plain, gpu],
    schedules: ["mixed rows", "y loops"],
  },
  { name: "gram", bound: { sizes: { T: 256, K: 4096 } }, on: [plain, gpu], schedules: ["h vectored"] },
  { name: "gram", bound: { sizes: { T: 256, K: 4096 } }, on: [cpu], schedules: ["h quads"] },
  { name: "mask_2of4", bound: { sizes: { N: 4096, K: 4096 } }, on: [plain, gpu, cpu], schedules: ["keep loops"] },
  ...(["matvec", "lookup"] as const).map(
    (product): Expected => ({
      name: "block",
      bound: { sizes: { ...blockSizes, T: 1 }, formats: allSparse },
      on: [product === "lookup" ? gpu : plain],
      schedules: [
        "n rows",
        `y ${product}`,
        "q loops",
        `y ${product}`,
        `y ${product}`,
        "keys loops",
        "values loops",
        "mixed attention",
        `y ${product}`,
        "m rows",
        `h ${product}`,
        `y ${product}`,
      ],
    }),
  ),
  {
    name: "block",
    bound: { sizes: { ...blockSizes, T: 256 }, formats: allSparse },
    on: [plain, gpu],
    schedules: [
      "n rows",
      "y tiled",
      "q loops",
      "y tiled",
      "y tiled",
      "keys loops",
      "values loops",
      "mixed attention",
      "y tiled",
      "m rows",
      "h tiled",
      "y tiled",
    ],
  },
];

for (const { name, bound, on, schedules } of table) {
  const what = [...Object.entries(bound.sizes), ...Object.entries(bound.formats ?? {})]
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
  test(`${name} ${what}`, () => {
    for (const target of on)
      assert.equal(taken(stagesOf(name, bound, target, { merge: false })), schedules, target.name);
  });
}

test("a narrow norm is computed by the products that follow it, once a workgroup", () => {
  const stages = stagesOf(
    "block",
    { sizes: { ...blockSizes, T: 1, D: 1024, M: 2816, heads: 8 }, formats: allSparse },
    gpu,
    { merge: false },
  );
  assert.equal(taken(stages), [
    "y matvec",
    "q loops",
    "y matvec",
    "y matvec",
    "keys loops",
    "values loops",
    "mixed attention",
    "y lookup",
    "h matvec",
    "y lookup",
  ]);
  assert.ok(stages.kernels.flat()[0]!.arrays.some(({ element }) => element === "vec4<f32>"));
});

test("a matvec of a GPU with subgroups needs no workgroup memory", () => {
  const [kernel] = stagesOf(
    "linear",
    { sizes: { B: 1, T: 1, K: 4096, N: 4096 }, formats: { F: "int4(128)" } },
    gpu,
  ).kernels.flat();
  assert.equal([kernel!.features, kernel!.arrays], [["subgroups"], []]);
  const [without] = stagesOf(
    "linear",
    { sizes: { B: 1, T: 1, K: 4096, N: 4096 }, formats: { F: "int4(128)" } },
    plain,
  ).kernels.flat();
  assert.equal([without!.features, without!.arrays.length], [[], 1]);
});

test.run();
