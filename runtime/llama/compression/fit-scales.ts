/** Whether the scales of a recipe cancel in a model, and stand where they can: told before a weight is read. */
import { error, type Diagnostic, type Span } from "../../../compiler/diagnostic.js";
import type { Recipe, RecipeStep, RoundStep, ScaleStep } from "../../../compiler/recipe/recipe.js";
import { compileStages } from "../../../compiler/compile.js";
import type { Target } from "../../../compiler/target.js";
import { listed } from "../../../compiler/words.js";
import type { Block, Linear } from "../../model/layout.js";
import type { Model } from "../../model/model.js";
import type { Functions } from "../functions.js";
import { inputsOf, moduleOf, pairOf, type LayerInput } from "./pairs.js";
import { isSelected, treatmentsFor } from "./names.js";

/** E613 for scales that do not cancel, E614 for those at the wrong time; each place once. */
export function scaleFindings(
  functions: Functions,
  model: Model,
  recipe: Recipe,
  target: Target,
): readonly Diagnostic[] {
  const found = new Map<string, Diagnostic>();
  const add = (each: Diagnostic, { file, start }: Span): void => {
    const key = `${each.code} ${file} ${start}`;
    if (!found.has(key)) found.set(key, each);
  };
  /** Tensors that were stored, by their parameters' modules, and the places that did so. */
  const stored = new Map<string, Span>();
  for (const step of recipe.steps) {
    const body = step.kind === "blocks" ? step.body : step.kind === "linears" ? [step] : [];
    for (const block of model.blocks) inBlock(functions, block, body, stored, add);
    if (step.kind === "train") for (const { name } of model.linears) stored.set(name, step.span);
  }
  const compiled = new Set<string>();
  for (const step of recipe.steps.flatMap((each) => (each.kind === "blocks" ? each.body : []))) {
    const computed = computedOf(step);
    if (computed === null) continue;
    for (const block of model.blocks)
      for (const { layers } of inputsOf(functions, block, computed.step)) {
        const sizes = { N: layers.reduce((sum, { outputs }) => sum + outputs, 0), K: layers[0]?.inputs ?? 0 };
        const key = `${computed.step.at.file} ${computed.step.at.start} ${sizes.N} ${sizes.K}`;
        if (compiled.has(key)) continue;
        compiled.add(key);
        const stages = compileStages(computed.graph, { sizes }, target);
        const where = `for what reads the input of ${layers[0]?.name}, N = ${sizes.N}, K = ${sizes.K}`;
        if ("diagnostics" in stages)
          for (const each of stages.diagnostics)
            add({ ...each, notes: [...each.notes, where] }, each.labels[0]?.span ?? computed.step.at);
      }
  }
  return [...found.values()];
}

/** What a step computes of inputs; null for nothing. */
function computedOf(
  step: RecipeStep,
): { readonly step: ScaleStep | RoundStep; readonly graph: ScaleStep["computed"]["graph"] } | null {
  if (step.kind === "scale") return { step, graph: step.computed.graph };
  return step.kind === "round" && step.activations.group === "tensor"
    ? { step, graph: step.activations.scale.graph }
    : null;
}

