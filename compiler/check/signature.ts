import type { Span } from "../diagnostic.js";
import type { Constraint } from "../graph/graph.js";
import type { Expr, FormatExpr, FunctionDeclaration, TypeExpr } from "../syntax/ast.js";
import { dtypes as dtypeNames, type DtypeRef } from "../types/dtype.js";
import { addSizes, constantSize, printSize, sizeSymbols, sizeValue, symbolSize, type Size } from "../types/size.js";
import { full, type Pattern, type TensorType } from "../types/type.js";
import { addInput, newBuilder } from "./builder.js";
import { compileTimeSize } from "./element.js";
import { checkFormat } from "./formats.js";
import type { CheckedParam } from "./checked.js";
import { fail, placeIn, type Frame, type Place } from "./frame.js";
import { bind, lookup, nest, peek, type Scope } from "./scope.js";
import { refutable, soleSymbol } from "./sizes.js";
import { typeHabits } from "./habits.js";
import { suggestion } from "./suggestion.js";
import { axisOf } from "./whole.js";
import { formatOf } from "../formats/registry.js";

/** What a function's head says: its parameters as inputs of a graph that is to be built, its names, its results. */
export interface Signature {
  readonly frame: Frame;
  readonly scope: Scope;
  readonly params: readonly CheckedParam[];
  readonly results: readonly TensorType[];
  readonly parameters: {
    readonly sizes: readonly string[];
    readonly dtypes: readonly string[];
    readonly formats: readonly string[];
  };
  /** The declared constraints. */
  readonly constraints: readonly Constraint[];
}

/** Checks the head of a function; null where it is wrong. `constants` has the names of the file's constants. */
export function checkSignature(
  declaration: FunctionDeclaration,
  rest: Pick<Frame, "file" | "report" | "functionOf">,
  constants: Scope,
): Signature | null {
  const types = [
    ...declaration.params.flatMap((param) => (param.type === null ? [] : [param.type])),
    ...declaration.results,
  ];
  const dtypes = [...new Set(types.filter((type) => isParameterName(type.dtype.name)).map((type) => type.dtype.name))];
  const formats = [
    ...new Set(
      types
        .flatMap((type) => formatNames(type.format))
        .filter((name) => isParameterName(name) && formatOf(name) === null),
    ),
  ];
  const frame: Frame = {
    ...rest,
    builder: newBuilder(),
    dtypes: new Set(dtypes),
    formats: new Set(formats),
    layer: null,
  };
  const scope = nest(constants);
  const place = placeIn(frame, scope);
  const sizes = new Set<string>();
  for (const param of declaration.params) {
    if (param.type?.dtype.name === "size")
      bind(scope, param.name.name, { kind: "size", size: symbolSize(param.name.name) }, param.name.span);
  }
  // capitalised names in the shapes of parameters are size parameters
  for (const param of declaration.params) {
    if (param.type?.dtype.name === "size") sizes.add(param.name.name);
    for (const name of shapeNames(param.type)) {
      const known = peek(scope, name.name);
      if (known === null && /^[A-Z]/.test(name.name))
        bind(scope, name.name, { kind: "size", size: symbolSize(name.name) }, null);
      if (peek(scope, name.name)?.binding.kind === "size") sizes.add(name.name);
    }
  }
  let failed = false;
  const params: CheckedParam[] = [];
  const seen = new Map<string, Span>();
  const typed: { readonly param: (typeof declaration.params)[number]; readonly type: TensorType | null }[] = [];
  for (const param of declaration.params) {
    const before = seen.get(param.name.name);
    if (before !== undefined) {
      fail(frame, "E203", `the parameter \`${param.name.name}\` is declared twice`, param.name.span, "declared again", {
        labels: [{ span: before, message: "first declared here" }],
      });
      failed = true;
    }
    seen.set(param.name.name, param.name.span);
    if (param.type?.dtype.name === "size") {
      if (param.mutable || param.type.shape !== null)
        failed =
          fail(
            frame,
            "E206",
            "a `size` is a compile-time integer: neither a `var` nor a tensor",
            param.span,
            "not possible",
          ) ?? true;
      params.push({ kind: "size", name: param.name.name, fallback: param.fallback, span: param.span });
      continue;
    }
    const type = param.type === null ? null : checkType(param.type, place);
    if (type === null) {
      failed = true;
      continue;
    }
    typed.push({ param, type });
    const input = addInput(frame.builder, param.name.name, type, param.name.span, param.mutable);
    params.push({
      kind: "tensor",
      name: param.name.name,
      input,
      mutable: param.mutable,
      fallback: param.fallback,
      span: param.span,
    });
    if (param.mutable && type.format !== null)
      failed =
        fail(frame, "E503", "a packed tensor cannot be updated in place", param.span, "packed, and `var`") ?? true;
    const clash = scope.entries.get(param.name.name);
    if (clash === undefined)
      bind(scope, param.name.name, { kind: "tensor", value: input, mutable: param.mutable }, param.name.span);
    else if (before === undefined)
      failed =
        fail(
          frame,
          "E203",
          `\`${param.name.name}\` is the name of a size and of a parameter`,
          param.name.span,
          "declared again",
        ) ?? true;
  }
  if (failed) return null;
  for (const expr of declaration.constraints) {
    const constraint = checkConstraint(expr, place);
    if (constraint === null) failed = true;
    else frame.builder.constraints.push(constraint);
  }
  const constraints = [...frame.builder.constraints];
  const known = new Set(
    declaration.params.filter((param) => param.type?.dtype.name === "size").map((param) => param.name.name),
  );
  for (const { type } of typed) for (const size of type?.shape ?? []) known.add(soleSymbol(size) ?? "");
  for (const { param, type } of typed) {
    for (const size of type?.shape ?? []) {
      for (const symbol of sizeSymbols(size)) {
        if (known.has(symbol)) continue;
        known.add(symbol);
        fail(
          frame,
          "E415",
          `nothing tells what \`${symbol}\` is: it only occurs in ${printSize(size)}`,
          param.span,
          "not bound by this shape",
          {
            help: `add a parameter \`${symbol.toLowerCase()}: size\` in its place, or let \`${symbol}\` be an axis of its own`,
          },
        );
        failed = true;
      }
    }
  }
  const results = declaration.results.map((result) => checkType(result, place));
  const complete = results.filter((type) => type !== null);
  if (failed || complete.length !== results.length) return null;
  return { frame, scope, params, results: complete, parameters: { sizes: [...sizes], dtypes, formats }, constraints };
}

