import { InternalError } from "../diagnostic.js";
import type { RecipeStep } from "../recipe/recipe.js";
import type { Expr, Statement } from "../syntax/ast.js";
import { fail } from "./frame.js";
import { checkObserved } from "./observe.js";
import type { RecipeContext } from "./recipe-context.js";
import { bind, lookup, type Scope } from "./scope.js";

/** `let x = observe block on text by f`: the step that it is, and its name in the scope. */
export function checkObserve(
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
