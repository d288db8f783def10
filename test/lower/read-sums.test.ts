/** Sums of parts that the norm or the rotation after a product adds up: the same results, and only where it may. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, type CompileOptions, type Stages } from "../../compiler/compile.js";
import type { MatrixTile } from "../../compiler/lower/schedules/matrix-tile.js";
import type { Target } from "../../compiler/target.js";
import { graphOf } from "../check/support.js";
import { agreeSimulated, expectedOf, type Case } from "../support/agreement.js";
import { evaluateStages } from "../support/stages.js";
import { matrixTarget as gpu } from "../support/targets.js";
import { graphCase, libraryCase, stagesOf } from "./support.js";

const test = suite("sums of parts where they are read");

const tile = (tokens: number, parts = 2): MatrixTile => ({
  kind: "matrix",
  tokens,
  rows: 16,
  subgroups: [1, 1, 1],
  slice: 64,
  ahead: 0,
  parts,
});

const product = "let y[b, t, n] = Y(f32(r[b, t, n]) + (sum[k] f32(x[b, t, k]) * w[n, k]))";
const norm = `let square[b, t] = mean[n] f32(y[b, t, n])^2
  let m[b, t, n] = Y(f32(y[b, t, n]) * rsqrt(square[b, t] + 0.01) * g[n])`;
const inputs = "x: E[B, T, K], w: f32[N, K] as F, r: Y[B, T, N], g: f32[N]";
const main = (result: string, body: string, given = inputs): string => `fn main(${given}) -> ${result} {\n${body}\n}`;
const plain = main("Y[B, T, N]", `${product}\n${norm}\nreturn m`);

interface Given {
  readonly Y?: "f16" | "f32";
  readonly sizes?: Readonly<Record<string, number>>;
  readonly target?: Target;
  readonly options?: CompileOptions;
}

/** What becomes of a program whose products have parts, after its results were held to what they mean. */
function kernels(
  source: string,
  { Y = "f16", sizes = {}, target = gpu, options = { schedule: tile(16) } }: Given = {},
): readonly string[] {
  const text = source.replaceAll(/\bY\b/g, Y === "f16" ? "E" : "f32");
  const bound = { sizes: { B: 1, T: 5, K: 128, N: 34, ...sizes }, formats: { F: "int4(32)" }, dtype: "f16" } as const;
  const given: Case = graphCase(graphOf(text, "main"), bound, "half");
  return namesOf(agreeSimulated(given, expectedOf(given), { target, subgroupSize: 32 }, options));
}

const namesOf = (stages: Stages): readonly string[] => stages.kernels.flat().map(({ name }) => name);

test("a norm adds up the parts of what it reads, whatever the sizes", () => {
  for (const [sizes, tokens] of [
    [{ B: 5, T: 1, N: 34 }, 16],
    [{ T: 17, N: 100 }, 16],
    [{ B: 3, T: 11, N: 32 }, 16],
    [{ T: 64, N: 48 }, 64],
    [{ T: 1, B: 6, N: 300 }, 16],
  ] as const)
    for (const Y of ["f16", "f32"] as const)
      for (const parts of [2, 3]) {
        const options = { schedule: tile(tokens, parts) };
        const found = kernels(plain, { Y, sizes: { ...sizes, K: 192 }, options });
        assert.equal(found, ["main_y", "main_y_added_m"], JSON.stringify(sizes));
      }
});

test("parts that leave as matrices, with rows filled up", () => {
  const schedule: MatrixTile = { ...tile(16), strip: "none", trip: 128 };
  const found = kernels(plain, { sizes: { T: 21, N: 48, K: 256 }, options: { schedule } });
  assert.equal(found, ["main_y", "main_y_added_m"]);
});

test("what is added up is a result, too, and is read by others later", () => {
  const source = main(
    "Y[B, T, N], Y[B, T, N], Y[B, T, N]",
    `${product}\n${norm}\nlet z[b, t, n] = Y(f32(m[b, t, n]) - 2.0 * f32(y[b, t, N - 1 - n]))\nreturn y, m, z`,
  );
  assert.equal(kernels(source), ["main_y", "main_y_added_m", "main_z"]);
});

test("maxima and softmax of what is added up", () => {
  const source = main(
    "Y[B, T, N]",
    `${product}
  let most[b, t] = max[n] y[b, t, n]
  let total[b, t] = sum[n] exp(f32(y[b, t, n]) - f32(most[b, t]))
  return m where m[b, t, n] = Y(exp(f32(y[b, t, n]) - f32(most[b, t])) / total[b, t])`,
  );
  assert.equal(kernels(source), ["main_y", "main_y_added_m"]);
});

