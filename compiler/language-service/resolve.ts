import type { Span } from "../diagnostic.js";
import { formatOf } from "../formats/registry.js";
import type {
  Argument,
  Declaration,
  Expr,
  FormatExpr,
  Ident,
  Module,
  RangeExpr,
  Statement,
  TypeExpr,
} from "../syntax/ast.js";
import { dtypes } from "../types/dtype.js";
import {
  find,
  inner,
  sameSymbol,
  type Env,
  type Names,
  type Reference,
  type Symbol,
  type SymbolKind,
} from "./symbols.js";

/** What a file sees of the modules that it uses. */
export interface Used {
  /** The declaration of a module of that name, with its file. */
  readonly declaration: (name: string) => { readonly declaration: Declaration; readonly file: string } | null;
  /** The file of a module after `use`. */
  readonly file: (use: Module["uses"][number]["modules"][number]) => string;
}

const noDtypes: ReadonlySet<string> = new Set([...dtypes, "mask", "size", "llama", "tokens"]);

/** The symbol of a declaration. */
export function symbolOf(declaration: Declaration, to: number = Infinity): Symbol {
  const { kind, name } = declaration;
  return { kind, name: name.name, span: name.span, from: 0, to, declaration, statement: null };
}

/** The symbol of a parameter. */
export function parameterSymbol(declaration: Declaration, name: Ident): Symbol {
  const kind: SymbolKind =
    declaration.kind === "function" &&
    declaration.params.some((param) => param.name.name === name.name && param.type?.dtype.name === "size")
      ? "size"
      : "parameter";
  const { start, end } = declaration.span;
  return { kind, name: name.name, span: name.span, from: start, to: end, declaration, statement: null };
}

