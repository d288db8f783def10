/** Activations in the order of the matrices that read them: right at awkward sizes, and only where all readers agree. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, mostDotTokens, tunables, written } from "../../../compiler/compile.js";
import { movedSections } from "../../../compiler/formats/interleave.js";
import { interleavedWords } from "../../support/interleaved.js";
import { formatWords, shapeOf } from "../../../compiler/formats/registry.js";
import type { MatrixTile } from "../../../compiler/lower/schedules/matrix-tile.js";
import { placeIn, type MatrixOrder } from "../../../compiler/lower/toolkit/order.js";
import * as k from "../../../compiler/kernel/build.js";
import { literalValue } from "../../../compiler/kernel/build.js";
import { graphOf } from "../../check/support.js";
import { agreeSimulated, expectedOf, schedulesOf, type Simulated } from "../../support/agreement.js";
import { matrixTarget as gpu } from "../../support/targets.js";
import { parseFormat } from "../../support/format-text.js";
import { graphCase, libraryCase, type Bound } from "../support.js";

const test = suite("orders of matrices");

const simulated: Simulated = { target: gpu, subgroupSize: 32 };

const tile = (
  tokens: number,
  rows: number,
  subgroups: MatrixTile["subgroups"],
  slice: number,
  trip: number,
  parts: number,
): MatrixTile => ({
  kind: "matrix",
  tokens,
  rows,
  subgroups,
  slice,
  ahead: 0,
  parts,
  trip,
  left: "ordered",
});

const norm = `  let square[b, t] = mean[d] f32(x[b, t, d])^2
  let n[b, t, d] = E(f32(x[b, t, d]) * rsqrt(square[b, t] + 0.01))
`;
const product = (of: string, w: string): string => `where y[b, t, r] = E(sum[d] f32(${of}[b, t, d]) * ${w}[r, d])`;
const linear = `fn main(x: E[B, T, D], w: f32[N, D] as F) -> E[B, T, N] {\n${norm}  return y ${product("n", "w")}\n}`;
const gated = `fn main(x: E[B, T, D], gate: f32[N, D] as F, up: f32[N, D] as F) -> E[B, T, N] {
${norm}  return h where h[b, t, m] = E(tanh(sum[d] f32(n[b, t, d]) * gate[m, d]) * (sum[d] f32(n[b, t, d]) * up[m, d]))
}`;
const half = (sizes: Bound["sizes"], F: string): Bound => ({ sizes, formats: { F }, dtype: "f16" });

test("a place for each element, and no two the same", () => {
  for (const order of [
    { trip: 128, slice: 32, distance: 8, tokens: 5, columns: 256 },
    { trip: 128, slice: 32, distance: 4, tokens: 33, columns: 128 },
    { trip: 256, slice: 64, distance: 1, tokens: 16, columns: 256 },
  ] satisfies MatrixOrder[]) {
    const places = new Set<number>();
    for (let token = 0; token < order.tokens; token++)
      for (let column = 0; column < order.columns; column++)
        places.add(literalValue(placeIn(order, k.u32(token), k.u32(column)))!);
    assert.is(places.size, order.tokens * order.columns);
    assert.ok(Math.max(...places) < Math.ceil(order.tokens / 16) * 16 * order.columns);
  }
});

/** Sizes and cuts of a product. */
const products = [
  [{ B: 1, T: 16, D: 256, N: 48 }, tile(16, 16, [1, 1, 1], 32, 128, 1)],
  [
    { B: 1, T: 9, D: 256, N: 64 },
    { ...tile(16, 32, [1, 1, 1], 32, 128, 2), strip: "none" as const },
  ],
  [{ B: 5, T: 1, D: 384, N: 34 }, tile(16, 32, [1, 1, 1], 32, 128, 3)],
  [
    { B: 1, T: 35, D: 256, N: 64 },
    { ...tile(32, 32, [2, 1, 1], 64, 256, 1), ahead: 3 as const },
  ],
  [
    { B: 1, T: 33, D: 256, N: 64 },
    { ...tile(64, 32, [1, 2, 1], 64, 128, 2), strip: "none" as const },
  ],
  [
    { B: 1, T: 17, D: 256, N: 34 },
    { ...tile(16, 32, [1, 1, 2], 64, 128, 1), strip: "narrow" as const },
  ],
] as const;

