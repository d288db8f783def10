/** Random syntax trees of every kind of node, with comments, as `parse` gives them but for spans. */
import fc from "fast-check";
import type {
  Argument,
  Declaration,
  Expr,
  FormatExpr,
  Ident,
  Module,
  Param,
  RangeExpr,
  ReturnStatement,
  Statement,
  TypeExpr,
  Use,
} from "../../compiler/syntax/ast.js";
import { alwaysApart } from "../../compiler/syntax/build.js";
import { reservedWords } from "../../compiler/syntax/tokens.js";

const span = { file: "random.esp", start: 0, end: 0 } as const;

/** The tree with every span replaced by one, for comparisons. */
export function withoutSpans(module: Module): unknown {
  return JSON.parse(JSON.stringify(module, (key, value: unknown) => (key === "span" ? undefined : value)));
}

const word = fc
  .oneof(
    fc.constantFrom("x", "w", "k", "N", "K", "E", "zero", "scale", "f32", "mask", "sums", "e5", "_"),
    fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,12}$/),
  )
  .filter((name) => !reservedWords.has(name));
const ident: fc.Arbitrary<Ident> = word.map((name) => ({ name, span }));
/** After a dot keywords are names too. */
const field: fc.Arbitrary<Ident> = fc.oneof(word, fc.constantFrom(...reservedWords)).map((name) => ({ name, span }));
const text = fc.string({ maxLength: 8 }).map((value) => value.replace(/[\r\n]/g, " "));
const stringExpr = text.map((value) => ({ kind: "string" as const, value, span }));

const number: fc.Arbitrary<Expr> = fc
  .oneof(
    fc.nat(0xffffffff).map(String),
    fc.nat(0xffff).map((n) => `0x${n.toString(16)}`),
    fc.constantFrom("0", "1.0", "0.5", "1e-5", "2.50E+3", "3.4e38"),
  )
  .map((written) => ({
    kind: "number",
    value: Number(written),
    integer: /^(0x.*|\d+)$/.test(written),
    text: written,
    span,
  }));

const leaf: fc.Arbitrary<Expr> = fc.oneof(
  { weight: 4, arbitrary: word.map((name): Expr => ({ kind: "name", name, span })) },
  { weight: 2, arbitrary: number },
  stringExpr,
  fc.boolean().map((value): Expr => ({ kind: "boolean", value, span })),
);

const short = { minLength: 1, maxLength: 3 } as const;
const binaryOperators = ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or"] as const;
const reductions = ["sum", "max", "min", "mean", "any", "all", "argmax", "count"] as const;

