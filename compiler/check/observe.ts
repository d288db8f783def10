import { counted } from "../words.js";
import { lostAdditivity, type LostAdditivity, type NotAdditive } from "../graph/analysis/additivity.js";
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
    return wrong(`takes ${counted(graph.inputs.length, "tensor")}`);
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
  if (output === undefined || moreOutputs.length > 0) return wrong(`gives ${counted(graph.outputs.length, "tensor")}`);
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
  const found = lostAdditivity(renamed, "T");
  if (found !== null) return failSum(by, found, renamed, frame);
  return { graph: renamed, type: { ...typeOf(builder, value), pattern: { kind: "full" } } };
}

/** E610: says which value is no sum over tokens, and why. */
function failSum(by: Ident, { value, reason }: LostAdditivity, graph: SymbolicGraph, frame: Frame): null {
  const found = graph.values[value];
  const { why, help } = explain(reason);
  return fail(frame, "E610", `\`${by.name}\` is not provably a sum over tokens: it ${why}`, by.span, "observed here", {
    labels:
      found?.span == null
        ? []
        : [{ span: found.span, message: `${found.name === by.name ? "this" : `\`${found.name}\``} ${why}` }],
    notes: ["a text is observed in parts of several windows, and what they give is added up"],
    help,
  });
}

const compares = "compares a sum over tokens";
/** What the ops without a name in the language do. */
const verbs: Readonly<Record<string, string>> = {
  multiply: "multiplies two sums over tokens",
  divide: "divides by a sum over tokens",
  remainder: "takes the remainder of a sum over tokens",
  power: "takes a power of a sum over tokens",
  select: "chooses by a sum over tokens",
  index: "reads at a place that a sum over tokens gives",
  equal: compares,
  not_equal: compares,
  less: compares,
  less_equal: compares,
  greater: compares,
  greater_equal: compares,
  cast: "makes a sum over tokens a whole number or a truth value",
};

function explain(reason: NotAdditive): { readonly why: string; readonly help: string } {
  switch (reason.kind) {
    case "reduction":
      return {
        why: `takes \`${reason.op}\` over tokens`,
        help:
          reason.op === "mean"
            ? "take the `sum`, and divide by `tokens(text)` in the recipe"
            : "of the reductions, `sum` and `count` may stand over tokens",
      };
    case "op": {
      return {
        why: verbs[reason.op] ?? `takes \`${reason.op}\` of a sum over tokens`,
        help: "give the sum itself, and compute the rest in the recipe, of what was observed of the whole text",
      };
    }
    case "offset":
      return {
        why: "has a part that does not grow with the tokens, which each part of a text would add again",
        help: "add it in the recipe, to what was observed of the whole text",
      };
    case "position":
      return {
        why: "depends on the places of tokens, or on how many are taken at once",
        help: "sum over all tokens, `sum[t] ...`, what each has by itself",
      };
    case "others":
      return {
        why: "takes tokens together otherwise than in one sum",
        help: "sum over all tokens, `sum[t] ...`, what each has by itself",
      };
    default:
      return reason satisfies never;
  }
}
