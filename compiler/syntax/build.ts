import type { CstNode } from "chevrotain";
import { error, InternalError } from "../diagnostic.js";
import type { ConstantDeclaration, Declaration, Module, Param, PatternExpr, TypeExpr, Use } from "./ast.js";
import { expression, format, ident, spanOfNode, stringValue, type Context } from "./build-expression.js";
import { bodied, commented, type BuildContext } from "./build-statement.js";
import { withoutFirstBlanks, withoutLastBlanks } from "./comments.js";
import { child, extent, nodes, only, optionalNode, optionalToken, token } from "./cst.js";

/**
 * The Ast of a file that parsed without errors. Comments are taken in the order of the source, so the order of work
 * matters.
 */
export function build(context: BuildContext, node: CstNode, length: number): Module {
  const uses: Use[] = [];
  const declarations: Declaration[] = [];
  let before: Use | Declaration | null = null;
  for (const each of nodes(node, "declaration").map(only)) {
    const built: Use | Declaration = each.name === "use" ? use(context, each) : declaration(context, each);
    const tidy: Use | Declaration = alwaysApart(before, built)
      ? { ...built, leading: withoutFirstBlanks(built.leading) }
      : built;
    if (tidy.kind !== "use") {
      declarations.push(tidy);
    } else {
      if (declarations.length > 0)
        context.report(
          error(
            "E118",
            "`use` must stand before all declarations",
            { span: tidy.span, message: "comes after a declaration" },
            { help: "move it to the top of the file" },
          ),
        );
      uses.push(tidy);
    }
    before = tidy;
  }
  const closing = context.comments.before(length);
  return {
    kind: "module",
    uses,
    declarations,
    closing: withoutLastBlanks(before ? closing : withoutFirstBlanks(closing)),
    span: { file: context.file, start: 0, end: length },
  };
}

/**
 * Whether a blank line always stands between two neighbours at the top of a file; elsewhere it is kept where it was.
 */
export function alwaysApart(before: Use | Declaration | null, after: Use | Declaration): boolean {
  if (before === null || after.kind === "function" || after.kind === "recipe") return true;
  return before.kind !== after.kind;
}

function use(context: BuildContext, node: CstNode): Use {
  const leading = context.comments.before(extent(node).start);
  const modules = nodes(node, "usePath").map((each) => {
    const text = optionalToken(each, "Text");
    return {
      path: text ? stringValue(text) : (optionalToken(each, "Name") ?? token(each, "Train")).image,
      relative: text !== null,
      span: spanOfNode(context, each),
    };
  });
  return { kind: "use", modules, span: spanOfNode(context, node), ...commented(context, leading, extent(node).end) };
}

function constantValue(context: BuildContext, node: CstNode): ConstantDeclaration["value"] {
  const table = optionalNode(node, "table");
  if (table === null) return expression(context, child(node, "expression"));
  const values = nodes(table, "expression").map((each) => expression(context, each));
  return { kind: "table", values, span: spanOfNode(context, table) };
}

function declaration(context: BuildContext, node: CstNode): Declaration {
  const span = spanOfNode(context, node);
  const leading = context.comments.before(span.start);
  const name = ident(context, token(node, "Name"));
  switch (node.name) {
    case "constant":
      return {
        kind: "constant",
        name,
        value: constantValue(context, node),
        span,
        ...commented(context, leading, span.end),
      };
    case "function": {
      const params = nodes(child(node, "parameters"), "parameter").map((each) => parameter(context, each));
      for (const param of params) {
        if (param.type === null)
          context.report(
            error(
              "E119",
              `parameter \`${param.name.name}\` of a function needs a type`,
              { span: param.span, message: "no type" },
              { help: `write for example \`${param.name.name}: f32[N, K]\`` },
            ),
          );
      }
      const [constraints, adjoint] = [optionalNode(node, "constraints"), optionalNode(node, "adjoint")];
      return {
        kind: "function",
        name,
        params,
        results: nodes(node, "type").map((each) => type(context, each)),
        constraints: constraints ? nodes(constraints, "expression").map((each) => expression(context, each)) : [],
        adjoint: adjoint ? ident(context, token(adjoint, "Name")) : null,
        span,
        ...bodied(context, leading, child(node, "block")),
      };
    }
    case "recipe": {
      const params = nodes(child(node, "parameters"), "parameter").map((each) => parameter(context, each));
      return { kind: "recipe", name, params, span, ...bodied(context, leading, child(node, "block")) };
    }
    default:
      throw new InternalError(`no declaration \`${node.name}\``);
  }
}

function parameter(context: Context, node: CstNode): Param {
  const [typed, fallback] = [optionalNode(node, "type"), optionalNode(node, "expression")];
  return {
    mutable: optionalToken(node, "Var") !== null,
    name: ident(context, token(node, "Name")),
    type: typed && type(context, typed),
    fallback: fallback && expression(context, fallback),
    span: spanOfNode(context, node),
  };
}

function type(context: Context, node: CstNode): TypeExpr {
  const [is, as] = [optionalNode(node, "pattern"), optionalNode(node, "format")];
  return {
    dtype: ident(context, token(node, "Name")),
    shape: optionalToken(node, "OpenSquare")
      ? nodes(node, "expression").map((each) => expression(context, each))
      : null,
    pattern: is && pattern(context, is),
    format: as && format(context, as),
    span: spanOfNode(context, node),
  };
}

function pattern(context: Context, node: CstNode): PatternExpr {
  return {
    n: expression(context, child(node, "n")),
    m: expression(context, child(node, "m")),
    axis: ident(context, optionalToken(node, "Name") ?? token(node, "Numeral")),
    span: spanOfNode(context, node),
  };
}
