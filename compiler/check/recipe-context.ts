import { fail, type Frame } from "./frame.js";
import type { Observed } from "./observe.js";
import type { NamePattern } from "../recipe/recipe.js";
import type { RecipeDeclaration, StringExpr } from "../syntax/ast.js";

/** What the checking of one recipe needs all along. */
export interface RecipeContext {
  readonly frame: Frame;
  readonly recipe: RecipeDeclaration;
  readonly observed: Observed[];
  /** Where it stands: over blocks, or outside. */
  readonly block: string | null;
  /** Whether it stands in a training: there a layer has what it began with, and its loops say what is stored. */
  readonly training: boolean;
}

/** A name pattern; an empty one matches nothing. */
export function namePattern(pattern: StringExpr, frame: Frame): NamePattern {
  if (pattern.value.trim() === "") fail(frame, "E605", "an empty pattern matches no layer", pattern.span, "empty");
  return { glob: pattern.value, span: pattern.span };
}
