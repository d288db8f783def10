import type { Span } from "../diagnostic.js";

/**
 * What was written. Every node has a span, none has a type. Rules of `spec/language.md` are cited as [L-...].
 * `print(parse(source))` is the formatter, so comments are kept, with their slashes: `leading` are the comment lines
 * before a declaration or statement (an empty string stands for a blank line), `trailing` the comment at the end of
 * its line, `closing` those after the last statement of a body.
 */

export interface Ident {
  readonly name: string;
  readonly span: Span;
}

interface Node {
  readonly span: Span;
}

interface Commented extends Node {
  readonly leading: readonly string[];
  readonly trailing: string | null;
}

interface Bodied extends Commented {
  readonly closing: readonly string[];
}

export interface Module extends Node {
  readonly kind: "module";
  readonly uses: readonly Use[];
  readonly declarations: readonly Declaration[];
  /** Comments after the last declaration. */
  readonly closing: readonly string[];
}

/** `use prune, quantize` names modules of the standard library, `use "./mine.esp"` a file beside this one. */
export interface Use extends Commented {
  readonly kind: "use";
  readonly modules: readonly { readonly path: string; readonly relative: boolean; readonly span: Span }[];
}

export type Declaration = ConstantDeclaration | FunctionDeclaration | RecipeDeclaration;

export interface ConstantDeclaration extends Commented {
  readonly kind: "constant";
  readonly name: Ident;
  readonly value: Expr | TableExpr;
}

/** A list of numbers, `[-1.0, 0.0, 1.0]`: what only a constant is. */
export interface TableExpr extends Node {
  readonly kind: "table";
  readonly values: readonly Expr[];
}

export interface FunctionDeclaration extends Bodied {
  readonly kind: "function";
  readonly name: Ident;
  readonly params: readonly Param[];
  readonly results: readonly TypeExpr[];
  /** `where K % 4 == 0, N > 0`: what callers must guarantee of the sizes. */
  readonly constraints: readonly Expr[];
  /** `gradient by g`: the function that is its adjoint; null: that is derived. */
  readonly adjoint: Ident | null;
  readonly body: readonly Statement[];
}

export interface RecipeDeclaration extends Bodied {
  readonly kind: "recipe";
  readonly name: Ident;
  readonly params: readonly Param[];
  readonly body: readonly Statement[];
}

/** `x: f32[T, K]`, `var cache: E[C, D]` (updated in place), `group: size = 128`, in a recipe also `damp = 0.01`. */
export interface Param extends Node {
  readonly mutable: boolean;
  readonly name: Ident;
  readonly type: TypeExpr | null;
  readonly fallback: Expr | null;
}

/**
 * `f32[N, K] is 2:4 along K as nm(2, 4) of f16`. `dtype` may also be `mask`, `size`, `llama`, `tokens` or a dtype
 * parameter.
 */
export interface TypeExpr extends Node {
  readonly dtype: Ident;
  readonly shape: readonly Expr[] | null;
  readonly pattern: PatternExpr | null;
  readonly format: FormatExpr | null;
}

export interface PatternExpr extends Node {
  readonly n: Expr;
  readonly m: Expr;
  readonly axis: Ident;
}

/** `int4(group, symmetric)`: arguments are values or flags; `key: value` names one. `of` composes. */
export interface FormatExpr extends Node {
  readonly name: Ident;
  readonly args: readonly Argument[];
  readonly of: FormatExpr | null;
}

export interface Argument extends Node {
  readonly label: Ident | null;
  readonly value: Expr;
}

/** `k in 0 .. K`; without bounds the range is that of the axes the index stands on. */
export interface RangeExpr extends Node {
  readonly index: Ident;
  readonly low: Expr | null;
  readonly high: Expr | null;
}

export type Statement =
  | LetStatement
  | VarStatement
  | UpdateStatement
  | ScanStatement
  | ForStatement
  | ReturnStatement
  | IfStatement
  | TrainStatement
  | StoreStatement
  | MeasureStatement
  | PrintStatement
  | PermuteStatement
  | RetainStatement
  | ScaleStatement
  | RoundStatement
  | ExpectStatement
  | SaveStatement;

/**
 * `let y = e`, `let q, s = f(w)`, `let y[t, n] = e` (index notation: each index is free in `e`, its range that of the
 * axes it stands on or that of a trailing `for t in a .. b`).
 */
