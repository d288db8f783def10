import { counted } from "../words.js";
import { InternalError } from "../diagnostic.js";
import type { Scalar, ValueId } from "../graph/graph.js";
import { scalarNodes } from "../graph/scalar.js";
import type { Ident, Statement } from "../syntax/ast.js";
import { printSize, sizeValue } from "../types/size.js";
import { type Builder, typeOf, valueOf } from "./builder.js";
import { checkDefinition } from "./definition.js";
import { compileTimeSize } from "./element.js";
import type { settle } from "./conversion.js";
import { fail, type Frame, type Place, placeIn, printType } from "./frame.js";
import { checkScan } from "./scan.js";
import { bind, type Binding, nest, type Scope } from "./scope.js";
import { warnUnused } from "./unused.js";
import { checkUpdate } from "./update.js";
import { checkTensor, checkWhole, materialize } from "./whole.js";

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
    const found = whole.kind === "element" ? "one value" : counted(values.length, "value");
    fail(
      frame,
      "E303",
      `${counted(statement.names.length, "name is", "names are")} bound to ${found}`,
      statement.value.span,
      found,
      {
        help:
          values.length > statement.names.length
            ? `name them all: \`let ${[...statement.names.map((name) => name.name), "b", "c", "d"].slice(0, values.length).join(", ")} = ...\``
            : null,
      },
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
    return fail(
      frame,
      "E602",
      statement.over.kind === "call"
        ? "a `for` in a function counts between two numbers"
        : "a loop over modules belongs into a recipe",
      statement.over.span,
      "not in a function",
      {
        help: `write \`for ${statement.name.name} in 0 .. 8\`; for each element of an axis no loop is needed: \`y[${statement.name.name}] = ...\` is for all \`${statement.name.name}\``,
      },
    );
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
      {
        help: `leave out the loop: \`y[${statement.name.name}] = ...\` is for all \`${statement.name.name}\` of an axis; one after another goes \`scan ${statement.name.name} in ...\``,
      },
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
        other(statement, scope);
        break;
      default:
        statement satisfies never;
    }
  }
}
