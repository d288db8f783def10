import { fail, type Frame } from "./frame.js";
import type { Observed } from "./observe.js";
import type { NamePattern, TrainStep } from "../recipe/recipe.js";
import type { RecipeDeclaration, StringExpr } from "../syntax/ast.js";

/** What the checking of one recipe needs all along. */
export interface RecipeContext {
  readonly frame: Frame;
  readonly recipe: RecipeDeclaration;
  readonly observed: Observed[];
  /** Where it stands: over blocks, or outside. */
  readonly block: string | null;
  /** Within a training, what is trained; else null. */
  readonly training: TrainStep["scope"] | null;
}

/** A name pattern; an empty one matches nothing. */
export function namePattern(pattern: StringExpr, frame: Frame): NamePattern {
  if (pattern.value.trim() === "") fail(frame, "E605", "an empty pattern matches no layer", pattern.span, "empty");
  return { glob: pattern.value, span: pattern.span };
}
