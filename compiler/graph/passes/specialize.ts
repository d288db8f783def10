/** From a symbolic graph to a concrete one: parameters bound, constraints checked, every size a number. */
import { error, InternalError } from "../../diagnostic.js";
import type { Diagnostic, Label, Span } from "../../diagnostic.js";
import { roundF16 } from "../../float.js";
import { formatOf, shapeOf } from "../../formats/registry.js";
import type { Dtype, DtypeRef } from "../../types/dtype.js";
import { elementCount } from "../../types/shape.js";
import { constantSize, printSize, sizeSymbols, sizeValue, substituteSize } from "../../types/size.js";
import type { Size } from "../../types/size.js";
import {
  bindFormats,
  mapFormat,
  type Concrete,
  type FormatRef,
  type FormatSpec,
  type Pattern,
  type Symbolic,
  type TensorType,
} from "../../types/type.js";
import type { ConcreteGraph, Constraint, Eqn, Range, Scalar, SymbolicGraph, Value } from "../graph.js";
import { allEqns, withoutAdjoints } from "../eqn.js";
import { printConstraint } from "../print.js";
import { guardWraps } from "./wrap.js";

/** What the parameters of a function are for one compilation. Names that the function does not have are ignored. */
export interface Binding {
  /** Positive integers by size parameter. */
  readonly sizes: ReadonlyMap<string, number>;
  /** f32 or f16 by dtype parameter. */
  readonly dtypes: ReadonlyMap<string, Dtype>;
  /** By format parameter; null: dense elements of the tensor's dtype. */
  readonly formats: ReadonlyMap<string, FormatSpec | null>;
}

export interface SpecializeOptions {
  /**
   * Whether the device computes in f16. Without it, f16 values become f32 values, and a cast to f16 rounds to f16 all
   * the same.
   */
  readonly f16: boolean;
}

/**
 * The graph with its parameters bound, or errors: E401 a parameter without a binding, E402 a size that is not a
 * positive
 * integer, E403 a dtype that is not f32 or f16, E404 a constraint that does not hold, E405 an axis of
 * impossible length, E406 an unknown format or one with wrong arguments, E407 a format that cannot store a shape, E408
 * an
 * impossible pattern. In the result every size in a scalar is an i32 constant, and loads that were proved in range
 * without
 * regard to the wrapping of integers are guarded where it matters.
 */
export function specialize(
  given: SymbolicGraph,
  binding: Binding,
  options: SpecializeOptions,
): { readonly graph: ConcreteGraph } | readonly Diagnostic[] {
  const graph = withoutAdjoints(given);
  const unbound = checkBinding(graph, binding);
  if (unbound.length > 0) return unbound;
  const violated = graph.constraints.flatMap((constraint) => checkConstraint(constraint, binding) ?? []);
  if (violated.length > 0) return violated;

  const diagnostics: Diagnostic[] = [];
  const values = graph.values.map((value) => specializeValue(value, binding, options, diagnostics));
  const eqns = graph.eqns.map((eqn) => specializeEqn(eqn, binding, options));
  for (const eqn of allEqns(eqns)) {
    if (eqn.kind === "pack") diagnostics.push(...checkGrid(values, eqn));
    if (eqn.kind === "top" && (eqn.n < 1 || eqn.n > eqn.m))
      diagnostics.push(
        error(
          "E408",
          `\`top ${eqn.n} of ${eqn.m}\` is impossible: it must keep at least one and at most all of its group.`,
          label(graph.values[eqn.out]?.span ?? null, "this mask"),
        ),
      );
  }
  if (diagnostics.length > 0) return distinct(diagnostics);
  return {
    graph: guardWraps({ ...graph, values, eqns, parameters: { sizes: [], dtypes: [], formats: [] }, constraints: [] }),
  };
}

