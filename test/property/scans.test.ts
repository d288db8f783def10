/** Random scans, in blocks of any size and column by column: what runs in blocks is what the evaluator says. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import type { ScanOptions } from "../../compiler/lower/scan/blocking.js";
import { programCase } from "../lower/language.js";
import { runs } from "../support/runs.js";
import { scanPrograms } from "../support/scan-programs.js";
import { evaluateStages } from "../support/stages.js";
import { targets } from "../support/targets.js";
import { close } from "../support/tolerance.js";
import { evaluateUnread } from "../support/unread.js";

const test = suite("random scans");

const cuts: readonly ScanOptions[] = [
  {},
  { block: 5 },
  { block: 4, memory: "storage" },
  { block: 3, memory: "workgroup" },
  { blocked: false },
];

for (const [name, target] of Object.entries(targets)) {
  test(`agree with the evaluator on ${name}`, () => {
    let blocked = 0;
    fc.assert(
      fc.property(scanPrograms(), fc.constantFrom(...cuts), ({ source, sizes }, scan) => {
        const { graph, inputs } = programCase(source, sizes, "chain", {
          ids: Array.from({ length: sizes["N"]! * sizes["K"]! }, (_, at) => (at * 7) % 5),
        });
        const stages = lowerConcrete(graph, target, { scan });
        if (stages.kernels.flat().some((kernel) => kernel.origin.schedule === "block")) blocked += 1;
        const expected = evaluateUnread(graph, inputs);
        const actual = evaluateStages(stages, expected.inputs, new Map(), target.subgroups?.min ?? 4);
        for (const [output, value] of expected.outputs) close(actual.get(output)!.data, value.data, "chain", output);
      }),
      runs(120),
    );
    assert.ok(blocked >= 10, `only ${blocked} ran in blocks`);
  });
}

test.run();
