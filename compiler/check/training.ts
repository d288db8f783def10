/** Checking `train model on text by kl(steps: 600, rate: 3e-4) { ... }`. */
import { differentiate } from "../graph/gradient/differentiate.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { BesideLoss, RecipeStep, TrainStep } from "../recipe/recipe.js";
import type { Ident, Statement, TrainStatement } from "../syntax/ast.js";
import type { TensorType } from "../types/type.js";
import { counted } from "../words.js";
import { constantSetting } from "./constant-setting.js";
import { fail, printType, type Frame } from "./frame.js";
import { reportFault } from "./gradient.js";
import type { RecipeContext } from "./recipe-context.js";
import { lookup, nest, peek, type Scope } from "./scope.js";
import { soleSymbol } from "./sizes.js";
import { checkTrainSettings } from "./train-settings.js";
import { failName } from "./unknown.js";

type LinearsStep = TrainStep["layers"][number];

/** Checks a training; `checkSteps` checks the statements of its body. */
export function checkTraining(
  statement: TrainStatement,
  context: RecipeContext,
  scope: Scope,
  checkSteps: (statements: readonly Statement[], context: RecipeContext, scope: Scope) => readonly RecipeStep[],
): readonly RecipeStep[] {
  const { frame } = context;
  const target = checkTarget(statement, context, scope);
  const text = statement.text.kind === "name" ? lookup(scope, statement.text.name) : null;
  if (text?.kind !== "text")
    fail(frame, "E605", "a training goes over a text", statement.text.span, "not a text", {
      help: "give the recipe a parameter `text: tokens`",
    });
  const settings = checkTrainSettings(statement, target ?? "block", frame, scope);
  const loss = target === null ? null : checkLoss(statement.by, target, frame);
  const beside = target === null ? null : checkBeside(statement, target, frame, scope);
  if (target === null) return [];
  let failed = false;
  const report: Frame["report"] = (found) => {
    if (found.severity === "error") failed = true;
    frame.report(found);
  };
  const inside = { ...context, frame: { ...frame, report }, training: target };
  const layers = checkSteps(statement.body, inside, nest(scope)).filter(
    (step): step is LinearsStep => step.kind === "linears",
  );
  if (!failed && layers.length === 0)
    fail(frame, "E604", "this training stores nothing", statement.target.span, "no layer is trained", {
      help: `say what becomes of each layer: \`for w in ${nameOf(statement)}.linears { store w as ... }\``,
    });
  if (failed || layers.length === 0 || settings === null || loss === null || text?.kind !== "text") return [];
  if (statement.beside !== null && beside === null) return [];
  for (const layer of layers) requireGradients(layer, frame);
  const { by, span } = statement;
  return [{ kind: "train", scope: target, function: by.name, loss, beside, settings, layers, span }];
}

/** What is asked of each block beside the loss of the model; null where nothing is, or where it is not in order. */
function checkBeside(
  { beside }: TrainStatement,
  target: TrainStep["scope"],
  frame: Frame,
  scope: Scope,
): BesideLoss | null {
  if (beside === null) return null;
  if (target === "block")
    return fail(frame, "E611", "a block has one loss", beside.span, "a second", {
      help: "write a function that gives the sum of both",
    });
  const loss = checkLoss(beside.by, "block", frame);
  const weight = besideWeight(beside, frame, scope);
  return loss === null || weight === null ? null : { function: beside.by.name, loss, weight };
}

/** What the loss of blocks counts beside that of the model. */
function besideWeight(
  { by, settings }: NonNullable<TrainStatement["beside"]>,
  frame: Frame,
  scope: Scope,
): number | null {
  const help = `write \`and ${by.name}(weight: 0.5)\``;
  const [setting, ...more] = settings;
  if (setting === undefined)
    return fail(
      frame,
      "E611",
      `what \`${by.name}\` counts beside the other loss is not said`,
      by.span,
      "without `weight`",
      {
        help,
      },
    );
  if (setting.label?.name !== "weight" || more.length > 0)
    return fail(
      frame,
      "E611",
      "a second loss has one setting, `weight`",
      (more[0] ?? setting).span,
      "no such setting",
      {
        help,
      },
    );
  const value = constantSetting(setting, frame, scope, "E611");
  if (value === null) return null;
  if (typeof value === "number" && value > 0 && value <= mostWeight) return value;
  return fail(
    frame,
    "E611",
    `\`weight\` is a number above 0, at most ${mostWeight}, and is set to ${String(value)}`,
    setting.span,
    `is ${String(value)}`,
  );
}

