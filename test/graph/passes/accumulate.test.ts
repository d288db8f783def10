import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../../compiler/compile.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import { accumulating, totalName } from "../../../compiler/graph/passes/accumulate.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { standardLibrary } from "../../../runtime/library.js";
import { programCase } from "../../lower/language.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../../support/agreement.js";
import { openMachine } from "../../support/device-stages.js";
import { numbers } from "../../support/packed.js";
import { targets } from "../../support/targets.js";
import { close } from "../../support/tolerance.js";

const test = suite("accumulating");
const machine = await openMachine();
test.after(() => machine.close());
const sizes = { T: 21, K: 36 };

/** Statistics by what is special about them. `one`: whether a single equation adds them. */
const statistics: readonly { readonly name: string; readonly source: string; readonly one: boolean }[] = [
  {
    name: "a vector",
    one: true,
    source: "fn main(x: f32[T, K]) -> f32[K] {\n  return s where s[k] = sum[t] x[t, k]^2\n}\n",
  },
  {
    name: "a product",
    one: true,
    source: "fn main(x: f32[T, K]) -> f32[K, K] {\n  return h where h[i, j] = sum[t] x[t, i] * x[t, j]\n}\n",
  },
  {
    name: "a product that is scaled afterwards",
    one: true,
    source:
      "fn main(x: f32[T, K]) -> f32[K, K] {\n  let h[i, j] = sum[t] x[t, i] * x[t, j]\n  return s where s[i, j] = 0.5 * h[i, j] + 1.0\n}\n",
  },
  {
    name: "two reductions",
    one: true,
    source: "fn main(x: f32[T, K]) -> f32[K] {\n  return s where s[k] = (max[t] abs(x[t, k])) + (sum[t] x[t, k])\n}\n",
  },
  {
    name: "blocks of a product, of rank 3",
    one: true,
    source:
      "fn main(x: f32[T, K]) -> f32[K / 4, 4, 4] where K % 4 == 0 {\n  return s where s[g, i, j] = sum[t] x[t, 4 * g + i] * x[t, 4 * g + j] for g in 0 .. K / 4, i in 0 .. 4, j in 0 .. 4\n}\n",
  },
  {
    name: "no reduction",
    one: true,
    source: "fn main(x: f32[T, K]) -> f32[K] {\n  return s where s[k] = x[0, k]\n}\n",
  },
  {
    name: "a reduction of a reduction",
    one: false,
    source:
      "fn main(x: f32[T, K]) -> f32[K] {\n  let norm[t] = sum[k] x[t, k]^2\n  return s where s[k] = sum[t] x[t, k] * norm[t]\n}\n",
  },
  {
    name: "a row that is set apart",
    one: false,
    source:
      "fn main(x: f32[T, K]) -> f32[K, K] {\n  let g[i, j] = sum[t] x[t, i] * x[t, j]\n  var h = g\n  h[0, j] = 1.0 for j in 0 .. K\n  return h\n}\n",
  },
];

for (const { name, source, one } of statistics) {
  const given = programCase(source, sizes, "reduction");
  const result = given.graph.outputs[0]!;
  const { shape } = given.graph.values[result.value]!.type;
  const total = numbers(elementCount(shape), 99);
  const summed: Case = {
    kind: "reduction",
    graph: accumulating(given.graph),
    inputs: new Map([...given.inputs, [totalName, tensorValue("f32", shape, total)]]),
  };

  test(`${name}: what is added is what the statistic is`, () => {
    assert.equal(verify(summed.graph), [], printGraph(summed.graph));
    const part = evaluate(given.graph, given.inputs).get(result.name)!;
    close(
      evaluate(summed.graph, summed.inputs).get(totalName)!.data,
      total.map((value, at) => Math.fround(value + part.data[at]!)),
      "exact",
    );
  });

  test(`${name}: on devices, ${one ? "without memory of its own" : "by way of temporaries"}`, async () => {
    const expected = expectedOf(summed);
    for (const target of Object.values(targets)) {
      const { fused, program } = agreeSimulated(summed, expected, { target, subgroupSize: target.subgroups?.min ?? 4 });
      assert.is(fused.eqns.length === 1, one, printGraph(fused));
      if (one)
        assert.equal(
          program.buffers.filter(({ role }) => role !== "input"),
          [],
        );
    }
    await agreeOnDevice(summed, expected, machine);
  });
}

test("the library's gram of a wide layer: one kernel, and nothing beside the total", () => {
  const stages = compileStages(
    accumulating(standardLibrary().get("gram")!),
    { sizes: { T: 2048, K: 14336 }, dtypes: { E: "f32" } },
    { ...targets["a GPU with subgroups of 32"], maxBinding: 2 ** 32 - 4 },
  );
  if ("diagnostics" in stages) throw new Error(stages.diagnostics.map(({ message }) => message).join("\n"));
  assert.is(stages.kernels.flat().length, 1);
  assert.equal(
    stages.program.buffers.map(({ bytes, role }) => [bytes, role]),
    [
      [4 * 2048 * 14336, "input"],
      [4 * 14336 ** 2, "input"],
    ],
  );
});

test.run();
