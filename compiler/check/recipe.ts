import { InternalError, type Span } from "../diagnostic.js";

import type { Recipe, RecipeStep } from "../recipe/recipe.js";
import type { Expr, ForStatement, RecipeDeclaration, Statement } from "../syntax/ast.js";
import { newBuilder } from "./builder.js";
import { checkCondition, ofModel } from "./condition.js";
import { constantCondition } from "./constant-condition.js";
import { findingsFor } from "./findings.js";
import { fail, type Frame } from "./frame.js";
import { checkObserved } from "./observe.js";
import { namePattern, type RecipeContext } from "./recipe-context.js";
import { bind, lookup, nest, type Scope } from "./scope.js";
import { checkPermutations } from "./permute.js";
import { checkRetentions } from "./retention.js";
import { checkRoundings } from "./rounding.js";
import { checkSettings, defaultOf, type Settings } from "./settings.js";
import { checkLet } from "./statement.js";
import { checkTraining, refusedInTraining } from "./training.js";
import { checkScaling } from "./scaling.js";
import { warnUnused } from "./unused.js";
import { suggest } from "../suggest.js";
import { nameHabits } from "./habits.js";
import { checkTensors } from "./tensor-loop.js";
import { blockTensorKinds, isTensorKind, tensorKinds } from "./tensors.js";
import { suggestion } from "./suggestion.js";
import { failName } from "./unknown.js";
import { checkTreatments } from "./treatment.js";

export { checkSettings, type Settings };

/**
 * Checks a recipe; null where it has an error. `settings` are the values of its parameters that are not their defaults.
 */
export function checkRecipe(
  recipe: RecipeDeclaration,
  rest: Pick<Frame, "file" | "report" | "functionOf">,
  constants: Scope,
  settings: ReadonlyMap<string, number | boolean>,
): Recipe | null {
  const findings = findingsFor(rest);
  const { report, functionOf } = findings;
  const frame: Frame = {
    ...rest,
    report,
    functionOf,
    builder: newBuilder(),
    dtypes: new Set(),
    formats: new Set(),
    layer: null,
  };
  const scope = nest(constants);
  const parameters = checkParameters(recipe, frame, scope, settings);
  const inside = nest(scope);
  const context: RecipeContext = {
    frame,
    recipe,
    observed: [],
    measured: [],
    complete: new Set(),
    permuted: [],
    steps: inside,
    block: null,
    training: null,
  };
  const steps = checkSteps(recipe.body, context, inside);
  checkPermutations(steps, frame);
  checkRetentions(steps, frame);
  checkRoundings(steps, frame);
  findings.finish();
  if (findings.failed()) return null;
  return { name: recipe.name.name, span: recipe.name.span, parameters, needsText: steps.some(needsText), steps };
}

function checkParameters(
  recipe: RecipeDeclaration,
  frame: Frame,
  scope: Scope,
  settings: ReadonlyMap<string, number | boolean>,
): Recipe["parameters"] {
  const parameters: { name: string; value: number | boolean; fallback: number | boolean }[] = [];
  for (const param of recipe.params) {
    const name = param.name.name;
    const known = scope.entries.get(name);
    if (known !== undefined)
      fail(
        frame,
        "E203",
        `the parameter \`${name}\` is declared twice`,
        param.name.span,
        "declared again",
        known.span === null ? {} : { labels: [{ span: known.span, message: "first declared here" }] },
      );
    if (param.mutable) fail(frame, "E603", "parameters of recipes are constants", param.span, "`var` is for functions");
    const type = param.type?.dtype.name ?? null;
    if (type === "llama" || type === "tokens") {
      bind(scope, name, { kind: type === "llama" ? "model" : "text" }, param.name.span);
      if (param.fallback !== null)
        fail(frame, "E603", `a ${type} has no default`, param.fallback.span, "given at each run");
      continue;
    }
    const fallback = defaultOf(param.fallback);
    if (fallback === null) {
      bind(scope, name, { kind: "unknown" }, param.name.span);
      if (param.fallback === null)
        fail(
          frame,
          "E603",
          `\`${name}\` has neither a default nor one of the types llama and tokens`,
          param.span,
          "what is it?",
          { help: parameterHelp(name, type) },
        );
      else
        fail(
          frame,
          "E603",
          `the default of \`${name}\` must be a number, \`true\` or \`false\``,
          param.fallback.span,
          "not a plain constant",
          { help: fallbackHelp(param.fallback) },
        );
      continue;
    }
    const boolean = typeof fallback.value === "boolean";
    if (
      type !== null &&
      (param.type?.shape != null || !(boolean ? type === "bool" : type === "size" || type === "f32" || type === "i32"))
    )
      fail(
        frame,
        "E603",
        `\`${name}\` is declared as ${type}, and its default is ${boolean ? "a truth value" : "a number"}`,
        param.span,
        "not the same",
        { help: `write \`${name} = ${String(fallback.value)}\`` },
      );
    const value = settings.get(name) ?? fallback.value;
    parameters.push({ name, value, fallback: fallback.value });
    if (typeof value === "boolean") bind(scope, name, { kind: "boolean", value }, param.name.span);
    else
      bind(
        scope,
        name,
        { kind: "number", value, integer: Number.isInteger(value) && (fallback.integer || settings.has(name)) },
        param.name.span,
      );
  }
  return parameters;
}

