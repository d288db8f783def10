/**
 * The equation of a function, from its program: definitions line by line, loops with their bodies below. Conversions
 * between dtypes are left out, as papers do; whole division in an index is a floor.
 */
import type { Argument, Expr, FormatExpr, FunctionDeclaration, RangeExpr, Statement, TypeExpr } from "../syntax/ast.js";
import { printExpression, printType } from "../syntax/print.js";
import {
  fenced,
  fraction,
  listed,
  name,
  number,
  operator,
  power,
  row,
  space,
  subscript,
  word,
  type Fence,
  type Formula,
  type Line,
  type Operator,
} from "./formula.js";

/** How tightly a formula holds together, so that it is put in parentheses where less would change its meaning. */
const tightness = { or: 1, and: 2, not: 3, compare: 4, sum: 5, product: 6, sign: 7, power: 8, atom: 9 } as const;

interface Bound {
  readonly formula: Formula;
  readonly tightness: number;
}

interface Context {
  /** Dtypes that the function is written for, whose conversions are left out as well. */
  readonly casts: ReadonlySet<string>;
  /** Whole numbers divide to whole ones within an index, and evenly in a bound. */
  readonly division: "fraction" | "whole" | "even";
}

const dtypeNames = ["f32", "f16", "i32", "u32", "bool"];

/** The lines of a function's equation. */
export function equationOf(declaration: FunctionDeclaration): readonly Line[] {
  const written = [...declaration.params.map(({ type }) => type), ...declaration.results];
  const dtypes = written.flatMap((type) => (type === null ? [] : [type.dtype.name]));
  const context: Context = { casts: new Set([...dtypeNames, ...dtypes]), division: "fraction" };
  return declaration.body.flatMap((each) => statement(each, declaration, context, 0));
}

function statement(
  given: Statement,
  declaration: FunctionDeclaration,
  context: Context,
  depth: number,
): readonly Line[] {
  const line = (...parts: readonly Formula[]): Line => ({ depth, formula: row(...parts) });
  const body = (statements: readonly Statement[]): readonly Line[] =>
    statements.flatMap((each) => statement(each, declaration, context, depth + 1));
  switch (given.kind) {
    case "let": {
      const left =
        given.indices === null
          ? listed(given.names.map((each) => name(each.name)))
          : indexed(
              name(given.names[0]?.name ?? ""),
              given.indices.map((each) => name(each.name)),
            );
      return [line(left, operator("="), whole(given.value, context), ...rangeWords(given.ranges, context))];
    }
    case "var":
      return [line(name(given.name.name), operator("←"), whole(given.value, context))];
    case "update": {
      const at = given.at.map((each) => whole(each, { ...context, division: "whole" }));
      const target = indexed(name(given.name.name), at);
      const value = expression(given.value, context);
      const changed =
        given.op === "="
          ? value.formula
          : row(target, operator(given.op === "+=" ? "+" : "−"), within(value, tightness.sum + 1));
      return [line(target, operator("←"), changed, ...rangeWords(given.ranges, context))];
    }
    case "scan":
      return [line(word("for"), space, steps(given.range, context)), ...body(given.body)];
    case "for": {
      const range: RangeExpr = { index: given.name, low: given.over, high: given.to, span: given.span };
      return [line(word("for"), space, steps(range, context)), ...body(given.body)];
    }
    case "if":
      return [
        line(word("if"), space, whole(given.condition, context)),
        ...body(given.then),
        ...(given.otherwise.length === 0 ? [] : [line(word("otherwise")), ...body(given.otherwise)]),
      ];
    case "return": {
      const definitions = given.definitions.map(({ name: { name: left }, indices, value, ranges }) =>
        line(
          indexed(
            name(left),
            indices.map((each) => name(each.name)),
          ),
          operator("="),
          whole(value, context),
          ...rangeWords(ranges, context),
        ),
      );
      const defined = given.definitions.map((each) => each.name.name);
      if (given.values.every((value) => value.kind === "name" && defined.includes(value.name))) return definitions;
      const call = row(word(declaration.name.name), fenced("(", parametersOf(declaration), ")"));
      return [...definitions, line(call, operator("="), listed(given.values.map((each) => whole(each, context))))];
    }
    case "train":
    case "store":
    case "measure":
    case "print":
    case "permute":
    case "retain":
    case "scale":
    case "round":
    case "expect":
    case "save":
      return [];
    default:
      return given satisfies never;
  }
}

