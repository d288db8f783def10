import type { Argument, BinaryOperator, Expr, FormatExpr, RangeExpr } from "./ast.js";
import { bracketed, group, line, nest, softLine, type Layout } from "./layout.js";
import { infixOperators, precedence } from "./tokens.js";

/** How tightly names, numbers, calls and the like hold together: they never need parentheses. */
export const closed = 11;

/** An expression; in parentheses where it binds less tightly than `least`. */
export function expression(value: Expr, least = 0): Layout {
  const layout = bare(value);
  return binding(value) < least ? parenthesised(layout) : layout;
}

function parenthesised(layout: Layout): Layout {
  return group("(", nest(softLine, layout), softLine, ")");
}

/**
 * What follows `=` or the like, with the space or the new line before it: what joins operands begins on a line of its
 * own where it does not fit behind the sign, everything else breaks inside its brackets.
 */
export function assigned(value: Expr, print: (value: Expr) => Layout = expression): Layout {
  const joins = ["binary", "where", "matches"].includes(value.kind) && binding(value) < precedence.power;
  return joins ? group(nest(line, print(value))) : [" ", print(value)];
}

function binding(value: Expr): number {
  switch (value.kind) {
    case "string":
    case "number":
    case "boolean":
    case "name":
    case "member":
    case "index":
    case "call":
      return closed;
    case "unary":
      return value.op === "-" ? precedence.negate : precedence.not;
    case "binary":
      return operatorBinding(value.op);
    case "reduce":
      return value.score === null ? precedence.reduce : closed;
    case "where":
      return precedence.where;
    case "matches":
      return precedence.comparison;
    case "unpack":
      return precedence.negate;
    // it takes in a sum after `in`, and ends before `where`
    case "top":
      return precedence.where + 0.5;
    case "plus":
      return precedence.plus;
    case "pack":
    case "observe":
    case "gradient":
      return 0;
    default:
      return value satisfies never;
  }
}

function operatorBinding(op: BinaryOperator): number {
  return infixOperators.get(op) ?? 0;
}

function bare(value: Expr): Layout {
  switch (value.kind) {
    case "string":
      return quoted(value.value);
    case "number":
      return value.text;
    case "boolean":
      return String(value.value);
    case "name":
      return value.name;
    case "member":
      return [expression(value.base, closed), ".", value.field.name];
    case "index":
      return [expression(value.base, closed), bracketed("[", expressions(value.at), "]")];
    case "call":
      return [value.callee.name, argumentList(value.args)];
    case "unary":
      return value.op === "-"
        ? ["-", expression(value.operand, precedence.negate)]
        : ["not ", expression(value.operand, precedence.not)];
    case "binary":
      return binary(value);
    case "reduce": {
      const over = bracketed("[", value.over.map(range), "]");
      // `max[k] -x[k]` is read as a difference too easily
      const body = value.body.kind === "unary" ? closed : precedence.reduce;
      return value.score === null
        ? [value.op, over, " ", expression(value.body, body)]
        : [value.op, over, bracketed("(", expressions([value.score, value.body]), ")")];
    }
    case "where":
      return group(
        expression(value.value, precedence.where),
        // a `top` ends before the next `where`
        nest(line, "where ", expression(value.mask, value.mask.kind === "top" ? 0 : precedence.sum)),
      );
    case "top": {
      const [n, m, score] = [value.n, value.m, value.score].map((each) => expression(each, precedence.sum));
      return ["top ", n ?? "", " of ", m ?? "", ` along ${value.axis.name} in `, score ?? ""];
    }
    case "pack": {
      const scale = value.scale ? [" with scale ", expression(value.scale, precedence.or)] : [];
      const zero = value.zero ? [", zero ", expression(value.zero, precedence.or)] : [];
      return ["pack ", expression(value.value), " as ", format(value.format), ...scale, ...zero];
    }
    case "plus":
      return group(
        expression(value.value),
        nest(line, "plus lowrank", bracketed("(", expressions([value.left, value.right]), ")")),
      );
    case "unpack":
      return ["unpack ", expression(value.value, precedence.negate)];
    case "observe":
      return [
        "observe ",
        expression(value.block, closed),
        " on ",
        expression(value.text, closed),
        " by ",
        value.by.name,
      ];
    case "gradient": {
      const adjoint = value.adjoint === null ? [] : [" with ", expression(value.adjoint, closed)];
      const by = value.by.map((each) => each.name).join(", ");
      return ["gradient of ", expression(value.of, closed), ` by ${by}`, ...adjoint];
    }
    case "matches":
      return [expression(value.value, precedence.sum), " matches ", expression(value.pattern, closed)];
    default:
      return value satisfies never;
  }
}

function binary(value: Extract<Expr, { kind: "binary" }>): Layout {
  const binds = operatorBinding(value.op);
  switch (binds) {
    case precedence.power:
      return [expression(value.left, closed), value.op, expression(value.right, precedence.negate)];
    // comparisons do not chain, and a masked value compared must stand in parentheses
    case precedence.comparison:
      return group(
        expression(value.left, precedence.sum),
        nest(line, value.op, " ", expression(value.right, precedence.where)),
      );
    default:
      return group(chain(value, binds));
  }
}

/** Operators of one precedence that group to the left break together. */
function chain(value: Expr, binds: number): Layout {
  if (value.kind !== "binary" || operatorBinding(value.op) !== binds) return expression(value, binds);
  return [chain(value.left, binds), nest(line, value.op, " ", expression(value.right, binds + 1))];
}

/** Expressions separated by commas. */
export function expressions(values: readonly Expr[]): readonly Layout[] {
  return values.map((value, at) => (at < values.length - 1 ? beforeComma(value) : expression(value)));
}

/** An expression that a comma may follow: a `pack` would take a `zero`, a gradient a name for its own. */
export function beforeComma(value: Expr): Layout {
  return expression(value, ["pack", "plus", "gradient"].includes(value.kind) ? precedence.or : 0);
}

/** Arguments in parentheses. */
export function argumentList(args: readonly Argument[]): Layout {
  const values = expressions(args.map((each) => each.value));
  return bracketed(
    "(",
    args.map((each, at) => [each.label ? `${each.label.name}: ` : "", values[at] ?? ""]),
    ")",
  );
}

/** `nm(2, 4) of int4(128)`. */
export function format(value: FormatExpr): Layout {
  return [
    value.name.name,
    value.args.length > 0 ? argumentList(value.args) : "",
    value.of ? [" of ", format(value.of)] : "",
  ];
}

/** `k`, or `k in 0 .. K`. */
export function range(value: RangeExpr): Layout {
  return value.low && value.high
    ? [value.index.name, " in ", expression(value.low), " .. ", beforeComma(value.high)]
    : value.index.name;
}

/** A string as it is written in source. */
export function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