function fallbackHelp(expr: Expr): string | null {
  if (expr.kind === "name") return nameHabits.get(expr.name) ?? null;
  if (expr.kind !== "binary" || expr.left.kind !== "number" || expr.right.kind !== "number") return null;
  const [a, b] = [expr.left.value, expr.right.value];
  const value = expr.op === "/" ? a / b : expr.op === "*" ? a * b : expr.op === "+" ? a + b : a - b;
  return `write \`${value}\``;
}

function parameterHelp(name: string, type: string | null): string {
  const near = type === null ? null : suggest(type, ["llama", "tokens"]);
  if (near !== null) return `did you mean \`${name}: ${near}\`?`;
  if (type === "size" || type === "i32") return `give it a default: \`${name} = 128\``;
  if (type === "f32" || type === "bool") return `give it a default: \`${name} = ${type === "f32" ? "0.01" : "true"}\``;
  if (name === "model") return "write `model: llama`";
  if (name === "text") return "write `text: tokens`";
  return `write \`${name}: llama\`, \`${name}: tokens\`, or a default: \`${name} = 0.01\``;
}

function needsText(step: RecipeStep): boolean {
  switch (step.kind) {
    case "blocks":
      return step.body.some(needsText);
    case "observe":
    case "expect":
      return true;
    case "tensors":
    case "linears":
      return step.treatments.some((treatment) =>
        [...treatment.inputs, ...(treatment.permutes?.score.inputs ?? []), ...(treatment.retains?.inputs ?? [])].some(
          (input) => input.kind === "windows" || input.kind === "tokens",
        ),
      );
    case "train":
      return true;
    case "save":
    case "round":
      return false;
    case "scale":
      return step.computed.inputs.some(({ kind }) => kind === "windows" || kind === "tokens");
    default:
      return step satisfies never;
  }
}

/** Checks the statements of a recipe or of a loop over its blocks. */
function checkSteps(statements: readonly Statement[], context: RecipeContext, scope: Scope): readonly RecipeStep[] {
  const steps: RecipeStep[] = [];
  for (const statement of statements) {
    steps.push(...checkStep(statement, context, scope));
    // a loop over blocks, or over all layers, is over
    if (context.block === null) for (const { id } of context.measured) context.complete.add(id);
  }
  warnUnused(scope, context.frame);
  return steps;
}

