/**
 * The gradient of every graph that has one is what difference quotients over reals say, is computed the same three
 * ways, and gives the same bytes at each run. `test/support/runs.ts` says how to try more cases.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { differentiate } from "../../compiler/graph/gradient/differentiate.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import { agreeOnDevice, agreeSimulated, expectedOf } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { gradientError } from "../support/gradients.js";
import { graphCases, type GraphCase } from "../support/graphs.js";
import { productCases } from "../support/products.js";
import { runs } from "../support/runs.js";
import { simulated } from "../support/simulated.js";

const test = suite<{ machine: Machine }>("gradients of random graphs");
const choices = [null, ...schedules];

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

interface Derived {
  readonly graph: ConcreteGraph;
  readonly of: string;
  readonly by: readonly string[];
}

/** The gradients of the first output that has any by the float inputs that it has them by. */
function derived({ graph }: GraphCase): Derived | null {
  const isFloat = (value: number): boolean => ["f32", "f16"].includes(graph.values[value]?.type.dtype ?? "");
  for (const { name: of, value } of graph.outputs) {
    if (!isFloat(value)) continue;
    const by = graph.inputs
      .filter((input) => isFloat(input.value) && input.name !== of)
      .map(({ name }) => name)
      .filter((name) => "graph" in differentiate(graph, { of, by: [name] }));
    if (by.length === 0) continue;
    const found = differentiate(graph, { of, by });
    if (!("graph" in found)) throw new Error("by all together there is none, by each alone there is");
    return { graph: found.graph, of, by };
  }
  return null;
}

function seeded({ graph, inputs }: GraphCase, { of }: Derived): ReadonlyMap<string, TensorValue> {
  const type = graph.values[graph.outputs.find(({ name }) => name === of)?.value ?? -1]?.type;
  const count = (type?.shape ?? []).reduce((product, size) => product * size, 1);
  const seed = Array.from({ length: count }, (_, at) => ((at * 7) % 5) / 4 - 0.5);
  return new Map([...inputs, [`d_${of}`, tensorValue(type?.dtype ?? "f32", type?.shape ?? [], seed)]]);
}

const cases = { graphs: graphCases({ values: "smooth" }), products: productCases() };

for (const [name, arbitrary] of Object.entries(cases)) {
  test(`${name}: difference quotients`, () => {
    let tried = 0;
    fc.assert(
      fc.property(arbitrary, (given) => {
        const gradient = derived(given);
        if (gradient === null) return;
        assert.equal(verify(gradient.graph), []);
        tried += 1;
        const inputs = new Map(
          [...given.inputs].map(([key, value]) => [key, { shape: value.shape, data: Float64Array.from(value.data) }]),
        );
        const errorOf = (step: number): number =>
          gradientError(given.graph, gradient.graph, gradient.of, gradient.by, inputs, step);
        // a step over a kink is no slope: of two steps one is good
        const first = errorOf(1e-6);
        const error = first < 1e-4 ? first : errorOf(1e-7);
        assert.ok(error < 1e-4, `${error}\n${printGraph(gradient.graph)}`);
      }),
      runs(100),
    );
    assert.ok(tried > 20, `only ${tried} graphs had gradients`);
  });

  test(`${name}: three ways`, async ({ machine }) => {
    await fc.assert(
      fc.asyncProperty(arbitrary, fc.nat(99), async (given, turn) => {
        const gradient = derived(given);
        if (gradient === null) return;
        const again = { ...given, graph: gradient.graph, inputs: seeded(given, gradient), kind: "chain" as const };
        const expected = expectedOf(again);
        const schedule = choices[turn % choices.length]!;
        agreeSimulated(again, expected, simulated[turn % simulated.length]!, { schedule, fuse: turn % 2 === 0 });
        await agreeOnDevice(again, expected, machine, { schedule, fuse: turn % 3 !== 0 });
      }),
      runs(12),
    );
  });
}

test.run();