function inBlock(
  functions: Functions,
  block: Block,
  body: readonly RecipeStep[],
  stored: Map<string, Span>,
  add: (found: Diagnostic, at: Span) => void,
): void {
  /** When a statistic was observed, and when a layer's input was scaled last. */
  const observed = new Map<number, number>();
  const scaled = new Map<string, { readonly time: number; readonly at: Span }>();
  const stale = (
    layer: string,
    inputs: readonly { readonly kind: string; readonly observe?: number }[],
  ): Span | null => {
    const last = scaled.get(layer);
    const old = inputs.some(
      (input) => input.kind === "statistic" && (observed.get(input.observe ?? -1) ?? 0) < (last?.time ?? -1),
    );
    return old ? (last?.at ?? null) : null;
  };
  for (const [time, step] of body.entries()) {
    if (step.kind === "observe") observed.set(step.id, time);
    else if (step.kind === "scale")
      for (const input of inputsOf(functions, block, step)) {
        const pair = pairOf(functions, block, input, step.through);
        if (pair.kind === "none") {
          add(doesNotCancel(functions, block, input, step), step.at);
          continue;
        }
        const names = [
          ...input.layers.map(({ name }) => name),
          ...pair.producers.map((each) => moduleOf(block, each.input)),
        ];
        const before = names.find((name) => stored.has(name));
        if (before !== undefined) add(afterStore(before, stored.get(before)!, step), step.at);
        const first = input.layers[0]?.name ?? "";
        const old = stale(first, step.computed.inputs);
        if (old !== null) add(beforeScale(first, old, step.at), step.at);
        for (const { name } of input.layers) scaled.set(name, { time, at: step.at });
      }
    else if (step.kind === "round") {
      const { activations } = step;
      for (const { layers } of inputsOf(functions, block, step)) {
        const [first] = layers;
        if (first === undefined) continue;
        if (typeof activations.group === "number" && first.inputs % activations.group !== 0)
          add(noGroups(first, activations.group, step.at), step.at);
        const old = activations.group === "tensor" ? stale(first.name, activations.scale.inputs) : null;
        if (old !== null) add(beforeScale(first.name, old, step.at), step.at);
      }
    } else if (step.kind === "linears")
      for (const { name } of block.linears) {
        if (!isSelected(step, name)) continue;
        for (const treatment of treatmentsFor(step.treatments, name)) {
          const parts = [treatment, ...treatment.choices, ...treatment.measures, ...treatment.prints];
          const old = parts.map(({ inputs }) => stale(name, inputs)).find((span) => span !== null);
          if (old != null) add(beforeScale(name, old, step.span), step.span);
          if (treatment.stores !== null) stored.set(name, step.span);
        }
      }
    else if (step.kind === "train") for (const { name } of block.linears) stored.set(name, step.span);
  }
}

function doesNotCancel(functions: Functions, block: Block, input: LayerInput, { through, at }: ScaleStep): Diagnostic {
  const names = input.layers.map(({ name }) => name.split(".").at(-1) ?? name);
  const refused = pairOf(functions, block, input, through);
  const works = through === null ? null : pairOf(functions, block, input, null);
  const reasons = refused.kind === "none" ? refused.ways.map(({ reason }) => reason) : [];
  const producers =
    works?.kind === "pair" ? works.producers.map((each) => moduleOf(block, each.input).split(".").at(-1) ?? "") : [];
  const [first] = producers;
  return error(
    "E613",
    `the scale of ${listed(names)} does not cancel${through === null ? "" : ` through "${through.glob}"`} in ${block.name}`,
    { span: through?.span ?? at, message: "nothing here can be divided by it" },
    {
      notes: reasons.slice(0, 3).map((reason) => `in ${block.layout.function}, ${reason}`),
      help:
        first === undefined
          ? `leave these out: \`except "${names[0]}"\``
          : `what takes it is ${listed([...new Set(producers)])}: write \`through "${first}"\`, or leave \`through\` out`,
    },
  );
}

function noGroups({ name, inputs }: Linear, group: number, at: Span): Diagnostic {
  return error(
    "E621",
    `the ${inputs} inputs of ${name} are no groups of ${group}`,
    { span: at, message: `${inputs} % ${group} is not 0` },
    { help: "take `int8(token)`, a scale for each token, or a group that divides them" },
  );
}

function afterStore(name: string, before: Span, { at }: ScaleStep): Diagnostic {
  return error(
    "E614",
    `${name} is scaled after it was stored`,
    { span: at, message: "its grid was chosen for other values" },
    { labels: [{ span: before, message: "stored here" }], help: "scale first, then store" },
  );
}

function beforeScale(name: string, scaled: Span, at: Span): Diagnostic {
  return error(
    "E614",
    `what is taken of ${name} was observed before its input was scaled`,
    { span: at, message: "a statistic of the input as it was" },
    { labels: [{ span: scaled, message: "scaled here" }], help: "observe the block again behind the scale" },
  );
}
