import { fail, type Frame } from "./frame.js";
import { bind, lookup, peek, type Scope } from "./scope.js";
import type { Observed } from "./observe.js";
import type { Span } from "../diagnostic.js";
import type { Measure, NamePattern, TrainStep } from "../recipe/recipe.js";
import type { ForStatement, MeasureStatement, PatternName, RecipeDeclaration } from "../syntax/ast.js";

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

/** A name pattern, or the one that a parameter is; an empty one matches nothing. */
export function namePattern(pattern: PatternName, frame: Frame, scope: Scope): NamePattern {
  const { span } = pattern;
  if (pattern.kind === "string") return checkedGlob(pattern.value, span, frame);
  const found = lookup(scope, pattern.name);
  if (found?.kind === "string") return checkedGlob(found.value, span, frame);
  const help = `put a pattern in quotes: \`"${pattern.name}"\`, or give the recipe a parameter: \`${pattern.name} = "*.down_proj"\``;
  if (found === null) fail(frame, "E201", `there is no \`${pattern.name}\``, span, "not declared", { help });
  else if (found.kind !== "unknown")
    fail(frame, "E605", `\`${pattern.name}\` is no name pattern`, span, "not a string", { help });
  // reported: what would match all keeps the rest silent
  return { glob: "*", span };
}

function checkedGlob(glob: string, span: Span, frame: Frame): NamePattern {
  if (glob.trim() === "") fail(frame, "E605", "an empty pattern matches no layer", span, "empty");
  return { glob, span };
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
