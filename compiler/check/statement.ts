import { InternalError, type Span } from "../diagnostic.js";
import type { IndexId, Range, Scalar, ValueId } from "../graph/graph.js";
import { scalarNodes } from "../graph/scalar.js";
import type { DtypeRef } from "../types/dtype.js";
import { printSize, sizeValue } from "../types/size.js";
import type { Expr, Ident, RangeExpr, Statement, UpdateStatement } from "../syntax/ast.js";
import { addEqn, addMap, newAxis, newIndex, sizeScalar, typeOf, valueOf, type Builder } from "./builder.js";
import { checkElement, checkIndex, compileTimeSize, convert, elementSize, notASize, settle } from "./element.js";
import { fail, placeIn, printType, type Frame, type Place } from "./frame.js";
import { inferRange, type Axis } from "./free-index.js";
import { namesIn } from "./names.js";
import { checkScan } from "./scan.js";
import { bind, nest, peek, visibleNames, type Binding, type Scope } from "./scope.js";
import { suggestion } from "./suggestion.js";
import { warnUnused } from "./unused.js";
import { addTop, axisOf, checkTensor, checkWhole, materialize } from "./whole.js";

/** A definition by index notation, `y[t, n] = e for t in 0 .. T`. */
export interface Definition {
  readonly name: Ident;
  readonly indices: readonly Ident[];
  readonly value: Expr;
  readonly ranges: readonly RangeExpr[];
  readonly span: Span;
}

/** `let`: binds the names in the scope; those of a statement with an error are bound as unknown. */
export function checkLet(statement: Extract<Statement, { kind: "let" }>, frame: Frame, scope: Scope): void {
  const [first, ...rest] = statement.names;
  if (first === undefined) throw new InternalError("a let without a name");
  if (statement.indices !== null) {
    if (rest.length > 0)
      fail(frame, "E303", "index notation defines one tensor at a time", statement.span, "several names");
    const value = checkDefinition(
      {
        name: first,
        indices: statement.indices,
        value: statement.value,
        ranges: statement.ranges,
        span: statement.span,
      },
      frame,
      scope,
      null,
    );
    declare(first, value === null ? { kind: "unknown" } : { kind: "tensor", value, mutable: false }, frame, scope);
    return;
  }
  const unknown = (): void => statement.names.forEach((name) => declare(name, { kind: "unknown" }, frame, scope));
  for (const range of statement.ranges)
    fail(frame, "E417", `\`${range.index.name}\` is not an index of \`${first.name}\``, range.span, "no such index", {
      help: `write \`let ${first.name}[${range.index.name}] = ...\``,
    });
  const place = placeIn(frame, scope);
  const before = frame.builder.values.length;
  const whole = checkWhole(statement.value, place);
  if (whole === null) return unknown();
  if (whole.kind === "element" && rest.length === 0) {
    declare(first, scalarBinding(whole.element, first, statement, place), frame, scope);
    return;
  }
  const values = whole.kind === "values" ? whole.values : [];
  if (values.length !== statement.names.length) {
    const found =
      whole.kind === "element" ? "one value" : `${values.length} ${values.length === 1 ? "value" : "values"}`;
    fail(
      frame,
      "E303",
      `${statement.names.length} ${statement.names.length === 1 ? "name is" : "names are"} bound to ${found}`,
      statement.value.span,
      found,
    );
    return unknown();
  }
  statement.names.forEach((name, at) => {
    const value = values[at];
    if (value === undefined) return;
    if (value >= before) rename(frame.builder, value, name.name);
    declare(name, { kind: "tensor", value, mutable: false }, frame, scope);
  });
}

