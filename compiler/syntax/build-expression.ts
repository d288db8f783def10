import type { CstNode, IToken } from "chevrotain";
import { error, InternalError, type Diagnostic, type Span } from "../diagnostic.js";
import type {
  Argument,
  BinaryOperator,
  Expr,
  FormatExpr,
  Ident,
  RangeExpr,
  ReduceOperator,
  StringExpr,
} from "./ast.js";
import { child, extent, nodes, only, optionalNode, optionalToken, token, tokensOf } from "./cst.js";
import { infixOperators, precedence } from "./tokens.js";

/** Where nodes come from, and where findings go. */
export interface Context {
  readonly file: string;
  readonly report: (diagnostic: Diagnostic) => void;
}

/** Where a node stands. */
export function spanOfNode(context: Context, node: CstNode): Span {
  return { file: context.file, ...extent(node) };
}

/** Where a token stands. */
export function spanOfToken(context: Context, at: IToken): Span {
  return { file: context.file, start: at.startOffset, end: at.startOffset + at.image.length };
}

/** A token as a name. */
export function ident(context: Context, at: IToken): Ident {
  return { name: at.image, span: spanOfToken(context, at) };
}

/** The text of a string literal: its quotes and escapes removed. */
export function stringValue(at: IToken): string {
  return at.image.slice(1, -1).replace(/\\(.)/g, "$1");
}

/** A string literal. */
export function string(context: Context, at: IToken): StringExpr {
  return { kind: "string", value: stringValue(at), span: spanOfToken(context, at) };
}

/** An `expression` node, folded by precedence: the grammar has already ended each right side where it must end. */
export function expression(context: Context, node: CstNode): Expr {
  const operators = tokensOf(node, "Infix");
  const rights = nodes(node, "expression");
  let left = operand(context, child(node, "operand"));
  let before: IToken | null = null;
  operators.forEach((operator, at) => {
    const right = rights[at];
    if (!right) throw new InternalError(`operator \`${operator.image}\` has no right side`);
    left = infix(context, left, operator, expression(context, right), before);
    before = operator;
  });
  return left;
}

function infix(context: Context, left: Expr, operator: IToken, right: Expr, before: IToken | null): Expr {
  const span: Span = { file: context.file, start: left.span.start, end: right.span.end };
  const text = operator.image;
  if (infixOperators.get(text) === precedence.comparison && before) {
    const at = { span: spanOfToken(context, operator), message: `\`${text}\` after \`${before.image}\`` };
    if (infixOperators.get(before.image) === precedence.comparison) {
      context.report(
        error("E117", "comparisons do not chain", at, {
          help: `join two comparisons with \`and\`, or put one in parentheses`,
        }),
      );
    } else if (before.image === "where") {
      context.report(
        error("E116", `\`where\` binds tighter than \`${text}\`, so this compares the masked value`, at, {
          help:
            text === "matches" && right.kind === "string"
              ? `layers are chosen by \`matching\`: \`for w in model.linears matching "${right.value}"\``
              : `put the condition in parentheses: \`... where (... ${text} ...)\``,
        }),
      );
    }
  }
  switch (text) {
    case "where":
      return { kind: "where", value: left, mask: right, span };
    case "matches":
      if (right.kind === "string" || right.kind === "name")
        return { kind: "matches", value: left, pattern: right, span };
      context.report(
        error(
          "E110",
          "`matches` expects a name pattern in quotes, or a parameter that is one",
          { span: right.span, message: "not a string" },
          { help: 'write for example `w matches "*.q_proj"`' },
        ),
      );
      return left;
    case "plus": {
      const [a, b, ...more] = right.kind === "call" && right.callee.name === "lowrank" ? right.args : [];
      if (a !== undefined && b !== undefined && more.length === 0 && a.label === null && b.label === null)
        return { kind: "plus", value: left, left: a.value, right: b.value, span };
      context.report(
        error(
          "E110",
          "`plus` expects `lowrank(a, b)`: a correction of low rank beside what is packed",
          { span: right.span, message: "not `lowrank` of two tensors" },
          {
            help: "numbers are added with `+`; a correction is written `pack w as int4(128) with scale s plus lowrank(a, b)`, with a[n, r] and b[r, k]",
          },
        ),
      );
      return left;
    }
    default:
      return { kind: "binary", op: text as BinaryOperator, left, right, span };
  }
}

