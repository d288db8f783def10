import { counted } from "../words.js";
import type { IndexId, Range, Scalar, ValueId } from "../graph/graph.js";
import type { Expr, Ident, RangeExpr, UpdateStatement } from "../syntax/ast.js";
import { addEqn, newAxis, newIndex, sizeScalar, typeOf } from "./builder.js";
import { checkElement, checkIndex, notASize } from "./element.js";
import { convert, elementSize } from "./conversion.js";
import { fail, type Frame, type Place, placeIn } from "./frame.js";
import { afterRanges, type Axis, inferRange, tellingOnce } from "./free-index.js";
import { namesIn } from "./names.js";
import { bind, nest, peek, type Scope, visibleNames } from "./scope.js";
import { didYouMean } from "../suggest.js";

/** `w[n, j] -= e for j in a .. b`: binds the `var` anew. */
export function checkUpdate(statement: UpdateStatement, frame: Frame, outer: Scope): void {
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
      {
        help:
          didYouMean(statement.name.name, visibleNames(outer)) ??
          `write \`let\` before it to define a new tensor; what is updated is declared first: \`var ${statement.name.name} = ...\``,
      },
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
      { labels, help: `what is updated is a \`var\`, made of a whole tensor: \`var ${statement.name.name} = ...\`` },
    );
  }
  const base = binding.value;
  const type = typeOf(builder, base);
  if (statement.at.length !== type.shape.length)
    return void fail(
      frame,
      "E303",
      `\`${statement.name.name}\` has ${counted(type.shape.length, "axis", "axes")}, and is indexed with ${statement.at.length}`,
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
  const once = tellingOnce(place);
  const inferred = [...free.values()].map((index) => {
    const own = statement.at
      .flatMap((at, axis) => (at.kind === "name" && at.name === index.name ? [axes[axis]] : []))
      .filter((axis) => axis !== undefined);
    return {
      index,
      size: inferRange(index, [statement.value], once, {
        axes: own,
        together: [...free.values(), ...statement.ranges.map((range) => range.index)],
        written: afterRanges(statement.ranges, place),
      }),
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