/** What a second loss may count at most: more would leave nothing of the first in f32. */
const mostWeight = 1e6;

function nameOf({ target }: TrainStatement): string {
  return target.kind === "name" ? target.name : "model";
}

/** What is trained: the model outside of the loop over blocks, or the block of that loop. */
function checkTarget(
  { target, span }: TrainStatement,
  context: RecipeContext,
  scope: Scope,
): TrainStep["scope"] | null {
  const { frame } = context;
  const head = { ...span, end: target.span.end };
  if (target.kind !== "name")
    return fail(frame, "E605", "what is trained is the model, or a block of it", target.span, "neither", {
      help: "write `train model on ...`, or `train block on ...` inside `for block in model.blocks { }`; the loop over layers stands in its body",
    });
  const binding = peek(scope, target.name)?.binding ?? null;
  if (binding === null && target.name === "block" && context.block === null)
    return fail(frame, "E602", "a block is trained in the loop over blocks", head, "of which block?", {
      help: "put it inside `for block in model.blocks { }`, or train the whole model: `train model on ...`",
    });
  if (binding === null) return failName(target, { frame, scope });
  lookup(scope, target.name);
  if (binding.kind === "unknown") return null;
  if (binding.kind === "model" && context.block !== null)
    return fail(
      frame,
      "E602",
      "inside a loop over blocks the block is trained",
      head,
      "the whole model, at each block",
      {
        help: `write \`train ${context.block} on ...\`, or put it behind the loop`,
      },
    );
  if (binding.kind === "model" || binding.kind === "block") return binding.kind;
  return fail(
    frame,
    "E605",
    "what is trained is the model, or a block of it",
    target.span,
    `\`${target.name}\` is ${binding.kind === "text" ? "a text" : binding.kind === "number" || binding.kind === "boolean" ? "a constant" : "neither"}`,
  );
}

/** What a loss of each may look like. */
const forms: { readonly [K in TrainStep["scope"]]: string } = {
  block:
    "`y: E[T, D]`, what the block gives, and `target: E[T, D]`, what it should give, and give f32[T], the loss of each token",
  model:
    "`logits: f32[T, V]`, and `dense: f32[T, V]` of the model as it was given, `next: i32[T]`, the tokens that follow, or both, and give f32[T], the loss of each token",
};

