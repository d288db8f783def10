import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bitsPerWeight,
  completeFormat,
  formatBytes,
  formatOf,
  formatOfSpec,
  formatWords,
  formats,
  gridValues,
  normalizeFormat,
  printFormat,
  scaleShape,
  shapeOf,
} from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { tableArgument } from "../../compiler/formats/arguments.js";
import { parseFormat } from "../support/format-text.js";
import { runs } from "../support/runs.js";
import { spec } from "../support/samples.js";
import { packsAgain } from "./laws.js";

const registry = suite("formats");

/** What `normalize` says. */
function problem(name: string, args: FormatSpec["args"] = {}, of: FormatSpec | null = null): string {
  const result = normalizeFormat({ name, args, of });
  assert.type(result, "string");
  return result as string;
}

registry("names are unique and known", () => {
  assert.is(new Set(formats.map((format) => format.name)).size, formats.length);
  for (const format of formats) assert.is(formatOf(format.name), format);
  assert.is(formatOf("int7"), null);
  assert.match(problem("int7"), /^There is no format `int7`; the formats are f32, .*\.$/);
});

registry("defaults are filled in, and printing reads back", () => {
  assert.equal(spec("int4", { group: 128 }), {
    name: "int4",
    args: { group: 128, symmetric: true, scale: "f16" },
    of: null,
  });
  assert.is(printFormat(spec("nm", { n: 2, m: 4 }, spec("int4", { group: 128 }))), "nm(2, 4) of int4(128, symmetric)");
  for (const text of [
    "f16",
    "int8(channel, asymmetric)",
    "int4(64, symmetric, scale: f32)",
    "nm(4, 8) of bf16",
    "bitmask of f16",
    "bitmask(nonzeros: 7) of f32",
    "regrouped of int4(16, asymmetric)",
    "nm(8, 16) of int3(64, symmetric, scale: bf16)",
    "nm(2, 4, positions: together) of fp8_e4m3",
    "codebook(nf4, 64, scale: fp8_e4m3)",
    "int4(64, asymmetric, zero: f16)",
  ])
    assert.is(printFormat(parseFormat(text)), text);
});

