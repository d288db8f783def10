import type { Span } from "../diagnostic.js";
import type { Argument, Expr, Ident, RangeExpr } from "../syntax/ast.js";
import { printSize, type Size } from "../types/size.js";
import { typeOf } from "./builder.js";
import { fail, type Place } from "./frame.js";
import { proposedEnd } from "./range-proposal.js";
import { peek } from "./scope.js";
import { equalSizes } from "./sizes.js";
import { wholeBase } from "./whole.js";

/** An axis that an index stands on alone. */
export interface Axis {
  readonly size: Size;
  readonly span: Span;
}

/** What is known of an index beside the expressions that it stands in. */
export interface Known {
  /** Other axes that it stands on. */
  readonly axes?: readonly Axis[];
  /** The indices whose ranges are found with it, which are not known yet. */
  readonly together: readonly Ident[];
  /** The size that its axis must have in the end. */
  readonly wanted?: Size | undefined;
  /** A range as it is written there: `for i in 0 .. K`. */
  readonly written: (range: string) => string;
}

/**
 * The range `0 .. size` of an index without bounds: that of the axes on which it stands alone in the expressions, which
 * must agree. Null where there is none or they do not; that is reported, unless it follows from another error.
 */
export function inferRange(index: Ident, exprs: readonly Expr[], place: Place, known: Known): Size | null {
  const found: Axis[] = [...(known.axes ?? [])];
  const bound = new Set(known.together.map((each) => each.name));
  let blocked = false;
  for (const expr of exprs) blocked = collectAxes(index.name, expr, place, found, bound) || blocked;
  const [first, ...rest] = found;
  if (first === undefined) {
    if (blocked) return null;
    const end =
      known.wanted === undefined
        ? proposedEnd(index.name, exprs, bound, place, (base) => shapeOfBase(base, place))
        : printSize(known.wanted).replace(/^\(([^()]*)\)$/, "$1");
    const range = known.written(`${index.name} in 0 .. ${end ?? "N"}`);
    return fail(
      place.frame,
      "E412",
      `the range of the index \`${index.name}\` is not known`,
      index.span,
      "stands alone on no axis",
      { help: end === null ? `say how far it runs: \`${range}\`` : `write \`${range}\`` },
    );
  }
  const other = rest.find((axis) => !equalSizes(first.size, axis.size, place.frame.builder.constraints));
  if (other === undefined) return first.size;
  const [a, b] = [printSize(first.size), printSize(other.size)];
  return fail(
    place.frame,
    "E411",
    `the index \`${index.name}\` runs over axes of different sizes, ${a} and ${b}`,
    other.span,
    `here over ${b}`,
    {
      labels: [{ span: first.span, message: `here over ${a}` }],
      help: `if they are always the same, declare \`where ${a} == ${b}\`; else give the range: \`${known.written(`${index.name} in 0 .. ${a}`)}\``,
    },
  );
}

/**
 * Adds the axes that a name stands on alone; whether some tensor that it indexes, or another name, is not known.
 * `bound` are indices.
 */
function collectAxes(name: string, expr: Expr, place: Place, found: Axis[], bound: ReadonlySet<string>): boolean {
  const visit = (inner: Expr): boolean => collectAxes(name, inner, place, found, bound);
  const all = (list: readonly Expr[]): boolean => list.map(visit).some((blocked) => blocked);
  switch (expr.kind) {
    case "index": {
      // `x[n][k]` is reported where the element is read
      if (expr.base.kind === "index" && isIndexedTensor(expr.base, place)) return true;
      const alone = expr.at.map((at) => at.kind === "name" && at.name === name);
      let blocked = all(expr.at);
      if (alone.includes(true) || expr.base.kind === "name") {
        const shape = shapeOfBase(expr.base, place);
        for (const [axis, here] of alone.entries()) {
          const size = shape?.[axis];
          if (here && size !== undefined) found.push({ size, span: expr.at[axis]?.span ?? expr.span });
        }
        // a wrong number of indices is reported where the element is read
        blocked = blocked || shape === null || shape.length !== expr.at.length;
      }
      return blocked;
    }
    case "call":
      // `x(n)` is reported where it is computed with
      if (peek(place.scope, expr.callee.name)?.binding.kind === "tensor") return true;
      return all(expr.args.map((argument: Argument) => argument.value));
    case "unary":
      return visit(expr.operand);
    case "binary":
      return all([expr.left, expr.right]);
    case "reduce": {
      const bounds = expr.over.flatMap((range) => [range.low, range.high]).filter((bound) => bound !== null);
      if (expr.over.some((range) => range.index.name === name)) return all(bounds);
      const inner = new Set([...bound, ...expr.over.map((range) => range.index.name)]);
      const operands = expr.score === null ? [expr.body] : [expr.score, expr.body];
      return [all(bounds), ...operands.map((each) => collectAxes(name, each, place, found, inner))].includes(true);
    }
    case "where":
      return all([expr.value, expr.mask]);
    case "top":
      return visit(expr.score);
    case "pack":
    case "unpack":
    case "plus":
      return visit(expr.value);
    // what is not known here is reported where it is computed with
    case "name":
      return (
        expr.name !== name &&
        !bound.has(expr.name) &&
        (peek(place.scope, expr.name)?.binding.kind ?? "unknown") === "unknown"
      );
    case "string":
    case "number":
    case "boolean":
    case "member":
    case "observe":
    case "gradient":
    case "matches":
      return false;
    default:
      return expr satisfies never;
  }
}

function shapeOfBase(base: Expr, place: Place): readonly Size[] | null {
  if (base.kind === "name") {
    const binding = peek(place.scope, base.name)?.binding;
    if (binding?.kind === "tensor") return typeOf(place.frame.builder, binding.value).shape;
    if (binding?.kind !== "layer") return null;
  }
  const value = wholeBase(base, place);
  return value === null ? null : typeOf(place.frame.builder, value).shape;
}

/** Whether an indexed expression is an element of a tensor, not the statistic of a layer. */
export function isIndexedTensor({ base }: Extract<Expr, { kind: "index" }>, { scope }: Place): boolean {
  const kind = base.kind === "name" ? peek(scope, base.name)?.binding.kind : undefined;
  return kind === "tensor" || kind === "layer";
}

/** The place for finding the ranges of a statement's indices: of those without a range the first is reported. */
export function tellingOnce(place: Place): Place {
  let reported = false;
  const report: Place["frame"]["report"] = (found) => {
    if (found.code === "E412" && reported) return;
    reported ||= found.code === "E412";
    place.frame.report(found);
  };
  return { ...place, frame: { ...place.frame, report } };
}

/** How a range is written after a definition or an update that has others. */
export function afterRanges(ranges: readonly RangeExpr[], { frame }: Place): (range: string) => string {
  const given = ranges.map(({ span }) => frame.file.source.slice(span.start, span.end));
  return (range) => `... for ${[...given, range].join(", ")}`;
}
