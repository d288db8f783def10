/**
 * The gradient of every graph that has one is what difference quotients over reals say, is computed the same three
 * ways, and gives the same bytes at each run. `test/support/runs.ts` says how to try more cases.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import { schedules } from "../../compiler/lower/schedules/choose.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { derived, type Derived } from "../support/derived.js";
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

  test(`${name}: the same bytes at each run`, async ({ machine }) => {
    let tried = 0;
    await fc.assert(
      fc.asyncProperty(arbitrary, async (given) => {
        const gradient = derived(given);
        if (gradient === null) return;
        tried += 1;
        const inputs = seeded(given, gradient);
        const bytesOf = async (): Promise<readonly string[]> => {
          const found = await machine.run(lowerConcrete(gradient.graph, machine.target), inputs, (given as Case).words);
          return [...found].map(([key, { data }]) => `${key} ${new Uint8Array(Float32Array.from(data).buffer).join()}`);
        };
        const first = await bytesOf();
        assert.equal(await bytesOf(), first);
        assert.equal(await bytesOf(), first);
      }),
      runs(6),
    );
    assert.ok(tried > 1, `only ${tried} graphs had gradients`);
  });
}

test.run();
