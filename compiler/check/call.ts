import { counted } from "../words.js";
import { InternalError, type Span } from "../diagnostic.js";
import type { Scalar, SymbolicGraph, ValueId } from "../graph/graph.js";
import { freeIndices, treeSize } from "../graph/scalar.js";
import type { CallExpr } from "../syntax/ast.js";
import { type DtypeRef, isFloat, printDtype } from "../types/dtype.js";
import { constantSize, type Size } from "../types/size.js";
import type { FormatRef } from "../types/type.js";
import { bindParameters, checkArgument, failKind, solveSizes } from "./argument-types.js";
import { matchArguments, stateArgument } from "./arguments.js";
import { typeOf } from "./builder.js";
import { checkElement, compileTimeSize } from "./element.js";
import { convert, ownDtype, scalarElement } from "./conversion.js";
import type { CheckedFunction, CheckedParam } from "./checked.js";
import { demand, type Element, fail, type Place, printType } from "./frame.js";
import { bindDtype, bindSize, type CallBinding, inlineGraph, inlineScalar, isScalarFunction } from "./inline.js";
import { peek } from "./scope.js";
import { checkTensor, materialize } from "./whole.js";

/**
 * The most operations of a scalar function put in place: one that uses a value twice, again and again, doubles each
 * time.
 */
const largestScalar = 10000;

/** A call as it is written. */

/** Checks a call outside index notation: the results, or null where it is wrong. */
export function checkCall(expr: CallExpr, place: Place): readonly ValueId[] | null {
  const prepared = prepare(expr, place);
  return prepared === null ? null : callWhole(prepared, place);
}

/** Checks a call inside index notation, of a function that gives one scalar. */
export function checkScalarCall(expr: CallExpr, place: Place): Element | null {
  const prepared = prepare(expr, place);
  if (prepared === null) return null;
  const { graph, binding } = prepared;
  const { frame } = place;
  const [output, ...rest] = graph.outputs;
  const type = output === undefined ? null : (graph.values[output.value]?.type ?? null);
  if (type === null || rest.length > 0)
    return fail(
      frame,
      "E303",
      `\`${expr.callee.name}\` has ${counted(graph.outputs.length, "result")}, and one is expected here`,
      expr.span,
      "not one value",
      { help: "name them first: `let a, b = ...`" },
    );
  if (type.shape.length > 0)
    return fail(
      frame,
      "E306",
      `\`${expr.callee.name}\` gives a whole tensor, ${printType(type)}, and an element is expected`,
      expr.span,
      "a tensor",
      { help: "give it a name first and index that" },
    );
  const scalars = [...binding.inputs.values()].filter((input): input is Scalar => typeof input !== "number");
  const indexed = scalars.some((scalar) => freeIndices(scalar).size > 0);
  const dtype = bindDtype(type.dtype, binding);
  if (indexed || (isScalarFunction(graph) && graph.eqns.length <= 1)) {
    const scalar = inlineScalar(graph, binding, frame.builder);
    if (scalar !== null && treeSize(scalar, largestScalar) >= largestScalar) {
      return fail(
        frame,
        "E306",
        `\`${expr.callee.name}\` is too large to be computed for each element: its values are used again and again`,
        expr.span,
        `more than ${largestScalar} operations`,
        { help: "compute its steps as tensors: `let a[n] = ...`" },
      );
    }
    if (scalar !== null) return scalarElement(scalar, dtype);
    return fail(
      frame,
      "E306",
      `\`${expr.callee.name}\` computes on whole tensors and cannot be called for each element`,
      expr.span,
      "an argument depends on an index",
    );
  }
  const values = callWhole(prepared, place);
  const [value] = values ?? [];
  return value === undefined
    ? null
    : scalarElement({ kind: "load", tensor: value, at: [], dtype, guarded: false }, dtype);
}

interface Prepared {
  readonly expr: CallExpr;
  readonly graph: SymbolicGraph;
  readonly binding: CallBinding;
  readonly callee: CheckedFunction;
  /** The caller's `var` for each mutable input. */
  readonly states: ReadonlyMap<ValueId, string>;
}

function callWhole({ expr, graph, binding, callee, states }: Prepared, place: Place): readonly ValueId[] | null {
  const { frame } = place;
  const barred =
    frame.builder.steps.size === 0
      ? undefined
      : graph.eqns.find(
          (eqn) => eqn.kind === "scan" || eqn.kind === "factorize" || eqn.kind === "pack" || eqn.kind === "plus",
        );
  if (barred !== undefined) {
    const what = barred.kind === "factorize" ? barred.op : barred.kind;
    return fail(
      frame,
      "E601",
      `\`${expr.callee.name}\` has a \`${what}\`, which cannot stand in a \`scan\``,
      expr.span,
      "called at each step",
      { help: "call it before the `scan`, or after" },
    );
  }
  const inputs = new Map<ValueId, ValueId | Scalar>();
  for (const [input, given] of binding.inputs) {
    const cheap = typeof given === "number" || given.kind === "constant" || given.kind === "size";
    // what a function gives back as it came must be a value
    const returned = graph.outputs.some((output) => output.value === input);
    if (cheap && !(returned && typeof given !== "number")) inputs.set(input, given);
    else {
      const value =
        typeof given === "number"
          ? given
          : materialize(
              given,
              bindDtype(graph.values[input]?.type.dtype ?? "f32", binding),
              graph.values[input]?.name ?? "value",
              expr.span,
              place,
            );
      if (value === null) return null;
      inputs.set(input, value);
    }
  }
  const outputs = inlineGraph(graph, { ...binding, inputs }, frame.builder);
  const results: ValueId[] = [];
  for (const [at, output] of graph.outputs.entries()) {
    const value = outputs[at];
    if (value === undefined) throw new InternalError(`${callee.declaration.name.name} lost an output`);
    const state = output.input === null ? undefined : states.get(output.input);
    if (output.input === null) results.push(value);
    else if (state !== undefined) {
      const entry = peek(place.scope, state);
      if (entry !== null) entry.binding = { kind: "tensor", value, mutable: true };
    }
  }
  return results;
}

