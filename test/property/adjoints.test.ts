/**
 * A gradient is the adjoint of what small changes do: <J v, w> = <v, J^T w>, where J^T w is the gradient for the adjoint
 * w, and J v, its own transpose, is the gradient of that by w. And a second gradient works, or says why there is none.
 */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { differentiate } from "../../compiler/graph/gradient/differentiate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import { derived, type Derived } from "../support/derived.js";
import { dot, gradientError, wave } from "../support/gradients.js";
import { graphCases, type GraphCase } from "../support/graphs.js";
import { productCases } from "../support/products.js";
import { evaluateReals, realZeros, type RealTensor } from "../support/real-numbers.js";
import { runs } from "../support/runs.js";

const test = suite("adjoints of random graphs");

/** A tensor of the shape of an input or output of a graph, of numbers in -1 .. 1. */
function sample(graph: ConcreteGraph, name: string, seed: number): RealTensor {
  const found = [...graph.inputs, ...graph.outputs].find((each) => each.name === name);
  const tensor = realZeros(graph.values[found?.value ?? -1]?.type.shape ?? []);
  tensor.data.forEach((_, at) => {
    tensor.data[at] = wave(seed, at);
  });
  return tensor;
}

/** The inputs of a graph and of its gradient, as reals. */
function inputsOf({ graph, inputs }: GraphCase, { of }: Derived): ReadonlyMap<string, RealTensor> {
  const reals = [...inputs].map(([name, { shape, data }]): [string, RealTensor] => [
    name,
    { shape, data: Float64Array.from(data) },
  ]);
  return new Map([...reals, [`d_${of}`, sample(graph, of, 99)]]);
}

const cases = { graphs: graphCases({ values: "smooth" }), products: productCases() };

for (const [name, arbitrary] of Object.entries(cases)) {
  test(`${name}: <J v, w> = <v, J^T w>, and J v is what a small change does`, () => {
    let tried = 0;
    fc.assert(
      fc.property(arbitrary, (given) => {
        const gradient = derived(given);
        if (gradient === null) return;
        const { of, by } = gradient;
        const inputs = inputsOf(given, gradient);
        const w = inputs.get(`d_${of}`)!;
        const transposed = evaluateReals(gradient.graph, inputs);
        for (const [turn, x] of by.entries()) {
          // J^T w is linear in w, so its transpose is there whatever the function is
          const found = differentiate(gradient.graph, { of: `d_${x}`, by: [`d_${of}`] });
          if (!("graph" in found)) throw new Error(found.faults.map(({ message }) => message).join("\n"));
          assert.equal(verify(found.graph), []);
          const v = sample(given.graph, x, turn + 7);
          const pushed = evaluateReals(found.graph, new Map([...inputs, [`d_d_${x}`, v]])).get(`d_d_${of}`)!;
          const [left, right] = [dot(pushed.data, w.data), dot(v.data, transposed.get(`d_${x}`)!.data)];
          if (!Number.isFinite(left) || !Number.isFinite(right)) return;
          tried += 1;
          const size = Math.sqrt(dot(pushed.data, pushed.data) * dot(w.data, w.data)) + Math.abs(right) + 1e-6;
          assert.ok(Math.abs(left - right) < 1e-9 * size, `${left}, ${right}\n${printGraph(found.graph)}`);
          const moved = (by: number): Float64Array => {
            const at = inputs.get(x)!;
            const data = at.data.map((each, place) => each + by * (v.data[place] ?? 0));
            return evaluateReals(given.graph, new Map([...inputs, [x, { ...at, data }]])).get(of)!.data;
          };
          const error = (step: number): number => {
            const [up, down] = [moved(step), moved(-step)];
            const off = pushed.data.map((each, place) => each - ((up[place] ?? 0) - (down[place] ?? 0)) / (2 * step));
            return Math.sqrt(dot(off, off)) / (Math.sqrt(dot(pushed.data, pushed.data)) + 1e-3);
          };
          // a step over a kink is no slope: of two steps one is good
          const first = error(1e-6);
          assert.ok(first < 1e-4 || error(1e-7) < 1e-4, `${first}\n${printGraph(found.graph)}`);
        }
      }),
      runs(25),
    );
    assert.ok(tried > 10, `only ${tried} adjoints were held to it`);
  });

  test(`${name}: a second gradient works or is refused`, () => {
    const tried = { worked: 0, refused: 0 };
    fc.assert(
      fc.property(arbitrary, (given) => {
        const gradient = derived(given);
        if (gradient === null) return;
        const [x = ""] = gradient.by;
        const found = differentiate(gradient.graph, { of: `d_${x}`, by: [x] });
        if (!("graph" in found)) {
          tried.refused += 1;
          for (const { kind, message } of found.faults) {
            assert.ok(["independent", "refused", "unbounded"].includes(kind));
            assert.match(message, /does not depend on|no gradient|needs a size|has no input/);
          }
          return;
        }
        tried.worked += 1;
        assert.equal(verify(found.graph), []);
        const errorOf = (step: number): number =>
          gradientError(gradient.graph, found.graph, `d_${x}`, [x], inputsOf(given, gradient), step);
        const first = errorOf(1e-6);
        const error = first < 1e-4 ? first : errorOf(1e-7);
        assert.ok(error < 1e-4, `${error}\n${printGraph(found.graph)}`);
      }),
      runs(25),
    );
    assert.ok(tried.worked > 1, JSON.stringify(tried));
  });
}

test.run();
