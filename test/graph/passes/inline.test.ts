import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../../compiler/compile.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { standardLibrary } from "../../../runtime/library.js";
import { targets } from "../../support/targets.js";

const test = suite("reductions computed where they are read");

/** How many equations a function of the library becomes. */
function equations(name: string, sizes: Readonly<Record<string, number>>): number {
  const stages = compileStages(
    standardLibrary().get(name)!,
    { sizes, dtypes: { E: "f32" } },
    targets["a GPU with subgroups of 32"],
  );
  if ("diagnostics" in stages) throw new Error(stages.diagnostics.map(({ message }) => message).join("\n"));
  assert.ok(stages.fused.eqns.length > 0, printGraph(stages.fused));
  return stages.fused.eqns.length;
}

test("a norm is computed with its row, of one token and of many", () => {
  for (const T of [1, 512]) assert.is(equations("rms_norm", { B: 1, T, D: 8192 }), 1);
});

// a replayed fault: one workgroup wrote the whole matrix, for the mean that all of it reads
test("the mean of a diagonal is not computed with a matrix that one workgroup would have to write", () => {
  assert.is(equations("damped", { K: 64 }), 1);
  assert.is(equations("damped", { K: 300 }), 2);
});

test.run();