registry("wrong arguments are said in a sentence", () => {
  assert.is(problem("int4"), "int4 needs its argument `group`.");
  assert.is(
    problem("int4", { group: 100 }),
    "The group of int4 must be a positive multiple of 8 or `channel`, and is 100.",
  );
  assert.is(
    problem("int8", { group: "row" }),
    "The argument `group` of int8 must be a positive whole number or `channel`, and is row.",
  );
  assert.is(problem("int8", { group: 8, symmetric: 1 }), "int8 is either symmetric or asymmetric.");
  assert.is(
    problem("int8", { group: 8, scale: "f64" }),
    "The argument `scale` of int8 must be f16 or f32 or bf16 or fp8_e4m3 or int8, and is f64.",
  );
  assert.is(problem("f16", { group: 8 }), "f16 has no argument `group`.");
  assert.is(problem("f16", {}, spec("f32")), "f16 stores single values; it takes no `of`.");
  assert.is(problem("nm", { n: 2, m: 3 }, spec("f16")), "The m of nm(n, m) must be 2, 4, 8 or 16, and is 3.");
  assert.is(problem("nm", { n: 4, m: 4 }, spec("f16")), "The n of nm(n, m) must be less than m, and nm(4, 4) is not.");
  const values = "f32, f16, bf16, i32, u32, int8, int6, int5, int4, int3, int2, fp8_e4m3, fp8_e5m2, codebook";
  assert.is(problem("nm", { n: 2, m: 4 }), `nm(2, 4) needs \`of\` one of ${values}.`);
  assert.is(
    problem("nm", { n: 2, m: 4 }, spec("nm", { n: 2, m: 4 }, spec("f16"))),
    `nm(2, 4) needs \`of\` one of ${values}.`,
  );
  assert.is(
    problem("nm", { n: 8, m: 16 }, spec("int4", { group: 8 })),
    "The group of nm(8, 16) of int4 must be a multiple of 16, and is 8.",
  );
  assert.is(
    problem("nm", { n: 2, m: 4 }, spec("int4", { group: 8, symmetric: false, zero: "f16" })),
    "nm(2, 4) fills groups with zeros, which int4 with zero points of f16 does not hold.",
  );
  assert.is(
    problem("nm", { n: 2, m: 4 }, spec("codebook", { table: tableArgument("t", [1, 2]), group: 8 })),
    "nm(2, 4) fills groups with zeros, which codebook does not hold.",
  );
  assert.is(problem("int4", { group: 8, zero: "f16" }), "int4 has a zero point only where it is asymmetric.");
  const tableProblem = (...numbers: readonly number[]): string =>
    problem("codebook", { table: tableArgument("t", numbers), group: 8 });
  assert.is(tableProblem(1, 0), "The table of codebook rises, and 0 stands after 1.");
  assert.is(tableProblem(0, 1e-60), "The table of codebook rises, and 0 stands after 0.");
  assert.is(tableProblem(0), "The table of codebook has 2 to 16 numbers, and this one has 1.");
  for (const odd of [NaN, Infinity, 1e300])
    assert.is(tableProblem(0, odd), "The table of codebook is to be a list of numbers.");
  assert.is(problem("codebook", { group: 8 }), "codebook needs its argument `table`.");
  assert.is(problem("fp8_e4m3", { scale: "f32" }), "fp8_e4m3 has scales only where it has a group, or `channel`.");
  assert.is(problem("nm", { n: 2, m: 4 }, { name: "int4", args: {}, of: null }), "int4 needs its argument `group`.");
  assert.is(problem("bitmask", {}, spec("q8_0")), `bitmask needs \`of\` one of ${values}.`);
  assert.is(problem("regrouped", {}, spec("f16")), "regrouped needs `of` one of int8, int6, int5, int4, int3, int2.");
  assert.is(
    problem("regrouped", {}, spec("int8", { group: "channel" })),
    "regrouped needs groups of columns, not `channel`.",
  );
  assert.is(
    problem("bitmask", { nonzeros: -1 }, spec("f16")),
    "The argument `nonzeros` of bitmask must be a whole number, and is -1.",
  );
});

registry("shapes that do not fit", () => {
  const check = (format: FormatSpec, dims: readonly number[]): string | null =>
    formatOfSpec(format).check(format, shapeOf(dims));
  assert.is(check(spec("int4", { group: 128 }), [3, 100]), "K = 100 is not a multiple of the group of 128");
  assert.is(check(spec("nm", { n: 2, m: 4 }, spec("f16")), [3, 6]), "K = 6 is not a multiple of 4");
  assert.is(
    check(spec("nm", { n: 2, m: 4 }, spec("int4", { group: 64 })), [3, 100]),
    "K = 100 is not a multiple of the group of 64",
  );
  assert.is(check(spec("nm", { n: 2, m: 4 }, spec("int4", { group: "channel" })), [3, 100]), null);
  assert.is(check(spec("bitmask", { nonzeros: 7 }, spec("f16")), [2, 3]), "7 entries are more than the 6 elements");
});

registry("shapes of any rank are rows and columns", () => {
  assert.equal(shapeOf([]), { rows: 1, columns: 1 });
  assert.equal(shapeOf([5]), { rows: 1, columns: 5 });
  assert.equal(shapeOf([2, 3, 5]), { rows: 6, columns: 5 });
  assert.equal(scaleShape(spec("nm", { n: 2, m: 4 }, spec("int4", { group: 8 })), shapeOf([2, 3, 16])), {
    rows: 6,
    columns: 2,
  });
  assert.equal(scaleShape(spec("int8", { group: "channel" }), shapeOf([4, 10])), { rows: 4, columns: 1 });
  assert.is(scaleShape(spec("f16"), shapeOf([4, 10])), null);
});