export interface LetStatement extends Commented {
  readonly kind: "let";
  readonly names: readonly Ident[];
  readonly indices: readonly Ident[] | null;
  readonly value: Expr;
  readonly ranges: readonly RangeExpr[];
}

/** `var w = w0`: a tensor that later updates replace. */
export interface VarStatement extends Commented {
  readonly kind: "var";
  readonly name: Ident;
  readonly value: Expr;
}

/** `w[n, j] -= e[n] * u[k, j] for j in k .. K`. Elements not addressed keep their value. */
export interface UpdateStatement extends Commented {
  readonly kind: "update";
  readonly name: Ident;
  readonly at: readonly Expr[];
  readonly op: "=" | "+=" | "-=";
  readonly value: Expr;
  readonly ranges: readonly RangeExpr[];
}

/** `scan k in 0 .. K { ... }`: sequential steps over tensor state. */
export interface ScanStatement extends Bodied {
  readonly kind: "scan";
  readonly range: RangeExpr;
  readonly body: readonly Statement[];
}

/**
 * In a function `for i in 0 .. 8 { }`: constant bounds, unrolled. In a recipe `for w in block.linears matching "..."
 * except "..." { }`: over modules of the model.
 */
export interface ForStatement extends Bodied {
  readonly kind: "for";
  readonly name: Ident;
  readonly over: Expr;
  readonly to: Expr | null;
  readonly matching: readonly PatternName[];
  readonly except: readonly PatternName[];
  readonly body: readonly Statement[];
}

/** `train block on text by block_error(epochs: 4, rate: 1e-4) { }`: loops over layers that say what is stored. */
export interface TrainStatement extends Bodied {
  readonly kind: "train";
  readonly target: Expr;
  readonly text: Expr;
  readonly by: Ident;
  readonly settings: readonly Argument[];
  /** `and square_head(weight: 0.5)`: what is asked of each block besides. */
  readonly beside: BesideLoss | null;
  readonly body: readonly Statement[];
}

/** A second loss of a training, with its settings. */
export interface BesideLoss {
  readonly by: Ident;
  readonly settings: readonly Argument[];
  readonly span: Span;
}

export interface ReturnStatement extends Commented {
  readonly kind: "return";
  readonly values: readonly Expr[];
  /** `return y where y[t, n] = e`: the definitions after `where`. */
  readonly definitions: readonly {
    readonly name: Ident;
    readonly indices: readonly Ident[];
    readonly value: Expr;
    readonly ranges: readonly RangeExpr[];
    readonly span: Span;
  }[];
}

/** In a recipe: `if w matches "*.down_proj" { } else { }`, or on a parameter: `if group > 0 { }`. */
export interface IfStatement extends Bodied {
  readonly kind: "if";
  readonly condition: Expr;
  readonly then: readonly Statement[];
  readonly otherwise: readonly Statement[];
  /** Comments after the last statement of `otherwise`. */
  readonly closingOtherwise: readonly string[];
}

/** `store w as e`: e is usually a `pack`. */
export interface StoreStatement extends Commented {
  readonly kind: "store";
  readonly target: Expr;
  readonly value: Expr;
}

/** `measure share = e`: a number for each layer of the loop, which later loops see together. */
export interface MeasureStatement extends Commented {
  readonly kind: "measure";
  readonly name: Ident;
  readonly value: Expr;
}

/** `print e, f`: numbers of each layer of the loop, told as the recipe runs. */
export interface PrintStatement extends Commented {
  readonly kind: "print";
  readonly values: readonly Expr[];
}

/** `permute w on score by exchange_2of4(rounds: 64)`: the channels that the layer takes change places. */
export interface PermuteStatement extends Commented {
  readonly kind: "permute";
  readonly target: Expr;
  readonly score: Expr;
  readonly by: Ident;
  readonly settings: readonly Argument[];
}

/**
 * `retain 0.75 of w by score`: the columns of w with the highest scores stay, the others go, with all that belongs to
 * them in other layers.
 */
export interface RetainStatement extends Commented {
  readonly kind: "retain";
  /** A share below 1, or a count. */
  readonly kept: Expr;
  readonly target: Expr;
  readonly score: Expr;
}

/**
 * `scale w by s through "up_proj"`: column k of w is multiplied by s[k], and what makes that column's input is divided by
 * it.
 */
export interface ScaleStatement extends Commented {
  readonly kind: "scale";
  readonly name: Ident;
  readonly by: Expr;
  readonly through: StringExpr | null;
}

