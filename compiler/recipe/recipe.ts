import type { Span } from "../diagnostic.js";
import type { Combination } from "../graph/analysis/combination.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { ActivationFormat } from "../types/activation-format.js";

/** What a parameter of a recipe is: a number, a truth value, or a name pattern. */
export type ParameterValue = number | boolean | string;

/**
 * What a recipe means: steps over a model's modules for the runtime to follow. Whatever computes on tensors is a Graph
 * with the symbolic sizes `N` (outputs) and `K` (inputs) of a linear layer's weight `[N, K]`; the runtime binds and
 * compiles it once a shape. Plain data.
 */
export interface Recipe {
  readonly name: string;
  readonly span: Span;
  /** Settable parameters with the values in force (`--set name=value` or the default). */
  readonly parameters: readonly {
    readonly name: string;
    readonly value: ParameterValue;
    readonly fallback: ParameterValue;
  }[];
  /** Whether it observes or expects: then a calibration text is needed. */
  readonly needsText: boolean;
  readonly steps: readonly RecipeStep[];
}

export type RecipeStep =
  /**
   * The body for each block of the model in order. After the body of a block the calibration activations go on through
   * the block as it is then.
   */
  | { readonly kind: "blocks"; readonly body: readonly RecipeStep[]; readonly span: Span }
  /**
   * Inside `blocks`: run the block on the calibration activations and combine `graph` over its linear layers' inputs.
   * The graph has an input `x` f32 or E [T, K], maybe an input `dense` of that type, what the same layer receives in
   * the
   * model as it was given, and one output, whose sizes depend on K only. Layers that share an input share the
   * statistic.
   * Observations that stand together are made in one pass.
   */
  | {
      readonly kind: "observe";
      readonly id: number;
      readonly name: string;
      readonly function: string;
      readonly graph: SymbolicGraph;
      /** How what the graph gives of parts of a text makes what it gives of the whole. */
      readonly combines: Combination;
      readonly span: Span;
    }
  /**
   * For each linear layer of the block (or of all blocks) whose name matches. Each `matching` and `except` must match
   * something.
   */
  | {
      readonly kind: "linears";
      readonly matching: readonly NamePattern[];
      readonly except: readonly NamePattern[];
      readonly treatments: readonly Treatment[];
      readonly span: Span;
    }
  /**
   * For each tensor beside the linear layers whose name matches: tables `[N, K]`, of K columns, and vectors `[K]`. Norms
   * and biases of the block inside `blocks`, of the whole model outside.
   */
  | TensorsStep
  /**
   * Inside `blocks`: for each input of the block's linear layers of which a layer matches, in the order of the block.
   * The graph gives s, f32 [K]; its weight is that of all layers that read the input, their rows one below the other.
   * Column k of each is multiplied by s[k], and what makes the input's channel k is divided by it: what that is, and that
   * the block gives what it gave, is found in the block's graph.
   */
  | ScaleStep
  /** Outside `blocks`: the residual stream is rotated. */
  | RotateStep
  /** Inside `blocks`: what the layers that read such an input multiply is rounded, wherever the model runs. */
  | RoundStep
  /**
   * Trains a block, inside of `blocks`, or the whole model. What its layers store is what every pass uses, and what is
   * stored in the end.
   */
  | TrainStep
  | { readonly kind: "expect"; readonly condition: Condition; readonly text: string; readonly span: Span }
  | { readonly kind: "save"; readonly name: string; readonly span: Span };

/**
 * Which tensors a loop takes: the embedding or the head, each for itself, both (one table where they are tied), the gains
 * of norms, the biases of linear layers.
 */
export type TensorKind = "embedding" | "head" | "tables" | "norms" | "biases";

export interface TensorsStep {
  readonly kind: "tensors";
  readonly of: TensorKind;
  readonly matching: readonly NamePattern[];
  readonly except: readonly NamePattern[];
  readonly treatments: readonly Treatment[];
  readonly span: Span;
}

export interface ScaleStep {
  readonly kind: "scale";
  readonly matching: readonly NamePattern[];
  readonly except: readonly NamePattern[];
  readonly computed: Computed;
  /** What is to take the scale; null: whatever can. */
  readonly through: NamePattern | null;
  /** The statement's. */
  readonly at: Span;
  readonly span: Span;
}