registry("2:4 of int4 with group 128 costs 3.125 bits a weight in every Llama shape", () => {
  const format = spec("nm", { n: 2, m: 4 }, spec("int4", { group: 128 }));
  for (const dims of [
    [4096, 4096],
    [1024, 4096],
    [14336, 4096],
    [4096, 14336],
    [128256, 4096],
  ])
    assert.is(bitsPerWeight(format, shapeOf(dims)), 3.125);
});

registry("dense words are the bytes of a file", () => {
  const bytes = Uint8Array.of(0x00, 0x3c, 0x00, 0xc0, 0xff, 0x7b, 0x01, 0x00, 0x00, 0x80, 0, 0, 0, 0, 0, 0);
  const words = new Uint32Array(bytes.buffer);
  const f16 = formatOfSpec(spec("f16"));
  const values = f16.decode(spec("f16"), shapeOf([1, 5]), words);
  assert.equal(values, Float32Array.of(1, -2, 65504, 2 ** -24, -0));
  assert.equal(f16.encode(spec("f16"), shapeOf([1, 5]), values, null), words);
});

registry("dense keeps the sign of zero and NaN", () => {
  for (const name of ["f32", "f16", "bf16"]) {
    const format = spec(name);
    const values = formatOfSpec(format).decode(
      format,
      shapeOf([3]),
      formatOfSpec(format).encode(format, shapeOf([3]), Float32Array.of(-0, NaN, -Infinity), null),
    );
    assert.ok(Object.is(values[0], -0) && Number.isNaN(values[1]) && values[2] === -Infinity, name);
  }
});

registry("codes saturate and round halves to even", () => {
  const symmetric = spec("int4", { group: 8 });
  const grid = { scale: Float32Array.of(1), zero: null };
  const decode = (format: FormatSpec, words: Uint32Array): number[] => [
    ...formatOfSpec(format).decode(format, shapeOf([8]), words),
  ];
  const values = Float32Array.of(100, -100, 0.5, 1.5, -0.5, -1.5, 7.4, -8.5);
  assert.equal(
    decode(symmetric, formatOfSpec(symmetric).encode(symmetric, shapeOf([8]), values, grid)).map((x) => x + 0),
    [7, -8, 0, 2, 0, -2, 7, -8],
  );
  const asymmetric = spec("int4", { group: 8, symmetric: false });
  assert.equal(
    decode(
      asymmetric,
      formatOfSpec(asymmetric).encode(asymmetric, shapeOf([8]), values, {
        scale: Float32Array.of(1),
        zero: Float32Array.of(2),
      }),
    ),
    [13, -2, 0, 2, 0, -2, 7, -2],
  );
});

registry("a group of scale zero is zero, a scale beyond f16 an error", () => {
  const format = spec("int4", { group: 8, symmetric: false });
  const words = formatOfSpec(format).encode(format, shapeOf([8]), new Float32Array(8).fill(3), {
    scale: Float32Array.of(0),
    zero: Float32Array.of(5),
  });
  assert.equal(formatOfSpec(format).decode(format, shapeOf([8]), words), new Float32Array(8));
  assert.throws(
    () =>
      formatOfSpec(format).encode(format, shapeOf([2, 8]), new Float32Array(16), {
        scale: Float32Array.of(1, 1e6),
        zero: new Float32Array(2),
      }),
    "The scale of row 1, group 0 is 1000000, which f16 cannot hold.",
  );
});

registry("more values than the pattern allows are an error that names the place", () => {
  const nm = spec("nm", { n: 2, m: 4 }, spec("f16"));
  const dense = new Float32Array(16);
  dense.set([1, 2, 3], 12);
  assert.throws(
    () => formatOfSpec(nm).encode(nm, shapeOf([2, 8]), dense, null),
    "Row 1 has 3 values other than zero in columns 4 to 7; nm(2, 4) holds at most 2 of every 4.",
  );
  const bitmask = spec("bitmask", { nonzeros: 2 }, spec("f16"));
  assert.throws(
    () => formatOfSpec(bitmask).encode(bitmask, shapeOf([2, 8]), dense, null),
    "Row 1, column 6 holds a value when the 2 entries of the bitmask are already taken.",
  );
});

