/**
 * Every generated program parses, prints to a text that parses to the same, checks without an error, specialises at
 * awkward sizes, and is computed alike in three ways. `test/support/runs.ts` says how to try more cases.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import { parse } from "../../compiler/syntax/parse.js";
import { print } from "../../compiler/syntax/print.js";
import { checked } from "../check/support.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { programCases, type ProgramCase } from "../support/programs.js";
import { runs } from "../support/runs.js";
import { simulated } from "../support/simulated.js";
import type { ToleranceKind } from "../support/tolerance.js";

const test = suite<{ machine: Machine }>("generated programs");
const choices = [null, ...schedules];

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

/** The source in the formatter's layout, which formatting again must leave as it is. */
function formatted(source: string): string {
  const module = (text: string): Parameters<typeof print>[0] => {
    const { value, diagnostics } = parse(text, "main.esp");
    assert.equal(diagnostics, []);
    return value!;
  };
  const once = print(module(source));
  assert.is(print(module(once)), once);
  return once;
}

/** `main` at the program's sizes. */
function specialized({ source, sizes, inputs }: ProgramCase, kind: ToleranceKind): Case {
  const symbolic = checked(formatted(source)).functions.get("main")!;
  const bound = specialize(
    symbolic,
    { sizes: new Map(Object.entries(sizes)), dtypes: new Map(), formats: new Map() },
    { f16: false },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  return { graph: bound.graph, inputs, kind };
}

for (const values of ["exact", "smooth"] as const) {
  const kind = values === "exact" ? "exact" : "chain";

  test(`with ${values} values, in the kernel evaluator`, () => {
    fc.assert(
      fc.property(programCases({ values }), fc.nat(simulated.length * choices.length - 1), (program, turn) => {
        const given = specialized(program, kind);
        agreeSimulated(given, expectedOf(given), simulated[turn % simulated.length]!, {
          schedule: choices[Math.floor(turn / simulated.length)]!,
          fuse: turn % 4 !== 0,
        });
      }),
      runs(60),
    );
  });

  test(`with ${values} values, on the device`, async ({ machine }) => {
    await fc.assert(
      fc.asyncProperty(programCases({ values }), fc.boolean(), async (program, fuse) => {
        const given = specialized(program, kind);
        await agreeOnDevice(given, expectedOf(given), machine, { fuse });
      }),
      runs(40),
    );
  });
}

test.run();