function parametersOf({ params }: FunctionDeclaration): Formula {
  const shown = params.map((param) => name(param.name.name));
  return listed(params.length > mostShown ? [...shown.slice(0, mostShown - 1), operator("…")] : shown);
}

/** Parameters that are named where a function is called what it gives; of more, only the first. */
const mostShown = 8;

/** `, 0 ≤ j < group`, for each range. */
function rangeWords(ranges: readonly RangeExpr[], within: Context): readonly Formula[] {
  const context: Context = { ...within, division: "even" };
  return ranges.flatMap((range) =>
    range.low === null || range.high === null
      ? []
      : [
          operator(","),
          space,
          whole(range.low, context),
          operator("≤"),
          name(range.index.name),
          operator("<"),
          whole(range.high, context),
        ],
  );
}

/** `k = 0, …, K − 1`. */
function steps({ index, low, high }: RangeExpr, within: Context): Formula {
  const context: Context = { ...within, division: "even" };
  const from = low === null ? number("0") : whole(low, context);
  if (high === null) return row(name(index.name), operator("∈"), from);
  return row(name(index.name), operator("="), listed([from, operator("…"), lastOf(high, context)]));
}

/** The last index below `high`. */
function lastOf(high: Expr, context: Context): Formula {
  if (high.kind === "number" && high.integer) return number(String(high.value - 1));
  return row(within(expression(high, context), tightness.sum), operator("−"), number("1"));
}

function whole(value: Expr, context: Context): Formula {
  return expression(value, context).formula;
}

function within({ formula, tightness: own }: Bound, wanted: number): Formula {
  return own < wanted ? fenced("(", formula, ")") : formula;
}

function indexed(base: Formula, at: readonly Formula[]): Formula {
  return at.length === 0 ? base : subscript(base, listed(at));
}

const atom = (formula: Formula): Bound => ({ formula, tightness: tightness.atom });

function expression(value: Expr, context: Context): Bound {
  switch (value.kind) {
    case "string":
      return atom(word(`"${value.value}"`));
    case "number":
      return numeral(value.text);
    case "boolean":
      return atom(word(String(value.value)));
    case "name":
      return atom(name(value.name));
    case "member":
      return atom(name(printExpression(value)));
    case "index": {
      const base = expression(value.base, context);
      const at = value.at.map((each) => whole(each, { ...context, division: "whole" }));
      return atom(indexed(within(base, tightness.atom), at));
    }
    case "call":
      return call(value, context);
    case "unary": {
      const negative = value.op === "-";
      const operand = expression(value.operand, context);
      return {
        formula: row(operator(negative ? "−" : "¬"), within(operand, negative ? tightness.product : tightness.not)),
        tightness: negative ? tightness.sign : tightness.not,
      };
    }
    case "binary":
      return binary(value, context);
    case "reduce":
      return reduction(value, context);
    case "where":
      return masked(value, context);
    case "top": {
      const [n, m] = [value.n, value.m].map((each) => printExpression(each));
      const words = row(word(`top ${n} of ${m}`), operator(","), name(value.axis.name.toLowerCase()));
      return atom(row(subscript(word("keep"), words), fenced("(", whole(value.score, context), ")")));
    }
    case "pack": {
      const by = [value.scale, value.zero].flatMap((each) => (each === null ? [] : [whole(each, context)]));
      const inner = listed([whole(value.value, context), ...by]);
      return atom(row(subscript(word("pack"), formatWords(value.format)), fenced("(", inner, ")")));
    }
    case "unpack":
      return expression(value.value, context);
    case "plus": {
      const factors = [value.left, value.right].map((each) => within(expression(each, context), tightness.product));
      return {
        formula: row(within(expression(value.value, context), tightness.sum), operator("+"), ...factors),
        tightness: tightness.sum,
      };
    }
    case "gradient": {
      const of = expression(value.of, context);
      const body =
        value.adjoint === null
          ? row({ kind: "over", what: "∑", below: space, above: null }, within(of, tightness.product))
          : row(within(of, tightness.product), operator("·"), within(expression(value.adjoint, context), 7));
      const by = listed(value.by.map((each) => name(each.name)));
      return atom(row(subscript(operator("∇"), by), fenced("(", body, ")")));
    }
    case "observe":
    case "matches":
      return atom(word(printExpression(value)));
    default:
      return value satisfies never;
  }
}

