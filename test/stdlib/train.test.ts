/** Losses and the optimiser, held to PyTorch by the evaluator. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate, type TensorValue } from "../../compiler/graph/evaluate.js";
import { standardLibrary } from "../../runtime/library.js";
import { gradientOf, lossGradient, resultOf } from "../../runtime/llama/training/gradients.js";
import { bound } from "../support/gradients.js";
import { projectFile } from "../support/project.js";
import { call, near, result, tensor } from "./support.js";

const test = suite("stdlib: train");

type Rows = readonly (readonly number[])[];

interface LossCase {
  readonly own: Rows;
  readonly dense?: Rows;
  readonly target?: Rows;
  readonly next?: readonly number[];
  readonly weights: readonly number[];
  readonly loss: readonly number[];
  readonly gradient: Rows;
}

interface Pair {
  readonly a: Rows;
  readonly b: Rows;
}

interface Made {
  readonly adamw: {
    readonly settings: { readonly [name: string]: number };
    readonly start: Pair;
    readonly steps: readonly (Pair & { readonly rate: number; readonly norm: number; readonly gradients: Pair })[];
  };
}

const made = JSON.parse(readFileSync(projectFile("test/data/training/made.json"), "utf8")) as Made & {
  readonly [loss: string]: LossCase;
};
const matrix = (rows: Rows): TensorValue => tensor([rows.length, rows[0]?.length ?? 0], rows.flat());

for (const [name, own, other] of [
  ["kl", "logits", "dense"],
  ["cross_entropy", "logits", "next"],
  ["block_error", "y", "target"],
  ["square_head", "y", "target"],
] as const)
  test(`${name} and its gradient`, () => {
    const found = made[name]!;
    const given = found[other]!;
    const second = other === "next" ? tensor([found.next!.length], found.next!, "i32") : matrix(given as Rows);
    const args = { [own]: matrix(found.own), [other]: second };
    assert.ok(near(result(name, args), found.loss));
    const loss = standardLibrary().get(name)!;
    const [T, width] = [found.own.length, found.own[0]!.length];
    for (const dtype of ["f32", "f16"] as const) {
      const graph = bound(lossGradient(loss, own, dtype), { T, V: width, D: width }, { E: "f32" });
      const inputs = new Map<string, TensorValue>([
        ...Object.entries(args),
        [`d_${resultOf(loss)}`, tensor([T], found.weights)],
      ]);
      const gradient = [...evaluate(graph, inputs).values()][0]!;
      assert.ok(near(gradient.data, found.gradient.flat(), dtype === "f16" && own === "logits" ? 1e-3 : 1e-5), dtype);
    }
  });

test("scales that are learned: the value is what is packed, and a scale's slope what its codes are off", () => {
  const function_ = standardLibrary().get("learned_grid")!;
  const w = [0.4, 1.3, -0.2, 2.7];
  const scale = [0.5, 2];
  const rounded = w.map((value, k) => Math.round(value / scale[k >> 1]!) * scale[k >> 1]!);
  const args = { w: tensor([1, 4], w), rounded: tensor([1, 4], rounded), scale: tensor([1, 2], scale) };
  assert.equal(result("learned_grid", args), rounded);
  const graph = bound(gradientOf(function_, { of: resultOf(function_), by: ["w", "scale"] }), { N: 1, K: 4, G: 2 });
  const adjoint = [1, 2, 3, 4];
  const found = evaluate(
    graph,
    new Map([...Object.entries(args), [`d_${resultOf(function_)}`, tensor([1, 4], adjoint)]]),
  );
  assert.equal([...found.get("d_w")!.data], adjoint);
  // round(w / s) - w / s, the slope of round(w / s) s where the code stays and w goes through
  const off = w.map((value, k) => (rounded[k]! - value) / scale[k >> 1]!);
  assert.ok(near(found.get("d_scale")!.data, [off[0]! + 2 * off[1]!, 3 * off[2]! + 4 * off[3]!]));
});

test("a gradient that there is none of is told of as the language tells it", () => {
  const graph = standardLibrary().get("mask_2of4")!;
  assert.throws(
    () => gradientOf(graph, { of: resultOf(graph), by: ["score"] }),
    (error: unknown) => /E70[12]/.test(String(error)),
  );
});

test("steps of AdamW, clipped by the norm of all gradients, whatever the loss is scaled by", () => {
  const { settings, start, steps } = made.adamw;
  const { beta1 = 0, beta2 = 0, epsilon = 0, decay = 0, clip = 0 } = settings;
  for (const scale of [1, 1024]) {
    const zeros = (rows: Rows): TensorValue => matrix(rows.map((row) => row.map(() => 0)));
    const states = { a: state(start.a), b: state(start.b) };
    function state(rows: Rows): { w: TensorValue; m: TensorValue; v: TensorValue } {
      return { w: matrix(rows), m: zeros(rows), v: zeros(rows) };
    }
    let optimizer = tensor([8], [scale, 0, 1, 1, 0, 0, 0, 0]);
    for (const each of steps) {
      const rows = each.gradients.a.length;
      let squares = tensor([rows + each.gradients.b.length], new Array(rows + each.gradients.b.length).fill(0));
      const gradients = { a: each.gradients.a, b: each.gradients.b };
      const scaled = (name: "a" | "b"): TensorValue => matrix(gradients[name].map((row) => row.map((g) => g * scale)));
      for (const name of ["a", "b"] as const)
        squares = call("put_squares", { g: scaled(name), squares, place: name === "a" ? 0 : rows })[0]!;
      optimizer = call("next_state", { state: optimizer, squares, clip, beta1, beta2, patience: 2 })[0]!;
      assert.ok(near([optimizer.data[7]!], [each.norm]), "the norm, without the scale");
      for (const name of ["a", "b"] as const) {
        const args = { ...states[name], g: scaled(name), state: optimizer, step: tensor([2], [each.rate, 1]) };
        const [w, m, v] = call("adamw", { ...args, beta1, beta2, epsilon, decay });
        states[name] = { w: w!, m: m!, v: v! };
        assert.ok(near(w!.data, each[name].flat()), `${name}, scale ${scale}`);
      }
      // the gradients of the next step come with the scale that this one leaves
      if (scale !== optimizer.data[0]) optimizer = tensor([8], [scale, ...[...optimizer.data].slice(1)]);
    }
  }
});

test("a step whose gradients are not finite is left out, and the scale of the loss is halved; it grows again", () => {
  const begins = [64, 1, 0.9, 0.95, 1, 0, 0, 0];
  const next = (squares: readonly number[], state: readonly number[]): readonly number[] =>
    result("next_state", {
      state: tensor([8], state),
      squares: tensor([squares.length], squares),
      clip: 0,
      beta1: 0.9,
      beta2: 0.95,
      patience: 2,
    });
  for (const lost of [Infinity, NaN]) {
    const left = next([1, lost], begins);
    assert.equal(left.slice(0, 7), [32, 0, ...begins.slice(2, 5).map(Math.fround), 1, 0]);
    const ones = tensor([1, 2], [1, 2]);
    const args = { m: tensor([1, 2], [3, 4]), v: tensor([1, 2], [5, 6]), g: tensor([1, 2], [lost, 1]) };
    const same = call("adamw", {
      w: ones,
      ...args,
      state: tensor([8], left),
      step: tensor([2], [0.1, 1]),
      beta1: 0.9,
      beta2: 0.95,
      epsilon: 1e-8,
      decay: 0.1,
    });
    assert.equal(
      same.map(({ data }) => [...data]),
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    );
  }
  assert.equal(next([9, 16], begins).slice(0, 2), [128, 0], "doubled after two good steps");
  assert.ok(near([next([9, 16], begins)[7]!], [5 / 64]));
});

test("rows of sequences are taken and put back, and losses that do not count add nothing", () => {
  const x = tensor([2, 3, 1], [0, 1, 2, 3, 4, 5]);
  assert.equal(result("token_rows", { x, start: 2 }, { sizes: { tokens: 3 } }), [2, 3, 4]);
  assert.equal(result("put_token_rows", { x, rows: tensor([2, 1], [8, 9]), start: 2 }), [0, 1, 8, 9, 4, 5]);
  const scored = tensor([2, 3], [1, 1, 0, 1, 1, 1]);
  assert.equal(
    result("add_losses", { loss: tensor([3], [10, 20, 30]), scored, start: 1, total: tensor([1], [1]) }),
    [41],
  );
  const [state, step] = [tensor([8], [16, 0, 0, 0, 0, 0, 0, 0]), tensor([2], [0.5, 0.25])];
  assert.equal(result("loss_weights", { scored, step, state, start: 1 }, { sizes: { tokens: 3 } }), [4, 0, 4]);
});

test.run();