/** Resolves the names of a file, as the checker does; names of nothing are passed over. */
export function resolveNames(ast: Module, used: Used): Names {
  const symbols: Symbol[] = [];
  const references: Reference[] = [];
  const file = inner(null);

  const refer = (symbol: Symbol | null, span: Span): void => {
    if (symbol !== null) references.push({ symbol, span });
  };
  const declare = (env: Env, symbol: Symbol): Symbol => {
    env.names.set(symbol.name, symbol);
    symbols.push(symbol);
    references.push({ symbol, span: symbol.span });
    return symbol;
  };

  for (const use of ast.uses)
    for (const module of use.modules) {
      const target = used.file(module);
      const span = { file: target, start: 0, end: 0 };
      const symbol: Symbol = {
        kind: "module",
        name: module.path,
        span,
        from: 0,
        to: 0,
        declaration: null,
        statement: null,
      };
      references.push({ symbol, span: module.span });
    }
  for (const declaration of ast.declarations) declare(file, symbolOf(declaration));
  const outer = (name: string): Symbol | null => {
    const own = file.names.get(name);
    if (own !== undefined) return own;
    const found = used.declaration(name);
    return found === null ? null : symbolOf(found.declaration);
  };

  for (const declaration of ast.declarations) {
    const end = declaration.span.end;
    const make = (
      kind: SymbolKind,
      name: Ident,
      from: number,
      to = end,
      statement: Statement | null = null,
    ): Symbol => ({
      kind,
      name: name.name,
      span: name.span,
      from,
      to,
      declaration,
      statement,
    });
    const lookup = (env: Env, name: string): Symbol | null => find(env, name) ?? outer(name);

    const expressions = (values: readonly Expr[], env: Env): void => values.forEach((value) => expression(value, env));
    const args = (values: readonly Argument[], env: Env, callee: Declaration | null): void => {
      for (const { label, value } of values) {
        if (label !== null && callee !== null && callee.kind !== "constant") {
          const param = callee.params.find((each) => each.name.name === label.name);
          if (param !== undefined) refer(parameterSymbol(callee, param.name), label.span);
        }
        expression(value, env);
      }
    };
    const format = (value: FormatExpr | null, env: Env): void => {
      if (value === null) return;
      if (formatOf(value.name.name) === null) refer(lookup(env, value.name.name), value.name.span);
      // flags, `symmetric`, are words of the format
      for (const arg of value.args)
        if (arg.value.kind !== "name" || find(env, arg.value.name) !== null) expression(arg.value, env);
      format(value.of, env);
    };
    const axis = (name: Ident, env: Env): void =>
      refer(find(env, name.name) ?? find(env, name.name.toUpperCase()), name.span);
    const type = (value: TypeExpr | null, env: Env): void => {
      if (value === null) return;
      if (!noDtypes.has(value.dtype.name)) refer(lookup(env, value.dtype.name), value.dtype.span);
      expressions(value.shape ?? [], env);
      if (value.pattern !== null) {
        expressions([value.pattern.n, value.pattern.m], env);
        axis(value.pattern.axis, env);
      }
      format(value.format, env);
    };
    /** Bounds are seen outside; the index is one of the statement's, or a new one. */
    const range = ({ index, low, high }: RangeExpr, env: Env, statement: Statement | null, scope: Span): void => {
      if (low !== null) expression(low, env);
      if (high !== null) expression(high, env);
      const known = statement === null ? undefined : env.names.get(index.name);
      if (known !== undefined) refer(known, index.span);
      else declare(env, make("index", index, scope.start, scope.end, statement));
    };

    const expression = (value: Expr, env: Env): void => {
      switch (value.kind) {
        case "string":
        case "number":
        case "boolean":
          return;
        case "name":
          return refer(lookup(env, value.name), value.span);
        case "member":
          return expression(value.base, env);
        case "index":
          expression(value.base, env);
          return expressions(value.at, env);
        case "call": {
          const callee = lookup(env, value.callee.name);
          refer(callee, value.callee.span);
          return args(value.args, env, callee?.kind === "function" ? callee.declaration : null);
        }
        case "unary":
          return expression(value.operand, env);
        case "binary":
          return expressions([value.left, value.right], env);
        case "reduce": {
          const body = inner(env);
          for (const each of value.over) range(each, body, null, value.span);
          if (value.score !== null) expression(value.score, body);
          return expression(value.body, body);
        }
        case "where":
          return expressions([value.value, value.mask], env);
        case "top":
          expressions([value.n, value.m, value.score], env);
          return axis(value.axis, env);
        case "pack":
          expression(value.value, env);
          format(value.format, env);
          if (value.scale !== null) expression(value.scale, env);
          if (value.zero !== null) expression(value.zero, env);
          return;
        case "unpack":
          return expression(value.value, env);
        case "plus":
          return expressions([value.value, value.left, value.right], env);
        case "observe":
          expressions([value.block, value.text], env);
          return refer(lookup(env, value.by.name), value.by.span);
        case "gradient":
          expression(value.of, env);
          for (const by of value.by) refer(lookup(env, by.name), by.span);
          if (value.adjoint !== null) expression(value.adjoint, env);
          return;
        case "matches":
          return expressions([value.value, value.pattern], env);
        default:
          return value satisfies never;
      }
    };

    /** `y[t, n] = e for t in a .. b`: the indices are those of the definition. */
    const definition = (
      indices: readonly Ident[],
      value: Expr,
      ranges: readonly RangeExpr[],
      span: Span,
      env: Env,
      statement: Statement,
    ): void => {
      const local = inner(env);
      for (const index of indices) declare(local, make("index", index, span.start, span.end, statement));
      for (const each of ranges) range(each, local, statement, span);
      expression(value, local);
    };

    const body = (statements: readonly Statement[], env: Env, to: number): void =>
      statements.forEach((statement) => one(statement, env, to));

    const one = (statement: Statement, env: Env, to: number): void => {
      const after = statement.span.end;
      switch (statement.kind) {
        case "let":
          definition(statement.indices ?? [], statement.value, statement.ranges, statement.span, env, statement);
          for (const name of statement.names) declare(env, make("variable", name, after + 1, to, statement));
          return;
        case "var":
          expression(statement.value, env);
          declare(env, make("variable", statement.name, after + 1, to, statement));
          return;
        case "update": {
          refer(lookup(env, statement.name.name), statement.name.span);
          const local = inner(env);
          for (const at of statement.at) {
            if (at.kind === "name" && lookup(local, at.name) === null)
              declare(local, make("index", at, statement.span.start, after, statement));
            else expression(at, local);
          }
          for (const each of statement.ranges) range(each, local, statement, statement.span);
          return expression(statement.value, local);
        }
        case "scan": {
          const local = inner(env);
          range(statement.range, local, null, statement.span);
          return body(statement.body, local, after);
        }
        case "for": {
          expression(statement.over, env);
          if (statement.to !== null) expression(statement.to, env);
          expressions([...statement.matching, ...statement.except], env);
          const local = inner(env);
          declare(local, make("variable", statement.name, statement.name.span.end, after, statement));
          return body(statement.body, local, after);
        }
        case "train":
          expressions([statement.target, statement.text], env);
          refer(lookup(env, statement.by.name), statement.by.span);
          args(statement.settings, env, null);
          if (statement.beside !== null) {
            refer(lookup(env, statement.beside.by.name), statement.beside.by.span);
            args(statement.beside.settings, env, null);
          }
          return body(statement.body, inner(env), after);
        case "return": {
          const local = inner(env);
          for (const { name } of statement.definitions)
            declare(local, make("variable", name, statement.span.start, after, statement));
          for (const each of statement.definitions)
            definition(each.indices, each.value, each.ranges, each.span, local, statement);
          return expressions(statement.values, local);
        }
        case "if":
          expression(statement.condition, env);
          body(statement.then, inner(env), after);
          return body(statement.otherwise, inner(env), after);
        case "store":
          return expressions([statement.target, statement.value], env);
        case "print":
          return expressions(statement.values, env);
        case "retain":
          return expressions([statement.kept, statement.target, statement.score], env);
        case "measure":
          expression(statement.value, env);
          declare(own, make("variable", statement.name, after + 1, declaration.span.end, statement));
          return;
        case "permute":
          expressions([statement.target, statement.score], env);
          refer(lookup(env, statement.by.name), statement.by.span);
          args(statement.settings, env, null);
          return;
        case "scale":
          refer(lookup(env, statement.name.name), statement.name.span);
          return expression(statement.by, env);
        case "round":
          refer(lookup(env, statement.name.name), statement.name.span);
          return statement.scale === null ? undefined : expression(statement.scale, env);
        case "expect":
          return expression(statement.condition, env);
        case "save":
          return;
        default:
          return statement satisfies never;
      }
    };

    const own = inner(null);
    if (declaration.kind === "constant") {
      const { value } = declaration;
      for (const each of value.kind === "table" ? value.values : [value]) expression(each, own);
      continue;
    }
    const { start } = declaration.span;
    const params = declaration.params.map((param) => ({ param, symbol: parameterSymbol(declaration, param.name) }));
    // as the checker does it: `size` parameters first, then the capitalised names of shapes
    for (const { symbol } of params) if (symbol.kind === "size") declare(own, symbol);
    for (const { param } of params) {
      if (param.type === null || declaration.kind === "recipe") continue;
      if (!noDtypes.has(param.type.dtype.name) && find(own, param.type.dtype.name) === null)
        declare(own, make("dtype", param.type.dtype, start));
      for (const name of (param.type.shape ?? []).flatMap(capitals))
        if (lookup(own, name.name) === null) declare(own, make("size", name, start));
      for (let at = param.type.format; at !== null; at = at.of)
        if (formatOf(at.name.name) === null && find(own, at.name.name) === null)
          declare(own, make("format", at.name, start));
    }
    for (const { param, symbol } of params) {
      type(param.type, own);
      if (param.fallback !== null) expression(param.fallback, own);
      if (symbol.kind !== "size") declare(own, symbol);
    }
    if (declaration.kind === "function") {
      for (const result of declaration.results) type(result, own);
      expressions(declaration.constraints, own);
      if (declaration.adjoint !== null) refer(outer(declaration.adjoint.name), declaration.adjoint.span);
    }
    body(declaration.body, inner(own), end);
  }
  return { symbols, references: unique(references) };
}

/** A name that is declared in a type is met again as the type's. */
function unique(references: readonly Reference[]): readonly Reference[] {
  const seen = new Map<number, Reference[]>();
  return references.filter((reference) => {
    const there = seen.get(reference.span.start) ?? [];
    if (there.some(({ symbol, span }) => span.end === reference.span.end && sameSymbol(symbol, reference.symbol)))
      return false;
    seen.set(reference.span.start, [...there, reference]);
    return true;
  });
}

function capitals(expr: Expr): readonly Ident[] {
  switch (expr.kind) {
    case "name":
      return /^[A-Z]/.test(expr.name) ? [{ name: expr.name, span: expr.span }] : [];
    case "binary":
      return [...capitals(expr.left), ...capitals(expr.right)];
    case "unary":
      return capitals(expr.operand);
    default:
      return [];
  }
}
