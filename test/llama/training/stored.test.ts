/** Weights that a treatment is given as they are stored: it computes what it does with them decoded. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../../compiler/compile.js";
import { inAnyFormat, takesAnyFormat } from "../../../runtime/llama/training/gradients.js";
import { graphOf } from "../../check/support.js";
import { numbers, packed } from "../../support/packed.js";
import { parseFormat } from "../../support/format-text.js";
import { evaluateStages } from "../../support/stages.js";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { targets } from "../../support/targets.js";

const test = suite("weights as they are stored");

const [N, K] = [6, 64];
const masked = graphOf(
  "fn main(w: f32[N, K], start: f32[N, K]) -> f32[N, K] where K % 4 == 0 {\n  let size[n, k] = abs(start[n, k])\n  let keep = top 2 of 4 along k in size\n  return w where keep\n}",
  "main",
);
const direct = graphOf(
  "fn main(w: f32[N, K], start: f32[N, K]) -> f32[N, K] where K % 4 == 0 {\n  let keep = top 2 of 4 along k in start\n  return w where keep\n}",
  "main",
);

const summed = graphOf(
  "fn main(w: f32[N, K], start: f32[N, K]) -> f32[N, K] {\n  let most[n] = max[k] abs(start[n, k])\n  return y where y[n, k] = w[n, k] / most[n]\n}",
  "main",
);

test("one whose elements are read may be given in any format, one that is an operand as a whole may not", () => {
  assert.ok(takesAnyFormat(masked, "start"));
  assert.not(takesAnyFormat(direct, "start"));
  assert.not(takesAnyFormat(masked, "other"));
  assert.not(takesAnyFormat(summed, "start"));
});

for (const format of ["f16", "nm(2, 4) of f16", "nm(2, 4) of int4(32)", "int4(32)"])
  test(`a mask of a weight in ${format}`, () => {
    const made = packed(format, N, K, 3);
    const w = tensorValue("f32", [N, K], numbers(N * K, 1));
    const start = tensorValue("f32", [N, K], made.dense);
    const run = (
      graph: typeof masked,
      formats: Record<string, ReturnType<typeof parseFormat>>,
      words: Map<string, Uint32Array>,
    ) => {
      const stages = compileStages(graph, { sizes: { N, K }, formats }, targets["a GPU with subgroups of 32"]);
      if ("diagnostics" in stages) throw new Error(stages.diagnostics.map(({ message }) => message).join());
      const inputs = new Map([
        ["w", w],
        ["start", start],
      ]);
      return { stages, found: [...evaluateStages(stages, inputs, words, 32).values()][0]!.data };
    };
    const decoded = run(masked, {}, new Map());
    const stored = run(
      inAnyFormat(masked, ["start"]),
      { "format of start": parseFormat(format) },
      new Map([["start", made.words]]),
    );
    assert.equal([...stored.found], [...decoded.found]);
    assert.ok(stored.found.some((each) => each !== 0) && stored.found.some((each) => each === 0));
    assert.is(stored.stages.kernels.flat().length, decoded.stages.kernels.flat().length, "nothing is decoded before");
  });

test.run();
