import { printFormat } from "../formats/registry.js";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import type { Constraint, Scalar, ValueId } from "../graph/graph.js";
import type { Expr } from "../syntax/ast.js";
import { printDtype, type DtypeRef } from "../types/dtype.js";
import { printSize, sameSize, type Size } from "../types/size.js";
import type { TensorType } from "../types/type.js";
import type { Builder } from "./builder.js";
import type { CheckedFunction } from "./checked.js";
import type { FileScope } from "./modules.js";
import { printPattern } from "./pattern.js";
import { printConstraint, provable, refutable, soleSymbol } from "./sizes.js";
import type { Binding, Scope } from "./scope.js";

/** What the checking of one function, or of one treatment of a recipe, needs all along. */
export interface Frame {
  readonly file: FileScope;
  readonly builder: Builder;
  readonly report: (found: Diagnostic) => void;
  /** The dtype and format parameters of the function. */
  readonly dtypes: ReadonlySet<string>;
  readonly formats: ReadonlySet<string>;
  /** The function of that name that can be called here. */
  readonly functionOf: (name: string, at: Span) => CheckedFunction | null;
  /** In a recipe: what the layer of the loop has, and that constraints on its sizes wait until they are bound. */
  readonly layer: Layer | null;
}

/** The linear layer that a recipe's loop stands at; each makes an input of the treatment's graph on first use. */
export interface Layer {
  readonly name: string;
  /** What it is: the weight of a linear layer [N, K], a table [N, K], or a vector [K]. */
  readonly of: "linear" | "table" | "vector";
  readonly weight: () => ValueId;
  readonly original: () => ValueId;
  /** Within a training, the weight as it was when that began; else null. */
  readonly start: (() => ValueId) | null;
  /** The weight as it is packed, without a correction beside it. */
  readonly packed: () => ValueId;
  /** The factors of that correction: a[N, R] and b[R, K]. */
  readonly factor: (side: "left" | "right") => ValueId;
  readonly statistic: (observe: number) => ValueId;
  /** Where channels changed places after something was observed, so that it is of the order before; else null. */
  readonly permutedSince: (observe: number) => Span | null;
  readonly count: (kind: "windows" | "tokens" | "number" | "block" | "blocks") => ValueId;
  /** Whether an input of the graph is of what a training changes. */
  readonly changes: (input: ValueId) => boolean;
  /** Within a training: its clock, f32 [2], and a parameter that begins as a value; else null. */
  readonly training: {
    readonly clock: () => ValueId;
    readonly parameter: (name: string, start: ValueId) => ValueId;
  } | null;
  /** Of a value that was measured of all layers, that of this one, a scalar; null of any other value. */
  readonly own: (measured: ValueId, at: Span) => ValueId | null;
}

/**
 * A scalar expression as far as it is known: a number that has no dtype yet (`integer` if it was written as one), a
 * compile-time integer (an i32 where it is
 * computed with), or a scalar of the Graph.
 */
export type Element =
  | { readonly kind: "number"; readonly value: number; readonly integer: boolean }
  | { readonly kind: "size"; readonly size: Size }
  | { readonly kind: "scalar"; readonly scalar: Scalar; readonly dtype: DtypeRef };

/**
 * A place for expressions: the names that can be seen, and whole tensors inside index notation that were already
 * checked.
 */
export interface Place {
  readonly frame: Frame;
  readonly scope: Scope;
  readonly wholes: Map<Expr, ValueId | null>;
}

/** A fresh place for the expressions of one statement. */
export function placeIn(frame: Frame, scope: Scope): Place {
  return { frame, scope, wholes: new Map() };
}

/** Reports an error with one label. */
export function fail(
  frame: Frame,
  code: string,
  message: string,
  span: Span,
  label: string,
  extra: {
    help?: string | null;
    labels?: readonly { readonly span: Span; readonly message: string }[];
    notes?: readonly string[];
  } = {},
): null {
  const { help, ...rest } = extra;
  frame.report(error(code, message, { span, message: label }, help == null ? rest : { ...rest, help }));
  return null;
}