function scalarBinding(
  element: Parameters<typeof settle>[0],
  name: Ident,
  statement: Extract<Statement, { kind: "let" }>,
  place: Place,
): Binding {
  // what is known when compiling stays so: it can be used as a size, and adapts to dtypes
  if (element.kind === "number") return { kind: "number", value: element.value, integer: element.integer };
  if (element.kind === "size") return { kind: "size", size: element.size };
  if (isOfStep(element.scalar, place.frame.builder))
    return { kind: "scalar", scalar: element.scalar, dtype: element.dtype };
  const value = materialize(element.scalar, element.dtype, name.name, statement.span, place);
  return value === null ? { kind: "unknown" } : { kind: "tensor", value, mutable: false };
}

/**
 * Whether a scalar in a `scan` is cheap and the same until its step ends: made of the step and of elements that no step
 * changes, without a reduction.
 */
function isOfStep(scalar: Scalar, { steps }: Builder): boolean {
  const [first] = steps.values();
  if (first === undefined) return false;
  return scalarNodes(scalar).every((node) =>
    node.kind === "load" ? node.tensor < first : node.kind === "index" ? steps.has(node.index) : node.kind !== "reduce",
  );
}

/** `var w = w0`. */
function checkVar(statement: Extract<Statement, { kind: "var" }>, frame: Frame, scope: Scope): void {
  const before = frame.builder.values.length;
  const value = checkTensor(statement.value, placeIn(frame, scope));
  if (value !== null && value >= before) rename(frame.builder, value, statement.name.name);
  const type = value === null ? null : typeOf(frame.builder, value);
  if (type !== null && type.format !== null)
    fail(frame, "E503", "a packed tensor cannot be updated", statement.value.span, printType(type), {
      help: `unpack it: \`var ${statement.name.name} = unpack ...\``,
    });
  declare(
    statement.name,
    value === null || type?.format !== null ? { kind: "unknown" } : { kind: "tensor", value, mutable: true },
    frame,
    scope,
    false,
  );
}

function declare(name: Ident, binding: Binding, frame: Frame, scope: Scope, warn = true): void {
  const known = scope.entries.get(name.name);
  if (known !== undefined && known.span !== null) {
    fail(frame, "E203", `\`${name.name}\` is declared twice`, name.span, "declared again", {
      labels: [{ span: known.span, message: "first declared here" }],
      help: "a `var` can be changed: `var x = ...`, then `x[i] = ...`",
    });
  }
  bind(scope, name.name, binding, name.span, warn);
}

function rename(builder: Builder, value: ValueId, name: string): void {
  builder.values[value] = { ...valueOf(builder, value), name };
}

/**
 * Checks a definition by index notation; the tensor, or null where it is wrong. `dtype`: what a literal alone becomes.
 */
export function checkDefinition(
  definition: Definition,
  frame: Frame,
  outer: Scope,
  dtype: DtypeRef | null,
): ValueId | null {
  const scope = nest(outer);
  const place = placeIn(frame, scope);
  const known = new Map<string, Range | null>();
  for (const range of definition.ranges) {
    if (definition.indices.some((index) => index.name === range.index.name))
      known.set(range.index.name, explicitAxis(range, place));
    else
      fail(
        frame,
        "E417",
        `\`${range.index.name}\` is not an index of \`${definition.name.name}\``,
        range.index.span,
        "no such index",
        {
          help: suggestion(
            range.index.name,
            definition.indices.map((index) => index.name),
            "its indices are",
          ),
        },
      );
  }
  for (const [at, index] of definition.indices.entries()) {
    if (definition.indices.findIndex((other) => other.name === index.name) < at)
      fail(frame, "E203", `the index \`${index.name}\` is used twice`, index.span, "used again", {
        help: "for a diagonal, give the second another name",
      });
  }
  const inferred = definition.indices.map((index) => {
    const given = known.get(index.name);
    if (given !== undefined) return given;
    const size = inferRange(index, [definition.value], place, [], definition.indices);
    return size === null ? null : newAxis(frame.builder, index.name, size);
  });
  for (const [at, index] of definition.indices.entries()) {
    const range = inferred[at] ?? null;
    bind(scope, index.name, range === null ? { kind: "unknown" } : { kind: "index", range });
  }
  const axes = inferred.filter((range) => range !== null);
  const complete = axes.length === definition.indices.length;
  if (definition.value.kind === "top") return checkTopDefinition(definition, definition.value, axes, complete, place);
  const element = checkElement(definition.value, place);
  if (element === null || !complete) return null;
  const settled = settle(element, element.kind === "number" ? dtype : null, definition.value.span, place);
  return settled === null
    ? null
    : addMap(frame.builder, definition.name.name, definition.span, settled.dtype, axes, settled.scalar);
}

