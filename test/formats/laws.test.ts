import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Shape } from "../../compiler/formats/format.js";
import { sectionOf } from "../../compiler/formats/layout.js";
import { formatOfSpec, printFormat } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { tableArgument } from "../../compiler/formats/arguments.js";
import { nf4 } from "../support/tables.js";
import { blockFormats } from "../support/block-samples.js";
import { runs } from "../support/runs.js";
import { sampleOf, spec } from "../support/samples.js";
import { holdsAllLaws, lawKernels, readsAlike } from "./laws.js";

const laws = suite("format laws");

const dense = ["f32", "f16", "bf16", "i32", "u32"].map((name) => spec(name));
const small = (["fp8_e4m3", "fp8_e5m2"] as const).flatMap((name) => [
  spec(name),
  spec(name, { group: "channel" }),
  spec(name, { group: 32, scale: "f32" }),
]);
const codebooks = [
  spec("codebook", { table: nf4, group: 32 }),
  spec("codebook", { table: tableArgument("thirds", [-1, -0.25, 0.5]), group: "channel", scale: "bf16" }),
];
const tight = (["int2", "int3", "int5", "int6"] as const).flatMap((name) => [
  spec(name, { group: 32 }),
  spec(name, { group: "channel", symmetric: false }),
]);
const otherGrids = [
  spec("int4", { group: 32, scale: "bf16" }),
  spec("int8", { group: 8, scale: "fp8_e4m3" }),
  spec("int4", { group: 32, symmetric: false, zero: "f16" }),
  spec("int4", { group: 8, scale: "int8" }),
  spec("int8", { group: 32, symmetric: false, scale: "int8" }),
  spec("fp8_e4m3", { group: "channel", scale: "int8" }),
  spec("int3", { group: 8, symmetric: false, zero: "f16", scale: "fp8_e4m3" }),
];
const integers = (["int4", "int8"] as const).flatMap((name) => [
  spec(name, { group: 32 }),
  spec(name, { group: "channel" }),
  spec(name, { group: 8, symmetric: false }),
  spec(name, { group: 128, scale: "f32" }),
  spec(name, { group: "channel", symmetric: false, scale: "f32" }),
]);
const shifted = [spec("int4", { group: 8, symmetric: false, shift: 16 }), spec("int8", { group: 32, shift: 96 })];
const values = [spec("f32"), spec("f16"), spec("bf16"), ...integers];
const blocks = blockFormats.map((name) => spec(name));
const patterns = [
  [1, 4],
  [2, 4],
  [4, 8],
] as const;
const oddPatterns = [
  [1, 2],
  [3, 4],
  [1, 8],
  [5, 8],
  [7, 8],
] as const;
const fewValues = [spec("f16"), spec("int4", { group: 32, symmetric: false, shift: 8 })];
const together = [
  [2, 4],
  [3, 8],
  [8, 16],
  [1, 16],
] as const;
const sparse = [
  ...[spec("int3", { group: 32 }), spec("int6", { group: 16, symmetric: false }), spec("fp8_e4m3"), codebooks[0]!].map(
    (of) => spec("nm", { n: 2, m: 4 }, of),
  ),
  spec("nm", { n: 2, m: 4 }, spec("int4", { group: 32, scale: "int8" })),
  spec("nm", { n: 2, m: 4 }, spec("fp8_e5m2", { group: 32, scale: "f32" })),
  ...together.flatMap(([n, m]) =>
    [spec("f16"), spec("int4", { group: 32 }), spec("int3", { group: 16, symmetric: false })].map((of) =>
      spec("nm", { n, m, ...(m === 16 ? {} : { positions: "together" }) }, of),
    ),
  ),
  ...patterns.flatMap(([n, m]) => values.map((of) => spec("nm", { n, m }, of))),
  ...oddPatterns.flatMap(([n, m]) => fewValues.map((of) => spec("nm", { n, m }, of))),
];

const regrouped = [
  spec("int4", { group: 8, symmetric: false }),
  spec("int4", { group: 32, scale: "f32" }),
  spec("int8", { group: 8 }),
].map((of) => spec("regrouped", {}, of));

