import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, type Stages } from "../../../compiler/compile.js";
import type { ScanOptions } from "../../../compiler/lower/scan/blocking.js";
import type { Target } from "../../../compiler/target.js";
import { runs } from "../../support/runs.js";
import { gptq, randomScan, sparseGptq, type ScanCase } from "../../support/scans.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";
import { close } from "../../support/tolerance.js";
import { evaluateUnread, type Evaluated } from "../../support/unread.js";

const test = suite("scans");

/** What the cases of all targets give: the same for each target and block. */
const made = new Map<string, ScanCase & { readonly expected: Evaluated }>();

/** A case that stays, with what it gives, by a name of its own. */
function kept(name: string, make: () => ScanCase): ScanCase & { readonly expected: Evaluated } {
  const known = made.get(name);
  if (known !== undefined) return known;
  const given = make();
  const whole = { ...given, expected: evaluateUnread(given.graph, given.inputs) };
  made.set(name, whole);
  return whole;
}

/** Lowers and runs, and compares every output with the unblocked evaluator's. */
function agree(
  { graph, inputs, expected = evaluateUnread(graph, inputs) }: ScanCase & { readonly expected?: Evaluated },
  target: Target,
  scan: ScanOptions,
  what: string,
): Stages {
  const stages = lowerConcrete(graph, target, { scan });
  const actual = evaluateStages(stages, expected.inputs, new Map(), target.subgroups?.min ?? 4);
  for (const [name, value] of expected.outputs)
    close(actual.get(name)!.data, value.data, value.dtype === "bool" ? "exact" : "chain", `${what}: ${name}`);
  return stages;
}

const schedulesOf = (stages: Stages): readonly string[] =>
  stages.kernels.flat().map((kernel) => kernel.origin.schedule);

for (const [name, target] of Object.entries(targets)) {
  test(`GPTQ-like scans agree with the evaluator on ${name}`, () => {
    for (const [rows, size] of [
      [1, 1],
      [3, 7],
      [5, 33],
    ] as const) {
      for (const options of [{}, { keep: true }, { after: true, set: true }]) {
        for (const scan of [
          { blocked: false },
          { block: 1 },
          { block: 5 },
          { block: 16 },
          { block: 40, lanes: 8, rows: 4 },
          {},
        ]) {
          const stages = agree(
            kept(`gptq ${rows} ${size} ${JSON.stringify(options)}`, () => gptq(rows, size, options)),
            target,
            scan,
            `gptq ${rows} x ${size} ${JSON.stringify(options)} ${JSON.stringify(scan)}`,
          );
          assert.equal(stages.notes.length, "blocked" in scan ? 1 : 0, stages.notes.join());
          assert.equal(schedulesOf(stages).includes("block"), !("blocked" in scan));
        }
      }
    }
  });

  test(`scans that choose masks and scales on the way agree with the evaluator on ${name}`, () => {
    for (const [rows, size, group] of [
      [2, 8, 4],
      [3, 24, 8],
      [3, 30, 12],
    ] as const) {
      for (const scan of [{ blocked: false }, { block: 1 }, { block: 12 }, {}]) {
        const stages = agree(
          kept(`sparse ${rows} ${size} ${group}`, () => sparseGptq(rows, size, group)),
          target,
          scan,
          `sparse ${rows} x ${size} / ${group} ${JSON.stringify(scan)}`,
        );
        assert.equal(stages.notes.length, "blocked" in scan ? 1 : 0, stages.notes.join());
      }
    }
  });

  test(`random columnwise scans agree with the evaluator at any block size on ${name}`, () => {
    fc.assert(
      fc.property(
        fc.record({
          rows: fc.integer({ min: 1, max: 6 }),
          columns: fc.integer({ min: 1, max: 21 }),
          after: fc.constantFrom(0 as const, 1 as const),
          products: fc.constantFrom(1 as const, 2 as const),
          masked: fc.boolean(),
          set: fc.boolean(),
          every: fc.constantFrom(1, 3),
          carried: fc.boolean(),
          group: fc.constantFrom(1, 2, 4),
          seed: fc.integer({ min: 1, max: 1000 }),
          from: fc.constantFrom(0, 4),
          length: fc.integer({ min: 0, max: 21 }),
        }),
        fc.integer({ min: 1, max: 24 }),
        ({ length, ...choices }, block) => {
          const from = Math.min(choices.from, choices.columns);
          const aligned = from % choices.group === 0 ? from : 0;
          const to = Math.min(choices.columns, aligned + length);
          const stages = agree(
            randomScan({ ...choices, from: aligned, to }),
            target,
            { block },
            JSON.stringify({ ...choices, length, block }),
          );
          // in the first group, k / 4 * 4 is 0: nothing shows that its columns follow the step
          if (to > choices.group) assert.equal(stages.notes, []);
        },
      ),
      runs(60),
    );
  });
}

test("a product follows each block but the last", () => {
  const stages = lowerConcrete(gptq(64, 256).graph, targets["a GPU with subgroups of 32"]);
  assert.equal(schedulesOf(stages), ["loops", "block", "vectored", "block"]);
  const cpu = lowerConcrete(gptq(64, 256).graph, targets["a CPU driver"]);
  assert.equal(schedulesOf(cpu), ["loops", "block", "quads", "block"]);
});

test.run();
