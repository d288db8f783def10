/** Statements of the concrete syntax tree, as Ast. */
import { counted } from "../words.js";
import type { CstNode } from "chevrotain";
import { error, InternalError } from "../diagnostic.js";
import type { Argument, PatternName, RangeExpr, ReturnStatement, Statement } from "./ast.js";
import {
  argumentsOf,
  checkScaleWord,
  expression,
  format,
  ident,
  postfix,
  range,
  spanOfNode,
  string,
  type Context,
} from "./build-expression.js";
import { withoutFirstBlanks, withoutLastBlanks, type CommentReader } from "./comments.js";
import { child, extent, nodes, only, optionalNode, optionalToken, token, tokensOf } from "./cst.js";

/** Where nodes and comments come from, and where findings go. */
export interface BuildContext extends Context {
  readonly comments: CommentReader;
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
        matching: matching ? patternNames(context, matching) : [],
        except: except ? patternNames(context, except) : [],
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
    case "print":
      return {
        kind: "print",
        values: nodes(node, "expression").map((each) => expression(context, each)),
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
    case "round": {
      checkScaleWord(context, node, "`with scale s`");
      const scale = optionalNode(node, "expression");
      return {
        kind: "round",
        name: ident(context, token(node, "Name")),
        format: format(context, child(node, "format")),
        scale: scale && expression(context, scale),
        ...rest(),
      };
    }
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

/** Name patterns in the order they stand in. */
function patternNames(context: Context, node: CstNode): readonly PatternName[] {
  return [...tokensOf(node, "Text"), ...tokensOf(node, "Name")]
    .sort((a, b) => a.startOffset - b.startOffset)
    .map((each) => (each.image.startsWith('"') ? string(context, each) : { kind: "name", ...ident(context, each) }));
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
export function commented(
  context: BuildContext,
  leading: readonly string[],
  end: number,
): { readonly leading: readonly string[]; readonly trailing: string | null } {
  return { leading: [...leading, ...context.comments.inside(end)], trailing: context.comments.trailing(end) };
}

/** The comments and the body of a statement or declaration whose block comes last. */
export function bodied(
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
