import type { SymbolicGraph } from "../graph/graph.js";
import type { Ident } from "../syntax/ast.js";
import { sizeSymbols, symbolSize, type Size } from "../types/size.js";
import type { TensorType } from "../types/type.js";
import { addInput, finish, newBuilder, typeOf } from "./builder.js";
import { fail, printType, type Frame } from "./frame.js";
import { inlineGraph } from "./inline.js";
import { soleSymbol } from "./sizes.js";

/** A statistic that a recipe observes. */
export interface Observed {
  readonly name: string;
  /** Inputs `x` [T, K] and maybe `dense`, of the same type; one output whose sizes depend on K only. */
  readonly graph: SymbolicGraph;
  /** The type of the output, with K for the inputs of the layer. */
  readonly type: TensorType;
}

/** Checks the function of an `observe`, with its sizes called T and K; null where it has another form. */
export function checkObserved(by: Ident, frame: Frame): Omit<Observed, "name"> | null {
  const callee = frame.functionOf(by.name, by.span);
  if (callee === null || callee.graph === null) return null;
  const { graph } = callee;
  const second =
    graph.inputs.length > 1
      ? ", maybe a second tensor of its type for what the layer receives in the model as it was given"
      : "";
  const wrong = (label: string): null =>
    fail(
      frame,
      "E605",
      `\`${by.name}\` cannot observe: it must take the inputs of a layer, \`x: E[T, K]\` or \`x: f32[T, K]\`${second}, and give one tensor whose sizes depend on K only`,
      by.span,
      label,
      { labels: [{ span: callee.declaration.name.span, message: "declared here" }] },
    );
  const [input, dense, ...moreInputs] = graph.inputs;
  const [output, ...moreOutputs] = graph.outputs;
  const type = input === undefined ? undefined : graph.values[input.value]?.type;
  if (input === undefined || type === undefined || moreInputs.length > 0 || graph.inputs.some(({ mutable }) => mutable))
    return wrong(`takes ${graph.inputs.length} tensors`);
  const [tokens, features, ...more] = type.shape;
  if (
    tokens === undefined ||
    features === undefined ||
    more.length > 0 ||
    type.format !== null ||
    type.pattern.kind !== "full" ||
    (typeof type.dtype === "string" && type.dtype !== "f32")
  )
    return wrong(`takes ${printType(type)}`);
  const [t, k] = [soleSymbol(tokens), soleSymbol(features)];
  if (t === null || k === null || t === k || graph.parameters.sizes.length !== 2)
    return wrong(`takes ${printType(type)}`);
  const same = dense === undefined ? type : graph.values[dense.value]?.type;
  if (same === undefined || printType(same) !== printType(type))
    return wrong(`takes ${printType(type)} and ${same === undefined ? "nothing" : printType(same)}`);
  if (output === undefined || moreOutputs.length > 0) return wrong(`gives ${graph.outputs.length} tensors`);
  const result = graph.values[output.value]?.type;
  if (
    result === undefined ||
    result.dtype !== "f32" ||
    result.shape.length === 0 ||
    result.shape.some((size) => sizeSymbols(size).has(t))
  )
    return wrong(result === undefined ? "gives nothing" : `gives ${printType(result)}`);

  const builder = newBuilder();
  const sizes = new Map<string, Size>([
    [t, symbolSize("T")],
    [k, symbolSize("K")],
  ]);
  const renamedInputs = graph.inputs.map(
    ({ value }, at) =>
      [
        value,
        addInput(
          builder,
          at === 0 ? "x" : "dense",
          { ...type, shape: [symbolSize("T"), symbolSize("K")] },
          graph.values[value]?.span ?? null,
        ),
      ] as const,
  );
  const [value] = inlineGraph(
    graph,
    { sizes, dtypes: new Map(), formats: new Map(), inputs: new Map(renamedInputs) },
    builder,
  );
  if (value === undefined) return wrong("gives nothing");
  const renamed = finish(
    builder,
    by.name,
    graph.span,
    [{ value, name: output.name, input: null }],
    { sizes: ["T", "K"], dtypes: graph.parameters.dtypes, formats: [] },
    [],
  );
  return { graph: renamed, type: { ...typeOf(builder, value), pattern: { kind: "full" } } };
}
