import type { NamePattern, RecipeStep, Treatment } from "../../../compiler/recipe/recipe.js";

/**
 * Whether a module's name matches a glob: `*` is any run of characters; a glob without a dot is for the last component.
 */
export function matchesName(pattern: NamePattern, name: string): boolean {
  const { glob } = pattern;
  const subject = glob.includes(".") ? name : (name.split(".").at(-1) ?? name);
  const source = glob
    .split("*")
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"))
    .join(".*");
  return new RegExp(`^${source}$`, "s").test(subject);
}

/** Whether a step over linear layers takes the layer of this name. */
export function isSelected(
  step: { readonly matching: readonly NamePattern[]; readonly except: readonly NamePattern[] },
  name: string,
): boolean {
  const wanted = step.matching.length === 0 || step.matching.some((pattern) => matchesName(pattern, name));
  return wanted && !step.except.some((pattern) => matchesName(pattern, name));
}

/** The treatments whose conditions on names hold: more than one where the run chooses among them. */
export function treatmentsFor(treatments: readonly Treatment[], name: string): readonly Treatment[] {
  return treatments.filter(({ conditions }) =>
    conditions.every(({ pattern, negate }) => matchesName(pattern, name) !== negate),
  );
}

/** The place of a layer among the linear layers of a model, block after block, from 0. */
export function layerNumber(
  { blocks }: { readonly blocks: readonly { readonly linears: readonly { readonly name: string }[] }[] },
  layer: string,
): number {
  return blocks.flatMap(({ linears }) => linears).findIndex(({ name }) => name === layer);
}

/** Whether a loop over layers may do something to the layer of this name. */
export function worksOn(step: Extract<RecipeStep, { kind: "linears" }>, name: string): boolean {
  return (
    isSelected(step, name) &&
    treatmentsFor(step.treatments, name).some(
      ({ stores, measures, prints, permutes }) =>
        stores !== null || measures.length + prints.length > 0 || permutes !== null,
    )
  );
}

/**
 * The treatment whose conditions on names hold and that stores something, or null; the first, where a run chooses.
 */
export function treatmentOf(treatments: readonly Treatment[], name: string): Treatment | null {
  return treatmentsFor(treatments, name).find(({ stores }) => stores !== null) ?? null;
}
