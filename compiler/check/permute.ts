/** Checking `permute w on score by exchange_2of4(rounds: 64)`. */
import type { SymbolicGraph } from "../graph/graph.js";
import type { Permutation } from "../recipe/recipe.js";
import type { PermuteStatement } from "../syntax/ast.js";
import type { TensorType } from "../types/type.js";
import { counted } from "../words.js";
import { constantSetting } from "./constant-setting.js";
import { fail, printType, type Frame } from "./frame.js";
import type { RecipeContext } from "./recipe-context.js";
import type { Scope } from "./scope.js";
import { soleSymbol } from "./sizes.js";

/** The most rounds that a permutation may take. */
const mostRounds = 2 ** 20;

/** How channels are exchanged; null where that is not in order. The score is the caller's to check. */
export function checkExchange(
  statement: PermuteStatement,
  context: RecipeContext,
  frame: Frame,
  scope: Scope,
): Omit<Permutation, "score"> | null {
  refuseStored(statement, context, frame);
  const rounds = checkRounds(statement, frame, scope);
  const exchange = checkFunction(statement, frame);
  return rounds === null || exchange === null
    ? null
    : { function: statement.by.name, exchange, rounds, span: statement.span };
}

/** What is stored before would have its channels in the old order. */
function refuseStored({ span }: PermuteStatement, { stored, block }: RecipeContext, frame: Frame): void {
  const before = stored.find((at) => at.file === span.file && at.start < span.start);
  if (before !== undefined)
    fail(frame, "E602", "channels change places before anything is stored", span, "too late", {
      labels: [{ span: before, message: "stored here" }],
      help: block === null ? null : "put it into a loop of its own, in front of the loops that store",
    });
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
  const typeOf = (value: number | undefined): TensorType | undefined => graph.values[value ?? -1]?.type;
  const [score, order, round, ...more] = graph.inputs.map(({ value }) => typeOf(value));
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
  const [result, ...results] = graph.outputs.map(({ value }) => typeOf(value));
  if (result === undefined || results.length > 0) return wrong(`gives ${counted(graph.outputs.length, "value")}`);
  return isOrder(result) ? graph : wrong(`gives ${printType(result)}`);
}

function isPlain(type: TensorType): boolean {
  return type.format === null && type.pattern.kind === "full";
}