function checkTopDefinition(
  definition: Definition,
  top: Extract<Expr, { kind: "top" }>,
  axes: readonly Range[],
  complete: boolean,
  place: Place,
): ValueId | null {
  const { frame } = place;
  const element = checkElement(top.score, place);
  const settled =
    element === null ? null : settle(element, element.kind === "number" ? "f32" : null, top.score.span, place);
  if (settled === null || !complete) return null;
  const named = definition.indices.findIndex((index) => index.name === top.axis.name);
  const score = addMap(frame.builder, "score", top.score.span, settled.dtype, axes, settled.scalar);
  const axis = named >= 0 ? named : axisOf(top.axis, typeOf(frame.builder, score).shape, place);
  return axis === null ? null : addTop(definition.name.name, score, axis, top, place);
}

/** The range of an index of a definition, which starts at 0. */
function explicitAxis(range: RangeExpr, place: Place): Range | null {
  if (range.low === null || range.high === null) return null;
  const low = compileTimeSize(range.low, place);
  const high = compileTimeSize(range.high, place);
  if (low === null || high === null) return null;
  if (sizeValue(low) !== 0)
    return fail(
      place.frame,
      "E417",
      `an index of a definition starts at 0, and \`${range.index.name}\` starts at ${printSize(low)}`,
      range.low.span,
      "not 0",
      { help: `let it run from 0 and add: \`x[${range.index.name} + ${printSize(low)}]\`` },
    );
  return newAxis(place.frame.builder, range.index.name, high);
}

/** `w[n, j] -= e for j in a .. b`: binds the `var` anew. */
function checkUpdate(statement: UpdateStatement, frame: Frame, outer: Scope): void {
  const { builder } = frame;
  const entry = peek(outer, statement.name.name);
  const binding = entry?.binding ?? null;
  if (entry === null || binding === null)
    return void fail(
      frame,
      "E201",
      `there is no \`${statement.name.name}\` here`,
      statement.name.span,
      "not declared",
      { help: suggestion(statement.name.name, visibleNames(outer), "the names here are") },
    );
  if (binding.kind === "unknown") return;
  if (binding.kind !== "tensor" || !binding.mutable) {
    const labels = entry.span === null ? [] : [{ span: entry.span, message: "declared here without `var`" }];
    return void fail(
      frame,
      "E307",
      `\`${statement.name.name}\` cannot be updated: it is not a \`var\``,
      statement.name.span,
      "not a `var`",
      { labels, help: `declare it: \`var ${statement.name.name} = ...\`` },
    );
  }
  const base = binding.value;
  const type = typeOf(builder, base);
  if (statement.at.length !== type.shape.length)
    return void fail(
      frame,
      "E303",
      `\`${statement.name.name}\` has ${type.shape.length} ${type.shape.length === 1 ? "axis" : "axes"}, and is indexed with ${statement.at.length}`,
      statement.name.span,
      `expected ${type.shape.length}, found ${statement.at.length}`,
    );
  const scope = nest(outer);
  const place = placeIn(frame, scope);
  const ranges = updateRanges(
    statement,
    type.shape.map((size, axis) => ({ size, span: statement.at[axis]?.span ?? statement.span })),
    place,
  );
  const at: (Scalar | null)[] = statement.at.map((index) => checkIndex(index, place));
  const element = checkElement(statement.value, place);
  if (element === null || ranges === null || at.includes(null)) return;
  const value = convert(element, type.dtype, statement.value.span, place);
  if (value === null) return;
  if (statement.op !== "=" && type.dtype === "bool")
    return void fail(frame, "E304", "a mask cannot be added to", statement.span, "on bool", {
      help: "use `=` with `or` and `and`",
    });
  const used = new Set(statement.at.flatMap(namesIn).map((index) => index.name));
  const lost = ranges.find((range) => !used.has(range.name));
  if (statement.op === "=" && lost !== undefined)
    return void fail(
      frame,
      "E418",
      `several elements are written to one place: the index \`${lost.name}\` is not on the left`,
      statement.span,
      `one for each ${lost.name}`,
      { help: `sum over it, \`sum[${lost.name}] ...\`, or add with \`+=\`` },
    );
  const body: Scalar = statement.op === "-=" ? { kind: "unary", op: "negate", a: value, dtype: type.dtype } : value;
  const indices = at.filter((scalar) => scalar !== null);
  const out = addEqn(builder, statement.name.name, statement.span, { ...type, pattern: { kind: "full" } }, (id) => ({
    kind: "update",
    out: id,
    base,
    indices: ranges,
    at: indices,
    body,
    op: statement.op === "=" ? "set" : "add",
  }));
  entry.binding = { kind: "tensor", value: out, mutable: true };
}

