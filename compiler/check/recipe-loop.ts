import type { Span } from "../diagnostic.js";
import type { RecipeStep } from "../recipe/recipe.js";
import type { Expr, ForStatement, Statement } from "../syntax/ast.js";
import { fail, type Frame } from "./frame.js";
import { namePattern, type RecipeContext } from "./recipe-context.js";
import { bind, lookup, nest, type Scope } from "./scope.js";
import { checkRotation } from "./rotation.js";
import { checkScaling } from "./scaling.js";
import { checkTensors } from "./tensor-loop.js";
import { blockTensorKinds, isTensorKind, tensorKinds } from "./tensors.js";
import { suggestion } from "./suggestion.js";
import { failName } from "./unknown.js";
import { checkTreatments } from "./treatment.js";

/** Checks a loop over blocks, layers, inputs or tensors; `checkSteps` checks the steps within a loop over blocks. */
export function checkLoop(
  statement: ForStatement,
  context: RecipeContext,
  scope: Scope,
  checkSteps: (statements: readonly Statement[], context: RecipeContext, scope: Scope) => readonly RecipeStep[],
): readonly RecipeStep[] {
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
      ? ["blocks", "linears", "stream", ...tensorKinds]
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
  if (member === "stream") return checkRotation(statement, context, scope);
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
  const matching = statement.matching.map((pattern) => namePattern(pattern, frame, scope));
  const except = statement.except.map((pattern) => namePattern(pattern, frame, scope));
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
