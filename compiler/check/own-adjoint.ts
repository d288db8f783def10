/** Checking `fn f(...) -> ... gradient by g`: an adjoint that a program gives a function itself. */
import type { Output, OwnAdjoint, ValueId } from "../graph/graph.js";
import type { CallExpr, FunctionDeclaration, Ident } from "../syntax/ast.js";
import { isFloat, sameDtype } from "../types/dtype.js";
import { constantSize } from "../types/size.js";
import { full, type TensorType } from "../types/type.js";
import { counted } from "../words.js";
import { addAdjoint, addMap, indexScalar, loadAt, newAxis, typeOf, valueOf } from "./builder.js";
import { checkCall } from "./call.js";
import type { CheckedFunction } from "./checked.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { bind, nest } from "./scope.js";
import type { Signature } from "./signature.js";
import { equalSizes } from "./sizes.js";

/** Names that no source has. */
const [resultName, adjointName] = ["the result", "the adjoint of the result"];

/**
 * The results of a function, of which the one has the adjoint that its head names; as they are where it names none, null
 * where that does not fit it, which is reported (E704).
 */
export function checkOwnAdjoint(
  declaration: FunctionDeclaration,
  { frame, scope, params }: Signature,
  results: readonly Output[],
): readonly Output[] | null {
  const by = declaration.adjoint;
  if (by === null) return results;
  const { builder } = frame;
  const name = declaration.name.name;
  const refuse = (message: string, label: string): null => fail(frame, "E704", message, by.span, label);
  const [result, ...more] = results;
  const type = result === undefined ? null : typeOf(builder, result.value);
  if (result === undefined || type === null || more.length > 0)
    return refuse(
      `a function with an adjoint of its own gives one tensor, and \`${name}\` ${counted(results.length, "result")}`,
      "of which result?",
    );
  if (!isFloat(type.dtype) || type.shape.length === 0 || type.format !== null)
    return refuse(
      `a function with an adjoint of its own gives a dense tensor of floats, and \`${name}\` ${printType(type)}`,
      "not of this",
    );
  if (params.some((param) => param.kind === "tensor" && param.mutable))
    return refuse(`\`${name}\` updates a \`var\` in place, and so has no adjoint`, "not of this");
  const given = params.flatMap((param) => (param.kind === "tensor" ? [param.input] : []));
  const sources = given.filter((input) => hasGradient(typeOf(builder, input)));
  if (sources.length === 0)
    return refuse(`\`${name}\` takes no tensor of floats that a gradient could be by`, "by what?");
  const callee = frame.functionOf(by.name, by.span);
  if (callee === null || callee.graph === null) return null;
  if (callee.graph.eqns.some((eqn) => eqn.kind === "scan"))
    return refuse(`an adjoint has no \`scan\`, and \`${by.name}\` has one`, "has a scan");
  const takes = callee.params.length - params.length;
  if (takes !== 1 && takes !== 2)
    return fail(
      frame,
      "E704",
      `\`${by.name}\` is no adjoint of \`${name}\`: it must take what \`${name}\` takes, ${counted(params.length, "parameter")}, then maybe its result, and the adjoint of that, ${printType({ ...type, pattern: full })}`,
      by.span,
      `takes ${counted(callee.params.length, "parameter")}`,
      { labels: [{ span: callee.declaration.name.span, message: "declared here" }] },
    );

  const ranges = type.shape.map((size, axis) => newAxis(builder, `i${axis}`, size));
  const { span } = valueOf(builder, result.value);
  const body = loadAt(builder, result.value, ranges.map(indexScalar));
  const value = addMap(builder, result.name, span, type.dtype, ranges, body);
  const added = addAdjoint(builder, value, (seed) => {
    const inner = nest(scope);
    bind(inner, resultName, { kind: "tensor", value, mutable: false }, null);
    bind(inner, adjointName, { kind: "tensor", value: seed, mutable: false }, null);
    const names = [...params.map((param) => param.name), ...(takes === 2 ? [resultName] : []), adjointName];
    const values = checkCall(callOf(by, names), placeIn(frame, inner));
    return values === null ? null : gradientsOf(by, callee, sources, values, frame);
  });
  return added ? [{ ...result, value }] : null;
}

/** Whether a parameter gets a gradient: scalars do not. */
function hasGradient(type: TensorType): boolean {
  return isFloat(type.dtype) && type.shape.length > 0;
}

/** The call that computes an adjoint; it stands where the head names it. */
function callOf(callee: Ident, names: readonly string[]): CallExpr {
  const { span } = callee;
  return {
    kind: "call",
    callee,
    args: names.map((name) => ({ label: null, value: { kind: "name", name, span }, span })),
    span,
  };
}

/** What each parameter gets; null where the results are others, which is reported. */
function gradientsOf(
  by: Ident,
  callee: CheckedFunction,
  sources: readonly ValueId[],
  values: readonly ValueId[],
  frame: Frame,
): OwnAdjoint["gradients"] | null {
  const { builder } = frame;
  const wanted = sources.map((source) => {
    const { dtype, shape } = typeOf(builder, source);
    return { by: source, type: { dtype, shape, pattern: full, format: null } };
  });
  const fits = wanted.every(({ type }, at) => {
    const value = values[at];
    if (value === undefined) return false;
    const have = typeOf(builder, value);
    return (
      have.format === null &&
      sameDtype(have.dtype, type.dtype) &&
      have.shape.length === type.shape.length &&
      have.shape.every((size, axis) => equalSizes(size, type.shape[axis] ?? constantSize(0), builder.constraints))
    );
  });
  if (fits && values.length === wanted.length)
    return wanted.map(({ by: source }, at) => ({ by: source, value: values[at] ?? source }));
  const list = wanted.map(({ by: source, type }) => `${printType(type)} for \`${valueOf(builder, source).name}\``);
  const found = values.map((value) => printType({ ...typeOf(builder, value), pattern: full }));
  return fail(
    frame,
    "E704",
    `\`${by.name}\` must give ${list.join(", ")}: the adjoint of each tensor of floats, in order`,
    by.span,
    `gives ${found.length === 0 ? "nothing" : found.join(", ")}`,
    { labels: [{ span: callee.declaration.name.span, message: "declared here" }] },
  );
}