/**
 * Finds the function, matches arguments with parameters, binds sizes, dtypes and formats, and proves its constraints.
 */
function prepare(expr: CallExpr, place: Place): Prepared | null {
  const { frame } = place;
  const name = expr.callee.name;
  const callee = frame.functionOf(name, expr.callee.span);
  const matched = callee === null ? null : matchArguments(expr, callee, place);
  const graph = callee?.graph ?? null;
  if (callee === null || matched === null || graph === null) return null;
  const sizes = new Map<string, Size>();
  const dtypes = new Map<string, DtypeRef>();
  const formats = new Map<string, FormatRef | null>();
  const inputs = new Map<ValueId, ValueId | Scalar>();
  const states = new Map<ValueId, string>();
  const tensors: {
    readonly input: ValueId;
    readonly value: ValueId;
    readonly param: CheckedParam;
    readonly span: Span;
  }[] = [];
  const scalars: { readonly input: ValueId; readonly element: Element; readonly span: Span; readonly place: Place }[] =
    [];
  let failed = false;
  for (const { param, value: argument, inner } of matched) {
    if (param.kind === "size") {
      const size = compileTimeSize(argument, inner);
      if (size === null) failed = true;
      else sizes.set(param.name, size);
      continue;
    }
    const type = graph.values[param.input]?.type;
    if (type === undefined) throw new InternalError(`${name} has no input ${param.name}`);
    if (type.shape.length === 0 && !param.mutable) {
      const element = checkElement(argument, inner);
      if (element === null) failed = true;
      else scalars.push({ input: param.input, element, span: argument.span, place: inner });
      continue;
    }
    const value = param.mutable ? stateArgument(argument, param.name, inner) : checkTensor(argument, inner);
    if (value === null) failed = true;
    else {
      if (param.mutable && argument.kind === "name") {
        if ([...states.values()].includes(argument.name))
          return fail(
            frame,
            "E307",
            `\`${argument.name}\` is updated in place by two parameters of \`${name}\``,
            argument.span,
            "given twice",
          );
        states.set(param.input, argument.name);
      }
      tensors.push({ input: param.input, value, param, span: argument.span });
      inputs.set(param.input, value);
    }
  }
  if (failed) return null;
  const binding: CallBinding = { sizes, dtypes, formats, inputs };
  const types = tensors.map((tensor) => ({
    ...tensor,
    want: graph.values[tensor.input]?.type ?? typeOf(frame.builder, tensor.value),
    have: typeOf(frame.builder, tensor.value),
  }));
  // the first argument that has an axis of that size decides what a size symbol is
  const bound = types.map((each) => bindParameters(each.want, each.have, sizes, dtypes, formats));
  if (!bound.every((fits, at) => fits || failKind(types[at], name, callee.params, place))) return null;
  for (const each of types) solveSizes(each.want, each.have, sizes, place);
  for (const scalar of scalars) {
    const want = graph.values[scalar.input]?.type.dtype ?? "f32";
    if (typeof want !== "string" && !dtypes.has(want.parameter)) {
      const own = scalar.element.kind === "number" ? "f32" : ownDtype(scalar.element);
      if (!isFloat(own))
        return fail(
          frame,
          "E301",
          `\`${want.parameter}\` is f32 or f16, found ${printDtype(own)}`,
          scalar.span,
          printDtype(own),
          { help: "convert it: `f32(...)`" },
        );
      dtypes.set(want.parameter, own);
    }
    const converted = convert(scalar.element, bindDtype(want, binding), scalar.span, scalar.place);
    if (converted === null) return null;
    inputs.set(scalar.input, converted);
  }
  const open = graph.parameters.dtypes.find((parameter) => !dtypes.has(parameter));
  if (open !== undefined)
    return fail(
      frame,
      "E206",
      `nothing tells what \`${open}\` of \`${name}\` is: no parameter has it`,
      expr.span,
      `${open} is not bound by the arguments`,
    );
  const fits = types.map((each) => checkArgument(each, binding, name, place));
  if (fits.includes(false)) return null;
  // what the function was checked with: every size is at least 1
  const positive = graph.parameters.sizes.map((symbol) =>
    demand(
      frame,
      { kind: "at-least", left: sizes.get(symbol) ?? constantSize(1), right: constantSize(1) },
      expr.span,
      `the size \`${symbol}\` of \`${name}\``,
    ),
  );
  if (positive.includes(false)) return null;
  const proved = graph.constraints.map((constraint) =>
    demand(
      frame,
      {
        kind: constraint.kind,
        left: bindSize(constraint.left, binding, frame.builder),
        right: bindSize(constraint.right, binding, frame.builder),
      },
      expr.span,
      `\`${name}\``,
    ),
  );
  return proved.includes(false) ? null : { expr, graph, binding, callee, states };
}
