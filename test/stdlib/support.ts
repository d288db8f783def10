import { evaluate, tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { bind, type Extra } from "../../runtime/llama/call.js";
import { libraryFunctions } from "../support/library.js";

const library = libraryFunctions;

/**
 * Calls a function of the standard library by the graph's evaluator; the results in order, final states of `var`
 * parameters included.
 */
export function call(
  name: string,
  args: { readonly [name: string]: TensorValue | number },
  extra: Extra = {},
): readonly TensorValue[] {
  const graph = library.get(name);
  if (graph === undefined) throw new Error(`no function ${name}`);
  const forms = Object.fromEntries(
    Object.entries(args).map(([key, value]) => [key, typeof value === "number" ? value : { ...value, format: null }]),
  );
  const { sizes, dtypes, formats } = bind(graph, forms, extra);
  const bound = specialize(
    graph,
    {
      sizes: new Map(Object.entries(sizes)),
      dtypes: new Map(Object.entries(dtypes)),
      formats: new Map(Object.entries(formats)),
    },
    { f16: true },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  const inputs = new Map<string, TensorValue>();
  for (const input of bound.graph.inputs) {
    const value = args[input.name];
    if (value === undefined) continue;
    const dtype = bound.graph.values[input.value]?.type.dtype ?? "f32";
    inputs.set(input.name, typeof value === "number" ? tensorValue(dtype, [], [value]) : value);
  }
  const outputs = evaluate(bound.graph, inputs);
  return bound.graph.outputs.map((output) => {
    const value = outputs.get(output.name);
    if (value === undefined) throw new Error(`no output ${output.name}`);
    return value;
  });
}

/** The one result of a call. */
export function result(
  name: string,
  args: { readonly [name: string]: TensorValue | number },
  extra: Extra = {},
): readonly number[] {
  return [...(call(name, args, extra)[0]?.data ?? [])];
}

/** A dense tensor of numbers. */
export function tensor(shape: readonly number[], values: ArrayLike<number>, dtype: Dtype = "f32"): TensorValue {
  return tensorValue(dtype, shape, values);
}

/** A tensor of normally distributed numbers, the same at each run. */
export function normal(shape: readonly number[], seed: number): TensorValue {
  let state = seed * 2654435761 + 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  const count = shape.reduce((product, size) => product * size, 1);
  return tensorValue(
    "f32",
    shape,
    Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())),
  );
}

/** Whether two lists of numbers are equal up to a relative difference. */
export function near(a: ArrayLike<number>, b: ArrayLike<number>, tolerance = 1e-5): boolean {
  return (
    a.length === b.length &&
    Array.from(a).every((value, at) => Math.abs(value - (b[at] ?? NaN)) <= tolerance * Math.max(1, Math.abs(value)))
  );
}
