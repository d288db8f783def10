/** What must hold of every recipe that the checker makes; a fault found here is a fault of the checker. */
import { verify } from "../graph/verify.js";
import { sizeSymbols } from "../types/size.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { Computed, Recipe, RecipeStep, Treatment } from "./recipe.js";

/** What the inputs of a block's layers have. */
const scaleInputs: ReadonlySet<string> = new Set(["weight", "statistic", "windows", "tokens"]);

/** The faults of a recipe, each a sentence; none for a recipe in order. */
export function verifyRecipe(recipe: Recipe): readonly string[] {
  const faults: string[] = [];
  const ids = new Set<number>();
  const names = recipe.parameters.map((parameter) => parameter.name);
  if (new Set(names).size < names.length) faults.push("two parameters have one name");
  for (const parameter of recipe.parameters)
    if (typeof parameter.value !== typeof parameter.fallback)
      faults.push(`${parameter.name} is set to a value of another type`);
  const ofInput = ({ graph, inputs }: Computed): void => {
    faults.push(...verify(graph).map((fault) => `a scale: ${fault}`));
    if (inputs.some(({ kind }) => !scaleInputs.has(kind))) faults.push("a scale takes more than an input has");
    for (const input of inputs)
      if (input.kind === "statistic" && !ids.has(input.observe))
        faults.push(`${input.name} is observed nowhere before`);
  };
  const steps = (list: readonly RecipeStep[], inBlock: boolean, trained = false): void =>
    list.forEach((step) => visit(step, inBlock, trained));
  const visit = (step: RecipeStep, inBlock: boolean, trained: boolean): void => {
    switch (step.kind) {
      case "blocks":
        if (inBlock) faults.push("blocks inside blocks");
        return steps(step.body, true);
      case "observe":
        if (!inBlock) faults.push(`observe ${step.name} outside blocks`);
        if (ids.has(step.id)) faults.push(`two observations have the id ${step.id}`);
        ids.add(step.id);
        faults.push(...verifyStatistic(step.graph).map((fault) => `observe ${step.name}: ${fault}`));
        if (!recipe.needsText) faults.push("observes without needing a text");
        return;
      case "linears":
        step.treatments.forEach((treatment, at) =>
          faults.push(...verifyTreatment(treatment, ids, trained).map((fault) => `treatment ${at}: ${fault}`)),
        );
        return;
      case "tensors":
        if (trained) faults.push(`a training takes ${step.of}`);
        if (inBlock && step.of !== "norms" && step.of !== "biases") faults.push(`${step.of} inside of blocks`);
        step.treatments.forEach((treatment, at) => {
          faults.push(...verifyTreatment(treatment, ids, false).map((fault) => `treatment ${at}: ${fault}`));
          if (treatment.measures.length + treatment.prints.length > 0)
            faults.push(`${step.of} are measured or printed`);
        });
        return;
      case "scale":
        if (!inBlock) faults.push("a scale outside blocks");
        return ofInput(step.computed);
      case "rotate":
        if (inBlock) faults.push("a rotation inside blocks");
        if (step.graph.inputs.length > 0) faults.push("a rotation depends on more than its size");
        faults.push(...verify(step.graph).map((fault) => `a rotation: ${fault}`));
        return;
      case "round":
        if (!inBlock) faults.push("a rounding outside blocks");
        return step.activations.group === "tensor" ? ofInput(step.activations.scale) : undefined;
      case "train":
        if (inBlock !== (step.scope === "block")) faults.push(`a training of the ${step.scope} at another place`);
        if (!recipe.needsText) faults.push("trains without needing a text");
        faults.push(...verify(step.loss).map((fault) => `the loss ${step.function}: ${fault}`));
        if (step.beside !== null) {
          if (step.scope === "block") faults.push("a training of a block has a second loss");
          faults.push(...verify(step.beside.loss).map((fault) => `the loss ${step.beside?.function}: ${fault}`));
        }
        if ((step.settings.steps === null) === (step.settings.epochs === null))
          faults.push(`the loss ${step.function} is trained for steps and epochs, or for neither`);
        if (step.layers.length === 0) faults.push("trains no layer");
        return steps(step.layers, inBlock, true);
      case "expect":
        if (!recipe.needsText) faults.push("expects without needing a text");
        return;
      case "save":
        return;
      default:
        step satisfies never;
    }
  };
  steps(recipe.steps, false);
  return faults;
}