test("products of what is in order", () => {
  for (const [which, F] of ["nm(2, 4) of int4(64)", "int4(32)", "q4_0", "nm(2, 4) of f16", "bf16"].entries())
    for (const [at, [sizes, schedule]] of products.entries()) {
      // the formats take turns
      if (at % 2 !== which % 2 && which > 1) continue;
      const given = graphCase(graphOf(linear, "main"), half(sizes, F), "half");
      const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
      const text = `${F} ${JSON.stringify(sizes)} ${JSON.stringify(schedule)}`;
      assert.is(stages.orders.matrices.size, 1, text);
      assert.equal(schedulesOf(stages).slice(-1), ["matrix"], text);
    }
});

test("of two to four tokens, as of more", () => {
  for (const [at, T] of [2, 3, 4].entries())
    for (const F of ["nm(2, 4) of int4(64)", "int4(32)"]) {
      const given = graphCase(graphOf(linear, "main"), half({ B: 1, T, D: 256, N: 32 + 16 * at }, F), "half");
      const schedule = { ...tile(16, 16, [1, 1, 1], 32, 128, 2), strip: "none" as const };
      const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
      assert.is(stages.orders.matrices.size, 1, `${F} ${T}`);
    }
});

test("large packed weights are taken so from two tokens on, others from five", () => {
  const schedule = (T: number, F: string, D = 4096): string | undefined => {
    const { graph } = graphCase(graphOf(linear, "main"), half({ B: 1, T, D, N: 1024 }, F), "half");
    return schedulesOf(lowerConcrete(graph, gpu)).slice(-1)[0];
  };
  const taken = (F: string, tokens: readonly number[], D?: number) => tokens.map((T) => schedule(T, F, D));
  assert.equal(taken("nm(2, 4) of int4(128)", [1, 2, 4]), ["lookup", "matrix", "matrix"]);
  for (const F of ["int4(128)", "nm(2, 4) of f16"]) assert.equal(taken(F, [2]), ["matrix"], F);
  for (const F of ["f16", "q4_0"]) assert.equal(taken(F, [4, 5]), ["matvec", "matrix"], F);
  assert.equal(taken("int4(128)", [4, 5], 2048), ["matvec", "matrix"]);
});

test("activations in int8 are for so many tokens as sums are faster for", () => {
  const block = (hidden: number, inner: number, F: string) =>
    [
      [hidden, hidden],
      [hidden / 4, hidden],
      [hidden / 4, hidden],
      [hidden, hidden],
      [inner, hidden],
      [inner, hidden],
      [hidden, inner],
    ].map(([rows, columns]) => ({ spec: parseFormat(F), shape: shapeOf([rows!, columns!]) }));
  const [sparse, dense] = ["nm(2, 4) of int4(128)", "int4(128)"];
  const most = (hidden: number, inner: number, target = gpu) =>
    [sparse, dense, "q4_0"].map((F) => mostDotTokens(block(hidden, inner, F!), target));
  // Llama 3.1 8B, 3.2 3B and 1B, and a small one
  assert.equal(
    [most(4096, 14336), most(3072, 8192), most(2048, 8192), most(1024, 4096)],
    [
      [1, 2, 7],
      [2, 3, 7],
      [4, 4, 7],
      [4, 7, 7],
    ],
  );
  assert.equal(most(4096, 14336, { ...gpu, matrices: false }), [8, 8, 8]);
});

