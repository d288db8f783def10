/** Checking `gradient of y by a, b with dy`. */
import type { Span } from "../diagnostic.js";
import type { GradientFault } from "../graph/gradient/derivation.js";
import { deriveGradients } from "../graph/gradient/gradient.js";
import type { GradientHost } from "../graph/gradient/host.js";
import type { ValueId } from "../graph/graph.js";
import type { Expr } from "../syntax/ast.js";
import { isFloat, printDtype, sameDtype } from "../types/dtype.js";
import { constantSize, printSize } from "../types/size.js";
import type { Symbolic } from "../types/type.js";
import { addEqn, newIndex, typeOf, valueOf, type Builder } from "./builder.js";
import { fail, printType, type Frame, type Place } from "./frame.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";

/** The gradients by each of the names; null where there are none, which is reported. */
export function checkGradient(expr: Extract<Expr, { kind: "gradient" }>, place: Place): readonly ValueId[] | null {
  const { frame } = place;
  const { builder } = frame;
  if (builder.steps.size > 0)
    return fail(frame, "E702", "a gradient cannot be asked for within a scan", expr.span, "in a step", {
      help: "ask for it before or after the scan",
    });
  const of = checkFloats(expr.of, place, "the gradient of");
  const by = expr.by.map((name) => checkFloats({ kind: "name", ...name }, place, "a gradient by"));
  const seed = expr.adjoint === null ? null : checkFloats(expr.adjoint, place, "the adjoint");
  if (of === null || by.some((each) => each === null) || (expr.adjoint !== null && seed === null)) return null;
  if (seed !== null && expr.adjoint !== null && !fits(of, seed, expr.adjoint.span, expr.of.span, place)) return null;
  const found = deriveGradients(hostOf(builder), {
    of,
    seed,
    by: by.filter((each) => each !== null),
    packs: "stop",
    span: expr.span,
  });
  if ("gradients" in found) return found.gradients;
  const [first] = found.faults;
  if (first !== undefined) reportFault(first, expr.span, frame);
  return null;
}

function checkFloats(expr: Expr, place: Place, what: string): ValueId | null {
  const value = checkTensor(expr, place);
  if (value === null) return null;
  const type = typeOf(place.frame.builder, value);
  if (isFloat(type.dtype)) return value;
  return fail(
    place.frame,
    "E304",
    `${what} a tensor of ${printDtype(type.dtype)} is no number: gradients are of f32 and f16`,
    expr.span,
    printType(type),
  );
}

function fits(of: ValueId, seed: ValueId, at: Span, ofSpan: Span, place: Place): boolean {
  const { builder } = place.frame;
  const [want, have] = [typeOf(builder, of), typeOf(builder, seed)];
  const same =
    want.shape.length === have.shape.length &&
    want.shape.every((size, axis) => equalSizes(size, have.shape[axis] ?? constantSize(0), builder.constraints));
  const labels = [{ span: ofSpan, message: printType(want) }];
  if (!same) {
    const shape = want.shape.map(printSize).join(", ");
    fail(
      place.frame,
      "E413",
      `an adjoint has the shape of what the gradient is of, [${shape}], and this one is ${printType(have)}`,
      at,
      printType(have),
      { labels },
    );
    return false;
  }
  if (sameDtype(want.dtype, have.dtype)) return true;
  fail(
    place.frame,
    "E301",
    `an adjoint has the dtype of what the gradient is of, ${printDtype(want.dtype)}, and this one is ${printType(have)}`,
    at,
    printDtype(have.dtype),
    { labels, help: `convert it in index notation: \`${printDtype(want.dtype)}(...)\`` },
  );
  return false;
}

const codes: { readonly [K in GradientFault["kind"]]: string } = {
  independent: "E701",
  refused: "E702",
  unbounded: "E703",
};

/** E701 to E703: why there is no gradient, where it was asked for at a place. */
export function reportFault(fault: GradientFault, span: Span, frame: Frame): void {
  // what was inlined from another file keeps its place there
  const at = fault.kind === "independent" ? span : (fault.span ?? span);
  fail(frame, codes[fault.kind], fault.message, at, fault.kind === "independent" ? "asked for here" : "here", {
    help: fault.help,
    labels: at === span ? fault.labels : [...fault.labels.filter((label) => label.span !== at)],
  });
}

/** The builder as what gradients are added to; their patterns are inferred as those of any equation. */
function hostOf(builder: Builder): GradientHost<Symbolic> {
  const placeOf = (out: ValueId): number => builder.eqns.findIndex((eqn) => eqn.out === out);
  return {
    value: (id) => valueOf(builder, id),
    eqns: () => builder.eqns,
    range: (name, low, high) => newIndex(builder, name, low, high),
    define(name, type, make, before) {
      const id = addEqn(builder, name, null, type, make);
      if (before !== undefined) {
        const [added] = builder.eqns.splice(-1);
        if (added !== undefined) builder.eqns.splice(placeOf(before), 0, added);
      }
      return id;
    },
    replace(out, eqn) {
      builder.eqns[placeOf(out)] = eqn;
      builder.producer.set(out, eqn);
    },
  };
}