function verifyStatistic(graph: SymbolicGraph): readonly string[] {
  const faults = [...verify(graph)];
  const [input, dense, ...more] = graph.inputs;
  if (input?.name !== "x" || (dense !== undefined && dense.name !== "dense") || more.length > 0)
    faults.push("its inputs are not x, or x and dense");
  const output = graph.outputs[0] === undefined ? undefined : graph.values[graph.outputs[0].value];
  if (output === undefined || graph.outputs.length !== 1) faults.push("it has not one output");
  else if (output.type.shape.some((size) => [...sizeSymbols(size)].some((symbol) => symbol !== "K")))
    faults.push("its output depends on more than K");
  return faults;
}

function verifyTreatment(treatment: Treatment, observed: ReadonlySet<number>, trained: boolean): readonly string[] {
  const faults = [...verify(treatment.graph)];
  const inputs = treatment.inputs.map((input) => input.name);
  const expected = treatment.graph.inputs.map((input) => input.name);
  if (inputs.length !== expected.length || inputs.some((name) => !expected.includes(name)))
    faults.push(`its inputs are ${inputs.join(", ")}, and its graph takes ${expected.join(", ")}`);
  const kinds = treatment.inputs.map(({ kind }) => kind);
  if (!trained && kinds.includes("start")) faults.push("it takes a weight as a training began, and there is none");
  if (trained && kinds.some((kind) => kind === "statistic" || kind === "windows" || kind === "tokens"))
    faults.push("a training takes what was observed");
  if (
    trained &&
    treatment.stores !== null &&
    !kinds.some((kind) => kind === "weight" || kind === "factors" || kind === "parameter")
  )
    faults.push("it stores nothing that is trained");
  if (!trained && (kinds.includes("parameter") || kinds.includes("clock")))
    faults.push("it takes what only a training has");
  for (const input of treatment.inputs)
    if (input.kind === "parameter") faults.push(...verify(input.start.graph).map((fault) => `${input.name}: ${fault}`));
  for (const input of treatment.inputs)
    if (input.kind === "statistic" && !observed.has(input.observe))
      faults.push(`${input.name} is observed nowhere before`);
  if (treatment.stores !== null && !treatment.graph.outputs.some((output) => output.name === treatment.stores))
    faults.push(`its graph has no output ${treatment.stores}`);
  const retains = treatment.retains === null ? [] : [treatment.retains];
  for (const { graph } of [treatment, ...treatment.choices, ...treatment.measures, ...treatment.prints, ...retains])
    if (graph.parameters.sizes.some((size) => !/^(N|K|R|L\d*)$/.test(size)))
      faults.push("its sizes are not N, K, the rank R and numbers of layers");
  const { permutes } = treatment;
  if (permutes !== null) {
    faults.push(...[permutes.score.graph, permutes.exchange].flatMap((graph) => verify(graph)));
    if (treatment.stores !== null || trained) faults.push("it permutes what it stores");
  }
  for (const { graph, inputs: given } of [
    ...treatment.choices,
    ...treatment.measures,
    ...treatment.prints,
    ...retains,
  ]) {
    faults.push(...verify(graph));
    if (graph.inputs.some(({ name }) => !given.some((input) => input.name === name)))
      faults.push("an input is missing");
    if (graph.outputs.length !== 1) faults.push("a number or a score is not one result");
  }
  if (trained && retains.length > 0) faults.push("a training retains");
  if (trained && treatment.choices.length + treatment.measures.length + treatment.prints.length > 0)
    faults.push("a training measures, prints or chooses");
  return faults;
}