function checkBinding(graph: SymbolicGraph, binding: Binding): readonly Diagnostic[] {
  const { sizes, dtypes, formats } = graph.parameters;
  const missing = (name: string, what: string): Diagnostic =>
    error(
      "E401",
      `The ${what} \`${name}\` of \`${graph.name}\` has no value: no argument decides it, and none was given.`,
      label(graph.span, "in this function"),
    );
  return [
    ...sizes.flatMap((name) => {
      const value = binding.sizes.get(name);
      if (value === undefined) return missing(name, "size");
      return Number.isSafeInteger(value) && value >= 1
        ? []
        : error(
            "E402",
            `The size \`${name}\` of \`${graph.name}\` must be a positive integer, but it is ${value}.`,
            label(graph.span, "in this function"),
          );
    }),
    ...dtypes.flatMap((name) => {
      const value = binding.dtypes.get(name);
      if (value === undefined) return missing(name, "dtype");
      return value === "f32" || value === "f16"
        ? []
        : error(
            "E403",
            `The dtype \`${name}\` of \`${graph.name}\` must be f32 or f16, but it is ${value}.`,
            label(graph.span, "in this function"),
          );
    }),
    ...formats.flatMap((name) => (binding.formats.has(name) ? [] : missing(name, "format"))),
  ];
}

/** The error of a constraint that does not hold, with the values of the sizes in it. */
function checkConstraint(constraint: Constraint, binding: Binding): Diagnostic | null {
  const left = sizeNumber(constraint.left, binding);
  const right = sizeNumber(constraint.right, binding);
  const at = label(constraint.span, "needed here");
  const notes = [`The function needs \`${printConstraint(constraint)}\`.`];
  const [a, b] = [described(constraint.left, left), described(constraint.right, right)];
  switch (constraint.kind) {
    case "divides":
      if (right > 0 && left % right === 0) return null;
      return error("E404", right > 0 ? `${a} is not a multiple of ${b}.` : `${a} cannot be divided by ${b}.`, at, {
        notes,
      });
    case "equal":
      return left === right ? null : error("E404", `${a} must equal ${b}.`, at, { notes });
    case "at-least":
      return left >= right ? null : error("E404", `${a} must be at least ${b}.`, at, { notes });
    default:
      return constraint.kind satisfies never;
  }
}

/** `K = 100`, or just `128` for a number. */
function described(size: Size, value: number): string {
  return sizeValue(size) === null ? `${printSize(size)} = ${value}` : String(value);
}

function specializeValue(
  value: Value,
  binding: Binding,
  options: SpecializeOptions,
  diagnostics: Diagnostic[],
): Value<Concrete> {
  const shape = value.type.shape.map((size) => sizeNumber(size, binding));
  value.type.shape.forEach((size, axis) => {
    const extent = shape[axis] ?? 0;
    if (!(extent >= 0))
      diagnostics.push(
        error(
          "E405",
          `Axis ${axis} of \`${value.name}\` has length ${described(size, extent)}, which no axis can have.`,
          label(value.span, "this tensor"),
        ),
      );
  });
  const pattern = specializePattern(value.type.pattern, binding);
  if (pattern.kind === "nm" && (pattern.n < 1 || pattern.n > pattern.m)) {
    diagnostics.push(
      error(
        "E408",
        `The pattern ${pattern.n}:${pattern.m} of \`${value.name}\` is impossible: it must keep at least one and at most all of its group.`,
        label(value.span, "this tensor"),
      ),
    );
  }
  const format = value.type.format === null ? null : specializeFormat(value.type.format, binding);
  const type: TensorType<Concrete> = {
    dtype: specializeDtype(value.type.dtype, binding, options),
    shape,
    pattern,
    format,
  };
  if (format === null) return { ...value, type };
  const checked = checkFormat(format, shape, value);
  if ("code" in checked) diagnostics.push(checked);
  return { ...value, type: { ...type, format: "code" in checked ? format : checked } };
}