test("two sums in one norm", () => {
  const second = product.replace("let y", "let u").replace("r[b, t, n]", "r[b, t, N - 1 - n]").replace("w[", "v[");
  const both = norm.replaceAll("f32(y[b, t, n])", "(f32(y[b, t, n]) - f32(u[b, t, n]))");
  const source = main("Y[B, T, N]", `${product}\n${second}\n${both}\nreturn m`, `${inputs}, v: f32[N, K] as F`);
  assert.equal(kernels(source), ["main_y", "main_y_added_m"]);
  // of sums of which one needs the other, the first is added up by itself
  const needs = source.replace("f32(r[b, t, N - 1 - n])", "f32(y[b, t, N - 1 - n])");
  assert.equal(kernels(needs), ["main_y", "main_y_added", "main_u_added_m"]);
});

test("columns of others, other rows, or a reader in between: added up by a kernel of its own", () => {
  const element = "f32(y[b, t, n]) * rsqrt";
  for (const [from, to] of [
    [element, "f32(y[b, t, N - 1 - n]) * rsqrt"],
    [element, "f32(y[b, t, 0]) * rsqrt"],
    [element, "(sum[j in 0 .. n] f32(y[b, t, j])) * rsqrt"],
    [element, "f32(y[b, T - 1 - t, n]) * rsqrt"],
    ["mean[n] f32(y[b, t, n])^2", "mean[n in 0 .. N] f32(y[b, t, N - 1 - n])^2"],
    ["mean[n] f32(y[b, t, n])^2", "mean[n] ((sum[j in 0 .. n] f32(y[b, t, j])) + f32(y[b, t, n]))^2"],
    ["mean[n] f32(y[b, t, n])^2", "mean[n, j in 0 .. 3] (f32(y[b, t, n]) + g[j])^2"],
    ["mean[n] f32(y[b, t, n])^2", "mean[n in 1 .. N] f32(y[b, t, n])^2"],
    ["mean[n] f32(y[b, t, n])^2", "mean[n] f32(y[b, T - 1 - t, n])^2 for t in 0 .. T"],
  ] as const) {
    assert.ok(plain.includes(from));
    const found = kernels(plain.replace(from, to));
    assert.ok(found.includes("main_y_added"), `${to}: ${found.join()}`);
  }
  const ofBatch = plain
    .replace("square[b, t] = mean[n]", "square[t] = mean[b, n]")
    .replace("square[b, t]", "square[t]");
  assert.ok(kernels(ofBatch, { sizes: { B: 2 } }).includes("main_y_added"));
  const between = main(
    "Y[B, T, N], f32[B, T, N]",
    `${product}\nlet z[b, t, n] = f32(y[b, t, N - 1 - n]) * 3.0 for n in 0 .. N\n${norm}\nreturn m, z`,
  );
  assert.equal(kernels(between), ["main_y", "main_y_added", "main_z", "main_m"]);
});

test("nothing that the sum reads may change before it is taken", () => {
  // the residual is overwritten after the product, by what needs neither the sum nor the norm
  const source = main(
    "Y[B, T, N]",
    `${product}\nr[b, t, n] = Y(g[n])\n${norm}\nreturn m`,
    inputs.replace("r: Y", "var r: Y"),
  );
  assert.equal(kernels(source).at(1), "main_y_added");
  // by the norm itself
  const own = main(
    "Y[B, T, N]",
    `${product}\nr[b, t, n] = Y(f32(y[b, t, n]) * rsqrt((mean[j in 0 .. N] f32(y[b, t, j])^2) + 0.01))\nreturn y`,
    inputs.replace("r: Y", "var r: Y"),
  );
  assert.ok(kernels(own).includes("main_y_added"), kernels(own).join());
});

test("where dispatches cost nothing, buffers are few, or a row's sums many: by a kernel of its own", () => {
  assert.equal(kernels(plain, { options: { schedule: tile(16), merge: false } }), ["main_y", "main_y_added", "main_m"]);
  assert.equal(kernels(plain, { target: { ...gpu, maxStorageBuffers: 5 } }), ["main_y", "main_y_added_m"]);
  assert.equal(kernels(plain, { target: { ...gpu, maxStorageBuffers: 4 } }), ["main_y", "main_y_added", "main_m"]);
  const sizes = { T: 1, B: 6, K: 4096, N: 4096, positions: 1 };
  const graph = graphOf(plain.replaceAll(/\bY\b/g, "E"), "main");
  const added = (parts: number) => {
    const given = graphCase(graph, { sizes, formats: { F: "int4(32)" }, dtype: "f16" }, "half");
    return namesOf(lowerConcrete(given.graph, gpu, { schedule: tile(16, parts) })).includes("main_y_added");
  };
  assert.equal([8, 16].map(added), [false, true]);
});

const turned = "Y(f32(y[b, t, n]) - 2.0 * f32(y[b, t, N - 1 - n]))";
const rotation = main("Y[B, T, N]", `${product}\nreturn z where z[b, t, n] = ${turned}`);

