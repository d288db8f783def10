/** Cases from the source of a function. */
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import { elementCount } from "../../compiler/types/shape.js";
import { graphOf } from "../check/support.js";
import type { Case } from "../support/agreement.js";
import { numbers } from "../support/packed.js";
import type { ToleranceKind } from "../support/tolerance.js";

/**
 * The function `main` of a program at these sizes. Inputs that are not given are random; scalars are given as one
 * number. Without `f16` tensors of f16 are held as f32.
 */
export function programCase(
  source: string,
  sizes: Readonly<Record<string, number>>,
  kind: ToleranceKind,
  given: Readonly<Record<string, ArrayLike<number>>> = {},
  f16 = false,
): Case {
  const bound = specialize(
    graphOf(source, "main"),
    { sizes: new Map(Object.entries(sizes)), dtypes: new Map(), formats: new Map() },
    { f16 },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  const inputs = new Map<string, TensorValue>(
    bound.graph.inputs.map((input, at) => {
      const { dtype, shape } = bound.graph.values[input.value]!.type;
      return [input.name, tensorValue(dtype, shape, given[input.name] ?? numbers(elementCount(shape), at + 1))];
    }),
  );
  return { graph: bound.graph, inputs, kind };
}
