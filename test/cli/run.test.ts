/** `espalier run`: a function on numbers, by the evaluator and on a device. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { run } from "../../runtime/cli/run/run.js";
import { createOutput } from "../../runtime/cli/output.js";
import { readNpy, writeNpy } from "../../runtime/cli/run/npy.js";
import { espalier, temporaryFolder } from "./support.js";

const test = suite("run");
const folder = temporaryFolder();
test.after(() => folder.remove());

const file = folder.write(
  "functions.esp",
  `/// The squared distance of each of N points to each of M others.
fn distances(a: f32[N, D], b: f32[M, D]) -> f32[N, M] {
  return d where d[n, m] = sum[k] (a[n, k] - b[m, k])^2
}

fn scaled(x: f32[T, K], w: f32[N, K] as F, scale: f32, flip: bool) -> f32[T, N] {
  return y where y[t, n] = select(flip, -scale, scale) * (sum[k] x[t, k] * w[n, k])
}

fn half(x: E[N]) -> E[N] {
  return y where y[n] = x[n] * E(0.5)
}

fn raise(var c: f32[N], more: i32) {
  c[j] = c[j] + f32(more) for j in 1 .. N
}
`,
);

interface Options {
  readonly fn: string;
  readonly arg: readonly string[];
  readonly size?: readonly string[];
  readonly out?: readonly string[];
}

/** What the command gives with `--json --evaluate`. */
async function evaluated({ fn, arg, size = [], out = [] }: Options): Promise<{ readonly results: unknown }> {
  let document: unknown = null;
  const output = {
    ...createOutput(true),
    note: () => {},
    result: (value: unknown) => {
      document = value;
    },
  };
  await run(output, file, { fn, arg, size, out, set: [], device: "auto", json: true, evaluate: true });
  return document as { readonly results: unknown };
}

const distances = { fn: "distances", arg: ["a=[[0, 0], [3, 4]]", "b=[[0, 0], [1, 1], [3, 0]]"] };

test("sizes are those of the arguments", async () => {
  const { results } = await evaluated(distances);
  assert.equal(results, [
    {
      name: "d",
      dtype: "f32",
      shape: [2, 3],
      values: [
        [0, 2, 9],
        [25, 13, 16],
      ],
    },
  ]);
});

test("files go in and out", async () => {
  const [a, b, out] = ["a.npy", "b.json", "d.npy"].map((name) => join(folder.path, name));
  folder.write("a.npy", writeNpy("f32", [2, 2], [0, 0, 3, 4]));
  folder.write("b.json", "[[0, 0], [1, 1], [3, 0]]");
  const { results } = await evaluated({ fn: "distances", arg: [`a=${a}`, `b=${b}`], out: [`d=${out}`] });
  assert.equal(results, [{ name: "d", dtype: "f32", shape: [2, 3], file: out }]);
  const read = readNpy(readFileSync(out ?? ""));
  assert.equal(typeof read === "string" ? read : [read.dtype, read.shape, ...Array.from(read.values)], [
    "float32",
    [2, 3],
    ...[0, 2, 9, 25, 13, 16],
  ]);
});

test("a file's dtype is that of a function of any", async () => {
  folder.write("half.npy", writeNpy("f16", [2], [1, 3]));
  const { results } = await evaluated({ fn: "half", arg: [`x=${join(folder.path, "half.npy")}`] });
  assert.equal(results, [{ name: "y", dtype: "f16", shape: [2], values: [0.5, 1.5] }]);
});

test("what is not finite goes in and out as text, and a state that is changed comes out", async () => {
  const { results } = await evaluated({ fn: "raise", arg: ['c=[1, 2, "-Infinity"]', "more=3"] });
  assert.equal(results, [{ name: "c", dtype: "f32", shape: [3], values: [1, 5, "-Infinity"] }]);
});

test("what is packed is packed first", async () => {
  const w = "w=[[0, 1, 2, 0, 0, 0, 0, 3]]";
  const arg = ["x=[[1, 2, 3, 4, 5, 6, 7, 8]]", w, "scale=0.5", "flip=true"];
  const { results } = await evaluated({ fn: "scaled", arg, size: ["F=nm(2, 4) of f16"] });
  assert.equal(results, [{ name: "y", dtype: "f32", shape: [1, 1], values: [[-16]] }]);
});

for (const [what, options, message] of [
  [
    "a shape",
    { ...distances, arg: ["a=[[0, 0]]", "b=[[1, 2, 3]]"] },
    /b should be f32\[1, 2\], \[M, D\] where .*D = 2/,
  ],
  ["a rank", { ...distances, arg: ["a=[1]", "b=[[1]]"] }, /a should be f32\[N, D\], and has the shape \[1\]/],
  ["ragged lists", { ...distances, arg: ["a=[[1, 2], [3]]", "b=[[1]]"] }, /a\[1\] should be a list of 2/],
  ["a missing argument", { ...distances, arg: ["a=[[1]]"] }, /takes b: f32\[M, D\] as well: --arg b=\.\.\./],
  ["an unknown argument", { ...distances, arg: ["aa=1"] }, /takes no aa; it takes a, b/],
  ["a file that is not there", { ...distances, arg: ["a=none.npy"] }, /there is no file none\.npy/],
  ["no value", { ...distances, arg: ["a=what"] }, /a should be a number, true, false, JSON such as/],
  ["a fraction", { fn: "raise", arg: ["c=[1]", "more=1.5"] }, /more should be i32, whole numbers .* has 1\.5/],
  ["a boolean", { fn: "raise", arg: ["c=[1]", "more=true"] }, /more should be i32, and --arg has true or false/],
  ["a result's name", { ...distances, out: ["e=x.npy"] }, /has no result e; it has d/],
  ["a file's ending", { ...distances, out: ["x.txt"] }, /should end in \.npy or \.json/],
  [
    "a pattern",
    { fn: "scaled", arg: ["x=[[1]]", "w=[[1]]", "scale=1", "flip=true"], size: ["F=nm(2, 4) of f16"] },
    /E407|multiple of 4/,
  ],
] as const)
  test(`what is wrong with ${what} is said`, async () => {
    try {
      await evaluated(options);
    } catch (error) {
      const diagnostics = error instanceof Error && "diagnostics" in error ? JSON.stringify(error.diagnostics) : "";
      assert.match(`${error instanceof Error ? error.message : ""} ${diagnostics}`, message);
      return;
    }
    assert.unreachable("nothing was said");
  });

test("a device gives the same", async () => {
  const args = [
    "x=[[1, 2, 3, 4, 5, 6, 7, 8]]",
    "w=[[7, -6, 5, -4, 3, -2, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0]]",
    "scale=0.5",
  ];
  const given = [
    "--fn",
    "scaled",
    ...[...args, "flip=false"].flatMap((each) => ["--arg", each]),
    "--size",
    "F=int4(8)",
  ];
  const { code, stdout, stderr } = await espalier("run", file, ...given, "--device", "cpu");
  assert.is(code, 0, stderr);
  const { results } = await evaluated({ fn: "scaled", arg: [...args, "flip=false"], size: ["F=int4(8)"] });
  const [head, ...rows] = stdout.trimEnd().split("\n");
  assert.is(head, "y: f32[1, 2]");
  assert.equal([{ name: "y", dtype: "f32", shape: [1, 2], values: JSON.parse(rows.join("")) as unknown }], results);
});

test.run();
