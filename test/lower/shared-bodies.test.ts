/** Kernels that differ in a few numbers by one body: they compute what each of them did. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CompileOptions } from "../../compiler/compile.js";
import type { MatrixTile } from "../../compiler/lower/schedules/matrix-tile.js";
import type { Program, Step } from "../../compiler/plan/program.js";
import { linkPrograms, type Link } from "../../compiler/plan/link.js";
import { graphOf } from "../check/support.js";
import { agreeSimulated, expectedOf, type Simulated } from "../support/agreement.js";
import { matrixTarget as gpu } from "../support/targets.js";
import { graphCase, type Bound } from "./support.js";

const test = suite("shared bodies");

const simulated: Simulated = { target: gpu, subgroupSize: 32 };
const schedule: MatrixTile = {
  kind: "matrix",
  tokens: 16,
  rows: 32,
  subgroups: [1, 1, 1],
  slice: 32,
  ahead: 0,
  parts: 2,
  trip: 128,
  left: "ordered",
  strip: "none",
};

/** Two products of normed rows, the second of as many columns as the first has outputs. */
const chained = (
  parameter = "eps",
): string => `fn main(x: E[B, T, D], v: f32[N, D] as F, w: f32[M, N] as F, ${parameter}: f32) -> E[B, T, M] {
  let square[b, t] = mean[d] f32(x[b, t, d])^2
  let n[b, t, d] = E(f32(x[b, t, d]) * rsqrt(square[b, t] + ${parameter}))
  let y[b, t, r] = E(sum[d] f32(n[b, t, d]) * v[r, d])
  let squares[b, t] = mean[r] f32(y[b, t, r])^2
  let m[b, t, r] = E(f32(y[b, t, r]) * rsqrt(squares[b, t] + ${parameter}))
  return z where z[b, t, s] = E(sum[r] f32(m[b, t, r]) * w[s, r])
}`;
const bound = (sizes: Bound["sizes"], F = "nm(2, 4) of int4(64)"): Bound => ({
  sizes: { B: 1, T: 9, ...sizes },
  formats: { F },
  dtype: "f16",
});

/** Dispatches of products by matrices, without those that add up parts: the text of each, and the repeats around it. */
function products({ steps, kernels }: Program): readonly { readonly wgsl: string; readonly value: number | null }[] {
  const all = (list: readonly Step[], value: number | null): ReturnType<typeof products> =>
    list.flatMap((step) => {
      if (step.kind === "repeat") return all(step.steps, step.from);
      if (step.kind !== "dispatch") return [];
      const { wgsl } = kernels[step.kernel]!;
      return wgsl.includes("subgroupMatrixMultiply") ? [{ wgsl, value }] : [];
    });
  return all(steps, null);
}

function compiled(source: string, sizes: Bound["sizes"], F?: string, options: CompileOptions = {}): Program {
  const given = graphCase(graphOf(source, "main"), bound(sizes, F), "half");
  return agreeSimulated(given, expectedOf(given), simulated, { schedule, ...options }).program;
}

test("products of other columns have one body, and each its numbers", () => {
  for (const F of ["nm(2, 4) of int4(64)", "int4(32)"])
    for (const interleave of [false, true]) {
      const [first, second] = products(compiled(chained(), { D: 256, N: 512, M: 256 }, F, { interleave }));
      assert.is(first!.wgsl, second!.wgsl);
      assert.equal([first!.value, second!.value], [0, 1]);
    }
});

test("alike products of alike sizes need no number", () => {
  const [first, second] = products(compiled(chained(), { D: 256, N: 256, M: 256 }));
  assert.is(first!.wgsl, second!.wgsl);
  assert.equal([first!.value, second!.value], [null, null]);
});

test("many products of a few sizes have as few numbers, and a body no longer than that of two", () => {
  /** As many products as `count`, wide and narrow in turn. */
  const long = (count: number): string => {
    const layers = Array.from({ length: count }, (_, at) => {
      const [from, to] = at % 2 === 0 ? ["D", "N"] : ["N", "D"];
      return {
        input: `w${at}: f32[${to}, ${from}] as F`,
        text: `  let s${at}[b, t] = mean[d] f32(y${at}[b, t, d])^2
  let n${at}[b, t, d] = E(f32(y${at}[b, t, d]) * rsqrt(s${at}[b, t] + 0.01))
  let y${at + 1}[b, t, r] = E(sum[d] f32(n${at}[b, t, d]) * w${at}[r, d])`,
      };
    });
    return `fn main(y0: E[B, T, D], ${layers.map(({ input }) => input).join(", ")}) -> E[B, T, D] {
${layers.map(({ text }) => text).join("\n")}
  return y${count}
}`;
  };
  const [two, six] = [2, 6].map((count) => products(compiled(long(count), { D: 256, N: 384 }, "int4(32)")));
  assert.equal(
    six!.map(({ value }) => value),
    [0, 1, 0, 1, 0, 1],
  );
  assert.is(new Set(six!.map(({ wgsl }) => wgsl)).size, 1);
  assert.is(six![0]!.wgsl.split("\n").length, two![0]!.wgsl.split("\n").length);
});

test("a name that the program has is not taken", () => {
  const program = compiled(chained("which"), { D: 256, N: 512, M: 256 });
  assert.equal(
    program.parameters.map(({ name }) => name),
    ["which"],
  );
  const own = program.steps.filter((step) => step.kind === "repeat").map(({ parameter }) => parameter);
  assert.equal(own, ["which_2", "which_2"]);
});

test("where nothing is merged nothing is shared", () => {
  const [first, second] = products(compiled(chained(), { D: 256, N: 512, M: 256 }, undefined, { merge: false }));
  assert.not.equal(first!.wgsl, second!.wgsl);
});

test("programs that are linked share the body, too", () => {
  const program = compiled(chained(), { D: 256, N: 512, M: 256 });
  const links: readonly Link[] = [0, 1, 2].map((at) => ({
    program,
    names: { x: at === 0 ? "x" : `h${at}`, z: `h${at + 1}` },
  }));
  const whole = linkPrograms("linked", links, ["h3"]);
  // of the two products, too, there is one
  assert.is(whole.kernels.length, program.kernels.length - 1);
  assert.equal(
    products(whole).map(({ value }) => value),
    [0, 1, 0, 1, 0, 1],
  );
});

test.run();
