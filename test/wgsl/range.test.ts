/**
 * Every op of scalars over the whole range of its operands: zeros, subnormal numbers, the largest, infinities and NaN.
 * On another device than the CPU driver: `npm test -- --device auto wgsl/range`.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import { evaluate } from "../../compiler/graph/evaluate.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { opRanges, type OpRange } from "../support/op-ranges.js";
import { simulatedHalf } from "../support/simulated.js";
import { evaluateStages } from "../support/stages.js";

const test = suite<{ machine: Machine }>("ops over their whole range");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

function none(faults: readonly (string | null)[]): void {
  assert.equal(
    faults.filter((fault) => fault !== null),
    [],
  );
}

test("in both evaluators", () => {
  const { target, subgroupSize } = simulatedHalf;
  const simulate = ({ graph, inputs }: OpRange): ArrayLike<number> =>
    evaluateStages(lowerConcrete(graph, target), inputs, new Map(), subgroupSize).get("y")!.data;
  const all = [...opRanges({ f16: false }), ...opRanges({ f16: true })];
  none(all.map((each) => each.fault(evaluate(each.graph, each.inputs).get("y")!.data)));
  none(all.map((each) => each.fault(simulate(each))));
});

test("on the device", async ({ machine }) => {
  const faults: (string | null)[] = [];
  for (const f16 of machine.target.f16 ? [false, true] : [false])
    for (const each of opRanges({ f16 })) {
      const outputs = await machine.run(lowerConcrete(each.graph, machine.target), each.inputs);
      faults.push(each.fault(outputs.get("y")!.data));
    }
  none(faults);
});

test.run();