function checkStep(statement: Statement, context: RecipeContext, scope: Scope): readonly RecipeStep[] {
  const { frame } = context;
  if (context.training !== null && refusedInTraining(statement, context)) return [];
  switch (statement.kind) {
    case "let": {
      if (statement.value.kind === "observe") return checkObserve(statement, statement.value, context, scope);
      checkLet(statement, frame, scope);
      const made = frame.builder.eqns.length;
      if (made > 0) {
        fail(
          frame,
          "E602",
          "tensors are computed inside `for w in ...linears`",
          statement.span,
          "outside the loop over layers there are only constants",
        );
        frame.builder.eqns.length = 0;
      }
      return [];
    }
    case "for":
      return checkLoop(statement, context, scope);
    case "if": {
      const chosen = constantCondition(statement.condition, frame, scope);
      if (chosen === null) return [];
      return checkSteps(chosen ? statement.then : statement.otherwise, context, nest(scope));
    }
    case "train":
      return checkTraining(statement, context, scope, checkSteps);
    case "expect": {
      const condition = checkCondition(statement.condition, frame, scope);
      const { start, end } = statement.condition.span;
      // what compares numbers only holds, or was reported
      return condition === null || !ofModel(condition)
        ? []
        : [{ kind: "expect", condition, text: frame.file.source.slice(start, end), span: statement.span }];
    }
    case "save":
      if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(statement.name.value))
        fail(
          frame,
          "E605",
          `\`${statement.name.value}\` cannot be the name of a folder`,
          statement.name.span,
          "not a plain name",
          { help: "use letters, digits, `-`, `_` and `.`" },
        );
      return [{ kind: "save", name: statement.name.value, span: statement.span }];
    case "scan":
      fail(frame, "E602", "`scan` stands in functions, and in `for w in ...linears`", statement.span, "not here");
      return [];
    case "store":
      fail(frame, "E602", "`store` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "permute":
      fail(frame, "E602", "`permute` stands in a loop over layers", statement.span, "the channels of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "scale":
    case "round":
      fail(frame, "E602", `\`${statement.kind}\` stands in a loop over inputs`, statement.span, "of which input?", {
        help: "inside `for w in block.inputs { }`",
      });
      return [];
    case "measure":
      fail(frame, "E602", "`measure` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "retain":
      fail(frame, "E602", "`retain` stands in a loop over layers", statement.span, "of which layer?", {
        help: "inside `for w in block.linears { }`",
      });
      return [];
    case "var":
    case "update":
      fail(
        frame,
        "E602",
        `\`${statement.kind === "var" ? "var" : "an update"}\` stands in a function or in a loop over layers`,
        statement.span,
        "not here",
      );
      return [];
    case "return":
      fail(frame, "E602", "a recipe returns nothing", statement.span, "only functions do", {
        help: "`store` puts a weight into the model, `save` writes the model",
      });
      return [];
    default:
      return statement satisfies never;
  }
}

function checkObserve(
  statement: Extract<Statement, { kind: "let" }>,
  observe: Extract<Expr, { kind: "observe" }>,
  context: RecipeContext,
  scope: Scope,
): readonly RecipeStep[] {
  const { frame } = context;
  const [name, ...others] = statement.names;
  if (name === undefined) throw new InternalError("a let without a name");
  if (others.length > 0 || statement.indices !== null)
    fail(frame, "E605", "`observe` gives one statistic for each layer", statement.span, "one name", {
      help: `write \`let ${name.name} = observe ...\``,
    });
  const block = observe.block.kind === "name" ? lookup(scope, observe.block.name) : null;
  const text = observe.text.kind === "name" ? lookup(scope, observe.text.name) : null;
  if (block?.kind !== "block")
    fail(frame, "E605", "what is observed is a block of the model", observe.block.span, "not a block", {
      help: "inside `for block in model.blocks { }`, write `observe block on text by ...`",
    });
  if (text?.kind !== "text")
    fail(frame, "E605", "a block is observed on a text", observe.text.span, "not a text", {
      help: "give the recipe a parameter `text: tokens`",
    });
  const found = checkObserved(observe.by, frame);
  if (scope.entries.get(name.name)?.span != null)
    fail(frame, "E203", `\`${name.name}\` is declared twice`, name.span, "declared again");
  if (found === null || block?.kind !== "block" || text?.kind !== "text") {
    bind(scope, name.name, { kind: "unknown" }, name.span);
    return [];
  }
  const id = context.observed.length;
  context.observed.push({ name: name.name, ...found });
  bind(scope, name.name, { kind: "statistic", observe: id }, name.span, true);
  return [
    {
      kind: "observe",
      id,
      name: name.name,
      function: observe.by.name,
      graph: found.graph,
      combines: found.combines,
      span: statement.span,
    },
  ];
}

function checkLoop(statement: ForStatement, context: RecipeContext, scope: Scope): readonly RecipeStep[] {
  const { frame } = context;
  const { over } = statement;
  if (statement.to !== null)
    return failLoop(frame, "a recipe loops over the modules of a model, not over numbers", statement.span);
  if (over.kind !== "member" || over.base.kind !== "name")
    return failLoop(
      frame,
      "a recipe loops over the modules of a model",
      over.span,
      ofOneBlock(over)
        ? 'the layers of one block are chosen by their names: `for w in model.linears matching "model.layers.0.*"`'
        : undefined,
    );
  const base = lookup(scope, over.base.name);
  if (base?.kind === "unknown") return [];
  if (base === null) {
    failName(over.base, { frame, scope });
    return [];
  }
  const member = over.field.name;
  const members =
    base.kind === "model"
      ? ["blocks", "linears", ...tensorKinds]
      : base.kind === "block"
        ? ["linears", "inputs", ...blockTensorKinds]
        : [];
  if (members.length === 0) return failLoop(frame, `\`${over.base.name}\` has no modules`, over.base.span);
  if (!members.includes(member)) {
    fail(frame, "E207", `a ${base.kind} has no \`${member}\``, over.field.span, "no such member", {
      help: memberHelp(base.kind, member, members),
    });
    return [];
  }
  if (member === "blocks") {
    if (context.block !== null) return failLoop(frame, "loops over blocks are not nested", statement.span);
    if (context.training !== null)
      return failLoop(
        frame,
        "a training of the model takes all blocks at once",
        statement.span,
        `write \`for w in ${over.base.name}.linears { }\``,
      );
    for (const pattern of [...statement.matching, ...statement.except])
      fail(frame, "E602", "blocks are taken all, in order", pattern.span, "patterns select layers", {
        help: "put it on the loop over `block.linears`",
      });
    const inner = nest(scope);
    bind(inner, statement.name.name, { kind: "block" }, statement.name.span);
    const body = checkSteps(statement.body, { ...context, block: statement.name.name }, inner);
    return [{ kind: "blocks", body, span: statement.span }];
  }
  if (isTensorKind(member)) return checkTensors(statement, member, base.kind === "block", context, scope);
  if (base.kind === "model" && context.block !== null) {
    fail(
      frame,
      "E602",
      "inside a loop over blocks the layers are those of the block",
      over.span,
      "all layers of the model",
      { help: `write \`${context.block}.linears\`` },
    );
    return [];
  }
  const matching = statement.matching.map((pattern) => namePattern(pattern, frame));
  const except = statement.except.map((pattern) => namePattern(pattern, frame));
  if (member === "inputs") {
    const { scale = null, round = null } = checkScaling(statement, context, scope) ?? {};
    const chosen = { matching, except, span: statement.span };
    return [
      ...(scale === null ? [] : [{ kind: "scale", ...chosen, ...scale } as const]),
      ...(round === null ? [] : [{ kind: "round", ...chosen, ...round } as const]),
    ];
  }
  const treatments = checkTreatments(statement, context, scope);
  return treatments === null ? [] : [{ kind: "linears", matching, except, treatments, span: statement.span }];
}

function memberHelp(base: string, member: string, members: readonly string[]): string | null {
  if (base === "model" && ["layers", "modules", "parameters"].includes(member))
    return "`model.blocks` are the transformer blocks, `model.linears` the linear layers of all of them";
  return suggestion(member, members, `a ${base} has`);
}

/** `model.blocks[0].linears` */
function ofOneBlock(over: Expr): boolean {
  const base = over.kind === "member" ? over.base : over;
  return base.kind === "index" && base.base.kind === "member" && base.base.field.name === "blocks";
}

function failLoop(
  frame: Frame,
  message: string,
  span: Span,
  help = "write `for block in model.blocks { }`, `for w in block.linears { }` or `for w in model.linears { }`",
): readonly RecipeStep[] {
  fail(frame, "E602", message, span, "not a loop of a recipe", { help });
  return [];
}
