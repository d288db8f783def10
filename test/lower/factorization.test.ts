import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import { buildGraph } from "../../compiler/graph/build.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import type { FactorizationOp } from "../../compiler/graph/ops.js";
import type { Target } from "../../compiler/target.js";
import { numbers } from "../support/numbers.js";
import { evaluateStages } from "../support/stages.js";
import { targets } from "../support/targets.js";
import { close } from "../support/tolerance.js";
import { evaluateUnread } from "../support/unread.js";

const test = suite("factorisations");

function factorGraph(op: FactorizationOp, size: number): ConcreteGraph {
  const build = buildGraph(op);
  const a = build.input("a", "f32", [size, size]);
  build.output("l", build.factorize("l", a, op));
  return build.graph();
}

/** A symmetric positive definite matrix. */
function definite(size: number): Float32Array {
  const x = numbers(size * size, size);
  const a = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      let sum = i === j ? 0.5 : 0;
      for (let m = 0; m < size; m++) sum += (x[i * size + m]! * x[j * size + m]!) / size;
      a[i * size + j] = sum;
    }
  }
  return a;
}

/** A symmetric matrix with eigenvalues of both signs that lie apart, and rubbish above the diagonal. */
function apartSpectrum(size: number): Float32Array {
  const x = numbers(size * size, size + 2);
  return x.map((value, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    return i === j ? 3 * (((i * 7) % size) - size / 3) + value / 4 : value / 4;
  });
}

/** A lower triangular matrix that is easy to invert, with rubbish above. */
function lower(size: number): Float32Array {
  return numbers(size * size, size + 1).map((value, at) =>
    at % size === Math.floor(at / size) ? 1.5 + value : value / 8,
  );
}

/** Holds the kernels for a target to the evaluator. */
function agree(graph: ConcreteGraph, inputs: ReadonlyMap<string, TensorValue>, target: Target, what: string): void {
  const expected = evaluateUnread(graph, inputs);
  const stages = lowerConcrete(graph, target);
  const actual = evaluateStages(stages, expected.inputs, new Map(), target.subgroups?.min ?? 4).get("l")!;
  close(actual.data, expected.outputs.get("l")!.data, "chain", what);
}

for (const [name, target] of Object.entries(targets)) {
  test(`agree with the evaluator at awkward sizes on ${name}`, () => {
    for (const size of [1, 5, 31, 32, 33, 64, 65, 130]) {
      for (const op of ["cholesky", "inverse_lower"] as const) {
        const graph = factorGraph(op, size);
        const inputs = new Map([
          ["a", tensorValue("f32", [size, size], op === "cholesky" ? definite(size) : lower(size))],
        ]);
        agree(graph, inputs, target, `${op} ${size}`);
      }
    }
  });

  test(`agree with the evaluator where there are several panels on ${name}`, () => {
    const sizes = { baseline: [160, 256], "a GPU with subgroups of 32": [328], "a CPU driver": [96] }[name] ?? [];
    for (const size of sizes)
      for (const op of ["cholesky", "inverse_lower"] as const) {
        const graph = factorGraph(op, size);
        const values = op === "cholesky" ? definite(size) : lower(size);
        agree(graph, new Map([["a", tensorValue("f32", [size, size], values)]]), target, `${op} ${size}`);
      }
  });

  test(`eigenvectors agree with the evaluator at awkward sizes on ${name}`, () => {
    for (const size of [1, 2, 5, 16, 33]) {
      const graph = factorGraph("eigenvectors", size);
      const inputs = new Map([["a", tensorValue("f32", [size, size], apartSpectrum(size))]]);
      agree(graph, inputs, target, `eigenvectors ${size}`);
    }
  });

  test(`a pivot that is not positive stands on the diagonal on ${name}`, () => {
    for (const [size, at] of [
      [5, 2],
      [70, 40],
      [70, 66],
    ] as const) {
      const a = definite(size);
      a[at * size + at] = -3;
      const graph = factorGraph("cholesky", size);
      const inputs = new Map([["a", tensorValue("f32", [size, size], a)]]);
      const expected = evaluateUnread(graph, inputs);
      const actual = evaluateStages(
        lowerConcrete(graph, target),
        expected.inputs,
        new Map(),
        target.subgroups?.min ?? 4,
      ).get("l")!;
      assert.ok(actual.data[at * size + at]! < 0);
      close(actual.data, expected.outputs.get("l")!.data, "chain", `pivot ${at} of ${size}`);
    }
  });
}

test.run();
