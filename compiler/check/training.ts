/** Checking a step that trains: what is trained, on what, by which loss, how, and what is stored of it. */
import { printDtype, sameDtype } from "../types/dtype.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { RecipeStep, TrainSettings } from "../recipe/recipe.js";
import type { Argument, Ident, Statement, TrainStatement } from "../syntax/ast.js";
import { differentiate } from "../graph/gradient/differentiate.js";
import { checkElement } from "./element.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import type { RecipeContext } from "./recipe-context.js";
import { lookup, nest, type Scope } from "./scope.js";
import { soleSymbol } from "./sizes.js";
import { suggestion } from "./suggestion.js";
import { sameSize } from "../types/size.js";

type Steps = (statements: readonly Statement[], context: RecipeContext, scope: Scope) => readonly RecipeStep[];
type LinearsStep = Extract<RecipeStep, { kind: "linears" }>;

/** A setting: its default, and what its values are. */
interface Setting {
  readonly fallback: number | boolean | null;
  readonly least: number;
  readonly most: number;
  readonly integer: boolean;
}

const count = (fallback: number | null, least = 0, most = 2 ** 31 - 1): Setting => ({
  fallback,
  least,
  most,
  integer: true,
});
const number = (fallback: number | null, least: number, most: number): Setting => ({
  fallback,
  least,
  most,
  integer: false,
});
const flag: Setting = { fallback: false, least: 0, most: 1, integer: true };
/** The smallest number that counts as positive. */
const positive = Number.MIN_VALUE;

/** Every setting of a training, in the order of the specification [L-79]. */
const settings: { readonly [K in keyof TrainSettings]: Setting } = {
  steps: count(null, 1),
  epochs: number(null, positive, 1e6),
  rate: number(null, positive, 1),
  warmup: count(0),
  batch: count(8, 1, 65536),
  clip: number(1, 0, Infinity),
  beta1: number(0.9, 0, 1 - 2 ** -24),
  beta2: number(0.95, 0, 1 - 2 ** -24),
  epsilon: number(1e-8, positive, 1),
  decay: number(0, 0, 1),
  final: number(0, 0, 1),
  seed: count(0, 0, 2 ** 32 - 1),
  norms: { ...flag, fallback: true },
  held_out: number(0.05, 0, 0.5),
  watch: count(50, 1),
  dense_inputs: flag,
};

const names = Object.keys(settings) as (keyof TrainSettings)[];

/** The step that a `train` is; none where it is wrong, which is reported. */
export function checkTraining(
  statement: TrainStatement,
  context: RecipeContext,
  scope: Scope,
  checkSteps: Steps,
): readonly RecipeStep[] {
  const { frame } = context;
  const scopeOf = checkTarget(statement, context, scope);
  const text = statement.text.kind === "name" ? lookup(scope, statement.text.name) : null;
  if (text?.kind !== "text")
    fail(frame, "E605", "a training reads a text", statement.text.span, "not a text", {
      help: "give the recipe a parameter `text: tokens`",
    });
  const found = readSettings(statement, context, scope);
  const loss = scopeOf === null ? null : checkLoss(statement.by, scopeOf, frame);
  const layers = checkSteps(statement.body, { ...context, training: true }, nest(scope));
  const loops: LinearsStep[] = [];
  for (const step of layers) {
    if (step.kind === "linears") loops.push(step);
    else
      fail(frame, "E602", "in a training stand loops over layers alone", step.span, "not here", {
        help: "put it before the training or after it",
      });
  }
  for (const loop of loops)
    for (const { inputs } of loop.treatments)
      if (inputs.some(({ kind }) => kind === "statistic" || kind === "windows" || kind === "tokens"))
        fail(
          frame,
          "E602",
          "what a training stores is made anew at each step, of weights alone",
          loop.span,
          "of more",
          {
            help: "`w` is the weight that is trained, `w.start` what it began with, `w.dense` the weight as it was given",
          },
        );
  if (statement.body.length === 0)
    fail(frame, "E604", "this training stores nothing", statement.span, "no layer is trained", {
      help: `say what is stored of each layer: \`for w in ${scopeOf === "block" ? (context.block ?? "block") : "model"}.linears { store w as ... }\``,
    });
  if (scopeOf === null || found === null || loss === null || text?.kind !== "text") return [];
  return [
    {
      kind: "train",
      scope: scopeOf,
      function: statement.by.name,
      loss,
      settings: found,
      layers: loops,
      span: statement.span,
    },
  ];
}

