import type {
  ConstantDeclaration,
  Declaration,
  Expr,
  Module,
  Param,
  RangeExpr,
  ReturnStatement,
  Statement,
  TableExpr,
  TypeExpr,
  Use,
  PatternName,
} from "./ast.js";
import { alwaysApart } from "./build.js";
import { bracketed, group, line, list, nest, render, softLine, type Layout } from "./layout.js";
import {
  argumentList,
  assigned,
  beforeComma,
  closed,
  expression,
  expressions,
  format,
  quoted,
  range,
} from "./print-expression.js";
import { precedence } from "./tokens.js";

/** Columns of a line, where it can be broken. */
const width = 120;

/**
 * The formatter: a file in its one layout. `parse(print(m))` is `m` but for spans, and `print(parse(s))` of its own
 * output is that output.
 */
export function print(module: Module): string {
  const all = [...module.uses, ...module.declarations];
  const lines = all.flatMap((each, at) => {
    const before = all[at - 1] ?? null;
    return [...(before && alwaysApart(before, each) ? [""] : []), ...declaration(each)];
  });
  return [...lines, ...module.closing].map((each) => `${each}\n`).join("");
}

/** An expression, or a table, on one line, however long: for messages and tests. */
export function printExpression(value: Expr | TableExpr): string {
  return render(value.kind === "table" ? table(value) : expression(value), 0, Infinity);
}

/** A type as it is written in source. */
export function printType(value: TypeExpr): string {
  return render(type(value), 0, Infinity);
}

function table(value: TableExpr): Layout {
  return bracketed("[", expressions(value.values), "]");
}

function constantValue(value: ConstantDeclaration["value"]): Layout {
  return value.kind === "table" ? [" ", table(value)] : assigned(value);
}

function declaration(value: Use | Declaration): readonly string[] {
  switch (value.kind) {
    case "use":
      return commented(
        value,
        ["use ", items(value.modules.map((each) => (each.relative ? quoted(each.path) : each.path)))],
        0,
      );
    case "constant":
      return commented(value, [`const ${value.name.name} =`, constantValue(value.value)], 0);
    case "function": {
      const results = value.results.length > 0 ? [" -> ", group(list(value.results.map(type), ","))] : [];
      const constraints =
        value.constraints.length > 0 ? [group(nest(line, "where ", items(expressions(value.constraints))))] : [];
      const adjoint = value.adjoint ? [group(nest(line, `gradient by ${value.adjoint.name}`))] : [];
      const head = group(`fn ${value.name.name}`, parameters(value.params), results, constraints, adjoint);
      return bodied(value, head, 0, [{ body: value.body, closing: value.closing }]);
    }
    case "recipe":
      return bodied(value, group(`recipe ${value.name.name}`, parameters(value.params)), 0, [
        { body: value.body, closing: value.closing },
      ]);
    default:
      return value satisfies never;
  }
}

/** Not a group: parameters stand one a line as soon as the whole head does not fit. */
function parameters(values: readonly Param[]): Layout {
  return values.length > 0 ? ["(", nest(softLine, list(values.map(parameter), ",")), softLine, ")"] : "()";
}

function parameter(value: Param): Layout {
  return [
    value.mutable ? "var " : "",
    value.name.name,
    value.type ? [": ", type(value.type)] : "",
    value.fallback ? [" = ", expression(value.fallback, precedence.or)] : "",
  ];
}

function type(value: TypeExpr): Layout {
  const shape = value.shape ? bracketed("[", expressions(value.shape), "]") : "";
  const pattern = value.pattern
    ? [
        " is ",
        expression(value.pattern.n, precedence.sum),
        ":",
        expression(value.pattern.m, precedence.sum),
        ` along ${value.pattern.axis.name}`,
      ]
    : "";
  return [value.dtype.name, shape, pattern, value.format ? [" as ", format(value.format)] : ""];
}