test("columns that are several axes, as heads and their elements", () => {
  const heads = `fn main(x: E[B, T, H, I], w: f32[N, H * I] as F) -> E[B, T, N] {
  let square[b, t, h] = mean[i] f32(x[b, t, h, i])^2
  let m[b, t, h, i] = E(f32(x[b, t, h, i]) * rsqrt(square[b, t, h] + 0.01))
  return y where y[b, t, r] = E(sum[d] f32(m[b, t, d / I, d % I]) * w[r, d])
}`;
  const schedule = tile(16, 16, [1, 1, 1], 32, 128, 1);
  for (const [H, I] of [
    [4, 64],
    [2, 128],
  ] as const) {
    const bound = half({ B: 1, T: 9, H, I, N: 32 }, "nm(2, 4) of int4(64)");
    const given = graphCase(graphOf(heads, "main"), bound, "half");
    const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule, interleave: true });
    assert.is(stages.orders.matrices.size, 1);
  }
});

test("pairs whose slices take turns", () => {
  for (const F of ["nm(2, 4) of int4(64)", "int4(32)"])
    for (const strip of [{ strip: "none" as const }, { strip: undefined }]) {
      const cut = { ...tile(16, 16, [1, 1, 1], 32, 128, 2), apart: "terms" as const, ...strip };
      const schedule = strip.strip === undefined ? cut : { ...cut, slices: "unrolled" as const };
      const given = graphCase(graphOf(gated, "main"), half({ B: 1, T: 13, D: 256, N: 48 }, F), "half");
      const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule });
      assert.is(stages.orders.matrices.size, 1);
      assert.equal(schedulesOf(stages).slice(-2), ["matrix", "matrix"]);
    }
});

test("pairs of which each tile is one term's", () => {
  for (const F of ["nm(2, 4) of int4(64)", "int4(32)"])
    for (const [T, cut] of [
      [13, tile(16, 16, [1, 1, 1], 32, 128, 2)],
      [40, tile(64, 16, [2, 1, 1], 64, 128, 2)],
    ] as const) {
      const schedule = { ...cut, apart: "tiles" as const, strip: "none" as const };
      const given = graphCase(graphOf(gated, "main"), half({ B: 1, T, D: 256, N: 48 }, F), "half");
      for (const interleave of [false, true]) {
        const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule, interleave });
        assert.is(stages.orders.matrices.size, 1);
        // two terms, two parts, three tiles
        const [product] = stages.program.steps.filter(
          (step) => step.kind === "dispatch" && stages.program.kernels[step.kernel]!.schedule === "matrix",
        );
        assert.equal(product?.kind === "dispatch" && product.workgroups, [12, 1, 1]);
      }
      // only sums that are added up later may come from several workgroups
      const { strip: _, ...alone } = schedule;
      const other = lowerConcrete(given.graph, gpu, { schedule: alone });
      assert.not.ok(schedulesOf(other).includes("matrix"));
    }
});

test("weights whose rows lie side by side", () => {
  for (const [F, count, spread] of [
    ["nm(2, 4) of int4(64)", 1, true],
    ["nm(2, 4) of int4(128)", 1, true],
    ["nm(2, 4) of int4(32)", 1, true],
    ["int4(32)", 1, undefined],
    ["q4_0", 0, undefined],
    ["int4(channel)", 0, undefined],
    ["nm(2, 4) of f16", 1, undefined],
    ["nm(2, 4) of int8(64)", 0, undefined],
  ] as const)
    for (const [source, sizes, schedule] of [
      [linear, { B: 1, T: 9, D: 256, N: 96 }, { ...tile(16, 32, [1, 1, 1], 32, 128, 2), strip: "none" }],
      [linear, { B: 1, T: 16, D: 512, N: 48 }, tile(16, 16, [1, 1, 1], 64, 256, 1)],
      [linear, { B: 1, T: 17, D: 256, N: 48 }, tile(16, 32, [1, 1, 1], 32, 128, 1)],
      [
        gated,
        { B: 1, T: 13, D: 256, N: 48 },
        { ...tile(16, 16, [1, 1, 1], 32, 128, 2), apart: "terms", strip: "none" },
      ],
    ] as const) {
      if (F === "int4(channel)" && source === gated) continue;
      const given = graphCase(graphOf(source, "main"), half(sizes, F), "half");
      const stages = agreeSimulated(given, expectedOf(given), simulated, { schedule, interleave: true });
      const { inputs } = stages.program;
      const beside = inputs.filter(({ order }) => order !== undefined);
      const most = sizes.N % schedule.rows === 0 ? count * (source === gated ? 2 : 1) : 0;
      assert.is(beside.length, most, `${F} ${JSON.stringify(sizes)}`);
      for (const { order } of beside) assert.is(order!.spread, spread, F);
      // who does not ask for it gives them as they are in files
      const plain = lowerConcrete(given.graph, gpu, { schedule });
      assert.ok(plain.program.inputs.every(({ order }) => order === undefined));
    }
});

