import { counted } from "../words.js";
import type { ValueId } from "../graph/graph.js";
import type { CallExpr, Expr } from "../syntax/ast.js";
import type { CheckedFunction, CheckedParam } from "./checked.js";
import { fail, type Place, placeIn } from "./frame.js";
import { lookup, nest } from "./scope.js";
import { suggestion } from "./suggestion.js";

/** A parameter and what it gets. */
export interface Matched {
  readonly param: CheckedParam;
  readonly value: Expr;
  /** Where the argument is checked: a default is, without the names of the caller. */
  readonly inner: Place;
}

/** Which argument or default each parameter gets, in the order of the parameters; null where they do not match. */
export function matchArguments(expr: CallExpr, callee: CheckedFunction, place: Place): readonly Matched[] | null {
  const { frame } = place;
  const name = expr.callee.name;
  const given = new Map<string, Expr>();
  const form = `\`${name}(${callee.params.map((param) => param.name).join(", ")})\``;
  const declared = { span: callee.declaration.name.span, message: "declared here" };
  for (const [at, argument] of expr.args.entries()) {
    const label = argument.label?.name ?? callee.params[at]?.name;
    if (label === undefined)
      return fail(
        frame,
        "E303",
        `${form} takes ${counted(callee.params.length, "argument")}, found ${expr.args.length}`,
        argument.span,
        "one argument too many",
        { labels: [declared] },
      );
    if (!callee.params.some((param) => param.name === label))
      return fail(frame, "E303", `\`${name}\` has no parameter \`${label}\``, argument.span, "no such parameter", {
        labels: [declared],
        help: suggestion(
          label,
          callee.params.map((param) => param.name),
          "its parameters are",
        ),
      });
    if (given.has(label)) return fail(frame, "E303", `\`${label}\` is given twice`, argument.span, "given again");
    given.set(label, argument.value);
  }
  const matched: Matched[] = [];
  for (const param of callee.params) {
    const value = given.get(param.name);
    if (value === undefined && param.fallback === null)
      return fail(
        frame,
        "E303",
        `${form} takes ${counted(callee.params.length, "argument")}, found ${expr.args.length}`,
        expr.span,
        `\`${param.name}\` is missing`,
        { labels: [declared] },
      );
    if (value !== undefined) matched.push({ param, value, inner: place });
    else if (param.fallback !== null) matched.push({ param, value: param.fallback, inner: placeIn(frame, nest(null)) });
  }
  return matched;
}

/** The `var` that is given for a parameter that is updated in place. */
export function stateArgument(argument: Expr, param: string, place: Place): ValueId | null {
  const binding = argument.kind === "name" ? lookup(place.scope, argument.name) : null;
  if (binding?.kind === "unknown") return null;
  if (binding?.kind === "tensor" && binding.mutable) return binding.value;
  return fail(
    place.frame,
    "E307",
    `\`${param}\` is updated in place: the argument must be a \`var\``,
    argument.span,
    "not a `var`",
    { help: "declare it: `var state = ...`" },
  );
}
