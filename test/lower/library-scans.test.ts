import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../compiler/compile.js";
import { evaluate, tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../compiler/graph/graph.js";
import { standardLibrary } from "../../runtime/library.js";
import { numbers } from "../support/numbers.js";
import { evaluateStages } from "../support/stages.js";
import { targets } from "../support/targets.js";
import { close } from "../support/tolerance.js";

const test = suite("the library's scans");

const sizes: Readonly<Record<string, number>> = { N: 3, K: 48, group: 16, kept: 2, of_each: 4 };
const scalars: Readonly<Record<string, number>> = { low: -8, high: 7, levels: 15 };
const scans: readonly (readonly [string, SymbolicGraph])[] = [...standardLibrary()].filter(([, graph]) => graph.eqns.some((eqn) => eqn.kind === "scan"));

/** Columns whose correlation falls with their distance. */
function hessian(size: number): Float32Array {
  const v = numbers(size, 5);
  return Float32Array.from({ length: size * size }, (_, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    return 0.3 * v[i]! * v[j]! + Math.exp(-Math.abs(i - j) / 4) + (i === j ? 0.1 : 0);
  });
}

/** An input that suits what the library calls by that name. */
function valuesFor(name: string, count: number, seed: number): ArrayLike<number> {
  const size = sizes["K"]!;
  switch (name) {
    case "u": return hessian(size).map((value, at) => (at % size < Math.floor(at / size) ? 0 : value));
    case "h": return hessian(size);
    case "keep": return Array.from({ length: count }, (_, at) => (at % 4 === 1 || at % 4 === 2 ? 1 : 0));
    case "rank": return Array.from({ length: count }, (_, at) => (at * 5) % size);
    case "s": return numbers(count, 7).map((value) => 0.1 + 0.05 * value);
    case "z": return new Float32Array(count).fill(7);
    default: return count === 1 ? [scalars[name] ?? 1] : numbers(count, seed);
  }
}

function inputsOf(graph: ConcreteGraph): ReadonlyMap<string, TensorValue> {
  return new Map(graph.inputs.map((input) => {
    const { dtype, shape } = graph.values[input.value]!.type;
    return [input.name, tensorValue(dtype, shape, valuesFor(input.name, shape.reduce((product, size) => product * size, 1), input.value + 1))] as const;
  }));
}

for (const [place, target] of Object.entries(targets)) {
  test(`run in blocks and agree with the evaluator on ${place}`, () => {
    for (const [name, graph] of scans) {
      const stages = compileStages(graph, { sizes: Object.fromEntries(graph.parameters.sizes.map((size) => [size, sizes[size] ?? 4])) }, target, { scan: { block: 16 } });
      assert.not("diagnostics" in stages, name);
      if ("diagnostics" in stages) continue;
      assert.equal(stages.notes, [], name);
      const inputs = inputsOf(stages.concrete);
      const actual = evaluateStages(stages, inputs, new Map(), target.subgroups?.min ?? 4);
      for (const [output, value] of evaluate(stages.concrete, inputs)) close(actual.get(output)!.data, value.data, value.dtype === "bool" ? "exact" : "chain", `${name}: ${output}`);
    }
  });
}

test("there are some", () => assert.ok(scans.length >= 8));

test.run();