function statement(value: Statement, indent: number): readonly string[] {
  switch (value.kind) {
    case "let":
      return commented(
        value,
        [
          "let ",
          items(value.names.map((each) => each.name)),
          indices(value.indices),
          " =",
          assigned(value.value),
          ranges(value.ranges),
        ],
        indent,
      );
    case "var":
      return commented(value, [`var ${value.name.name} =`, assigned(value.value)], indent);
    case "update":
      return commented(
        value,
        [
          value.name.name,
          bracketed("[", expressions(value.at), "]"),
          ` ${value.op}`,
          assigned(value.value),
          ranges(value.ranges),
        ],
        indent,
      );
    case "scan":
      return bodied(value, ["scan ", range(value.range)], indent, [{ body: value.body, closing: value.closing }]);
    case "for": {
      const to = value.to ? [" .. ", expression(value.to)] : [];
      const globs = (word: string, patterns: readonly PatternName[]): Layout =>
        patterns.length > 0 ? nest(line, `${word} `, items(patterns.map((each) => expression(each)))) : "";
      const head = group(
        `for ${value.name.name} in `,
        expression(value.over),
        ...to,
        globs("matching", value.matching),
        globs("except", value.except),
      );
      return bodied(value, head, indent, [{ body: value.body, closing: value.closing }]);
    }
    case "train": {
      const head = group(
        "train ",
        expression(value.target, closed),
        " on ",
        expression(value.text, closed),
        ` by ${value.by.name}`,
        value.settings.length > 0 ? argumentList(value.settings) : "",
        value.beside === null ? "" : ` and ${value.beside.by.name}`,
        value.beside !== null && value.beside.settings.length > 0 ? argumentList(value.beside.settings) : "",
      );
      return bodied(value, head, indent, [{ body: value.body, closing: value.closing }]);
    }
    case "return": {
      const made = value.definitions.map(definition);
      // a `for` that stands further right than one before it in the statement would be read as inside that one
      const definitions =
        made.length > 0 ? [" where ", items(made.length > 1 ? [nest(made[0] ?? ""), ...made.slice(1)] : made)] : [];
      return commented(value, ["return ", items(expressions(value.values)), ...definitions], indent);
    }
    case "if":
      return ifStatement(value, indent);
    case "store":
      return commented(value, ["store ", expression(value.target), " as ", expression(value.value)], indent);
    case "print":
      return commented(value, group("print ", items(value.values.map((each) => expression(each)))), indent);
    case "measure":
      return commented(value, [`measure ${value.name.name} =`, assigned(value.value)], indent);
    case "permute":
      return commented(
        value,
        [
          "permute ",
          expression(value.target, closed),
          " on ",
          expression(value.score),
          ` by ${value.by.name}`,
          value.settings.length > 0 ? argumentList(value.settings) : "",
        ],
        indent,
      );
    case "retain":
      return commented(
        value,
        ["retain ", expression(value.kept), " of ", expression(value.target, closed), " by ", expression(value.score)],
        indent,
      );
    case "scale": {
      const through = value.through === null ? [] : [` through ${quoted(value.through.value)}`];
      return commented(value, [`scale ${value.name.name} by `, expression(value.by), ...through], indent);
    }
    case "round": {
      const scale = value.scale === null ? [] : [" with scale ", expression(value.scale)];
      return commented(value, [`round ${value.name.name} as `, format(value.format), ...scale], indent);
    }
    case "expect":
      return commented(value, ["expect ", expression(value.condition)], indent);
    case "save":
      return commented(value, `save ${quoted(value.name.value)}`, indent);
    default:
      return value satisfies never;
  }
}

function ifStatement(value: Extract<Statement, { kind: "if" }>, indent: number): readonly string[] {
  const bodies: { head?: Layout; body: readonly Statement[]; closing: readonly string[] }[] = [];
  let at = value;
  for (;;) {
    bodies.push({ head: ["if ", expression(at.condition)], body: at.then, closing: at.closing });
    const next = at.otherwise[0];
    if (
      at.otherwise.length !== 1 ||
      at.closingOtherwise.length > 0 ||
      next?.kind !== "if" ||
      next.leading.length > 0 ||
      next.trailing !== null
    )
      break;
    at = next;
  }
  if (at.otherwise.length > 0 || at.closingOtherwise.length > 0)
    bodies.push({ body: at.otherwise, closing: at.closingOtherwise });
  return bodied(value, bodies[0]?.head ?? "", indent, bodies);
}

function definition(value: ReturnStatement["definitions"][number]): Layout {
  return group(value.name.name, indices(value.indices), " =", assigned(value.value, beforeComma), ranges(value.ranges));
}

/** Items with commas between, each on a line of its own where they do not fit; the later ones further right. */
function items(layouts: readonly Layout[]): Layout {
  return group(layouts.map((layout, at) => (at === 0 ? layout : [",", nest(line, layout)])));
}

function indices(names: readonly { readonly name: string }[] | null): Layout {
  return names
    ? bracketed(
        "[",
        names.map((each) => each.name),
        "]",
      )
    : "";
}

function ranges(list_: readonly RangeExpr[]): Layout {
  return list_.length > 0 ? nest(line, "for ", items(list_.map(range))) : "";
}

interface Comments {
  readonly leading: readonly string[];
  readonly trailing: string | null;
}

/** A statement with its comments, as lines. */
function commented(comments: Comments, layout: Layout, indent: number): readonly string[] {
  const margin = " ".repeat(indent);
  const text = margin + render(group(layout), indent, width);
  return [...comments.leading.map((each) => indented(each, margin)), ...(text + after(comments)).split("\n")];
}

/** A head and bodies in braces; the second and later bodies stand after `else`. */
function bodied(
  comments: Comments,
  head: Layout,
  indent: number,
  bodies: readonly {
    readonly head?: Layout;
    readonly body: readonly Statement[];
    readonly closing: readonly string[];
  }[],
): readonly string[] {
  const margin = " ".repeat(indent);
  const lines = bodies.flatMap((each, at) => {
    const opening = at === 0 ? head : ["} else", each.head ? [" ", each.head] : ""];
    const open = `${margin}${render(group(opening), indent, width - 2)} {`;
    return [
      ...open.split("\n"),
      ...each.body.flatMap((inner) => statement(inner, indent + 2)),
      ...each.closing.map((line_) => indented(line_, `${margin}  `)),
    ];
  });
  const last = bodies[bodies.length - 1];
  const empty = bodies.length === 1 && last?.body.length === 0 && last.closing.length === 0;
  const ended = empty
    ? [...lines.slice(0, -1), `${lines.at(-1) ?? ""} }${after(comments)}`]
    : [...lines, `${margin}}${after(comments)}`];
  return [...comments.leading.map((each) => indented(each, margin)), ...ended];
}

function after(comments: Comments): string {
  return comments.trailing === null ? "" : ` ${comments.trailing}`;
}

function indented(text: string, margin: string): string {
  return text === "" ? "" : margin + text;
}
