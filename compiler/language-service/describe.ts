/** What is said of a symbol: how it is declared, its type, its comment. */
import { isTensorKind } from "../check/tensors.js";
import { printType } from "../check/frame.js";
import type { SymbolicGraph, Value } from "../graph/graph.js";
import { scalarRanges } from "./ranges.js";
import type { RecipeStep } from "../recipe/recipe.js";
import type { Declaration, FunctionDeclaration, RecipeDeclaration } from "../syntax/ast.js";
import { print, printExpression, printType as printTypeExpr } from "../syntax/print.js";
import { printSize } from "../types/size.js";
import type { Meaning } from "./analysis.js";
import type { Symbol } from "./symbols.js";

/** What is said of a symbol. */
export interface Description {
  /** In the language. */
  readonly code: string;
  /** In words; empty where there is nothing to say. */
  readonly text: string;
}

/** Heads as they were printed: a proposal shows those of the whole library. */
const heads = new WeakMap<Declaration, string>();

/** The head of a function or recipe as it is laid out. */
export function printHead(declaration: FunctionDeclaration | RecipeDeclaration): string {
  const head = heads.get(declaration) ?? laidOutHead(declaration);
  heads.set(declaration, head);
  return head;
}

function laidOutHead(declaration: FunctionDeclaration | RecipeDeclaration): string {
  const bare = { ...declaration, body: [], leading: [], trailing: null, closing: [] };
  const text = print({ kind: "module", uses: [], declarations: [bare], closing: [], span: declaration.span });
  return text.trim().replace(/\s*\{\s*\}$/, "");
}

/** The `///` comment of a declaration, without slashes. */
export function comment(declaration: Declaration): string {
  const lines: string[] = [];
  for (const line of declaration.leading.toReversed()) {
    if (!line.startsWith("///")) break;
    lines.unshift(line.slice(3).replace(/^ /, ""));
  }
  return lines.join("\n");
}

/** Describes a symbol by its declaration, and, where the check knows more, by its type. */
export function describeSymbol(symbol: Symbol, meaning: Meaning | null): Description {
  const { declaration, name } = symbol;
  switch (symbol.kind) {
    case "module":
      return { code: `use ${/^\w+$/.test(name) ? name : `"${name}"`}`, text: symbol.span.file };
    case "constant":
      return {
        code: declaration?.kind === "constant" ? `const ${name} = ${printExpression(declaration.value)}` : name,
        text: declaration === null ? "" : comment(declaration),
      };
    case "function":
    case "recipe":
      return {
        code: declaration !== null && declaration.kind !== "constant" ? printHead(declaration) : name,
        text: declaration === null ? "" : comment(declaration),
      };
    case "parameter": {
      const param =
        declaration !== null && declaration.kind !== "constant"
          ? declaration.params.find((each) => each.name.name === name)
          : undefined;
      const type = param?.type == null ? "" : `: ${printTypeExpr(param.type)}`;
      const fallback = param?.fallback == null ? "" : ` = ${printExpression(param.fallback)}`;
      return { code: `${param?.mutable ? "var " : ""}${name}${type}${fallback}`, text: of("a parameter", declaration) };
    }
    case "size":
      return { code: `${name}: size`, text: of("a size", declaration) };
    case "dtype":
      return { code: name, text: `${of("a dtype", declaration)}: f32 or f16` };
    case "format":
      return { code: name, text: of("a format", declaration) };
    case "index": {
      const range = indexRange(symbol, meaning);
      return { code: range === null ? name : `${name} in ${range}`, text: "an index" };
    }
    case "variable":
      return { code: variable(symbol, meaning), text: variableText(symbol) };
    default:
      return symbol.kind satisfies never;
  }
}

function of(what: string, declaration: Declaration | null): string {
  return declaration === null ? what : `${what} of \`${declaration.name.name}\``;
}

/** A local name with its type, as far as the check knows it. */
function variable({ name, statement, declaration }: Symbol, meaning: Meaning | null): string {
  if (statement?.kind === "for")
    return statement.to === null
      ? name
      : `${name} in ${printExpression(statement.over)} .. ${printExpression(statement.to)}`;
  const word = statement?.kind === "var" ? "var " : "";
  const step =
    declaration?.kind === "recipe" ? meaning?.recipes.get(declaration.name.name)?.steps.flatMap(allSteps) : undefined;
  const observed = step?.find((each) => each.kind === "observe" && each.name === name && statement?.kind === "let");
  if (observed?.kind === "observe") {
    const [output] = observed.graph.outputs;
    const type = output === undefined ? undefined : observed.graph.values[output.value]?.type;
    const over = { sum: "", max: ", the maximum over tokens", min: ", the minimum over tokens" }[observed.combines];
    if (type !== undefined) return `${name}[w]: ${printType(type)}${over}`;
  }
  const graphs = graphsOf(declaration, meaning, step);
  for (const graph of graphs) {
    const value = valueOf(graph, name, statement?.span ?? null);
    if (value !== null) return `${word}${name}: ${printType(value.type)}`;
  }
  if (statement?.kind === "let" && statement.value.kind === "number") return `${name} = ${statement.value.text}`;
  return `${word}${name}`;
}

function variableText({ statement, declaration }: Symbol): string {
  if (statement?.kind === "for" && declaration?.kind === "recipe") {
    const { over } = statement;
    const field = over.kind === "member" ? over.field.name : "";
    if (field === "stream") return "the residual stream";
    if (field === "inputs") return "the layers that read an input, as one, f32[N, K]";
    return field === "blocks"
      ? "a block of the model"
      : field === "linears"
        ? "a linear layer, f32[N, K]"
        : field === "norms" || field === "biases"
          ? `one of the ${field}, f32[K]`
          : isTensorKind(field)
            ? "a table, f32[N, K]"
            : "";
  }
  if (statement?.kind === "let" && statement.value.kind === "observe") return "a statistic: `[w]` is that of a layer";
  return "";
}

function graphsOf(
  declaration: Declaration | null,
  meaning: Meaning | null,
  steps: readonly RecipeStep[] | undefined,
): readonly SymbolicGraph[] {
  if (declaration === null || meaning === null) return [];
  if (declaration.kind === "function") {
    const graph = meaning.graphs.get(declaration.name.name);
    return graph === undefined ? [] : [graph];
  }
  return (steps ?? []).flatMap((step) =>
    step.kind === "linears" || step.kind === "tensors"
      ? step.treatments.map((treatment) => treatment.graph)
      : step.kind === "scale"
        ? [step.computed.graph]
        : [],
  );
}

function allSteps(step: RecipeStep): readonly RecipeStep[] {
  if (step.kind === "blocks") return step.body.flatMap(allSteps);
  if (step.kind === "train") return step.layers;
  return [step];
}

/** The value of a name that a statement gives, or else the last of that name. */
function valueOf(
  graph: SymbolicGraph,
  name: string,
  span: { readonly start: number; readonly end: number } | null,
): Value | null {
  const named = graph.values.filter((value) => value.name === name);
  const there = named.filter(
    (value) => span !== null && value.span !== null && value.span.start < span.end && span.start < value.span.end,
  );
  return there.at(-1) ?? named.at(-1) ?? null;
}

function indexRange({ name, statement, declaration }: Symbol, meaning: Meaning | null): string | null {
  const graph = declaration === null ? undefined : meaning?.graphs.get(declaration.name.name);
  if (graph === undefined) return null;
  return scalarRanges(graph, name, statement?.span ?? null, printSize);
}