/** `1e-30` is a power of ten; digits stay as they are written. */
function numeral(text: string): Bound {
  const [, digits = "", exponent] = /^(\d+(?:\.\d+)?)(?:[eE]\+?(-?\d+))?$/.exec(text) ?? [];
  if (digits === "" || exponent === undefined) return atom(number(digits === "" ? text : digits.replace(/\.0$/, "")));
  const ten = power(
    number("10"),
    exponent.startsWith("-") ? row(operator("−"), number(exponent.slice(1))) : number(exponent),
  );
  return Number(digits) === 1
    ? { formula: ten, tightness: tightness.power }
    : { formula: row(number(digits), operator("·"), ten), tightness: tightness.product };
}

type BinaryExpr = Extract<Expr, { readonly kind: "binary" }>;

const infix: { readonly [O in BinaryExpr["op"]]?: readonly [sign: Operator, tightness: number, right: number] } = {
  "+": ["+", tightness.sum, tightness.sum],
  "-": ["−", tightness.sum, tightness.product],
  "*": ["·", tightness.product, tightness.product],
  "==": ["=", tightness.compare, tightness.sum],
  "!=": ["≠", tightness.compare, tightness.sum],
  "<": ["<", tightness.compare, tightness.sum],
  "<=": ["≤", tightness.compare, tightness.sum],
  ">": [">", tightness.compare, tightness.sum],
  ">=": ["≥", tightness.compare, tightness.sum],
  and: ["∧", tightness.and, tightness.not],
  or: ["∨", tightness.or, tightness.and],
};

function binary({ op, left, right }: BinaryExpr, context: Context): Bound {
  const [a, b] = [expression(left, context), expression(right, context)];
  if (op === "/" && context.division !== "fraction") {
    const quotient = row(within(a, tightness.product), operator("/"), within(b, tightness.sign));
    return context.division === "whole"
      ? atom(fenced("⌊", quotient, "⌋"))
      : { formula: quotient, tightness: tightness.product };
  }
  if (op === "/") return { formula: fraction(a.formula, b.formula), tightness: tightness.power };
  if (op === "%")
    return {
      formula: row(within(a, tightness.product), space, word("mod"), space, within(b, tightness.sign)),
      tightness: tightness.product,
    };
  if (op === "^") return { formula: power(within(a, tightness.atom), b.formula), tightness: tightness.power };
  const [sign, own, rightOwn] = infix[op] ?? ["=", tightness.compare, tightness.sum];
  const leftOwn = own === tightness.compare ? tightness.sum : own;
  return { formula: row(within(a, leftOwn), operator(sign), within(b, rightOwn)), tightness: own };
}

type ReduceExpr = Extract<Expr, { readonly kind: "reduce" }>;

