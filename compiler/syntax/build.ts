import { counted } from "../words.js";
import type { CstNode } from "chevrotain";
import { error, InternalError } from "../diagnostic.js";
import type {
  Argument,
  ConstantDeclaration,
  Declaration,
  Module,
  Param,
  PatternExpr,
  RangeExpr,
  ReturnStatement,
  Statement,
  TypeExpr,
  Use,
} from "./ast.js";
import {
  argumentsOf,
  expression,
  format,
  ident,
  postfix,
  range,
  spanOfNode,
  string,
  stringValue,
  type Context,
} from "./build-expression.js";
import { withoutFirstBlanks, withoutLastBlanks, type CommentReader } from "./comments.js";
import { child, extent, nodes, only, optionalNode, optionalToken, token, tokensOf } from "./cst.js";

/** Where nodes and comments come from, and where findings go. */
export interface BuildContext extends Context {
  readonly comments: CommentReader;
}

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

/** The settings behind the name of a function, by name; none where no parentheses stand. */
function settingsOf(context: BuildContext, node: CstNode): readonly Argument[] {
  const settings = optionalNode(node, "arguments");
  return settings === null ? [] : argumentsOf(context, settings);
}

function statement(context: BuildContext, choice: CstNode): Statement {
  const node = only(choice);
  const span = spanOfNode(context, node);
  const leading = context.comments.before(span.start);
  const rest = () => ({ span, ...commented(context, leading, span.end) });
  switch (node.name) {
    case "let": {
      const indices = optionalNode(node, "indices");
      const names = tokensOf(node, "Name").map((each) => ident(context, each));
      if (indices && names.length > 1) {
        context.report(
          error(
            "E110",
            "indices belong to one name, and several names take the results of a function",
            { span: spanOfNode(context, indices), message: `indices after ${counted(names.length, "name")}` },
            { help: "define each tensor with a `let` of its own" },
          ),
        );
      }
      return {
        kind: "let",
        names,
        indices: indices && indexNames(context, indices),
        value: expression(context, child(node, "expression")),
        ranges: ranges(context, optionalNode(node, "ranges")),
        ...rest(),
      };
    }
    case "var":
      return {
        kind: "var",
        name: ident(context, token(node, "Name")),
        value: expression(context, child(node, "expression")),
        ...rest(),
      };
    case "update":
      return {
        kind: "update",
        name: ident(context, token(node, "UpdateName")),
        at: nodes(node, "at").map((each) => expression(context, each)),
        op: token(node, "Assign").image as "=" | "+=" | "-=",
        value: expression(context, child(node, "value")),
        ranges: ranges(context, optionalNode(node, "ranges")),
        ...rest(),
      };
    case "scan":
      return {
        kind: "scan",
        range: range(context, child(node, "range")),
        span,
        ...bodied(context, leading, child(node, "block")),
      };
    case "for": {
      const to = optionalNode(node, "to");
      const globs = (label: string): CstNode | null => optionalNode(node, label);
      const [matching, except] = [globs("matching"), globs("except")];
      return {
        kind: "for",
        name: ident(context, token(node, "Name")),
        over: expression(context, child(node, "over")),
        to: to && expression(context, to),
        matching: matching ? tokensOf(matching, "Text").map((each) => string(context, each)) : [],
        except: except ? tokensOf(except, "Text").map((each) => string(context, each)) : [],
        span,
        ...bodied(context, leading, child(node, "block")),
      };
    }
    case "train": {
      const beside = optionalNode(node, "beside");
      return {
        kind: "train",
        target: postfix(context, child(node, "target")),
        text: postfix(context, child(node, "text")),
        by: ident(context, token(node, "Name")),
        settings: settingsOf(context, node),
        beside:
          beside === null
            ? null
            : {
                by: ident(context, token(beside, "Name")),
                settings: settingsOf(context, beside),
                span: spanOfNode(context, beside),
              },
        span,
        ...bodied(context, leading, child(node, "block")),
      };
    }
    case "return":
      return {
        kind: "return",
        values: nodes(node, "expression").map((each) => expression(context, each)),
        definitions: nodes(node, "definition").map((each) => definition(context, each)),
        span,
        ...commented(context, leading, span.end),
      };
    case "if":
      return ifStatement(context, node, leading, true);
    case "store":
      return {
        kind: "store",
        target: expression(context, child(node, "target")),
        value: expression(context, child(node, "value")),
        span,
        ...commented(context, leading, span.end),
      };
    case "measure":
      return {
        kind: "measure",
        name: ident(context, token(node, "Name")),
        value: expression(context, child(node, "expression")),
        ...rest(),
      };
    case "permute":
      return {
        kind: "permute",
        target: postfix(context, child(node, "postfix")),
        score: expression(context, child(node, "expression")),
        by: ident(context, token(node, "Name")),
        settings: settingsOf(context, node),
        ...rest(),
      };
    case "retain":
      return {
        kind: "retain",
        kept: expression(context, child(node, "kept")),
        target: postfix(context, child(node, "target")),
        score: expression(context, child(node, "score")),
        ...rest(),
      };
    case "scale": {
      const through = optionalToken(node, "Text");
      return {
        kind: "scale",
        name: ident(context, token(node, "Name")),
        by: expression(context, child(node, "expression")),
        through: through && string(context, through),
        ...rest(),
      };
    }
    case "round":
      return {
        kind: "round",
        name: ident(context, token(node, "Name")),
        format: format(context, child(node, "format")),
        ...rest(),
      };
    case "expect":
      return {
        kind: "expect",
        condition: expression(context, child(node, "expression")),
        ...rest(),
      };
    case "save":
      return {
        kind: "save",
        name: string(context, token(node, "Text")),
        ...rest(),
      };
    default:
      throw new InternalError(`no statement \`${node.name}\``);
  }
}