/** The function that is minimised; null where it has another form. */
function checkLoss(by: Ident, target: TrainStep["scope"], frame: Frame): SymbolicGraph | null {
  const callee = frame.functionOf(by.name, by.span);
  if (callee === null || callee.graph === null) return null;
  const { graph } = callee;
  const wrong = (label: string, help: string | null = null): null =>
    fail(frame, "E612", `\`${by.name}\` is no loss of a ${target}: it must take ${forms[target]}`, by.span, label, {
      labels: [{ span: callee.declaration.name.span, message: "declared here" }],
      help,
    });
  const types = graph.inputs.map(({ value }) => graph.values[value]?.type);
  const [own, second] = types;
  if (callee.params.some(({ kind }) => kind === "size")) return wrong("takes a size");
  if (graph.inputs.some(({ mutable }) => mutable)) return wrong("changes what it is given");
  if (own === undefined) return wrong("takes nothing");
  if (!isActivations(own)) return wrong(`takes ${printType(own)}`);
  if (target === "model" && own.dtype !== "f32") return wrong(`takes ${printType(own)}`);
  if (target === "block" && own.dtype === "f32")
    return wrong(
      `takes ${printType(own)}`,
      "a block gives f16 or f32, as it is run: take `E[T, D]`, and compute with `f32(y[t, d])`",
    );
  const [next, ...more] = types.slice(1).filter((type) => type?.dtype === "i32");
  const compared = types.slice(1).filter((type) => type?.dtype !== "i32");
  if (more.length > 0 || compared.length > 1) return wrong(`takes ${counted(types.length, "tensor")}`);
  const [dense] = compared;
  if (dense !== undefined && printType(dense) !== printType(own))
    return wrong(`takes ${printType(own)} and ${printType(dense)}`);
  const tokens = own.shape[0] === undefined ? null : soleSymbol(own.shape[0]);
  if (
    next !== undefined &&
    !(isPlain(next) && next.shape.length === 1 && next.shape[0] !== undefined && soleSymbol(next.shape[0]) === tokens)
  )
    return wrong(`takes ${printType(next)}`);
  if (target === "block" && next !== undefined)
    return wrong("takes tokens", "the tokens that follow are for `train model`");
  if (second === undefined || (target === "block" && dense === undefined))
    return wrong(`takes ${printType(own)} alone`, "without something to compare with there is nothing to learn");
  const [output, ...outputs] = graph.outputs;
  if (output === undefined || outputs.length > 0) return wrong(`gives ${counted(graph.outputs.length, "tensor")}`);
  const result = graph.values[output.value]?.type;
  if (
    result === undefined ||
    result.dtype !== "f32" ||
    !isPlain(result) ||
    result.shape.length !== 1 ||
    result.shape[0] === undefined ||
    soleSymbol(result.shape[0]) !== tokens
  )
    return wrong(result === undefined ? "gives nothing" : `gives ${printType(result)}`, meanHelp(result));
  const [input] = graph.inputs;
  const derived = differentiate(graph, { of: output.name, by: input === undefined ? [] : [input.name] });
  if ("graph" in derived) return graph;
  const [fault] = derived.faults;
  if (fault !== undefined) reportFault(fault, by.span, frame);
  return null;
}

function meanHelp(result: TensorType | undefined): string | null {
  return result?.shape.length === 0 || result?.shape.length === 2
    ? "give the loss of each token: what is trained down is their mean over the tokens that count"
    : null;
}

/** Whether these can be activations or logits: a row for each token. */
function isActivations(type: TensorType): boolean {
  const [tokens, features, ...more] = type.shape;
  if (tokens === undefined || features === undefined || more.length > 0 || !isPlain(type)) return false;
  const [t, k] = [soleSymbol(tokens), soleSymbol(features)];
  return t !== null && k !== null && t !== k && (typeof type.dtype !== "string" || type.dtype === "f32");
}

function isPlain(type: TensorType): boolean {
  return type.format === null && type.pattern.kind === "full";
}

/** E701 to E703: what is stored must have a gradient by the weight that is trained; packs let it through. */
function requireGradients({ treatments }: LinearsStep, frame: Frame): void {
  for (const { graph, inputs, stores } of treatments) {
    const output = graph.outputs.find(({ name }) => name === stores);
    if (output === undefined) continue;
    const at = graph.values[output.value]?.span ?? graph.span;
    const stored: SymbolicGraph = { ...graph, outputs: [output], span: at };
    for (const { name, kind } of inputs) {
      if (kind !== "weight" && kind !== "factors" && kind !== "parameter") continue;
      const derived = differentiate(stored, { of: output.name, by: [name], packs: "through" });
      if ("graph" in derived) continue;
      const [fault] = derived.faults;
      if (fault === undefined || at === null) continue;
      const isScale = kind === "parameter" && fault.kind === "independent" && fault.message.includes("`pack`");
      reportFault(isScale ? { ...fault, help: learnedScales } : fault, at, frame);
    }
  }
}

/** What gives the scales of a grid a gradient. */
const learnedScales =
  "scales have a gradient by `learned_grid` of the module `train`: `let q = pack w as ... with scale s`, then `store w as pack learned_grid(w, q, s) as ... with scale s`";
