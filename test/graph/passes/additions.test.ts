/** Additions solved for their places: against the evaluator, and what they become. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { fuse } from "../../../compiler/graph/passes/fuse.js";
import { scatterToGather } from "../../../compiler/graph/passes/scatter-to-gather.js";
import { simplify } from "../../../compiler/graph/passes/simplify.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import { agreeSimulated, expectedOf, type Case } from "../../support/agreement.js";
import { additionCase, additionCases, placeForms, type AdditionCase } from "../../support/additions.js";
import { runs } from "../../support/runs.js";
import { simulated, simulatedHalf } from "../../support/simulated.js";
import { difference } from "../../support/tolerance.js";

const test = suite("additions solved for their places");

function holds({ graph, inputs }: AdditionCase): void {
  const expected = evaluate(graph, inputs).get("h");
  for (const after of [scatterToGather(graph), simplify(scatterToGather(graph))]) {
    assert.equal(verify(after), [], printGraph(after));
    const found = difference(evaluate(after, inputs).get("h")?.data ?? [], expected?.data ?? [], "exact");
    if (found !== null) throw new Error(`${found}\n${printGraph(graph)}\n${printGraph(after)}`);
  }
}

test("each form, on zeros and in place", () => {
  for (const form of Object.values(placeForms))
    for (const base of ["zeros", "given"] as const)
      for (const summed of [null, 3])
        holds(additionCase([{ forms: [form], summed, condition: summed === null }], base, "f32"));
});

test("random ones, several on one tensor", () => {
  fc.assert(fc.property(additionCases(), holds), runs(150));
});

test("random ones through kernels", () => {
  fc.assert(
    fc.property(additionCases(), fc.nat(simulated.length), ({ graph, inputs }, turn) => {
      const given: Case = { graph, inputs, kind: "exact" };
      const half = [...graph.values].some(({ type }) => type.dtype === "f16");
      const device = half ? simulatedHalf : (simulated[turn] ?? simulatedHalf);
      agreeSimulated(given, expectedOf(given), device, { fuse: turn % 2 === 0 });
    }),
    runs(25),
  );
});

/** The last equation of an addition to zeros. */
function gathered(name: string): string {
  const form = placeForms[name];
  if (form === undefined) throw new Error(`there is no form ${name}`);
  const { graph } = additionCase([{ forms: [form], summed: null, condition: false }], "zeros", "f32");
  const lines = printGraph(simplify(scatterToGather(graph))).split("\n");
  return (
    lines
      .filter((line) => line.includes(" = "))
      .at(-1)
      ?.replace(/^.*= map ?/, "") ?? ""
  );
}

const becomes: Readonly<Record<string, string>> = {
  "an index": "i: %1[i]",
  "an offset": "at0: select(at0 >= 1 and at0 < 5, %1[at0 - 1]?, 0.0)",
  backwards: "at0: %1[4 - at0]",
  digits: "at0: %1[at0 / 4, at0 % 4]",
  "a half turned in digits": "at0: %1[at0 / 6, (at0 % 6 + 3) % 6]",
  "a turn": "at0: %1[(at0 + 3) % 5]",
  "a quotient": "at0: sum i in 0..4: %1[at0 * 4 + i]",
  "a quotient with a rest": "at0: sum i in 0..4: select(at0 * 4 + i < 10, %1[at0 * 4 + i]?, 0.0)",
  "a remainder": "at0: sum i in 0..2: %1[i * 4 + at0]",
  heads: "at0, at1: %1[at0 * 4 + at1]",
  "three digits": "at0, at1, at2: %1[(at0 * 3 + at1) * 2 + at2]",
  "a group of digits": "at0, j: sum i in 0..2: %1[at0 * 2 + i, j]",
  "a sum": "at0: sum j in 0..3: select(at0 - j >= 0 and at0 - j < 4, %1[at0 - j, j]?, 0.0)",
  smallest: "at0: sum i in 0..5: select(min(i, 2) == at0, %1[i], 0.0)",
  "data and an offset": "at0: sum i in 0..8: select(at0 - %0[i] >= 0 and at0 - %0[i] < 3, %1[i, at0 - %0[i]]?, 0.0)",
};

for (const [name, text] of Object.entries(becomes))
  test(`${name} becomes ${text}`, () => assert.is(gathered(name), text));

test("additions to one tensor are maps, and the last has what they have together", () => {
  const forms = [placeForms["digits"], placeForms["a half turned in digits"]].flatMap((form) => form ?? []);
  const { graph } = additionCase(
    forms.map((form) => ({ forms: [form], summed: null, condition: false })),
    "zeros",
    "f16",
  );
  const after = simplify(fuse(simplify(scatterToGather(graph))));
  assert.equal(
    after.eqns.map((eqn) => eqn.kind),
    ["map"],
  );
});

test.run();