const shapes: readonly Shape[] = [
  { rows: 1, columns: 1 },
  { rows: 3, columns: 5 },
  { rows: 1, columns: 4 },
  { rows: 3, columns: 8 },
  { rows: 5, columns: 12 },
  { rows: 1, columns: 24 },
  { rows: 2, columns: 32 },
  { rows: 3, columns: 40 },
  { rows: 1, columns: 128 },
  { rows: 2, columns: 256 },
  { rows: 1, columns: 384 },
];
/** Odd numbers of blocks, so that some begin in the middle of a word. */
const blockShapes: readonly Shape[] = [
  { rows: 1, columns: 32 },
  { rows: 3, columns: 96 },
  { rows: 3, columns: 256 },
  { rows: 1, columns: 768 },
];

function shapesOf(format: FormatSpec): readonly Shape[] {
  return (blocks.includes(format) ? blockShapes : shapes).filter(
    (shape) => formatOfSpec(format).check(format, shape) === null,
  );
}

const bitmasks = [
  spec("bitmask", {}, spec("f32")),
  spec("bitmask", {}, spec("f16")),
  spec("bitmask", {}, spec("bf16")),
  spec("bitmask", {}, spec("int4", { group: 8 })),
  spec("bitmask", {}, spec("int3", { group: 32, symmetric: false, zero: "f16" })),
  spec("bitmask", {}, spec("int8", { group: "channel", symmetric: false, scale: "bf16" })),
  spec("bitmask", {}, spec("int4", { group: 8, scale: "int8" })),
  ...small.map((of) => spec("bitmask", {}, of)),
  ...codebooks.map((of) => spec("bitmask", {}, of)),
];

for (const format of [
  ...dense,
  ...small,
  ...codebooks,
  ...tight,
  ...otherGrids,
  ...integers,
  ...shifted,
  ...blocks,
  ...sparse,
  ...regrouped,
]) {
  laws(printFormat(format), () => {
    for (const shape of shapesOf(format)) {
      const kernels = lawKernels(format, shape);
      fc.assert(
        fc.property(sampleOf(format, shape), (sample) => holdsAllLaws(sample, kernels)),
        runs(2),
      );
    }
  });
}

for (const format of bitmasks) {
  laws(printFormat(format), () => {
    // Its layout, so its kernels, depend on the sample.
    const sample = fc.constantFrom(...shapesOf(format)).chain((shape) => sampleOf(format, shape));
    fc.assert(
      fc.property(sample, (drawn) => holdsAllLaws(drawn, lawKernels(drawn.spec, drawn.shape))),
      runs(20),
    );
  });
}

laws("regrouped columns are read by the groups that they have, neighbours or not", () => {
  for (const format of regrouped) {
    const shape = { rows: 3, columns: 96 };
    const kernels = lawKernels(format, shape);
    const { offset, words: columns } = sectionOf(formatOfSpec(format).sections(format, shape), "groups");
    assert.is(columns, 96);
    const groups = 96 / Number(format.of?.args["group"]);
    fc.assert(
      fc.property(sampleOf(format, shape), ({ dense: given, grid }) => {
        const words = formatOfSpec(format).encode(format, shape, given, grid);
        for (let column = 0; column < 96; column += 1) words[offset + column] = (column * 5) % groups;
        readsAlike(kernels, format, shape, words);
      }),
      runs(2),
    );
  }
  const format = spec("regrouped", {}, spec("int4", { group: 8 }));
  const shape = { rows: 1, columns: 16 };
  const given = Float32Array.from({ length: 16 }, (_, at) => (at % 7) * (at < 8 ? 1 : 0.5));
  const words = formatOfSpec(format).encode(format, shape, given, { scale: Float32Array.of(1, 0.5), zero: null });
  const { offset } = sectionOf(formatOfSpec(format).sections(format, shape), "groups");
  words.set(words.slice(offset, offset + 16).reverse(), offset);
  const mirrored = given.map((value, at) => (at < 8 ? value / 2 : value * 2));
  assert.equal(formatOfSpec(format).decode(format, shape, words), mirrored);
});

laws("a weight that is kept and rounds to the code of zero takes no place: a zero at the lowest free one does", () => {
  const format = spec("nm", { n: 2, m: 4 }, spec("int4", { group: 8 }));
  const shape = { rows: 1, columns: 8 };
  const given = Float32Array.of(1, 0, 0, 0.01, 0.5, 0, -1, 0);
  const words = formatOfSpec(format).encode(format, shape, given, { scale: Float32Array.of(0.25), zero: null });
  assert.equal([...formatOfSpec(format).decode(format, shape, words)], [1, 0, 0, 0, 0.5, 0, -1, 0]);
});

laws.run();