/** The indices of an update: names on the left that nothing else binds, and those that are given a range. */
function updateRanges(statement: UpdateStatement, axes: readonly Axis[], place: Place): readonly Range[] | null {
  const { frame, scope } = place;
  const ranges: Range[] = [];
  let failed = false;
  const add = (index: Ident, range: Range | null): void => {
    bind(scope, index.name, range === null ? { kind: "unknown" } : { kind: "index", range });
    if (range === null) failed = true;
    else ranges.push(range);
  };
  const explicit = new Set(statement.ranges.map((range) => range.index.name));
  const free = new Map<string, Ident>();
  for (const expr of statement.at)
    for (const index of namesIn(expr))
      if (!explicit.has(index.name) && peek(scope, index.name) === null && !free.has(index.name))
        free.set(index.name, index);
  const inferred = [...free.values()].map((index) => {
    const own = statement.at
      .flatMap((at, axis) => (at.kind === "name" && at.name === index.name ? [axes[axis]] : []))
      .filter((axis) => axis !== undefined);
    return {
      index,
      size: inferRange(index, [statement.value], place, own, [
        ...free.values(),
        ...statement.ranges.map((range) => range.index),
      ]),
    };
  });
  for (const range of statement.ranges) add(range.index, rangeOf(range, place));
  for (const { index, size } of inferred) add(index, size === null ? null : newAxis(frame.builder, index.name, size));
  // in the order of the left side, as it is read
  const order = statement.at.flatMap(namesIn).map((index) => index.name);
  const position = (range: Range): number => (order.includes(range.name) ? order.indexOf(range.name) : order.length);
  return failed ? null : [...ranges].sort((a, b) => position(a) - position(b));
}

function rangeOf(range: RangeExpr, place: Place): Range | null {
  if (range.low === null || range.high === null) return null;
  const low = updateBound(range.low, place);
  const high = updateBound(range.high, place);
  return low === null || high === null ? null : newIndex(place.frame.builder, range.index.name, low, high);
}

/** A bound of an update's index: a size, or in a `scan` what is computed of sizes and the step. */
function updateBound(expr: Expr, place: Place): Scalar | null {
  const element = checkElement(expr, place);
  if (element === null) return null;
  const size = elementSize(element);
  if (size !== null) return sizeScalar(size);
  const { steps } = place.frame.builder;
  if (element.kind === "scalar" && element.dtype === "i32" && steps.size > 0 && isStepScalar(element.scalar, steps))
    return element.scalar;
  return notASize(element, expr, place);
}

