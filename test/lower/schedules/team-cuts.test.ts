/** Products by teams: that all workgroups have as much to do, at the sizes of Llama 3.1 8B. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evenTeams, evenWorkgroups } from "../../../compiler/lower/schedules/team-cuts.js";
import { runs } from "../../support/runs.js";
import { targets } from "../../support/targets.js";
import { stagesOf } from "../support.js";

const test = suite("cuts of products by teams");

test("as many turns as with the most teams, and none fewer would do", () => {
  const turns = (rows: number, teams: number): number => Math.ceil(rows / teams);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 600 }), (rows, most) => {
      const teams = evenTeams(rows, most);
      assert.ok(teams >= 1 && teams <= most);
      assert.is(turns(rows, teams), turns(rows, most));
      assert.ok(teams === 1 || turns(rows, teams - 1) > turns(rows, most));
    }),
    runs(200),
  );
  assert.is(evenWorkgroups(0, 64, 1, 4), 1);
});

test("gate and up: 28 teams have four rows each, in two workgroups where activations are looked up", () => {
  const target = { ...targets["a GPU with subgroups of 32"], f16: true, maxWorkgroupMemory: 49152 };
  const formats = { P: "nm(2, 4) of f16", U: "nm(2, 4) of f16" };
  const sizes = { B: 1, T: 1, M: 14336, D: 4096 };
  const { program } = stagesOf("gated", { sizes, formats, dtype: "f16" }, target);
  const [kernel] = program.kernels;
  assert.equal([kernel!.schedule, kernel!.workgroupSize[0]], ["lookup", 28 * 32]);
  const [workgroups] = program.steps.flatMap((step) => (step.kind === "dispatch" ? [step.workgroups[0]] : []));
  assert.is(workgroups! * 28 * 2, 14336);
});

test.run();