/**
 * The residual stream is multiplied by an orthogonal matrix, f32 [K, K] of K features, which the graph gives of K alone:
 * it is folded into all weights that read and write the stream, and the gains of the norms before these, which become
 * ones. What these are is found in the graphs of the model's functions.
 */
export interface RotateStep {
  readonly kind: "rotate";
  readonly graph: SymbolicGraph;
  /** The statement's. */
  readonly at: Span;
  readonly span: Span;
}

/** In what activations are rounded, and of `tensor` how a run finds the scale: the graph gives one number, f32. */
export type RoundedActivations =
  | Extract<ActivationFormat, { readonly group: number | "token" }>
  | { readonly name: "int8"; readonly group: "tensor"; readonly scale: Computed };

export interface RoundStep {
  readonly kind: "round";
  readonly matching: readonly NamePattern[];
  readonly except: readonly NamePattern[];
  readonly activations: RoundedActivations;
  /** The statement's. */
  readonly at: Span;
  readonly span: Span;
}

export interface TrainStep {
  readonly kind: "train";
  readonly scope: "block" | "model";
  /** The name of the loss. */
  readonly function: string;
  /** Gives the loss of each token, of what the block or the model gives and what it should. */
  readonly loss: SymbolicGraph;
  /** What is asked of each block of a model besides. */
  readonly beside: BesideLoss | null;
  readonly settings: TrainSettings;
  readonly layers: readonly Extract<RecipeStep, { kind: "linears" }>[];
  readonly span: Span;
}

/** The loss of blocks beside that of a model. */
export interface BesideLoss {
  readonly function: string;
  /** Gives the loss of each token, of what a block gives and what it gave in the model as it was given. */
  readonly loss: SymbolicGraph;
  /** What the mean of the blocks counts beside the loss of the model. */
  readonly weight: number;
}

/** The settings of a training, all filled in. */
export interface TrainSettings {
  /** Steps, or passes over the text: one of both is null. */
  readonly steps: number | null;
  readonly epochs: number | null;
  /** The learning rate. */
  readonly rate: number;
  /** Steps over which the rate grows. */
  readonly warmup: number;
  /** Windows a step. */
  readonly batch: number;
  /** The norm that gradients are clipped to; 0: none. */
  readonly clip: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly decay: number;
  /** The rate at the end over that at the beginning. */
  readonly final: number;
  readonly seed: number;
  /** Whether the gains of norms are trained, too. */
  readonly norms: boolean;
  /** The part of the text's windows that is watched, and not trained on. */
  readonly held_out: number;
  /** Steps from one look at them to the next. */
  readonly watch: number;
  /** In a block: whether it receives what the blocks before it gave in the model as it was given. */
  readonly dense_inputs: boolean;
}

/**
 * A glob over module names such as `model.layers.3.self_attn.q_proj`: `*` stands for any run of characters. A pattern
 * that has no dot matches the last component of the name.
 */
export interface NamePattern {
  readonly glob: string;
  readonly span: Span;
}

/** A value that a run computes for a layer, and where each input of its graph comes from. */
export interface Computed {
  readonly graph: SymbolicGraph;
  readonly inputs: readonly TreatmentInput[];
}

/** A number for each layer of a loop, f32. */
export interface Measure {
  readonly id: number;
  readonly name: string;
  /** The size symbol for how many layers its loop takes. */
  readonly count: string;
}