/**
 * `round w as int8(token)`, `round w as int8(tensor) with scale s`: what the layers that read an input multiply is
 * rounded, whenever the model runs.
 */
export interface RoundStatement extends Commented {
  readonly kind: "round";
  readonly name: Ident;
  readonly format: FormatExpr;
  readonly scale: Expr | null;
}

/** `expect perplexity(model, text) < 1.1 * perplexity(model.dense, text)`. */
export interface ExpectStatement extends Commented {
  readonly kind: "expect";
  readonly condition: Expr;
}

/** `save "pruned"`: writes the model as it is now into a folder of that name under the output. */
export interface SaveStatement extends Commented {
  readonly kind: "save";
  readonly name: StringExpr;
}

export type BinaryOperator = "+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "and" | "or";
export type ReduceOperator = "sum" | "max" | "min" | "mean" | "any" | "all" | "argmax" | "count" | "softmax_mean";

export interface StringExpr extends Node {
  readonly kind: "string";
  readonly value: string;
}

/** A name pattern: in quotes, or a parameter of the recipe that is a string. */
export type PatternName = StringExpr | (Node & { readonly kind: "name"; readonly name: string });

export type Expr =
  | StringExpr
  | (Node & { readonly kind: "number"; readonly value: number; readonly integer: boolean; readonly text: string })
  | (Node & { readonly kind: "boolean"; readonly value: boolean })
  | (Node & { readonly kind: "name"; readonly name: string })
  | (Node & { readonly kind: "member"; readonly base: Expr; readonly field: Ident })
  /** `x[t, k]`, `seen[w]`. */
  | (Node & { readonly kind: "index"; readonly base: Expr; readonly at: readonly Expr[] })
  /** A function, an op, a cast `f32(x)`, or `select(c, a, b)`. */
  | (Node & { readonly kind: "call"; readonly callee: Ident; readonly args: readonly Argument[] })
  | (Node & { readonly kind: "unary"; readonly op: "-" | "not"; readonly operand: Expr })
  | (Node & { readonly kind: "binary"; readonly op: BinaryOperator; readonly left: Expr; readonly right: Expr })
  /**
   * `sum[k] x[k] * w[k]`: binds looser than `*`, tighter than `+`. `softmax_mean[c](score, body)`, closed like a call,
   * has a score, and no other has one.
   */
  | (Node & {
      readonly kind: "reduce";
      readonly op: ReduceOperator;
      readonly over: readonly RangeExpr[];
      readonly score: Expr | null;
      readonly body: Expr;
    })
  /** `w where keep` on whole tensors, `x[n] where keep[n]` on elements: zero where the mask is false. */
  | (Node & { readonly kind: "where"; readonly value: Expr; readonly mask: Expr })
  /**
   * `top 2 of 4 along k in e`: of a whole tensor, `k` naming the axis by its size (case ignored), or of an element
   * expression with `k` a free index.
   */
  | (Node & { readonly kind: "top"; readonly n: Expr; readonly m: Expr; readonly axis: Ident; readonly score: Expr })
  /** `pack q as nm(2, 4) of int4(128) with scale s, zero z`. */
  | (Node & {
      readonly kind: "pack";
      readonly value: Expr;
      readonly format: FormatExpr;
      readonly scale: Expr | null;
      readonly zero: Expr | null;
    })
  | (Node & { readonly kind: "unpack"; readonly value: Expr })
  /** `pack q as int4(128) with scale s plus lowrank(a, b)`: a correction of low rank beside what is packed. */
  | (Node & { readonly kind: "plus"; readonly value: Expr; readonly left: Expr; readonly right: Expr })
  /**
   * `observe block on text by feature_squares`: the sum over the calibration text of a function of each linear layer's
   * input.
   */
  | (Node & { readonly kind: "observe"; readonly block: Expr; readonly text: Expr; readonly by: Ident })
  /** `gradient of y by a, b with dy`: one tensor for each of `by`; `adjoint` null: of the sum of y's elements. */
  | (Node & {
      readonly kind: "gradient";
      readonly of: Expr;
      readonly by: readonly Ident[];
      readonly adjoint: Expr | null;
    })
  /** `w matches "*.q_proj"`. */
  | (Node & { readonly kind: "matches"; readonly value: Expr; readonly pattern: PatternName });

/** A call: of a function, of a built-in operation, of what recipes have. */
export type CallExpr = Extract<Expr, { readonly kind: "call" }>;
