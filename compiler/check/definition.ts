import type { Span } from "../diagnostic.js";
import type { Range, ValueId } from "../graph/graph.js";
import type { Expr, Ident, RangeExpr } from "../syntax/ast.js";
import { printSize, sizeValue } from "../types/size.js";
import type { TensorType } from "../types/type.js";
import { addMap, newAxis, typeOf } from "./builder.js";
import { checkElement, compileTimeSize } from "./element.js";
import { settle } from "./conversion.js";
import { fail, type Frame, type Place, placeIn } from "./frame.js";
import { afterRanges, inferRange, tellingOnce } from "./free-index.js";
import { bind, nest, type Scope } from "./scope.js";
import { suggestion } from "./suggestion.js";
import { addTop, axisOf } from "./whole.js";

/** A definition by index notation, `y[t, n] = e for t in 0 .. T`. */
export interface Definition {
  readonly name: Ident;
  readonly indices: readonly Ident[];
  readonly value: Expr;
  readonly ranges: readonly RangeExpr[];
  readonly span: Span;
}

/**
 * Checks a definition by index notation; the tensor, or null where it is wrong. `want`: the type that it should
 * have, if that is known: a literal alone becomes of its dtype.
 */
export function checkDefinition(
  definition: Definition,
  frame: Frame,
  outer: Scope,
  want: TensorType | null,
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
  const once = tellingOnce(place);
  const inferred = definition.indices.map((index, axis) => {
    const given = known.get(index.name);
    if (given !== undefined) return given;
    const size = inferRange(index, [definition.value], once, {
      together: definition.indices,
      wanted: want?.shape[axis],
      written: afterRanges(definition.ranges, place),
    });
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
  const settled = settle(
    element,
    element.kind === "number" ? (want?.dtype ?? null) : null,
    definition.value.span,
    place,
  );
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