test("the library puts words side by side as it is told here", () => {
  const plain = { rows: 16, columns: 128 };
  for (const [text, order] of [
    ["nm(2, 4) of int4(128)", plain],
    ["nm(2, 4) of int4(128)", { ...plain, spread: true }],
    ["nm(2, 4) of int4(32)", { ...plain, spread: true }],
    ["int4(64)", plain],
    ["int4(128)", plain],
  ] as const) {
    const spec = parseFormat(text);
    const shape = { rows: 32, columns: 384 };
    const words = Uint32Array.from(
      { length: formatWords(spec, shape) },
      (_, at) => Math.imul(at + 1, 2654435761) >>> 0,
    );
    const expected = interleavedWords(spec, shape, order, words);
    assert.not.equal([...expected], [...words]);
    const moved = movedSections(spec, shape, order)!;
    for (const { section, words: each, spread } of moved) {
      const [from, to] = [words, expected].map((all) => all.subarray(section.offset, section.offset + section.words));
      const sizes: Readonly<Record<string, number>> =
        each > 0 ? { B: 2, R: 16, T: 3, S: each } : { W: section.words, rows: 16, pieces: 3 };
      const name = each > 0 ? `${spread ?? "words"}_beside` : "halves_beside";
      const own = libraryCase(name, { sizes }, "exact", { words: from! });
      assert.equal([...expectedOf(own).outputs.get("y")!.data], [...to!], `${text} ${section.name}`);
    }
  }
});

test("a table may have every cut of what is in order by itself, and is followed", () => {
  const given = graphCase(
    graphOf(linear, "main"),
    half({ B: 1, T: 5, D: 1024, N: 4096 }, "nm(2, 4) of int4(64)"),
    "half",
  );
  const stages = lowerConcrete(given.graph, gpu, { interleave: true });
  assert.is(stages.orders.matrices.size, 1);
  const [found] = tunables(stages, gpu);
  const cuts = found!.cuts.filter((cut) => cut.kind === "matrix");
  assert.is(cuts[0]!.left, "ordered", "what is taken by itself comes first");
  const inRows = cuts.filter(({ left }) => left === undefined);
  assert.ok(inRows.length > 3, `${inRows.length} of ${cuts.length}`);
  for (const cut of [cuts[0]!, ...inRows]) {
    const choices = { [found!.key.text]: written(cut) };
    const { orders, kernels } = lowerConcrete(given.graph, gpu, { choices, interleave: true });
    assert.is(orders.matrices.size, cut === cuts[0] ? 1 : 0, JSON.stringify(cut));
    assert.is(kernels.flat().at(-1)!.origin.schedule, "matrix");
  }
});

test("what is read otherwise, too, or given, or a result, stays in rows", () => {
  const schedule = tile(16, 16, [1, 1, 1], 32, 128, 1);
  const given = (source: string) =>
    graphCase(graphOf(source, "main"), half({ B: 1, T: 16, D: 256, N: 48 }, "int4(32)"), "half");
  for (const source of [
    linear.replace("-> E[B, T, N]", "-> E[B, T, D], E[B, T, N]").replace("return y", "return n, y"),
    linear.replace(norm, "").replace("f32(n[", "f32(x["),
    linear.replace("* w[r, d])", "* w[r, d] + 0.5 * f32(n[b, t, 3]))"),
    linear.replace("(n[b, t, d])", "(n[b, t, D - 1 - d])"),
  ]) {
    const each = given(source);
    const stages = agreeSimulated(each, expectedOf(each), simulated, { schedule });
    assert.is(stages.orders.matrices.size, 0, source);
  }
});

test.run();
