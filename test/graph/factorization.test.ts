import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildGraph } from "../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import type { FactorizationOp } from "../../compiler/graph/ops.js";
import { printGraph } from "../../compiler/graph/print.js";
import { simplify } from "../../compiler/graph/passes/simplify.js";
import { verify } from "../../compiler/graph/verify.js";
import { pseudorandomValues } from "../support/columns.js";
import { runs } from "../support/runs.js";
import { difference } from "../support/tolerance.js";

const test = suite("factorisations");

function factor(op: FactorizationOp, n: number): ConcreteGraph {
  const b = buildGraph(op);
  b.output("y", b.factorize("y", b.input("a", "f32", [n, n]), op));
  return b.graph();
}

function apply(op: FactorizationOp, n: number, a: readonly number[]): number[] {
  return [...evaluate(factor(op, n), new Map([["a", tensorValue("f32", [n, n], a)]])).get("y")!.data];
}

/** a b^T where `transposed`, else a b, of square matrices. */
function product(a: readonly number[], b: readonly number[], n: number, transposed: boolean): number[] {
  return Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return Array.from({ length: n }, (_, k) => a[i * n + k]! * (transposed ? b[j * n + k]! : b[k * n + j]!)).reduce(
      (sum, term) => sum + term,
      0,
    );
  });
}

const size = fc.integer({ min: 1, max: 12 });

test("l l^T is the matrix again, and l is zero above the diagonal", () => {
  fc.assert(
    fc.property(size, fc.nat(1000), (n, seed) => {
      const x = pseudorandomValues(n * n, seed, 1);
      const a = product(x, x, n, true).map((value, at) => Math.fround(at % (n + 1) === 0 ? value + 0.5 : value));
      const l = apply("cholesky", n, a);
      assert.is(difference(product(l, l, n, true), a, "reduction"), null);
      for (let i = 0; i < n; i += 1) for (let j = i + 1; j < n; j += 1) assert.is(l[i * n + j], 0);
    }),
    runs(50),
  );
});

test("the inverse times the matrix is the identity", () => {
  fc.assert(
    fc.property(size, fc.nat(1000), (n, seed) => {
      const l = pseudorandomValues(n * n, seed, 0.5).map((value, at) =>
        Math.fround(at % (n + 1) === 0 ? 1 + Math.abs(value) : value),
      );
      // what stands above the diagonal is not read
      const lower = l.map((value, at) => (at % n > Math.floor(at / n) ? 0 : value));
      const identity = l.map((_, at) => (at % (n + 1) === 0 ? 1 : 0));
      assert.is(difference(product(apply("inverse_lower", n, l), lower, n, false), identity, "chain"), null);
    }),
    runs(50),
  );
});

test("eigenvectors are orthonormal, make the matrix diagonal, and stand by descending eigenvalue", () => {
  fc.assert(
    fc.property(size, fc.nat(1000), fc.integer({ min: 1, max: 12 }), (n, seed, rank) => {
      // of low rank there are eigenvalues that are equal
      const x = pseudorandomValues(n * n, seed, 1).map((value, at) => (at % n < rank ? value : 0));
      const a = product(x, x, n, true).map(Math.fround);
      const v = apply("eigenvectors", n, a);
      const identity = v.map((_, at) => (at % (n + 1) === 0 ? 1 : 0));
      assert.is(difference(product(v, v, n, true), identity, "reduction"), null);
      const transposed = v.map((_, at) => v[(at % n) * n + Math.floor(at / n)]!);
      const diagonal = product(transposed, product(a, v, n, false), n, false);
      const eigenvalues = Array.from({ length: n }, (_, k) => diagonal[k * (n + 1)]!);
      const peak = Math.max(...a.map(Math.abs));
      for (const [at, value] of diagonal.entries())
        if (at % (n + 1) !== 0) assert.ok(Math.abs(value) < 1e-5 * peak, `${value} off the diagonal`);
      for (let k = 1; k < n; k += 1) assert.ok(eigenvalues[k]! <= eigenvalues[k - 1]! + 1e-5 * peak);
    }),
    runs(50),
  );
});

test("eigenvectors read the lower triangle, and their largest element is positive", () => {
  const r = Math.fround(Math.SQRT1_2);
  assert.is(difference(apply("eigenvectors", 2, [1, 9, 2, 1]), [r, r, r, -r], "pointwise"), null);
  assert.equal(apply("eigenvectors", 3, [1, 0, 0, 0, 3, 0, 0, 0, 2]), [0, 0, 1, 1, 0, 0, 0, 1, 0]);
  assert.equal(apply("eigenvectors", 1, [-4]), [1]);
});

test("a pivot that is not positive stands on the diagonal, with zeros below", () => {
  assert.equal(apply("cholesky", 3, [4, 9, 9, 2, -3, 9, 2, 1, 5]), [2, 0, 0, 1, -4, 0, 1, 0, 2]);
  assert.equal(apply("cholesky", 1, [0]), [0]);
});

test("a factorisation prints, is verified, and is made once where two are equal", () => {
  const b = buildGraph("twice");
  const a = b.input("a", "f32", [3, 3]);
  const [x, y] = [b.factorize("x", a, "cholesky"), b.factorize("y", a, "cholesky")];
  b.output("l", b.factorize("l", x, "inverse_lower"));
  b.output("m", b.factorize("m", y, "inverse_lower"));
  const simple = simplify(b.graph());
  assert.is(
    printGraph(simple),
    `graph twice(%0 a: f32[3, 3])
  %1 x: f32[3, 3] = cholesky %0
  %2 l: f32[3, 3] = inverse_lower %1
  %3 m: f32[3, 3] = inverse_lower %1
  return %2 l, %3 m
`,
  );
  assert.equal(verify(simple), []);
  const wide = buildGraph("wide");
  wide.output("y", wide.factorize("y", wide.input("a", "f32", [3, 4]), "cholesky"));
  assert.match(verify(wide.graph()).join("\n"), /the result is not square/);
});

test.run();
