/** What loops over layers measure: a number for each layer, which later loops see together. */
import { error, InternalError, type Diagnostic } from "../../../compiler/diagnostic.js";
import type { Measure, Recipe, RecipeStep, Treatment } from "../../../compiler/recipe/recipe.js";
import type { Linear, Model } from "../../model/model.js";
import { LlamaError } from "../error.js";
import type { MeasuredLayers } from "../long-runs/manifest.js";
import { isSelected } from "./names.js";

/** Everything that was measured so far. */
export interface Measured {
  /** @throws LlamaError not-finite */
  set(measure: Measure, layer: Linear, value: number): void;
  /** Of all layers of the measure's loop, in the order of the model. */
  all(measure: number): Float32Array<ArrayBuffer>;
  of(measure: number, layer: Linear): number;
  found(): readonly MeasuredLayers[];
}

/** What was measured, beginning with what a stopped run has found. */
export function createMeasured(model: Pick<Model, "linears">, before: readonly MeasuredLayers[] = []): Measured {
  const measures = new Map(
    before.map(({ id, name, layers }) => [id, { name, values: new Map(layers.map((one) => [one.layer, one.value])) }]),
  );
  const listed = (id: number): readonly { readonly layer: string; readonly value: number }[] => {
    const values = measures.get(id)?.values;
    if (values === undefined) throw new InternalError(`nothing has the measure ${id}`);
    return model.linears.flatMap(({ name }) => {
      const value = values.get(name);
      return value === undefined ? [] : [{ layer: name, value }];
    });
  };
  return {
    set({ id, name }, { name: layer }, value) {
      if (!Number.isFinite(value))
        throw new LlamaError(
          "not-finite",
          `What the recipe measures as ${name} is ${value} for ${layer}, and should be finite.`,
        );
      const known = measures.get(id) ?? { name, values: new Map<string, number>() };
      known.values.set(layer, value);
      measures.set(id, known);
    },
    all: (id) => Float32Array.from(listed(id), ({ value }) => value),
    of(id, { name }) {
      const value = measures.get(id)?.values.get(name);
      if (value === undefined) throw new InternalError(`the measure ${id} is not known of ${name}`);
      return value;
    },
    found: () => [...measures].map(([id, { name }]) => ({ id, name, layers: listed(id) })),
  };
}

/** Loops over layers, in order, those inside of blocks and trainings too. */
function loopsOf(steps: readonly RecipeStep[]): readonly Extract<RecipeStep, { kind: "linears" }>[] {
  return steps.flatMap((step) => (step.kind === "linears" ? [step] : step.kind === "blocks" ? loopsOf(step.body) : []));
}

/** Whether a step makes channels change places. */
export function permutes(step: RecipeStep): boolean {
  return loopsOf([step]).some(({ treatments }) => treatments.some((treatment) => treatment.permutes !== null));
}

/** What a treatment computes: its choices, what it measures and prints, and what it stores. */
function inputsOf(treatment: Treatment): Treatment["inputs"] {
  return [
    treatment,
    ...treatment.choices,
    ...treatment.measures,
    ...treatment.prints,
    ...(treatment.permutes === null ? [] : [treatment.permutes.score]),
  ].flatMap(({ inputs }) => inputs);
}

/** Whether a recipe measures layers, chooses by what it computes, or moves channels: then a layer's treatment depends on others. */
export function measuresOrChooses(recipe: Recipe): boolean {
  return loopsOf(recipe.steps).some(({ treatments }) =>
    treatments.some(({ choices, measures, permutes: moved }) => choices.length + measures.length > 0 || moved !== null),
  );
}

/** The size symbols of measures: how many layers of the model each loop takes that measures. */
export function layerCounts(recipe: Recipe, model: Pick<Model, "linears">): { readonly [symbol: string]: number } {
  const counts: { [symbol: string]: number } = {};
  for (const step of loopsOf(recipe.steps))
    for (const { measure } of step.treatments.flatMap(({ measures }) => measures))
      counts[measure.count] = model.linears.filter(({ name }) => isSelected(step, name)).length;
  return counts;
}

/** E605 for layers of which a loop takes what an earlier one has not measured. */
export function unmeasured(recipe: Recipe, model: Pick<Model, "linears">): readonly Diagnostic[] {
  const known = new Map<number, { readonly name: string; readonly layers: ReadonlySet<string> }>();
  const found = new Map<string, Diagnostic>();
  for (const step of loopsOf(recipe.steps)) {
    const layers = model.linears.filter(({ name }) => isSelected(step, name)).map(({ name }) => name);
    for (const input of step.treatments.flatMap(inputsOf)) {
      if (input.kind !== "measured_here") continue;
      const measure = known.get(input.measure);
      const missing = layers.filter((layer) => !measure?.layers.has(layer));
      if (missing.length === 0) continue;
      found.set(
        `${input.measure} ${step.span.start}`,
        error(
          "E605",
          `\`${measure?.name ?? input.name}\` is not measured for ${missing[0]}${missing.length > 1 ? ` and ${missing.length - 1} more` : ""}`,
          { span: input.span, message: "taken of a layer that was not measured" },
          { help: "give both loops the same `matching` and `except`" },
        ),
      );
    }
    for (const { measure } of step.treatments.flatMap(({ measures }) => measures))
      known.set(measure.id, { name: measure.name, layers: new Set(layers) });
  }
  return [...found.values()];
}