function indexNames(context: Context, node: CstNode): ReturnType<typeof ident>[] {
  return tokensOf(node, "Name").map((each) => ident(context, each));
}

function ranges(context: Context, node: CstNode | null): readonly RangeExpr[] {
  return node === null ? [] : nodes(node, "range").map((each) => range(context, each));
}

function definition(context: Context, node: CstNode): ReturnStatement["definitions"][number] {
  return {
    name: ident(context, token(node, "Name")),
    indices: indexNames(context, child(node, "indices")),
    value: expression(context, child(node, "expression")),
    ranges: ranges(context, optionalNode(node, "ranges")),
    span: spanOfNode(context, node),
  };
}

/** `else if` is an `else` that holds one `if`; comments between the two belong to the end of the first body. */
function ifStatement(
  context: BuildContext,
  node: CstNode,
  leading: readonly string[],
  outermost: boolean,
): Extract<Statement, { kind: "if" }> {
  const span = spanOfNode(context, node);
  const condition = expression(context, child(node, "expression"));
  const header = [...leading, ...context.comments.inside(extent(child(node, "block")).start)];
  const then = block(context, child(node, "block"));
  const [nested, otherwise] = [optionalNode(node, "if"), optionalNode(node, "otherwise")];
  const between = nested || otherwise ? context.comments.inside(extent(nested ?? otherwise ?? node).start) : [];
  if (nested) {
    const inner = ifStatement(context, nested, [], false);
    return {
      kind: "if",
      condition,
      then: then.body,
      closing: [...then.closing, ...between, ...inner.leading],
      otherwise: [{ ...inner, leading: [] }],
      closingOtherwise: [],
      span,
      leading: header,
      trailing: outermost ? context.comments.trailing(span.end) : null,
    };
  }
  const last = otherwise ? block(context, otherwise) : { body: [], closing: [] };
  return {
    kind: "if",
    condition,
    then: then.body,
    closing: [...then.closing, ...between],
    otherwise: last.body,
    closingOtherwise: last.closing,
    span,
    leading: header,
    trailing: outermost ? context.comments.trailing(span.end) : null,
  };
}

/** The comments of a statement without a body that ends at `end`. */
function commented(
  context: BuildContext,
  leading: readonly string[],
  end: number,
): { readonly leading: readonly string[]; readonly trailing: string | null } {
  return { leading: [...leading, ...context.comments.inside(end)], trailing: context.comments.trailing(end) };
}

/** The comments and the body of a statement or declaration whose block comes last. */
function bodied(
  context: BuildContext,
  leading: readonly string[],
  node: CstNode,
): {
  readonly leading: readonly string[];
  readonly body: readonly Statement[];
  readonly closing: readonly string[];
  readonly trailing: string | null;
} {
  const header = context.comments.inside(extent(node).start);
  const inner = block(context, node);
  return { leading: [...leading, ...header], ...inner, trailing: context.comments.trailing(extent(node).end) };
}

function block(
  context: BuildContext,
  node: CstNode,
): { readonly body: readonly Statement[]; readonly closing: readonly string[] } {
  const body = nodes(node, "statement").map((each) => statement(context, each));
  const [first, ...rest] = body;
  const closing = context.comments.before(token(node, "CloseBrace").startOffset);
  if (!first) return { body, closing: withoutLastBlanks(withoutFirstBlanks(closing)) };
  return {
    body: [{ ...first, leading: withoutFirstBlanks(first.leading) }, ...rest],
    closing: withoutLastBlanks(closing),
  };
}
