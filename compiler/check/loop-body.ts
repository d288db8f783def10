import type { ValueId } from "../graph/graph.js";
import type { TreatmentInput } from "../recipe/recipe.js";
import type { ForStatement } from "../syntax/ast.js";
import { newBuilder, type Builder } from "./builder.js";
import type { Frame } from "./frame.js";
import { layerOf } from "./layer.js";
import type { RecipeContext } from "./recipe-context.js";
import { bind, nest, type Scope } from "./scope.js";

/** The body of a loop over weights, checked once for all that it takes. */
export interface LoopBody {
  readonly frame: Frame;
  readonly builder: Builder;
  readonly inputs: readonly { readonly input: TreatmentInput; readonly value: ValueId }[];
  readonly scope: Scope;
  /** Whether an error was reported, or `giveUp` called. */
  hasFailed(): boolean;
  giveUp(): void;
}

/** Opens the body of `for w in ...`, whose `w` is a linear weight. */
export function openLoopBody({ name }: ForStatement, context: RecipeContext, outer: Scope): LoopBody {
  let failed = false;
  const builder = newBuilder();
  const inputs: { readonly input: TreatmentInput; readonly value: ValueId }[] = [];
  const frame: Frame = {
    ...context.frame,
    builder,
    layer: layerOf(name.name, context, builder, inputs, "linear"),
    report: (found) => {
      if (found.severity === "error") failed = true;
      context.frame.report(found);
    },
  };
  const scope = nest(outer);
  bind(scope, name.name, { kind: "layer" }, name.span);
  return {
    frame,
    builder,
    inputs,
    scope: nest(scope),
    hasFailed: () => failed,
    giveUp() {
      failed = true;
    },
  };
}
