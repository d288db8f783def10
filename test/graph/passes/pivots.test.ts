import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildGraph } from "../../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { withPivots } from "../../../compiler/graph/passes/pivots.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { verify } from "../../../compiler/graph/verify.js";
import { symbolSize } from "../../../compiler/types/size.js";
import type { Symbolic } from "../../../compiler/types/type.js";

const test = suite("pivots of factorisations");

/** The inverse of a factor, and a factor of its own, with results of names that pivots would have. */
function twoFactors(): SymbolicGraph {
  const b = buildGraph<Symbolic>("two");
  const k = symbolSize("K");
  const [x, y] = [b.input("x", "f32", [k, k]), b.input("y", "f32", [k, k])];
  b.output("pivots", b.factorize("inverse", b.factorize("l", x, "cholesky"), "inverse_lower"));
  b.output("m", b.factorize("m", y, "cholesky"));
  return b.graph({ sizes: ["K"], dtypes: [], formats: [] });
}

test("each Cholesky factorisation gives its diagonal and its matrix's, and nothing else changes", () => {
  const graph = twoFactors();
  const { graph: watched, factorizations } = withPivots(graph);
  assert.equal(factorizations, [
    { output: "pivots_2", matrix: "x" },
    { output: "pivots_3", matrix: "y" },
  ]);
  assert.equal(watched.outputs.slice(0, 2), graph.outputs);
  // each right after its factorisation, so that no matrix is kept for it
  assert.equal(
    watched.eqns.map((eqn) => eqn.kind),
    ["factorize", "map", "factorize", "factorize", "map"],
  );
  assert.equal(
    watched.eqns.filter((eqn) => eqn.kind === "factorize"),
    graph.eqns,
  );

  const concrete = specialize(
    watched,
    { sizes: new Map([["K", 3]]), dtypes: new Map(), formats: new Map() },
    { f16: false },
  );
  if (!("graph" in concrete)) throw new Error(JSON.stringify(concrete));
  assert.equal(verify(concrete.graph), []);
  const given = new Map([
    ["x", tensorValue("f32", [3, 3], [4, 0, 0, 2, -3, 0, 2, 1, 5])],
    ["y", tensorValue("f32", [3, 3], [9, 0, 0, 0, 16, 0, 0, 0, 25])],
  ]);
  const found = evaluate(concrete.graph, given);
  // 2 is the root of a pivot; the second pivot is -3 - 1
  assert.equal([...found.get("pivots_2")!.data], [2, -4, 2, 4, -3, 5]);
  assert.equal([...found.get("pivots_3")!.data], [3, 4, 5, 9, 16, 25]);
});

test("a graph without one is the same object", () => {
  const b = buildGraph<Symbolic>("none");
  const x = b.input("x", "f32", [symbolSize("K"), symbolSize("K")]);
  b.output("y", b.factorize("y", x, "inverse_lower"));
  const graph = b.graph({ sizes: ["K"], dtypes: [], formats: [] });
  const { graph: watched, factorizations } = withPivots(graph);
  assert.is(watched, graph);
  assert.equal(factorizations, []);
});

test.run();