/** Whether a name in the place of a dtype or format is a parameter: capitalised, and neither. */
function isParameterName(name: string): boolean {
  return /^[A-Z]/.test(name);
}

function formatNames(format: FormatExpr | null): readonly string[] {
  return format === null ? [] : [format.name.name];
}

/** Checks the type of a parameter or result. */
function checkType(expr: TypeExpr, place: Place): TensorType | null {
  const { frame } = place;
  const name = expr.dtype.name;
  const dtype: DtypeRef | null =
    name === "mask"
      ? "bool"
      : (dtypeNames as readonly string[]).includes(name)
        ? (dtypeNames.find((known) => known === name) ?? null)
        : frame.dtypes.has(name)
          ? { parameter: name }
          : null;
  if (dtype === null) {
    if (name === "llama" || name === "tokens")
      return fail(frame, "E206", `\`${name}\` is for the parameters of recipes`, expr.dtype.span, "not in a function", {
        help: name === "tokens" ? "token ids are `i32[T]`" : "pass the tensors that the function needs",
      });
    if (name === "size")
      return fail(frame, "E206", "a result cannot be a `size`", expr.dtype.span, "only parameters are", {
        help: "a computed integer is `i32`",
      });
    return fail(frame, "E206", `there is no type \`${name}\``, expr.dtype.span, "not a type", {
      help: typeHabits.get(name) ?? suggestion(name, [...dtypeNames, "mask", "size"], "the types are"),
    });
  }
  if (name === "mask" && expr.shape === null)
    return fail(frame, "E206", "a mask has axes", expr.span, "no shape", {
      help: "write `mask[N, K]`, or `bool` for a single truth value",
    });
  const shape = (expr.shape ?? []).map((size) => checkAxis(size, place));
  const sizes = shape.filter((size) => size !== null);
  if (sizes.length !== shape.length) return null;
  let pattern: Pattern = full;
  if (expr.pattern !== null) {
    const n = compileTimeSize(expr.pattern.n, place);
    const m = compileTimeSize(expr.pattern.m, place);
    const axis = axisOf(expr.pattern.axis, sizes, place);
    if (n === null || m === null || axis === null) return null;
    if (
      refutable({ kind: "at-least", left: m, right: n }) ||
      refutable({ kind: "at-least", left: n, right: constantSize(1) })
    )
      return fail(
        frame,
        "E501",
        `${printSize(n)}:${printSize(m)} is no pattern: at most n of every m are kept, with 1 <= n <= m`,
        expr.pattern.span,
        "not possible",
      );
    pattern = { kind: "nm", n, m, axis, mask: null };
  }
  if (expr.format === null) return { dtype, shape: sizes, pattern, format: null };
  if (frame.formats.has(expr.format.name.name))
    return { dtype, shape: sizes, pattern, format: { parameter: expr.format.name.name } };
  const format = checkFormat(expr.format, place);
  if (format === null) return null;
  if (dtype === "bool" || sizes.length === 0)
    return fail(frame, "E501", "only tensors of numbers have a format", expr.format.span, "not here");
  return { dtype, shape: sizes, pattern, format };
}

