/** Checking `permute w on score by exchange_2of4(rounds: 64)`. */
import type { Span } from "../diagnostic.js";
import type { SymbolicGraph, ValueId } from "../graph/graph.js";
import type { Permutation, RecipeStep } from "../recipe/recipe.js";
import type { PermuteStatement } from "../syntax/ast.js";
import type { TensorType } from "../types/type.js";
import { counted } from "../words.js";
import { constantSetting } from "./constant-setting.js";
import { typeOf } from "./builder.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { checkTensor } from "./whole.js";
import { lookup, type Scope } from "./scope.js";
import { soleSymbol } from "./sizes.js";

/** The most rounds that a permutation may take. */
const mostRounds = 2 ** 20;

/** Checks the statement by itself; null where it is not in order. */
export function checkPermutation(
  statement: PermuteStatement,
  {
    frame,
    scope,
    layer,
    before,
    fitsWeight,
  }: {
    readonly frame: Frame;
    readonly scope: Scope;
    readonly layer: string;
    readonly before: Permutation | null;
    /** Whether a type is that of the layer's weight. */
    readonly fitsWeight: (type: TensorType) => boolean;
  },
): (Omit<Permutation, "score"> & { readonly score: ValueId }) | null {
  const rounds = checkRounds(statement, frame, scope);
  const exchange = checkFunction(statement, frame);
  const score = checkTensor(statement.score, placeIn(frame, scope));
  const { target, span } = statement;
  if (target.kind !== "name" || lookup(scope, target.name)?.kind !== "layer")
    return fail(frame, "E604", "what is permuted is the layer of the loop", target.span, `not \`${layer}\``, {
      help: `write \`permute ${layer} on ...\``,
    });
  if (before !== null)
    return fail(frame, "E604", `\`${layer}\` is permuted twice`, span, "permuted again", {
      labels: [{ span: before.span, message: "first permuted here" }],
    });
  if (rounds === null || exchange === null || score === null) return null;
  const type = typeOf(frame.builder, score);
  if (!fitsWeight(type))
    return fail(
      frame,
      "E604",
      `what channels count for is f32[N, K], as the weight is, and this is ${printType(type)}`,
      statement.score.span,
      printType(type),
    );
  return { function: statement.by.name, exchange, rounds, span, score };
}

/** Reports permutations that come too late: what is done to a model before would be of channels in the old order. */
export function checkPermutations(steps: readonly RecipeStep[], frame: Frame): void {
  let before: { readonly span: Span; readonly what: string } | null = null;
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") return step.body.forEach(visit);
    const own = step.kind === "linears" || step.kind === "tensors" ? step.treatments : [];
    for (const { permutes } of own)
      if (permutes !== null && before !== null)
        fail(
          frame,
          "E602",
          "channels change places before anything else is done to a model",
          permutes.span,
          "too late",
          {
            labels: [{ span: before.span, message: before.what }],
            help: "put it into a loop of its own, in front of those that store, scale, retain or train",
          },
        );
    const stores = own.some(({ stores: name }) => name !== null);
    const retains = own.some(({ retains: columns }) => columns !== null);
    const moved = own.find(({ permutes }) => permutes !== null)?.permutes ?? null;
    if (moved !== null && (stores || retains))
      fail(frame, "E602", "channels change places where layers are stored or retained", moved.span, "in one loop", {
        labels: [{ span: step.span, message: "in this loop" }],
        help: "permute in a loop of its own, then observe, and store in another",
      });
    if (step.kind === "rotate") before ??= { span: step.span, what: "rotated here" };
    if (step.kind === "scale") before ??= { span: step.span, what: "scaled here" };
    if (step.kind === "train") before ??= { span: step.span, what: "trained here" };
    if (retains) before ??= { span: step.span, what: "columns are retained here" };
    if (stores) before ??= { span: step.span, what: "stored here" };
  };
  steps.forEach(visit);
}

function checkRounds({ settings, by, span }: PermuteStatement, frame: Frame, scope: Scope): number | null {
  const [rounds, ...more] = settings;
  const help = `write \`${by.name}(rounds: 64)\``;
  if (rounds === undefined)
    return fail(frame, "E615", "how often channels are exchanged is not said", by.span, "without `rounds`", { help });
  if (rounds.label?.name !== "rounds" || more.length > 0)
    return fail(
      frame,
      "E615",
      "a permutation has one setting, `rounds`",
      more[0]?.span ?? rounds.span,
      "no such setting",
      { help },
    );
  const value = constantSetting(rounds, frame, scope, "E615");
  if (value === null) return null;
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= mostRounds) return value;
  return fail(
    frame,
    "E615",
    `\`rounds\` is a whole number from 1 to ${mostRounds}, and is set to ${String(value)}`,
    rounds.span,
    `is ${String(value)}`,
    { help: span === null ? null : "as many rounds as there are groups of channels try every pair of them once" },
  );
}

const form =
  "`score: f32[N, C]`, of which it exchanges the C columns, `order: i32[C]`, which says the column that stands at each place, and `round: i32`, and give the order from there on, i32[C]";

function checkFunction({ by }: PermuteStatement, frame: Frame): SymbolicGraph | null {
  const callee = frame.functionOf(by.name, by.span);
  if (callee === null || callee.graph === null) return null;
  const { graph } = callee;
  const wrong = (label: string): null =>
    fail(frame, "E615", `\`${by.name}\` exchanges no channels: it must take ${form}`, by.span, label, {
      labels: [{ span: callee.declaration.name.span, message: "declared here" }],
    });
  const typeOfInput = (value: number | undefined): TensorType | undefined => graph.values[value ?? -1]?.type;
  const [score, order, round, ...more] = graph.inputs.map(({ value }) => typeOfInput(value));
  if (callee.params.some(({ kind }) => kind === "size")) return wrong("takes a size");
  if (graph.inputs.some(({ mutable }) => mutable)) return wrong("changes what it is given");
  if (score === undefined || order === undefined || round === undefined || more.length > 0)
    return wrong(`takes ${counted(graph.inputs.length, "value")}`);
  const columns = score.shape[1] === undefined ? null : soleSymbol(score.shape[1]);
  const rows = score.shape[0] === undefined ? null : soleSymbol(score.shape[0]);
  if (score.dtype !== "f32" || score.shape.length !== 2 || columns === null || rows === null || !isPlain(score))
    return wrong(`takes ${printType(score)}`);
  const isOrder = (type: TensorType): boolean =>
    type.dtype === "i32" &&
    type.shape.length === 1 &&
    type.shape[0] !== undefined &&
    soleSymbol(type.shape[0]) === columns &&
    isPlain(type);
  if (!isOrder(order)) return wrong(`takes ${printType(order)}`);
  if (round.dtype !== "i32" || round.shape.length > 0) return wrong(`takes ${printType(round)}`);
  const [result, ...results] = graph.outputs.map(({ value }) => typeOfInput(value));
  if (result === undefined || results.length > 0) return wrong(`gives ${counted(graph.outputs.length, "value")}`);
  return isOrder(result) ? graph : wrong(`gives ${printType(result)}`);
}

function isPlain(type: TensorType): boolean {
  return type.format === null && type.pattern.kind === "full";
}