function checkTarget(statement: TrainStatement, context: RecipeContext, scope: Scope): "block" | "model" | null {
  const { frame } = context;
  const { target } = statement;
  if (context.training)
    return fail(frame, "E602", "a training stands by itself", statement.span, "in another training", {
      help: "put it after the other one",
    });
  const bound = target.kind === "name" ? lookup(scope, target.name) : null;
  if (bound?.kind === "block") return "block";
  if (bound?.kind === "model") {
    if (context.block === null) return "model";
    return fail(
      frame,
      "E602",
      "the whole model is trained outside of loops over its blocks",
      target.span,
      "in a loop",
      {
        help: `write \`train ${context.block} on ...\`, or put it after the loop`,
      },
    );
  }
  return fail(frame, "E605", "what is trained is the model or a block of it", target.span, "neither", {
    help: "write `train model on text by ...`, or inside `for block in model.blocks { }` `train block on text by ...`",
  });
}

/** All settings filled in; null where one is wrong. */
function readSettings(statement: TrainStatement, context: RecipeContext, scope: Scope): TrainSettings | null {
  const { frame } = context;
  const given = new Map<string, number | boolean>();
  let failed = false;
  for (const argument of statement.settings) {
    const value = readSetting(argument, given, frame, scope);
    if (value === null) failed = true;
  }
  const at = statement.by.span;
  const has = ["steps", "epochs"].filter((name) => given.has(name));
  if (!failed && has.length !== 1) {
    failed = true;
    const [which, help] =
      has.length === 0
        ? ["neither", "say how long: `steps: 600`, or `epochs: 4` for passes over the text"]
        : ["both", "leave one of them away"];
    fail(frame, "E605", `a training takes \`steps\` or \`epochs\`, and this one ${which}`, at, `has ${which}`, {
      help,
    });
  }
  if (!failed && !given.has("rate")) {
    failed = true;
    fail(frame, "E605", "a training needs a learning rate", at, "has none", { help: "add `rate: 3e-4`" });
  }
  if (failed) return null;
  const all = names.map((name) => [name, given.get(name) ?? settings[name].fallback] as const);
  return Object.fromEntries(all) as unknown as TrainSettings;
}

function readSetting(
  { label, value, span }: Argument,
  given: Map<string, number | boolean>,
  frame: Frame,
  scope: Scope,
): true | null {
  if (label === null)
    return fail(frame, "E605", "settings of a training are given by name", span, "which one?", {
      help: `write \`rate: ...\`; the settings are ${names.join(", ")}`,
    });
  const name = names.find((each) => each === label.name);
  if (name === undefined)
    return fail(frame, "E605", `a training has no setting \`${label.name}\``, label.span, "no such setting", {
      help: suggestion(label.name, names, "the settings are"),
    });
  if (given.has(name)) return fail(frame, "E203", `\`${name}\` is given twice`, label.span, "given again");
  const { fallback, least, most, integer } = settings[name];
  const element = checkElement(value, placeIn(frame, scope));
  if (element === null) return null;
  const boolean =
    element.kind === "scalar" && element.scalar.kind === "constant" && element.dtype === "bool"
      ? element.scalar.value !== 0
      : null;
  if (typeof fallback === "boolean") {
    if (boolean === null) return fail(frame, "E605", `\`${name}\` is \`true\` or \`false\``, value.span, "neither");
    given.set(name, boolean);
    return true;
  }
  if (element.kind !== "number")
    return fail(frame, "E605", `\`${name}\` is a number known when the recipe is checked`, value.span, "not a number", {
      help: "write a number, or a parameter of the recipe with a default",
    });
  if (integer && !Number.isInteger(element.value))
    return fail(frame, "E605", `\`${name}\` is a whole number`, value.span, `is ${element.value}`);
  if (!(element.value >= least && element.value <= most))
    return fail(frame, "E605", `\`${name}\` is ${range(least, most)}`, value.span, `is ${element.value}`, {
      help: name === "rate" ? "rates from 1e-5, for large models, to 1e-3 are usual" : null,
    });
  given.set(name, element.value);
  return true;
}

