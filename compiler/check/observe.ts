import { counted } from "../words.js";
import {
  howCombined,
  type Combination,
  type LostCombination,
  type NotCombined,
} from "../graph/analysis/combination.js";
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
  /** How what it gives of parts of a text makes what it gives of the whole. */
  readonly combines: Combination;
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
  const combines = howCombined(renamed, "T");
  if (typeof combines !== "string") return failCombination(by, combines, renamed, frame);
  return { graph: renamed, combines, type: { ...typeOf(builder, value), pattern: { kind: "full" } } };
}

/** E610: says which value combines in no way, and why. */
function failCombination(by: Ident, { value, reason }: LostCombination, graph: SymbolicGraph, frame: Frame): null {
  const found = graph.values[value];
  const { why, help } = explain(reason);
  return fail(
    frame,
    "E610",
    `\`${by.name}\` is not provably a sum, a maximum or a minimum over tokens: it ${why}`,
    by.span,
    "observed here",
    {
      labels:
        found?.span == null
          ? []
          : [{ span: found.span, message: `${found.name === by.name ? "this" : `\`${found.name}\``} ${why}` }],
      notes: [
        "a text is observed in parts of several windows, and what they give is added up, or the largest or smallest of it is taken",
      ],
      help,
    },
  );
}

const names: Readonly<Record<Combination, string>> = { sum: "a sum", max: "a maximum", min: "a minimum" };
const plurals: Readonly<Record<Combination, string>> = { sum: "sums", max: "maxima", min: "minima" };

/** What the ops without a name in the language do with `one` that combines, or with `two`. */
function verb(op: string, one: string, two: string): string {
  switch (op) {
    case "add":
      return `adds two ${two}`;
    case "subtract":
      return `takes the difference of two ${two}`;
    case "multiply":
      return one === "a sum" ? `multiplies two ${two}` : `multiplies ${one}`;
    case "divide":
      return `divides by ${one}`;
    case "remainder":
      return `takes the remainder of ${one}`;
    case "power":
      return `takes a power of ${one}`;
    case "select":
      return `chooses by ${one}`;
    case "index":
      return `reads at a place that ${one} over tokens gives`;
    case "equal":
    case "not_equal":
    case "less":
    case "less_equal":
    case "greater":
    case "greater_equal":
      return `compares ${one}`;
    case "cast":
      return `makes a whole number or a truth value of ${one}`;
    default:
      return `takes \`${op}\` of ${one}`;
  }
}

function explain(reason: NotCombined): { readonly why: string; readonly help: string } {
  switch (reason.kind) {
    case "reduction":
      return {
        why: `takes \`${reason.op}\` over tokens`,
        help:
          reason.op === "mean"
            ? "take the `sum`, and divide by `tokens(text)` in the recipe"
            : "of the reductions, `sum`, `count`, `max` and `min` may stand over tokens",
      };
    case "op": {
      const said = verb(reason.op, names[reason.of], plurals[reason.of]);
      return {
        why: reason.op === "index" ? said : `${said} over tokens`,
        help: `give the ${names[reason.of].slice(2)} itself, and compute the rest in the recipe, of what was observed of the whole text`,
      };
    }
    case "mixed":
      return {
        why: `has ${reason.parts.map((each) => names[each]).join(" and ")} over tokens in one`,
        help: "observe each by a function of its own, and put them together in the recipe",
      };
    case "offset":
      return {
        why: "has a part that does not grow with the tokens, which each part of a text would add again",
        help: "add it in the recipe, to what was observed of the whole text",
      };
    case "position":
      return {
        why: "depends on the places of tokens, or on how many are taken at once",
        help: "take the `sum`, `max` or `min` over all tokens, `sum[t] ...`, of what each has by itself",
      };
    case "others":
      return {
        why: "takes tokens together otherwise than in one sum, maximum or minimum",
        help: "take the `sum`, `max` or `min` over all tokens, `sum[t] ...`, of what each has by itself",
      };
    default:
      return reason satisfies never;
  }
}
