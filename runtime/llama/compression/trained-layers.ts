/** What a training does to the layers of a model: which it leaves as they are, and which two of its loops store. */
import { error, type Diagnostic } from "../../../compiler/diagnostic.js";
import type { TrainStep } from "../../../compiler/recipe/recipe.js";
import { counted } from "../../../compiler/words.js";
import type { Linear } from "../../model/model.js";
import { isSelected, treatmentOf } from "./names.js";

/** Notes for people, and E605 for each loop that stores what one before it stores, with the first layer of both. */
export function trainedLayers(
  linears: readonly Pick<Linear, "name">[],
  { layers, span }: Pick<TrainStep, "layers" | "span">,
): { readonly notes: readonly string[]; readonly found: readonly Diagnostic[] } {
  const storing = linears.map(({ name }) => ({
    name,
    steps: layers.filter((step) => isSelected(step, name) && treatmentOf(step.treatments, name) !== null),
  }));
  const found = layers.flatMap((step): readonly Diagnostic[] => {
    const again = storing.filter(({ steps }) => steps.indexOf(step) > 0);
    const [one, ...more] = again;
    if (one === undefined) return [];
    const others = more.length === 0 ? "" : `, and ${counted(more.length, "more layer")}`;
    return [
      error(
        "E605",
        `a training stores a layer once, and two of its loops store ${one.name}${others}`,
        { span: step.span, message: "stored again" },
        {
          labels: [{ span: one.steps[0]?.span ?? span, message: "stored here" }],
          help: `leave it out of one of them: \`except "${one.name.split(".").at(-1) ?? one.name}"\``,
        },
      ),
    ];
  });
  const left = storing.filter(({ steps }) => steps.length === 0);
  const [first] = left;
  const notes =
    first === undefined
      ? []
      : [
          left.length === storing.length
            ? "The training stores no layer of this model: only gains of norms are trained, if they are."
            : `The training leaves ${left.length} of ${counted(storing.length, "layer")} as they are, such as ${first.name}.`,
        ];
  return { notes, found };
}