const { expr } = fc.letrec<{
  expr: Expr;
  deep: Expr;
  args: readonly Argument[];
  format: FormatExpr;
  range: RangeExpr;
  bounded: RangeExpr;
}>((tie) => ({
  expr: fc.oneof(
    { maxDepth: 4, depthIdentifier: "expr" },
    { weight: 2, arbitrary: leaf },
    { weight: 3, arbitrary: tie("deep") },
  ),
  args: fc.array(fc.record({ label: fc.option(ident), value: tie("expr"), span: fc.constant(span) }), { maxLength: 3 }),
  format: fc.record({
    name: ident,
    args: tie("args"),
    of: fc.option(tie("format"), { maxDepth: 2 }),
    span: fc.constant(span),
  }),
  bounded: fc.record({ index: ident, low: tie("expr"), high: tie("expr"), span: fc.constant(span) }),
  range: fc.oneof(
    ident.map((index): RangeExpr => ({ index, low: null, high: null, span })),
    tie("bounded"),
  ),
  deep: fc.oneof(
    fc.record({ base: tie("expr"), field }).map((each): Expr => ({ kind: "member", ...each, span })),
    fc
      .record({ base: tie("expr"), at: fc.array(tie("expr"), short) })
      .map((each): Expr => ({ kind: "index", ...each, span })),
    fc
      .record({
        callee: fc.oneof(
          ident,
          fc.constantFrom(...reductions).map((name) => ({ name, span })),
        ),
        args: tie("args"),
      })
      .map((each): Expr => ({ kind: "call", ...each, span })),
    fc
      .record({ op: fc.constantFrom("-" as const, "not" as const), operand: tie("expr") })
      .map((each): Expr => ({ kind: "unary", ...each, span })),
    fc
      .record({ op: fc.constantFrom(...binaryOperators), left: tie("expr"), right: tie("expr") })
      .map((each): Expr => ({ kind: "binary", ...each, span })),
    fc
      .record({ op: fc.constantFrom(...reductions), over: fc.array(tie("range"), short), body: tie("expr") })
      .map((each): Expr => ({ kind: "reduce", score: null, ...each, span })),
    fc
      .record({ over: fc.array(tie("range"), short), score: tie("expr"), body: tie("expr") })
      .map((each): Expr => ({ kind: "reduce", op: "softmax_mean", ...each, span })),
    fc.record({ value: tie("expr"), mask: tie("expr") }).map((each): Expr => ({ kind: "where", ...each, span })),
    fc
      .record({
        n: tie("expr"),
        m: tie("expr"),
        axis: fc.oneof(
          ident,
          fc.nat(3).map((axis) => ({ name: String(axis), span })),
        ),
        score: tie("expr"),
      })
      .map((each): Expr => ({ kind: "top", ...each, span })),
    fc
      .record({
        value: tie("expr"),
        format: tie("format"),
        scale: fc.option(tie("expr")),
        zero: fc.option(tie("expr")),
      })
      .map((each): Expr => ({ kind: "pack", ...each, zero: each.scale && each.zero, span })),
    tie("expr").map((value): Expr => ({ kind: "unpack", value, span })),
    fc
      .record({ value: tie("expr"), left: tie("expr"), right: tie("expr") })
      .map((each): Expr => ({ kind: "plus", ...each, span })),
    fc
      .record({ block: tie("expr"), text: tie("expr"), by: ident })
      .map((each): Expr => ({ kind: "observe", ...each, span })),
    fc
      .record({ of: tie("expr"), by: fc.array(ident, { minLength: 1, maxLength: 3 }), adjoint: fc.option(tie("expr")) })
      .map((each): Expr => ({ kind: "gradient", ...each, span })),
    fc.record({ value: tie("expr"), pattern: stringExpr }).map((each): Expr => ({ kind: "matches", ...each, span })),
  ),
}));
const { format } = fc.letrec<{ format: FormatExpr }>((tie) => ({
  format: fc.record({
    name: ident,
    args: fc.array(
      expr.map((value): Argument => ({ label: null, value, span })),
      { maxLength: 2 },
    ),
    of: fc.option(tie("format"), { maxDepth: 2 }),
    span: fc.constant(span),
  }),
}));
/** Any expression. */
export const expressions: fc.Arbitrary<Expr> = expr;

const bounded: fc.Arbitrary<RangeExpr> = fc.record({ index: ident, low: expr, high: expr, span: fc.constant(span) });
const ranges = fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(bounded, short));

const comment = fc.oneof(
  fc.constantFrom("//", "/// A doc comment.", '// { ( " unbalanced'),
  fc.string({ maxLength: 10 }).map((line) => `// ${line.replace(/[\r\n]/g, "")}`.trimEnd()),
);
/** Comment lines and blank lines, no two blank lines together. */
const lines = fc.oneof(
  { weight: 3, arbitrary: fc.constant<string[]>([]) },
  fc
    .array(fc.oneof(comment, fc.constant("")), { maxLength: 3 })
    .map((each) => each.filter((line, at) => line !== "" || each[at - 1] !== "")),
);
const commented = { leading: lines, trailing: fc.option(comment, { freq: 4 }), span: fc.constant(span) };

function withoutFirst(each: readonly string[]): readonly string[] {
  return each[0] === "" ? each.slice(1) : each;
}

function withoutLast(each: readonly string[]): readonly string[] {
  return each.at(-1) === "" ? each.slice(0, -1) : each;
}

interface Block {
  readonly body: readonly Statement[];
  readonly closing: readonly string[];
}

/** A body as the parser gives it: no blank lines at its beginning and end. */
function tidy(body: readonly Statement[], closing: readonly string[]): Block {
  const [first, ...rest] = body;
  return first
    ? { body: [{ ...first, leading: withoutFirst(first.leading) }, ...rest], closing: withoutLast(closing) }
    : { body, closing: withoutLast(withoutFirst(closing)) };
}

const definition: fc.Arbitrary<ReturnStatement["definitions"][number]> = fc.record({
  name: ident,
  indices: fc.array(ident, short),
  value: expr,
  ranges,
  span: fc.constant(span),
});

