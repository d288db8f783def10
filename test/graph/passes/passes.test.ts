import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { expandTop } from "../../../compiler/graph/passes/expand.js";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { fuse } from "../../../compiler/graph/passes/fuse.js";
import type { ConcreteGraph } from "../../../compiler/graph/graph.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { simplify } from "../../../compiler/graph/passes/simplify.js";
import { verify } from "../../../compiler/graph/verify.js";
import { graphCases } from "../../support/graphs.js";
import { runs } from "../../support/runs.js";
import { difference } from "../../support/tolerance.js";
import type { ToleranceKind } from "../../support/tolerance.js";

const test = suite("passes over random graphs");

/** Holds a pass to the evaluator, on graphs of exact and of smooth values. `kind` is for the smooth ones. */
function preserves(name: string, pass: (graph: ConcreteGraph) => ConcreteGraph, kind: ToleranceKind): void {
  for (const values of ["exact", "smooth"] as const) {
    test(`${name} keeps the meaning of ${values} graphs`, () => {
      fc.assert(
        fc.property(graphCases({ values, f16: true }), ({ graph, inputs }) => {
          const after = pass(graph);
          assert.equal(verify(after), [], printGraph(after));
          const expected = evaluate(graph, inputs);
          const actual = evaluate(after, inputs);
          assert.equal([...actual.keys()], [...expected.keys()]);
          for (const [output, value] of expected) {
            const found = difference(actual.get(output)?.data ?? [], value.data, values === "exact" ? "exact" : kind);
            if (found !== null) throw new Error(`${output}: ${found}\n${printGraph(after)}`);
          }
        }),
        runs(50),
      );
    });
  }
}

test("generated graphs are well typed and have finite values", () => {
  for (const values of ["exact", "smooth"] as const) {
    fc.assert(
      fc.property(graphCases({ values, f16: true }), ({ graph, inputs }) => {
        assert.equal(verify(graph), []);
        for (const [name, value] of evaluate(graph, inputs))
          for (const element of value.data) if (!Number.isFinite(element)) throw new Error(`${name} has ${element}`);
      }),
      runs(50),
    );
  }
});

preserves("expandTop", expandTop, "exact");
preserves("fuse", (graph) => fuse(graph), "exact");
preserves("fuse that inlines reductions", (graph) => fuse(graph, { inlineReductions: () => true }), "exact");
preserves("simplify", simplify, "half");
preserves("all passes", (graph) => simplify(fuse(simplify(expandTop(graph)))), "half");

test("simplify and fuse have nothing to do a second time", () => {
  fc.assert(
    fc.property(graphCases({ values: "exact" }), ({ graph }) => {
      const simple = simplify(graph);
      assert.is(printGraph(simplify(simple)), printGraph(simple));
      const fused = fuse(simple);
      assert.is(printGraph(fuse(fused)), printGraph(fused));
    }),
    runs(50),
  );
});

test.run();