function operand(context: Context, node: CstNode): Expr {
  const inner = only(node);
  const span = spanOfNode(context, inner);
  switch (inner.name) {
    case "negate":
      return { kind: "unary", op: "-", operand: expression(context, child(inner, "expression")), span };
    case "not":
      return { kind: "unary", op: "not", operand: expression(context, child(inner, "expression")), span };
    case "reduce":
      return {
        kind: "reduce",
        op: token(inner, "Reduction").image as ReduceOperator,
        over: nodes(inner, "reduceRange").map((each) => range(context, each)),
        score: null,
        body: expression(context, child(inner, "expression")),
        span,
      };
    case "top":
      return {
        kind: "top",
        n: expression(context, child(inner, "n")),
        m: expression(context, child(inner, "m")),
        axis: ident(context, optionalToken(inner, "Name") ?? token(inner, "Numeral")),
        score: expression(context, child(inner, "score")),
        span,
      };
    case "pack":
      return pack(context, inner, span);
    case "unpack":
      return { kind: "unpack", value: expression(context, child(inner, "expression")), span };
    case "observe":
      return {
        kind: "observe",
        block: postfix(context, child(inner, "block")),
        text: postfix(context, child(inner, "text")),
        by: ident(context, token(inner, "Name")),
        span,
      };
    case "gradient": {
      const [adjoint] = nodes(inner, "adjoint");
      return {
        kind: "gradient",
        of: postfix(context, child(inner, "of")),
        by: tokensOf(inner, "Name").map((each) => ident(context, each)),
        adjoint: adjoint === undefined ? null : postfix(context, adjoint),
        span,
      };
    }
    case "postfix":
      return postfix(context, inner);
    default:
      throw new InternalError(`no operand \`${inner.name}\``);
  }
}

/** Reports another word behind `with` than `scale`. */
export function checkScaleWord(context: Context, node: CstNode, meant: string): void {
  const word = optionalToken(node, "scaleWord");
  if (word === null || word.image === "scale") return;
  context.report(
    error(
      "E110",
      `\`with\` expects \`scale\`, found \`${word.image}\``,
      { span: spanOfToken(context, word), message: "expected `scale`" },
      { help: `write ${meant}` },
    ),
  );
}

function pack(context: Context, node: CstNode, span: Span): Expr {
  checkScaleWord(context, node, "`with scale s` or `with scale s, zero z`");
  const [scale, zero] = [optionalNode(node, "scale"), optionalNode(node, "zero")];
  return {
    kind: "pack",
    value: expression(context, child(node, "value")),
    format: format(context, child(node, "format")),
    scale: scale && expression(context, scale),
    zero: zero && expression(context, zero),
    span,
  };
}

/** `nm(2, 4) of int4(128)`. */
export function format(context: Context, node: CstNode): FormatExpr {
  const args = optionalNode(node, "arguments");
  const of = optionalNode(node, "format");
  return {
    name: ident(context, token(node, "Name")),
    args: args ? argumentsOf(context, args) : [],
    of: of && format(context, of),
    span: spanOfNode(context, node),
  };
}

/** The arguments of a call or of a training. */
export function argumentsOf(context: Context, node: CstNode): readonly Argument[] {
  return nodes(node, "argument").map((each) => {
    const label = optionalToken(each, "Name");
    return {
      label: label && ident(context, label),
      value: expression(context, child(each, "expression")),
      span: spanOfNode(context, each),
    };
  });
}

/** `k`, `k in low .. high`. */
export function range(context: Context, node: CstNode): RangeExpr {
  const [low, high] = [optionalNode(node, "low"), optionalNode(node, "high")];
  return {
    index: ident(context, token(node, "Name")),
    low: low && expression(context, low),
    high: high && expression(context, high),
    span: spanOfNode(context, node),
  };
}

/** An expression that holds together by itself. */
export function postfix(context: Context, node: CstNode): Expr {
  let base = primary(context, child(node, "primary"));
  for (const suffix of nodes(node, "suffix")) {
    const span: Span = { file: context.file, start: base.span.start, end: extent(suffix).end };
    const field = optionalToken(suffix, "Name");
    base = field
      ? { kind: "member", base, field: ident(context, field), span }
      : { kind: "index", base, at: nodes(suffix, "expression").map((each) => expression(context, each)), span };
  }
  return base;
}

function primary(context: Context, node: CstNode): Expr {
  const span = spanOfNode(context, node);
  const inner = optionalNode(node, "expression");
  if (inner) return { ...expression(context, inner), span };
  const mean = optionalNode(node, "softmaxMean");
  if (mean)
    return {
      kind: "reduce",
      op: "softmax_mean",
      over: nodes(mean, "reduceRange").map((each) => range(context, each)),
      score: expression(context, child(mean, "score")),
      body: expression(context, child(mean, "value")),
      span,
    };
  const callee = optionalToken(node, "Name") ?? optionalToken(node, "Reduction");
  if (callee) {
    const args = optionalNode(node, "arguments");
    return args
      ? { kind: "call", callee: ident(context, callee), args: argumentsOf(context, args), span }
      : { kind: "name", name: callee.image, span };
  }
  const numeral = optionalToken(node, "Numeral");
  if (numeral)
    return {
      kind: "number",
      value: Number(numeral.image),
      integer: /^(0[xX].*|\d+)$/.test(numeral.image),
      text: numeral.image,
      span,
    };
  const text = optionalToken(node, "Text");
  if (text) return string(context, text);
  return { kind: "boolean", value: optionalToken(node, "True") !== null, span };
}
