/** Products whose activations are rounded by a scale that is given: what they mean, and every way to compute it. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { withRoundedProducts } from "../../../compiler/graph/passes/weight-products.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { graphOf } from "../../check/support.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { libraryFunctions } from "../../support/library.js";
import { formatFault, packed } from "../../support/packed.js";
import { runs } from "../../support/runs.js";
import { simulated } from "../../support/simulated.js";
import { difference } from "../../support/tolerance.js";

const test = suite<{ machine: Machine }>("rounded products");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const source = `fn main(x: f32[B, T, K], w: f32[N, K] as F, v: f32[N, K] as G) -> f32[B, T, N], f32[B, T, N] {
  let h[b, t, k] = 2.0 * x[b, t, k]
  let y[b, t, n] = sum[k] h[b, t, k] * w[n, k]
  let z[b, t, n] = (sum[k] h[b, t, k] * w[n, k]) + (sum[k] h[b, t, k] * v[n, k])
  return y, z
}
`;

const formats = ["f32", "int8(channel)", "int4(8, asymmetric)", "int4(32)", "nm(2, 4) of int4(64)", "q8_0"] as const;

interface Shape {
  readonly tokens: number;
  readonly columns: number;
  readonly formats: readonly [string, string];
  /** Of w and of v; one where they are the same. */
  readonly scales: readonly [number, number];
}

const shapes = fc
  .record({
    tokens: fc.constantFrom(1, 2, 5, 40),
    columns: fc.constantFrom(6, 32, 64, 128, 192),
    formats: fc.tuple(fc.constantFrom(...formats), fc.constantFrom(...formats)),
    scales: fc.tuple(fc.constantFrom(2 ** -5, 2 ** -4, 0.75), fc.constantFrom(2 ** -5, 2 ** -4)),
  })
  .filter(({ columns, formats: both }) => both.every((format) => formatFault(format, rows, columns) === null));
const rows = 5;

/** What products of activations of this shape compute, and by other means what they should. */
function caseOf({ tokens, columns, formats: [first, second], scales: [one, other] }: Shape): {
  readonly given: Case;
  readonly expected: readonly Float32Array[];
} {
  const group = [128, 64, 32, 16, 8, 4].find((size) => columns % size === 0) ?? null;
  const graph = libraryFunctions.get(group === null ? "round_rows_by_scale" : "round_by_scale")!;
  const same = one === other;
  const rounded = withRoundedProducts(
    graphOf(source, "main"),
    (weight) => ({ graph, group, scale: weight === "w" || same ? "s" : "r" }),
    "main_rounded",
  );
  assert.equal(rounded.inputs.map(({ name }) => name).slice(3), same ? ["s"] : ["s", "r"]);
  const [w, v] = [packed(first, rows, columns, 3), packed(second, rows, columns, 4)];
  const bound = specialize(
    rounded,
    {
      sizes: new Map([
        ["B", 1],
        ["T", tokens],
        ["K", columns],
        ["N", rows],
      ]),
      dtypes: new Map(),
      formats: new Map([
        ["F", w.spec],
        ["G", v.spec],
      ]),
    },
    { f16: true },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  // in steps of 2^-6, so that halves between two codes come up, and up to 7, which is beyond 127 of the smaller scales
  const x = Float32Array.from({ length: tokens * columns }, (_, at) => (((at * 7919) % 449) - 224) / 64);
  const product = (weight: Float32Array, scale: number): Float32Array =>
    Float32Array.from({ length: tokens * rows }, (_, at) => {
      const [token, row] = [Math.floor(at / rows), at % rows];
      let sum = 0;
      for (let k = 0; k < columns; k++) {
        const code = Math.max(-128, Math.min(127, nearest((2 * x[token * columns + k]!) / scale)));
        sum += code * scale * weight[row * columns + k]!;
      }
      return sum;
    });
  const [ofW, ofV] = [product(w.dense, one), product(v.dense, other)];
  return {
    given: {
      graph: bound.graph,
      inputs: new Map([
        ["x", tensorValue("f32", [1, tokens, columns], x)],
        ["w", tensorValue("f32", [rows, columns], w.dense)],
        ["v", tensorValue("f32", [rows, columns], v.dense)],
        ["s", tensorValue("f32", [], [one])],
        ...(same ? [] : [["r", tensorValue("f32", [], [other])] as const]),
      ]),
      words: new Map([
        ["w", w.words],
        ["v", v.words],
      ]),
      kind: "reduction",
    },
    expected: [ofW, ofW.map((value, at) => value + ofV[at]!)],
  };
}

/** Halves to even. */
function nearest(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 ? below + Math.abs(below % 2) : Math.round(value);
}

test("codes of -128 to 127 times the scale, by the evaluator and on devices of every kind", async ({ machine }) => {
  await fc.assert(
    fc.asyncProperty(shapes, fc.constantFrom(...simulated), async (shape, device) => {
      const { given, expected } = caseOf(shape);
      const evaluated = expectedOf(given);
      for (const [at, { data }] of [...evaluated.outputs.values()].entries())
        assert.is(difference(data, expected[at]!, given.kind), null, `output ${at}`);
      agreeSimulated(given, evaluated, device);
      await agreeOnDevice(given, evaluated, machine);
    }),
    runs(12),
  );
});

test.run();