function range(least: number, most: number): string {
  const low = least === positive ? "greater than 0" : `at least ${least}`;
  return most >= 2 ** 31 - 1 ? low : `${low} and at most ${most === 1 - 2 ** -24 ? "less than 1" : most}`;
}

/**
 * The graph of a loss: it gives f32 [T], of what the block gives, E [T, D], and the dense block; or of logits,
 * f32 [T, V], those of the dense model, and the ids of the next tokens, i32 [T]. It must have a gradient.
 */
function checkLoss(by: Ident, scope: "block" | "model", frame: Frame): SymbolicGraph | null {
  const callee = frame.functionOf(by.name, by.span);
  if (callee === null || callee.graph === null) return null;
  const { graph } = callee;
  const form =
    scope === "block"
      ? "`fn loss(y: E[T, D], target: E[T, D]) -> f32[T]`"
      : "`fn loss(logits: f32[T, V], dense: f32[T, V]) -> f32[T]`, with `next: i32[T]` beside the second or in its place";
  const wrong = (label: string): null =>
    fail(frame, "E605", `\`${by.name}\` is no loss of a ${scope}: it must have the form ${form}`, by.span, label, {
      labels: [{ span: callee.declaration.name.span, message: "declared here" }],
    });
  const types = graph.inputs.map(({ value }) => graph.values[value]?.type);
  const [own, ...others] = types;
  const [output, ...more] = graph.outputs;
  const result = output === undefined ? undefined : graph.values[output.value]?.type;
  if (own === undefined || result === undefined || more.length > 0 || graph.inputs.some(({ mutable }) => mutable))
    return wrong(`takes ${graph.inputs.length} and gives ${graph.outputs.length}`);
  const [tokens, features] = own.shape;
  const isOwn =
    own.shape.length === 2 &&
    own.format === null &&
    own.pattern.kind === "full" &&
    (scope === "block" ? own.dtype === "f32" || typeof own.dtype !== "string" : own.dtype === "f32");
  if (
    !isOwn ||
    tokens === undefined ||
    features === undefined ||
    soleSymbol(tokens) === null ||
    soleSymbol(features) === null
  )
    return wrong(`takes ${printType(own)}`);
  const dense = others.filter((type) => type !== undefined && type.dtype !== "i32");
  const next = others.filter((type) => type?.dtype === "i32");
  if (dense.length > 1 || next.length > (scope === "model" ? 1 : 0) || dense.length + next.length === 0)
    return wrong(`takes ${types.map((type) => (type === undefined ? "nothing" : printType(type))).join(", ")}`);
  for (const type of dense)
    if (type === undefined || printType(type) !== printType(own))
      return wrong(`takes ${type === undefined ? "nothing" : printType(type)} as the second`);
  for (const type of next)
    if (type?.shape.length !== 1 || type.shape[0] === undefined || !sameSize(type.shape[0], tokens))
      return wrong(`takes ${type === undefined ? "nothing" : printType(type)}`);
  const isToken = result.shape.length === 1 && result.shape[0] !== undefined && sameSize(result.shape[0], tokens);
  if (!sameDtype(result.dtype, "f32") || !isToken) return wrong(`gives ${printType(result)}`);
  const [first] = graph.inputs;
  const gradient = differentiate(graph, { of: output?.name ?? "", by: [first?.name ?? ""] });
  if (!("faults" in gradient)) return graph;
  const [fault] = gradient.faults;
  return fail(
    frame,
    "E701",
    `\`${by.name}\` cannot be minimised: ${fault?.message ?? "it has no gradient"}`,
    by.span,
    `of ${printDtype(result.dtype)}`,
    {
      help: fault?.help ?? null,
    },
  );
}