test("who alone reads a result, an element once or twice, adds it up where it would load it", () => {
  for (const Y of ["f16", "f32"] as const)
    for (const [sizes, tokens, parts] of [
      [{ B: 5, T: 1 }, 16, 2],
      [{ B: 3, T: 11, N: 48, K: 192 }, 16, 3],
      [{ T: 64, N: 100 }, 64, 2],
    ] as const)
      assert.equal(kernels(rotation, { Y, sizes, options: { schedule: tile(tokens, parts) } }), [
        "main_y",
        "main_y_added_z",
      ]);
  const second = product.replace("let y", "let u").replace("w[", "v[");
  const both = main(
    "Y[B, T, N]",
    `${product}\n${second}\nreturn z where z[b, t, n] = ${turned.replace("))", ") * f32(u[b, t, n]) + f32(u[b, t, N - 1 - n]))")}`,
    `${inputs}, v: f32[N, K] as F`,
  );
  assert.equal(kernels(both), ["main_y", "main_y_added_z"]);
});

test("who reads more, or not alone, or with a result that is asked for, does not", () => {
  const own = ["main_y", "main_y_added"];
  const thrice = rotation.replace(turned, `${turned} + y[b, t, 0]`);
  const asked = rotation.replace("-> Y[B, T, N]", "-> Y[B, T, N], Y[B, T, N]").replace("return z", "return y, z");
  const two = main(
    "Y[B, T, N], f32[T, B]",
    `${product}\nlet z[b, t, n] = ${turned}\nlet u[t, b] = f32(y[b, t, 3]) + f32(t) for t in 0 .. T, b in 0 .. B\nreturn z, u`,
  );
  const summed = rotation.replace(turned, `Y((sum[j in 0 .. 3] exp(f32(y[b, t, (n + j) % N]))) - f32(g[n]))`);
  for (const source of [thrice, asked, two, summed]) assert.equal(kernels(source).slice(0, 2), own, source);
  const changed = main(
    "Y[B, T, N]",
    `${product}\nr[b, t, n] = ${turned}\nreturn y`,
    inputs.replace("r: Y", "var r: Y"),
  );
  assert.equal(kernels(changed).slice(0, 2), own);
  const over = main(
    "f32[B, T]",
    `${product}\nr[b, t, n] = ${turned}\nreturn s where s[b, t] = f32(r[b, t, 0])`,
    inputs.replace("r: Y", "var r: Y"),
  );
  assert.equal(kernels(over).slice(0, 2), own);
});

test("sums are the same bit for bit, wherever they are added up", () => {
  for (const source of [plain, rotation])
    for (const Y of ["E", "f32"]) {
      const bound = { sizes: { B: 1, T: 17, K: 192, N: 34 }, formats: { F: "int4(32)" }, dtype: "f16" } as const;
      const given = graphCase(graphOf(source.replaceAll(/\bY\b/g, Y), "main"), bound, "half");
      const [joined, apart] = [true, false].map((merge) => {
        const stages = lowerConcrete(given.graph, gpu, { schedule: tile(16, 3), merge });
        assert.is(namesOf(stages).includes("main_y_added"), !merge);
        return [...evaluateStages(stages, given.inputs, given.words, 32).values()].map(({ data }) => [...data]);
      });
      assert.equal(joined, apart);
    }
});

test("a block of a model has two dispatches less, and computes what it did", () => {
  const formats = Object.fromEntries([..."QRSOPUW"].map((each) => [each, "int4(32)"]));
  const sizes = { B: 2, T: 5, D: 128, C: 11, M: 160, heads: 2, groups: 1, head: 64, POOL: 7, PAGE: 4, L: 4 };
  const given = libraryCase("block_in_pages", { sizes, formats, dtype: "f16" }, "half", {
    positions: [0, 6],
    eps: [0.001],
    pages: [3, -1, 1, 9, 0, 5, 2, -1],
  });
  const schedule = tile(16);
  const found = namesOf(agreeSimulated(given, expectedOf(given), { target: gpu, subgroupSize: 32 }, { schedule }));
  assert.ok(found.includes("block_in_pages_y_added_m"), found.join());
  assert.ok(found.includes("block_in_pages_y_added_q"), found.join());
  assert.is(found.filter((name) => name === "block_in_pages_y_added").length, 1);
});

test("a block of many sequences of a large model", () => {
  const formats = Object.fromEntries([..."QRSOPUW"].map((each) => [each, "nm(2, 4) of int4(128)"]));
  const shape = { D: 4096, M: 14336, heads: 32, groups: 8, head: 128, POOL: 64, PAGE: 64, L: 2 };
  const count = (B: number): number =>
    stagesOf("block_in_pages", { sizes: { B, T: 1, ...shape }, formats, dtype: "f16" }, gpu).kernels.flat().length;
  assert.equal([16, 64].map(count), [11, 10]);
});

test.run();
