import type { Span } from "../diagnostic.js";
import type { BinaryOp, UnaryOp } from "../types/scalar-ops.js";
import type { Concrete, Level, Symbolic, TensorType } from "../types/type.js";
import type { Divides, Size } from "../types/size.js";
import type { FactorizationOp, ReduceOp } from "./ops.js";

/**
 * What a function means: a flat list of equations over tensors, in order, each defining one new value. Index notation
 * stays: an equation gives its elements as a scalar expression over its indices. Calls are inlined, `for` unrolled.
 * `spec/ops.md` is the authority for the meaning of each kind.
 */
export interface Graph<L extends Level = Symbolic> {
  readonly name: string;
  readonly span: Span | null;
  /** Values by id: `values[i].id === i`. */
  readonly values: readonly Value<L>[];
  readonly inputs: readonly Input[];
  readonly outputs: readonly Output[];
  readonly eqns: readonly Eqn<L>[];
  /** Size parameters in order of first mention, dtype parameters and format parameters; empty when concrete. */
  readonly parameters: {
    readonly sizes: readonly string[];
    readonly dtypes: readonly string[];
    readonly formats: readonly string[];
  };
  /** What the sizes must satisfy; checked when they are bound. */
  readonly constraints: readonly Constraint[];
}

export type SymbolicGraph = Graph<Symbolic>;
export type ConcreteGraph = Graph<Concrete>;

export type ValueId = number;
export type IndexId = number;

export interface Value<L extends Level = Symbolic> {
  readonly id: ValueId;
  /** For people: the name in the source, made unique by the printer. */
  readonly name: string;
  readonly type: TensorType<L>;
  readonly span: Span | null;
}

/**
 * A parameter of the function. A rank-0 input is a scalar given at each run. A mutable one shares its storage with an
 * output.
 */
export interface Input {
  readonly value: ValueId;
  readonly name: string;
  readonly mutable: boolean;
  /** Whether a tensor with fewer rows may be given: what reads and writes it is told which of them there are. */
  readonly open?: true;
  /** The input that this one is a part of: its storage is that one's, and nobody gives it. Made by `splitLowRank`. */
  readonly part?: ValueId;
}

/** A result. `input` names the mutable input whose storage it replaces, for the final state of a `var` parameter. */
export interface Output {
  readonly value: ValueId;
  readonly name: string;
  readonly input: ValueId | null;
}

export interface Constraint {
  readonly kind: "divides" | "equal" | "at-least";
  readonly left: Size;
  readonly right: Size;
  readonly span: Span | null;
}

/** The facts of the constraints that `divides` of `types/size.ts` understands. */
export function divisibilityFacts(graph: { readonly constraints: readonly Constraint[] }): readonly Divides[] {
  return graph.constraints
    .filter((c) => c.kind === "divides")
    .map((c) => ({ numerator: c.left, denominator: c.right }));
}

/**
 * An index with its range `low .. high`, high excluded. Bounds of an eqn's own indices are constant sizes; those of a
 * reduction may be any i32 scalar, also of outer indices.
 */
export interface Range<L extends Level = Symbolic> {
  readonly index: IndexId;
  readonly name: string;
  readonly low: Scalar<L>;
  readonly high: Scalar<L>;
}

/** An element-wise expression. Ops and their type rules are in `ops.ts`. */
export type Scalar<L extends Level = Symbolic> =
  | { readonly kind: "constant"; readonly value: number; readonly dtype: L["dtype"] }
  /** The current value of an index, an i32. */
  | { readonly kind: "index"; readonly index: IndexId; readonly name: string }
  /** A size as an i32. */
  | { readonly kind: "size"; readonly size: L["size"] }
  /**
   * An element of a tensor, decoded if it is packed. `guarded`: an index may be out of range, and then the element is
   * zero; otherwise the checker has proved it in range.
   */
  | {
      readonly kind: "load";
      readonly tensor: ValueId;
      readonly at: readonly Scalar<L>[];
      readonly dtype: L["dtype"];
      readonly guarded: boolean;
    }
  | { readonly kind: "unary"; readonly op: UnaryOp; readonly a: Scalar<L>; readonly dtype: L["dtype"] }
  | {
      readonly kind: "binary";
      readonly op: BinaryOp;
      readonly a: Scalar<L>;
      readonly b: Scalar<L>;
      readonly dtype: L["dtype"];
    }
  /** `then` where the condition holds, else `otherwise`; the other one has no effect, and need not be computed. */
  | {
      readonly kind: "select";
      readonly condition: Scalar<L>;
      readonly then: Scalar<L>;
      readonly otherwise: Scalar<L>;
      readonly dtype: L["dtype"];
    }
  /** Conversion of the value: to f16 rounds to nearest even; float to integer truncates and saturates. */
  | { readonly kind: "cast"; readonly a: Scalar<L>; readonly dtype: L["dtype"] }
  /**
   * A reduction over one or more indices. Over an empty range: sum, count 0; any false; all true; max -inf; min +inf;
   * mean 0; argmax 0; softmax_mean 0. Of a softmax_mean the body is the value that is averaged, and `score` what it
   * counts by; of all others there is no score.
   */
  | {
      readonly kind: "reduce";
      readonly op: ReduceOp;
      readonly over: readonly Range<L>[];
      readonly score: Scalar<L> | null;
      readonly body: Scalar<L>;
      readonly dtype: L["dtype"];
    };