/** What is done to a layer for which every condition holds: at most one treatment of a step stores. */
export interface Treatment {
  readonly conditions: readonly { readonly pattern: NamePattern; readonly negate: boolean }[];
  /**
   * What a run computes to choose between treatments, in order: each gives f32, not 0 where it holds. Those of different
   * treatments with one place and the same before them are the same.
   */
  readonly choices: readonly (Computed & { readonly text: string; readonly holds: boolean; readonly span: Span })[];
  /** What is measured of the layer, each an f32 number of the layer as it was before anything is stored. */
  readonly measures: readonly (Computed & { readonly measure: Measure })[];
  /** What is printed of the layer, each an f32 number of the layer as it was before anything is stored. */
  readonly prints: readonly (Computed & { readonly text: string })[];
  /** How the channels that the layer takes change places, before anything is stored; null where they stay. */
  readonly permutes: Permutation | null;
  readonly graph: SymbolicGraph;
  /** Where each input of the graph comes from, by input name. */
  readonly inputs: readonly TreatmentInput[];
  /**
   * The name of the graph's output that becomes the layer's weight, with its pattern and format; null: the layer is
   * left alone.
   */
  readonly stores: string | null;
  /** Which columns of the layer stay; null: all. */
  readonly retains: Retention | null;
}

/** Columns of a layer that stay in the model; the others go, with all of other layers that belongs to them. */
export interface Retention extends Computed {
  /** Below 1 a share of the parts that the columns have, else how many of them. */
  readonly kept: number;
  readonly span: Span;
}

/**
 * The columns of a weight change places, and so do all weights that share the axis: the model gives what it gave. Places
 * that may be exchanged, all or those within the heads that share values, have an order of their own, which begins as
 * it is.
 */
export interface Permutation {
  /** f32 [N, K], what a channel counts for. */
  readonly score: Computed;
  /** The name of the function that exchanges. */
  readonly function: string;
  /** Of `score` f32 [N, C], `order` i32 [C] and `round` i32: the order from there on. */
  readonly exchange: SymbolicGraph;
  readonly rounds: number;
  readonly span: Span;
}

export type TreatmentInput =
  /** The weight as it is now, dense f32 [N, K]; of a vector f32 [K]. */
  | { readonly name: string; readonly kind: "weight" }
  /** Within a training, the weight as it was when that began, dense f32 [N, K]; there, `weight` is the one trained. */
  | { readonly name: string; readonly kind: "start" }
  /** The weight as it is stored now, or as it was when a training began, without a correction that is beside it. */
  | { readonly name: string; readonly kind: "packed" }
  /**
   * The factors of that correction, f32 [N + K, R]: a[N, R], and below it b[R, K] transposed. Within a training those
   * that are trained, in the weight's stead.
   */
  | { readonly name: string; readonly kind: "factors" }
  /** The weight of the model as it was given, dense f32 [N, K]. */
  | { readonly name: string; readonly kind: "original" }
  | { readonly name: string; readonly kind: "statistic"; readonly observe: number }
  /** What was measured of all layers of a loop, f32 [layers] in the order of the model, or f32 of this layer. */
  | {
      readonly name: string;
      readonly kind: "measured" | "measured_here";
      readonly measure: number;
      readonly span: Span;
    }
  /** f32 scalars: how many windows (sequences) and tokens the calibration text has. */
  | { readonly name: string; readonly kind: "windows" | "tokens" }
  /** An f32 scalar: the place of the layer among the linear layers of the model, from 0. */
  | { readonly name: string; readonly kind: "number" }
  /** f32 scalars: the number of the layer's block, from 0, and how many blocks the model has. */
  | { readonly name: string; readonly kind: "block" | "blocks" }
  /**
   * Within a training, f32 [2]: how many steps of it have been made, and how many it makes. In what is watched and
   * stored, both are the same.
   */
  | { readonly name: string; readonly kind: "clock" }
  /** Within a training, f32 of two axes, which is trained as the weight is. `start` gives what it begins as. */
  | {
      readonly name: string;
      readonly kind: "parameter";
      readonly start: Computed;
    };

/** A condition over perplexities of the model as it is now and of the model as it was given (`model.dense`). */
export type Condition =
  | {
      readonly kind: "compare";
      readonly op: "less" | "less_equal" | "greater" | "greater_equal";
      readonly left: Quantity;
      readonly right: Quantity;
    }
  | { readonly kind: "and"; readonly left: Condition; readonly right: Condition };

export type Quantity =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "perplexity"; readonly of: "model" | "dense" }
  | {
      readonly kind: "arithmetic";
      readonly op: "add" | "subtract" | "multiply" | "divide";
      readonly left: Quantity;
      readonly right: Quantity;
    };