registry("a bitmask is completed by its values, and may have room to spare", () => {
  // 1e-9 is zero as f16.
  const dense = Float32Array.of(0, 1, -0, 1e-9, 2, 0);
  const format = spec("bitmask", {}, spec("f16"));
  const complete = completeFormat(format, shapeOf([2, 3]), dense);
  assert.is(complete.args["nonzeros"], 2);
  assert.equal(completeFormat(complete, shapeOf([2, 3]), new Float32Array(6).fill(1)), complete);
  const roomy = spec("bitmask", { nonzeros: 5 }, spec("f16"));
  const words = formatOfSpec(roomy).encode(roomy, shapeOf([2, 3]), dense, null);
  assert.is(words.length, formatWords(roomy, shapeOf([2, 3])));
  assert.equal(formatOfSpec(roomy).decode(roomy, shapeOf([2, 3]), words), Float32Array.of(0, 1, 0, 0, 2, 0));
});

registry("units are one load of four words where the columns allow", () => {
  const columns = (text: string, k: number): number | undefined => {
    const format = parseFormat(text);
    return formatOfSpec(format).unit(format, shapeOf([4, k]))?.columns;
  };
  for (const [text, expected] of [
    ["f32", 4],
    ["f16", 8],
    ["bf16", 8],
    ["int8(128)", 16],
    ["int4(128)", 32],
    ["nm(2, 4) of f32", 8],
    ["nm(2, 4) of f16", 16],
    ["nm(2, 4) of int8(128)", 32],
    ["nm(2, 4) of int4(128)", 64],
    ["nm(1, 4) of f16", 32],
    ["bitmask of f16", 32],
    ["int2(128)", 64],
    ["int3(128)", 32],
    ["int5(128)", 32],
    ["int6(128)", 16],
    ["nm(8, 16) of int4(128)", 64],
    ["fp8_e4m3", 16],
    ["regrouped of int8(128)", 4],
    ["regrouped of int4(128)", 8],
  ] as const)
    assert.is(columns(text, 4096), expected, text);
  assert.is(columns("nm(2, 4) of int4(32)", 4096), 32);
  assert.is(columns("int4(8)", 40), 8);
  assert.is(columns("f16", 6), 2);
  assert.is(columns("f16", 5), undefined);
  assert.is(columns("int4(channel)", 12), 4);
});

registry("packing again changes nothing for values off the grid, either", () => {
  for (const text of [
    "int4(8)",
    "int8(16, asymmetric)",
    "nm(2, 4) of int4(8)",
    "nm(2, 4) of int4(16, asymmetric)",
    "nm(1, 4) of f16",
  ]) {
    const format = parseFormat(text);
    const shape = shapeOf([3, 16]);
    const groups = scaleShape(format, shape) ?? { rows: 0, columns: 0 };
    const kept = formatOfSpec(format).pattern(format)?.kind === "nm" ? 4 : 1;
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -10, max: 10, noNaN: true }), { minLength: 48, maxLength: 48 }),
        fc.array(fc.float({ min: Math.fround(0.001), max: 2, noNaN: true }), { minLength: 6, maxLength: 6 }),
        (values, scales) => {
          const count = groups.rows * groups.columns;
          const grid = {
            scale: Float32Array.from({ length: count }, (_, at) => scales[at % 6]!),
            zero: Float32Array.from({ length: count }, (_, at) => at % 16),
          };
          const dense = Float32Array.from(values, (value, at) => (at % kept === 0 ? value : 0));
          const words = formatOfSpec(format).encode(format, shape, dense, grid);
          packsAgain(formatOfSpec(format), format, shape, words);
          const held = gridValues(format, shape, words);
          assert.is(held === null, count === 0);
        },
      ),
      runs(20),
    );
  }
});

registry("bytes are whole vectors of four words", () => {
  for (const text of ["f16", "nm(2, 4) of int8(channel)", "bitmask(nonzeros: 3) of f32"])
    assert.is(formatBytes(parseFormat(text), shapeOf([3, 4])) % 16, 0);
});

registry.run();
