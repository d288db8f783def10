import { fail, type Frame } from "./frame.js";
import { bind, peek, type Scope } from "./scope.js";
import type { Observed } from "./observe.js";
import type { Span } from "../diagnostic.js";
import type { Measure, NamePattern, TrainStep } from "../recipe/recipe.js";
import type { ForStatement, MeasureStatement, RecipeDeclaration, StringExpr } from "../syntax/ast.js";

/** What the checking of one recipe needs all along. */
export interface RecipeContext {
  readonly frame: Frame;
  readonly recipe: RecipeDeclaration;
  readonly observed: Observed[];
  /** What loops measure, by id, each with the loop's place. */
  readonly measured: (Measure & { readonly loop: Span; readonly span: Span })[];
  /** The measures whose loop is over. */
  readonly complete: Set<number>;
  /** The scope of the recipe's steps, where what is measured is bound. */
  readonly steps: Scope;
  /** Where channels change places: what was observed before is of the old order. */
  readonly permuted: { readonly span: Span; readonly observed: number }[];
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

/** What a `measure` stands for; each way through a loop comes by, the first declares it. */
export function measuredIn(
  statement: MeasureStatement,
  loop: ForStatement,
  { frame, measured, steps }: RecipeContext,
): Measure | null {
  const { name, span } = statement.name;
  const known = measured.find((each) => each.span.start === span.start && each.span.file === span.file);
  if (known !== undefined) return known;
  const before = peek(steps, name)?.span;
  if (before != null)
    return fail(frame, "E203", `\`${name}\` is declared twice`, span, "declared again", {
      labels: [{ span: before, message: "first declared here" }],
    });
  const loops = [...new Set([...measured.map((each) => each.loop.start), loop.span.start])];
  const at = loops.indexOf(loop.span.start);
  const measure = {
    id: measured.length,
    name,
    count: at === 0 ? "L" : `L${at + 1}`,
    loop: loop.span,
    span,
  };
  measured.push(measure);
  bind(steps, name, { kind: "measured", measure: measure.id }, span);
  return measure;
}