/** The format with its defaults filled in, or why a tensor of the shape cannot be stored so. */
function checkFormat(format: FormatSpec, shape: readonly number[], value: Value): FormatSpec | Diagnostic {
  const at = label(value.span, "stored here");
  const found = formatOf(format.name);
  if (found === null) return error("E406", `There is no format \`${format.name}\`.`, at);
  const normal = found.normalize(format);
  if (typeof normal === "string")
    return error("E406", `\`${value.name}\` cannot be stored as \`${format.name}\`: ${normal}`, at);
  const wrong = found.check(normal, shapeOf(shape));
  return wrong === null
    ? normal
    : error(
        "E407",
        `\`${value.name}\`, of shape [${shape.join(", ")}], cannot be stored as \`${format.name}\`: ${wrong}`,
        at,
      );
}

/** What is wrong with the scale and zero of a pack. */
function checkGrid(
  values: readonly Value<Concrete>[],
  eqn: Extract<Eqn<Concrete>, { kind: "pack" }>,
): readonly Diagnostic[] {
  const out = values[eqn.out];
  const spec = out?.type.format ?? null;
  const format = spec === null ? null : formatOf(spec.name);
  if (out === undefined || spec === null || format === null) return [];
  if (typeof format.normalize(spec) === "string" || format.check(spec, shapeOf(out.type.shape)) !== null) return [];
  const at = label(out.span, "packed here");
  const grid = format.grid(spec);
  if (grid === null)
    return eqn.scale === null
      ? []
      : [error("E406", `\`${spec.name}\` has no scale, but \`${out.name}\` is packed with one.`, at)];
  if (eqn.scale === null) return [error("E406", `\`${spec.name}\` needs a scale to pack \`${out.name}\`.`, at)];
  const { rows, columns } = shapeOf(out.type.shape);
  const groups = rows * (grid.group === "channel" ? 1 : columns / grid.group);
  const faults: Diagnostic[] = [];
  for (const [id, what] of [
    [eqn.scale, "scale"],
    [eqn.zero, "zero"],
  ] as const) {
    const shape = id === null ? null : (values[id]?.type.shape ?? null);
    if (shape !== null && elementCount(shape) !== groups) {
      faults.push(
        error(
          "E407",
          `The ${what} of \`${out.name}\` has shape [${shape.join(", ")}], but \`${spec.name}\` has [${rows}, ${groups / rows}] groups.`,
          at,
        ),
      );
    }
  }
  if (!grid.symmetric && eqn.zero === null)
    faults.push(
      error("E406", `\`${spec.name}\` is asymmetric: packing \`${out.name}\` needs a zero beside the scale.`, at),
    );
  return faults;
}

function specializePattern(pattern: Pattern<Symbolic>, binding: Binding): Pattern<Concrete> {
  return pattern.kind === "nm"
    ? { ...pattern, n: sizeNumber(pattern.n, binding), m: sizeNumber(pattern.m, binding) }
    : pattern;
}

function specializeFormat(format: FormatRef, binding: Binding): FormatSpec | null {
  if ("parameter" in format) return binding.formats.get(format.parameter) ?? null;
  return bindFormats(
    mapFormat(format, (size) => sizeNumber(size, binding)),
    (parameter) => binding.formats.get(parameter) ?? null,
  );
}

function boundDtype(dtype: DtypeRef, binding: Binding): Dtype {
  if (typeof dtype === "string") return dtype;
  const bound = binding.dtypes.get(dtype.parameter);
  if (bound === undefined) throw new InternalError(`dtype parameter ${dtype.parameter} is not listed`);
  return bound;
}

function specializeDtype(dtype: DtypeRef, binding: Binding, options: SpecializeOptions): Dtype {
  const bound = boundDtype(dtype, binding);
  return bound === "f16" && !options.f16 ? "f32" : bound;
}

function specializeEqn(eqn: Eqn<Symbolic>, binding: Binding, options: SpecializeOptions): Eqn<Concrete> {
  const scalar = scalarSpecializer(binding, options);
  switch (eqn.kind) {
    case "map":
      return { kind: "map", out: eqn.out, indices: eqn.indices.map(scalar.range), body: scalar.scalar(eqn.body) };
    case "update":
      return {
        ...eqn,
        indices: eqn.indices.map(scalar.range),
        at: eqn.at.map(scalar.scalar),
        body: scalar.scalar(eqn.body),
      };
    case "top":
      return { ...eqn, n: sizeNumber(eqn.n, binding), m: sizeNumber(eqn.m, binding) };
    case "scan":
      return {
        ...eqn,
        range: scalar.range(eqn.range),
        body: eqn.body.map((each) => specializeEqn(each, binding, options)),
      };
    case "factorize":
    case "pack":
    case "plus":
      return eqn;
    default:
      return eqn satisfies never;
  }
}