export type Eqn<L extends Level = Symbolic> =
  /** out[i...] = body, for every i in the ranges, which are exactly `0 .. shape`. */
  | {
      readonly kind: "map";
      readonly out: ValueId;
      readonly indices: readonly Range<L>[];
      readonly body: Scalar<L>;
      /** What a gradient takes instead of what would be derived; until sizes are bound. */
      readonly adjoint?: OwnAdjoint<L>;
    }
  /**
   * out = base, but out[at(i)...] = body(i) (or base + body for `add`), for every i in the ranges. An `at` out of range
   * is dropped. Two i with the same `at` are an error of the program (`set`) or both count (`add`).
   */
  | {
      readonly kind: "update";
      readonly out: ValueId;
      readonly base: ValueId;
      readonly indices: readonly Range<L>[];
      readonly at: readonly Scalar<L>[];
      readonly body: Scalar<L>;
      readonly op: "set" | "add";
    }
  /**
   * A mask that keeps the n largest of every m neighbours along the axis; of equals the one with the lower index. NaN
   * counts as the smallest.
   */
  | {
      readonly kind: "top";
      readonly out: ValueId;
      readonly score: ValueId;
      readonly n: L["size"];
      readonly m: L["size"];
      readonly axis: number;
    }
  /**
   * Sequential steps: for each value of the range's index, in order, the body runs on the states as the step before
   * left
   * them. The body's eqns may use the index and every value defined before the scan; what they define is theirs alone.
   * `out` is the first state's. `columnwise` scans (rows independent, the trailing update a sum) are run in blocks.
   * `writtenIn` names the function that it came from, where that is another one than the graph's: for notes.
   */
  | {
      readonly kind: "scan";
      readonly out: ValueId;
      readonly writtenIn?: string;
      readonly range: Range<L>;
      readonly states: readonly ScanState[];
      readonly body: readonly Eqn<L>[];
    }
  /** A factorisation or inverse of a square f32 matrix [K, K]; `ops.ts` lists them. */
  | { readonly kind: "factorize"; readonly out: ValueId; readonly source: ValueId; readonly op: FactorizationOp }
  /** The tensor in the format of out's type. Quantised formats round `source / scale (+ zero)` to the grid. */
  | {
      readonly kind: "pack";
      readonly out: ValueId;
      readonly source: ValueId;
      readonly scale: ValueId | null;
      readonly zero: ValueId | null;
    }
  /**
   * A packed tensor [.., N, K] with a correction of low rank beside it, in the format `lowrank` of out's type:
   * out[n, k] = packed[n, k] + sum[r] left[n, r] * right[r, k]. All three are packed, left and right as f16.
   */
  | {
      readonly kind: "plus";
      readonly out: ValueId;
      readonly packed: ValueId;
      readonly left: ValueId;
      readonly right: ValueId;
    };

/** The adjoint that a program gives a value itself: what gradients of it go on to, and how. */
export interface OwnAdjoint<L extends Level = Symbolic> {
  /** Stands for the adjoint of the value, of its dtype and shape; defined within the body only. */
  readonly seed: ValueId;
  /** Equations of the value, of what is defined before it and of the seed; theirs alone, and no scan among them. */
  readonly body: readonly Eqn<L>[];
  /** The adjoint of each value that gets one: of its dtype and shape, dense. */
  readonly gradients: readonly { readonly by: ValueId; readonly value: ValueId }[];
}

/** A tensor that a scan's steps change. All four values have one dtype and shape. */
export interface ScanState {
  /** Before the scan. */
  readonly initial: ValueId;
  /** At the start of a step; defined within the body only. */
  readonly before: ValueId;
  /** At the end of a step: the result of an eqn of the body, or `before` itself. */
  readonly after: ValueId;
  /** After the last step; `initial` where there is none. */
  readonly out: ValueId;
}