function isStepScalar(scalar: Scalar, steps: ReadonlyMap<IndexId, ValueId>): boolean {
  if (scalar.kind === "binary") return isStepScalar(scalar.a, steps) && isStepScalar(scalar.b, steps);
  if (scalar.kind === "select")
    return [scalar.condition, scalar.then, scalar.otherwise].every((part) => isStepScalar(part, steps));
  return scalar.kind === "constant" || scalar.kind === "size" || (scalar.kind === "index" && steps.has(scalar.index));
}

/** The most steps that a `for` is unrolled to. */
const mostSteps = 1024;

/** The bounds of an unrolled `for`, or null where they are wrong. */
function unrolledBounds(
  statement: Extract<Statement, { kind: "for" }>,
  frame: Frame,
  scope: Scope,
): { readonly low: number; readonly high: number } | null {
  const place = placeIn(frame, scope);
  if (statement.to === null && frame.layer !== null)
    return fail(
      frame,
      "E602",
      "loops over layers are not nested",
      statement.span,
      `inside a loop over \`${frame.layer.name}\``,
    );
  if (statement.to === null)
    return fail(frame, "E602", "a loop over modules belongs into a recipe", statement.over.span, "not in a function", {
      help: "in a function a `for` counts: `for i in 0 .. 8`",
    });
  if (statement.matching.length + statement.except.length > 0)
    fail(
      frame,
      "E602",
      "`matching` and `except` select modules, and this loop counts",
      statement.span,
      "a loop over numbers",
    );
  const low = compileTimeSize(statement.over, place);
  const high = compileTimeSize(statement.to, place);
  if (low === null || high === null) return null;
  const [a, b] = [sizeValue(low), sizeValue(high)];
  if (a === null || b === null)
    return fail(
      frame,
      "E415",
      `the bounds of \`for\` must be numbers, and this one is ${printSize(a === null ? low : high)}`,
      (a === null ? statement.over : statement.to).span,
      "known only when the sizes are",
      { help: "`for` is unrolled; over an axis use index notation" },
    );
  if (b - a > mostSteps)
    return fail(
      frame,
      "E415",
      `\`for\` is unrolled, and ${b - a} steps are too many`,
      statement.to.span,
      `at most ${mostSteps}`,
    );
  return { low: a, high: b };
}

function notInStep(statement: Statement, frame: Frame): void {
  if (statement.kind === "return")
    return void fail(
      frame,
      "E308",
      "`return` stands at the end of a function, not in a `scan`",
      statement.span,
      "inside a `scan`",
    );
  fail(frame, "E602", `\`${statement.kind}\` cannot stand in a \`scan\``, statement.span, "not here", {
    help: statement.kind === "if" ? "values are chosen by `select(condition, a, b)`" : null,
  });
}

/**
 * Statements of straight-line code and unrolled loops, in a function or in a treatment of a recipe; others are given to
 * `other`.
 */
export function checkStatements(
  statements: readonly Statement[],
  frame: Frame,
  scope: Scope,
  other: (statement: Statement, scope: Scope) => void,
): void {
  for (const statement of statements) {
    switch (statement.kind) {
      case "let":
        checkLet(statement, frame, scope);
        break;
      case "var":
        checkVar(statement, frame, scope);
        break;
      case "update":
        checkUpdate(statement, frame, scope);
        break;
      case "scan":
        checkScan(statement, frame, scope, (body, inside, inner) =>
          checkStatements(body, inside, inner, (each) => notInStep(each, inside)),
        );
        break;
      case "for": {
        const bounds = unrolledBounds(statement, frame, scope);
        for (let step = bounds?.low ?? 0; step < (bounds?.high ?? 0); step++) {
          const inner = nest(scope);
          bind(inner, statement.name.name, { kind: "number", value: step, integer: true });
          checkStatements(statement.body, frame, inner, other);
          warnUnused(inner, frame);
        }
        break;
      }
      case "return":
      case "if":
      case "store":
      case "expect":
      case "save":
        other(statement, scope);
        break;
      default:
        statement satisfies never;
    }
  }
}