/** Scalars of one equation; what is shared stays shared. */
function scalarSpecializer(
  binding: Binding,
  options: SpecializeOptions,
): { scalar(node: Scalar<Symbolic>): Scalar<Concrete>; range(range: Range<Symbolic>): Range<Concrete> } {
  const done = new Map<Scalar<Symbolic>, Scalar<Concrete>>();
  const scalar = (node: Scalar<Symbolic>): Scalar<Concrete> => {
    const known = done.get(node);
    if (known !== undefined) return known;
    const result = convert(node);
    done.set(node, result);
    return result;
  };
  const range = (each: Range<Symbolic>): Range<Concrete> => ({
    ...each,
    low: scalar(each.low),
    high: scalar(each.high),
  });
  const dtype = (ref: DtypeRef): Dtype => specializeDtype(ref, binding, options);
  const convert = (node: Scalar<Symbolic>): Scalar<Concrete> => {
    switch (node.kind) {
      case "constant":
        // a literal of a type that is f16 elsewhere is the same number here
        return boundDtype(node.dtype, binding) === "f16"
          ? { ...node, value: roundF16(node.value), dtype: dtype(node.dtype) }
          : { ...node, dtype: dtype(node.dtype) };
      case "index":
        return node;
      case "size":
        return { kind: "constant", value: sizeNumber(node.size, binding), dtype: "i32" };
      case "load":
        return { ...node, at: node.at.map(scalar), dtype: dtype(node.dtype) };
      case "unary":
        return { ...node, a: scalar(node.a), dtype: dtype(node.dtype) };
      case "binary":
        return { ...node, a: scalar(node.a), b: scalar(node.b), dtype: dtype(node.dtype) };
      case "select":
        return {
          ...node,
          condition: scalar(node.condition),
          then: scalar(node.then),
          otherwise: scalar(node.otherwise),
          dtype: dtype(node.dtype),
        };
      case "cast": {
        const a = scalar(node.a);
        if (boundDtype(node.dtype, binding) !== "f16" || options.f16) return { ...node, a, dtype: dtype(node.dtype) };
        const wide: Scalar<Concrete> = { kind: "cast", a, dtype: "f32" };
        return { kind: "unary", op: "round_f16", a: "dtype" in a && a.dtype === "f32" ? a : wide, dtype: "f32" };
      }
      case "reduce":
        return {
          ...node,
          over: node.over.map(range),
          score: node.score === null ? null : scalar(node.score),
          body: scalar(node.body),
          dtype: dtype(node.dtype),
        };
      default:
        return node satisfies never;
    }
  };
  return { scalar, range };
}

/** The number a size is; NaN where it divides by zero. */
function sizeNumber(size: Size, binding: Binding): number {
  const missing = [...sizeSymbols(size)].filter((symbol) => !binding.sizes.has(symbol));
  if (missing.length > 0)
    throw new InternalError(`the size ${printSize(size)} mentions ${missing.join(", ")}, not listed as parameters`);
  return sizeValue(substituteSize(size, (symbol) => constantSize(binding.sizes.get(symbol) ?? 0))) ?? NaN;
}

function label(span: Span | null, message: string): Label | null {
  return span === null ? null : { span, message };
}

/** Each message once: values that follow from one another often have the same fault. */
function distinct(diagnostics: readonly Diagnostic[]): readonly Diagnostic[] {
  const seen = new Set<string>();
  return diagnostics.filter((diagnostic) => {
    const key = JSON.stringify([diagnostic.code, diagnostic.message, diagnostic.labels]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
