/**
 * Every well-typed graph lowers, its kernels verify, and the three ways of computing it agree: graph evaluator, kernel
 * evaluator, device; with equations fused and not, with the schedule that the compiler chooses and with each one
 * forced.
 * `test/support/runs.ts` says how to try more cases.
 */
import fc from "fast-check";
import { suite } from "uvu";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { graphCases } from "../support/graphs.js";
import { productCases } from "../support/products.js";
import { runs } from "../support/runs.js";
import { simulated, simulatedHalf } from "../support/simulated.js";

const test = suite<{ machine: Machine }>("three ways agree");
const choices = [null, ...schedules];

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

/** Random cases with a number that picks the schedules they are tried with. */
function drawn(cases: fc.Arbitrary<Case>): fc.Arbitrary<readonly [Case, number]> {
  return fc.tuple(cases, fc.nat(choices.length * 2 - 1));
}

/** On some simulated devices, each with another schedule. */
function simulate(given: Case, turn: number): void {
  const expected = expectedOf(given);
  simulated.forEach((device, at) => {
    if ((at + turn) % 3 === 0)
      agreeSimulated(given, expected, device, {
        schedule: choices[(at + turn) % choices.length]!,
        fuse: (at + turn) % 2 === 0,
      });
  });
}

const kinds = {
  "graphs of exact values": graphCases({ values: "exact" }).map((made): Case => ({ ...made, kind: "exact" })),
  "graphs of smooth values": graphCases({ values: "smooth" }).map((made): Case => ({ ...made, kind: "chain" })),
  products: productCases(),
} as const;

for (const [name, cases] of Object.entries(kinds)) {
  test(`${name} in the kernel evaluator`, () => {
    fc.assert(
      fc.property(drawn(cases), ([given, turn]) => simulate(given, turn)),
      runs(40),
    );
  });

  test(`${name} on the device`, async ({ machine }) => {
    await fc.assert(
      fc.asyncProperty(drawn(cases), async ([given, turn]) => {
        await agreeOnDevice(given, expectedOf(given), machine, {
          schedule: choices[turn % choices.length]!,
          fuse: turn < choices.length,
        });
      }),
      runs(40),
    );
  });
}

for (const values of ["exact", "smooth"] as const) {
  test(`graphs of ${values} values in f16`, () => {
    fc.assert(
      fc.property(graphCases({ values, f16: true }), fc.constantFrom(...choices), (made, schedule) => {
        const given: Case = { ...made, kind: values === "exact" ? "exact" : "half" };
        agreeSimulated(given, expectedOf(given), simulatedHalf, { schedule });
      }),
      runs(30),
    );
  });
}

test.run();