function reduction({ op, over, score, body }: ReduceExpr, context: Context): Bound {
  const bound: Context = { ...context, division: "even" };
  const [range] = over;
  const plain = over.every(({ low, high }) => low === null || high === null);
  const one = over.length === 1 && range !== undefined && range.low !== null && range.high !== null;
  const below = plain
    ? listed(over.map(({ index }) => name(index.name)))
    : one && op === "sum" && range.low !== null
      ? row(name(range.index.name), operator("="), whole(range.low, bound))
      : listed(
          over.map((each) =>
            each.low === null || each.high === null
              ? name(each.index.name)
              : row(
                  whole(each.low, bound),
                  operator("≤"),
                  name(each.index.name),
                  operator("<"),
                  whole(each.high, bound),
                ),
          ),
        );
  const above = one && op === "sum" && range.high !== null ? lastOf(range.high, bound) : null;
  const inner = expression(body, context);
  if (op === "softmax_mean") {
    const weight = row(
      subscript(word("softmax"), listed(over.map(({ index }) => name(index.name)))),
      fenced("(", score === null ? space : whole(score, context), ")"),
    );
    const large: Formula = { kind: "over", what: "∑", below, above };
    return { formula: row(large, weight, operator("·"), within(inner, tightness.product)), tightness: tightness.sum };
  }
  const large: Formula = { kind: "over", what: op === "sum" ? "∑" : op, below, above };
  return { formula: row(large, within(inner, tightness.product)), tightness: tightness.sum };
}

function masked({ value, mask }: Extract<Expr, { readonly kind: "where" }>, context: Context): Bound {
  const [kept, condition] = [expression(value, context), expression(mask, context)];
  if (mask.kind === "name")
    return {
      formula: row(within(kept, tightness.product), operator("⊙"), condition.formula),
      tightness: tightness.product,
    };
  return casesOf([
    { value: kept.formula, when: condition.formula },
    { value: number("0"), when: null },
  ]);
}

function casesOf(cases: Extract<Formula, { readonly kind: "cases" }>["cases"]): Bound {
  return { formula: { kind: "cases", cases }, tightness: tightness.sum };
}

/** What `select` chooses among; what it chooses otherwise may be a choice again. */
function choices(
  own: string,
  args: readonly Argument[],
  context: Context,
): readonly { readonly value: Formula; readonly when: Formula | null }[] {
  const [condition, chosen, otherwise] = args.map(({ value }) => value);
  if (condition === undefined || chosen === undefined || otherwise === undefined) return [];
  return [
    { value: whole(chosen, context), when: whole(condition, context) },
    ...(otherwise.kind === "call" && otherwise.callee.name === own
      ? choices(own, otherwise.args, context)
      : [{ value: whole(otherwise, context), when: null }]),
  ];
}

const aroundOne: Readonly<Record<string, readonly [open: Fence, close: Fence]>> = {
  abs: ["|", "|"],
  floor: ["⌊", "⌋"],
  ceil: ["⌈", "⌉"],
  round: ["⌊", "⌉"],
};

function call({ callee, args }: Extract<Expr, { readonly kind: "call" }>, context: Context): Bound {
  const values = args.map(({ value }) => value);
  const [first] = values;
  if (first !== undefined && values.length === 1) {
    if (context.casts.has(callee.name)) return expression(first, context);
    const around = aroundOne[callee.name];
    if (around !== undefined) return atom(fenced(around[0], whole(first, context), around[1]));
    if (callee.name === "sqrt") return atom({ kind: "root", body: whole(first, context) });
    if (callee.name === "rsqrt")
      return {
        formula: fraction(number("1"), { kind: "root", body: whole(first, context) }),
        tightness: tightness.power,
      };
    if (callee.name === "exp") return { formula: power(name("e"), whole(first, context)), tightness: tightness.power };
  }
  if (callee.name === "select") return casesOf(choices(callee.name, args, context));
  return atom(row(word(callee.name), fenced("(", listed(values.map((each) => whole(each, context))), ")")));
}

function formatWords(format: FormatExpr): Formula {
  const type: TypeExpr = {
    dtype: { name: "f32", span: format.span },
    shape: null,
    pattern: null,
    format,
    span: format.span,
  };
  return word(printType(type).replace(/^f32 as /, ""));
}