/** What is written at a place, for a suggestion; `...` where that is long. */
export function sourceOf({ file, start, end }: Span, { frame }: Pick<Place, "frame">): string {
  const text = file === frame.file.file ? frame.file.source.slice(start, end) : "...";
  return text.length > 40 || text.includes("\n") ? "..." : text;
}

/** A type as it is written: `f32[N, K] is 2:4 along K as int4(128)`. */
export function printType(type: TensorType): string {
  const shape = type.shape.length === 0 ? "" : `[${type.shape.map(printSize).join(", ")}]`;
  const pattern =
    type.pattern.kind === "nm"
      ? ` is ${printPattern(type.pattern)} along ${axisName(type.pattern.axis, type.shape)}`
      : "";
  const dtype = type.dtype === "bool" && type.shape.length > 0 ? "mask" : printDtype(type.dtype);
  return dtype + shape + pattern + (type.format === null ? "" : ` as ${printFormat(type.format, "short")}`);
}

/** An axis as a type names it: by its size, or by its number where that is no symbol, or another axis has it too. */
function axisName(axis: number, shape: readonly Size[]): string {
  const size = shape[axis];
  return size === undefined ||
    soleSymbol(size) === null ||
    shape.some((other, at) => at !== axis && sameSize(other, size))
    ? String(axis)
    : printSize(size);
}

/** The dtype of an element for people: a number has none yet. */
export function describe(element: Element): string {
  switch (element.kind) {
    case "number":
      return `the number ${element.value}`;
    case "size":
      return "i32";
    case "scalar":
      return printDtype(element.dtype);
    default:
      return element satisfies never;
  }
}

/** A binding that stands for something computed: an element; null for tensors with axes and for what recipes have. */
export function elementOf(binding: Binding, builder: Builder): Element | null {
  switch (binding.kind) {
    case "number":
      return { kind: "number", value: binding.value, integer: binding.integer };
    case "size":
      return { kind: "size", size: binding.size };
    case "boolean":
      return {
        kind: "scalar",
        scalar: { kind: "constant", value: binding.value ? 1 : 0, dtype: "bool" },
        dtype: "bool",
      };
    case "scalar":
      return binding;
    case "index":
      return {
        kind: "scalar",
        scalar: { kind: "index", index: binding.range.index, name: binding.range.name },
        dtype: "i32",
      };
    case "tensor": {
      const type = builder.values[binding.value]?.type;
      if (type === undefined || type.shape.length > 0) return null;
      return {
        kind: "scalar",
        scalar: { kind: "load", tensor: binding.value, at: [], dtype: type.dtype, guarded: false },
        dtype: type.dtype,
      };
    }
    case "model":
    case "text":
    case "block":
    case "layer":
    case "statistic":
    case "measured":
    case "table":
    case "string":
    case "unknown":
      return null;
    default:
      return binding satisfies never;
  }
}

/**
 * Demands that a constraint hold. In a function it must follow from what is declared; in a recipe, where N and K are
 * known only when a model is, what cannot be decided becomes a constraint of the graph.
 */
export function demand(frame: Frame, constraint: Omit<Constraint, "span">, span: Span, why: string): boolean {
  const known = frame.builder.constraints;
  if (provable(constraint, known)) return true;
  const text = printConstraint(constraint);
  if (refutable(constraint)) {
    fail(frame, "E404", `${why} needs ${text}, which is false`, span, `needs ${text}`);
    return false;
  }
  if (frame.layer !== null) {
    frame.builder.constraints.push({ ...constraint, span });
    return true;
  }
  fail(frame, "E404", `${why} needs ${text}, and nothing guarantees that`, span, `needs ${text}`, {
    help: `declare it after the result type: \`where ${text}\``,
  });
  return false;
}