const { block } = fc.letrec<{ block: Block; statement: Statement }>((tie) => ({
  block: fc.tuple(fc.array(tie("statement"), { maxLength: 3 }), lines).map(([body, closing]) => tidy(body, closing)),
  statement: fc.oneof(
    { maxDepth: 3, depthIdentifier: "block" },
    fc.oneof(
      fc
        .record({
          ...commented,
          names: fc.array(ident, short),
          indices: fc.option(fc.array(ident, short)),
          value: expr,
          ranges,
        })
        .map((each): Statement => ({ kind: "let", ...each, indices: each.names.length === 1 ? each.indices : null })),
      fc.record({ ...commented, name: ident, value: expr }).map((each): Statement => ({ kind: "var", ...each })),
      fc
        .record({
          ...commented,
          name: ident,
          at: fc.array(expr, short),
          op: fc.constantFrom("=" as const, "+=" as const, "-=" as const),
          value: expr,
          ranges,
        })
        .map((each): Statement => ({ kind: "update", ...each })),
      fc
        .record({ ...commented, values: fc.array(expr, short), definitions: fc.array(definition, { maxLength: 2 }) })
        .map((each): Statement => ({ kind: "return", ...each })),
      fc.record({ ...commented, target: expr, value: expr }).map((each): Statement => ({ kind: "store", ...each })),
      fc.record({ ...commented, condition: expr }).map((each): Statement => ({ kind: "expect", ...each })),
      fc.record({ ...commented, name: stringExpr }).map((each): Statement => ({ kind: "save", ...each })),
    ),
    fc
      .record({ ...commented, range: bounded, block: tie("block") })
      .map(({ block: inner, ...each }): Statement => ({ kind: "scan", ...each, ...inner })),
    fc
      .record({
        ...commented,
        name: ident,
        over: expr,
        to: fc.option(expr),
        matching: fc.array(stringExpr, { maxLength: 2 }),
        except: fc.array(stringExpr, { maxLength: 2 }),
        block: tie("block"),
      })
      .map(({ block: inner, ...each }): Statement => ({ kind: "for", ...each, ...inner })),
    fc
      .record({
        ...commented,
        target: expr,
        text: expr,
        by: ident,
        settings: fc.array(
          expr.map((value): Argument => ({ label: null, value, span })),
          { maxLength: 2 },
        ),
        beside: fc.option(fc.record({ by: ident, settings: fc.constant([]), span: fc.constant(span) })),
        block: tie("block"),
      })
      .map(({ block: inner, ...each }): Statement => ({ kind: "train", ...each, ...inner })),
    fc.record({ ...commented, condition: expr, first: tie("block"), second: tie("block") }).map(
      ({ first, second, ...each }): Statement => ({
        kind: "if",
        ...each,
        then: first.body,
        closing: first.closing,
        otherwise: second.body,
        closingOtherwise: second.closing,
      }),
    ),
  ),
}));

const type: fc.Arbitrary<TypeExpr> = fc.record({
  dtype: ident,
  shape: fc.option(fc.array(expr, short)),
  pattern: fc.option(fc.record({ n: expr, m: expr, axis: ident, span: fc.constant(span) })),
  format: fc.option(format),
  span: fc.constant(span),
});
function param(typed: boolean): fc.Arbitrary<Param> {
  return fc.record({
    mutable: fc.boolean(),
    name: ident,
    type: typed ? type : fc.option(type),
    fallback: fc.option(expr),
    span: fc.constant(span),
  });
}

const declaration: fc.Arbitrary<Declaration> = fc.oneof(
  fc.record({ ...commented, name: ident, value: expr }).map((each): Declaration => ({ kind: "constant", ...each })),
  fc
    .record({
      ...commented,
      name: ident,
      params: fc.array(param(true), { maxLength: 3 }),
      results: fc.array(type, { maxLength: 2 }),
      constraints: fc.array(expr, { maxLength: 2 }),
      adjoint: fc.option(ident),
      block,
    })
    .map(({ block: inner, ...each }): Declaration => ({ kind: "function", ...each, ...inner })),
  fc
    .record({ ...commented, name: ident, params: fc.array(param(false), { maxLength: 3 }), block })
    .map(({ block: inner, ...each }): Declaration => ({ kind: "recipe", ...each, ...inner })),
);
const use: fc.Arbitrary<Use> = fc
  .record({
    ...commented,
    modules: fc.array(
      fc.oneof(
        word.map((path) => ({ path, relative: false, span })),
        text.map((path) => ({ path, relative: true, span })),
      ),
      short,
    ),
  })
  .map((each): Use => ({ kind: "use", ...each }));

/** Any file. */
export const modules: fc.Arbitrary<Module> = fc
  .record({
    uses: fc.array(use, { maxLength: 2 }),
    declarations: fc.array(declaration, { maxLength: 3 }),
    closing: lines,
  })
  .map(({ uses, declarations, closing }) => {
    const all = [...uses, ...declarations];
    const apart = <T extends Use | Declaration>(each: T): T =>
      alwaysApart(all[all.indexOf(each) - 1] ?? null, each) ? { ...each, leading: withoutFirst(each.leading) } : each;
    return {
      kind: "module",
      uses: uses.map(apart),
      declarations: declarations.map(apart),
      closing: withoutLast(all.length > 0 ? closing : withoutFirst(closing)),
      span,
    };
  });