function checkAxis(expr: Expr, place: Place): Size | null {
  const { frame, scope } = place;
  if (expr.kind === "name" && peek(scope, expr.name) === null && !/^[A-Z]/.test(expr.name)) {
    return fail(frame, "E201", `there is no size \`${expr.name}\``, expr.span, "not declared", {
      help: `size parameters that shapes bind are capitalised, \`${expr.name.toUpperCase()}\`; others are declared: \`${expr.name}: size\``,
    });
  }
  if (expr.kind === "name" && peek(scope, expr.name) === null) {
    return fail(
      frame,
      "E415",
      `nothing tells what \`${expr.name}\` is: no parameter has it in its shape`,
      expr.span,
      "not bound",
      { help: `add a parameter \`${expr.name.toLowerCase()}: size\`` },
    );
  }
  if (expr.kind === "name") lookup(scope, expr.name);
  const size = compileTimeSize(expr, place);
  if (size === null) return null;
  const value = sizeValue(size);
  if (value !== null && value < 1)
    return fail(frame, "E415", `an axis has at least 1 element, and this one has ${value}`, expr.span, "not a size");
  return size;
}

function shapeNames(type: TypeExpr | null): readonly { readonly name: string }[] {
  if (type === null) return [];
  const names: { readonly name: string }[] = [];
  const visit = (expr: Expr): void => {
    if (expr.kind === "name") names.push({ name: expr.name });
    else if (expr.kind === "binary") [expr.left, expr.right].forEach(visit);
    else if (expr.kind === "unary") visit(expr.operand);
  };
  (type.shape ?? []).forEach(visit);
  if (type.pattern !== null) [type.pattern.n, type.pattern.m].forEach(visit);
  for (let format = type.format; format !== null; format = format.of)
    format.args.forEach((argument) => visit(argument.value));
  return names;
}

/** `K % 4 == 0`, `M == N`, `N > 0`: what callers must guarantee. */
function checkConstraint(expr: Expr, place: Place): Constraint | null {
  const { frame } = place;
  const help = { help: "write `K % g == 0`, `M == N`, or a comparison of sizes" };
  if (expr.kind !== "binary" || !["==", "<", "<=", ">", ">="].includes(expr.op))
    return fail(frame, "E404", "a constraint compares sizes", expr.span, "not a comparison of sizes", help);
  const zero = expr.right.kind === "number" && expr.right.value === 0;
  if (expr.op === "==" && expr.left.kind === "binary" && expr.left.op === "%" && zero) {
    const left = compileTimeSize(expr.left.left, place);
    const right = compileTimeSize(expr.left.right, place);
    return left === null || right === null ? null : { kind: "divides", left, right, span: expr.span };
  }
  const left = compileTimeSize(expr.left, place);
  const right = compileTimeSize(expr.right, place);
  if (left === null || right === null) return null;
  const one = constantSize(1);
  switch (expr.op) {
    case "==":
      return { kind: "equal", left, right, span: expr.span };
    case ">=":
      return { kind: "at-least", left, right, span: expr.span };
    case ">":
      return { kind: "at-least", left, right: addSizes(right, one), span: expr.span };
    case "<=":
      return { kind: "at-least", left: right, right: left, span: expr.span };
    case "<":
      return { kind: "at-least", left: right, right: addSizes(left, one), span: expr.span };
    default:
      return null;
  }
}
