import { printActivations } from "../types/activation-format.js";
import { printGraph } from "../graph/print.js";
import type {
  Computed,
  Condition,
  NamePattern,
  Permutation,
  Quantity,
  Recipe,
  RecipeStep,
  Treatment,
} from "./recipe.js";

/** A recipe as text, for people and for goldens: its steps in order, each with its graphs. */
export function printRecipe(recipe: Recipe): string {
  const parameters = recipe.parameters.map(
    ({ name, value, fallback }) =>
      `${name} = ${String(value)}${value === fallback ? "" : ` (default ${String(fallback)})`}`,
  );
  const head = `recipe ${recipe.name}(${parameters.join(", ")})${recipe.needsText ? " over a text" : ""}`;
  return [head, ...recipe.steps.flatMap((step) => indent(printStep(step))), ""].join("\n");
}

function printStep(step: RecipeStep): readonly string[] {
  switch (step.kind) {
    case "blocks":
      return ["for each block", ...step.body.flatMap((inner) => indent(printStep(inner)))];
    case "observe":
      return [
        `observe #${step.id} ${step.name} by ${step.function}${step.combines === "sum" ? "" : `, ${step.combines}`}`,
        ...indent(lines(printGraph(step.graph))),
      ];
    case "tensors":
    case "linears":
      return [
        `for each ${step.kind === "linears" ? "linear layer" : `tensor of ${step.of}`}${patterns("matching", step.matching)}${patterns("except", step.except)}`,
        ...step.treatments.flatMap((treatment) => indent(printTreatment(treatment))),
      ];
    case "scale": {
      const { computed, through } = step;
      return [
        `for each input${patterns("matching", step.matching)}${patterns("except", step.except)}`,
        ...indent(printComputed(`scale${through === null ? "" : ` through "${through.glob}"`}`, computed)),
      ];
    }
    case "rotate":
      return ["for the stream of the model", ...indent(["rotate", ...indent(lines(printGraph(step.graph)))])];
    case "round":
      return [
        `for each input${patterns("matching", step.matching)}${patterns("except", step.except)}`,
        ...indent(
          step.activations.group === "tensor"
            ? printComputed(`round as ${printActivations(step.activations)}, its scale`, step.activations.scale)
            : [`round as ${printActivations(step.activations)}`],
        ),
      ];
    case "train":
      return [
        `train ${step.scope === "block" ? "the block" : "the model"} by ${step.function}(${Object.entries(step.settings)
          .flatMap(([name, value]) => (value === null ? [] : [`${name} = ${String(value)}`]))
          .join(", ")})${step.beside === null ? "" : ` and ${step.beside.function}(weight = ${step.beside.weight})`}`,
        ...indent(lines(printGraph(step.loss))),
        ...(step.beside === null ? [] : indent(lines(printGraph(step.beside.loss)))),
        ...step.layers.flatMap((inner) => indent(printStep(inner))),
      ];
    case "expect":
      return [`expect ${printCondition(step.condition)}`];
    case "save":
      return [`save "${step.name}"`];
    default:
      return step satisfies never;
  }
}

function patterns(word: string, list: readonly NamePattern[]): string {
  return list.length === 0 ? "" : ` ${word} ${list.map((pattern) => `"${pattern.glob}"`).join(", ")}`;
}

function printTreatment(treatment: Treatment): readonly string[] {
  const conditions = treatment.conditions
    .map(({ pattern, negate }) => `${negate ? "not " : ""}matches "${pattern.glob}"`)
    .join(" and ");
  const chosen = treatment.choices.map(({ text, holds }) => `${holds ? "" : "not "}(${text})`).join(" and ");
  const when = [conditions === "" ? "" : `it ${conditions}`, chosen].filter((each) => each !== "").join(" and ");
  const head = when === "" ? "always" : `where ${when}`;
  return [
    ...treatment.choices.flatMap((choice) => printComputed(`${head}: choose by ${choice.text}`, choice)),
    ...treatment.measures.flatMap(({ measure, ...computed }) =>
      printComputed(`${head}: measure #${measure.id} ${measure.name}`, computed),
    ),
    ...treatment.prints.flatMap(({ text, ...computed }) => printComputed(`${head}: print ${text}`, computed)),
    ...(treatment.permutes === null ? [] : printPermutation(head, treatment.permutes)),
    ...(treatment.retains === null
      ? []
      : printComputed(`${head}: retain ${treatment.retains.kept} of its columns`, treatment.retains)),
    ...(treatment.stores === null
      ? [`${head}: leave it`]
      : printComputed(`${head}: store ${treatment.stores}`, treatment)),
  ];
}

function printPermutation(head: string, { score, function: by, exchange, rounds }: Permutation): readonly string[] {
  return [
    ...printComputed(`${head}: permute by ${by}(rounds = ${rounds})`, score),
    ...indent(lines(printGraph(exchange))),
  ];
}

function printComputed(head: string, { graph, inputs }: Computed): readonly string[] {
  const given = inputs.map((input) => {
    const of = "observe" in input ? ` #${input.observe}` : "measure" in input ? ` #${input.measure}` : "";
    return `${input.name} = ${input.kind}${of}`;
  });
  return [`${head}, given ${given.join(", ") || "nothing"}`, ...indent(lines(printGraph(graph)))];
}

/** A condition as it could be written. */
export function printCondition(condition: Condition): string {
  if (condition.kind === "and") return `${printCondition(condition.left)} and ${printCondition(condition.right)}`;
  const symbols = { less: "<", less_equal: "<=", greater: ">", greater_equal: ">=" } as const satisfies Record<
    typeof condition.op,
    string
  >;
  return `${printQuantity(condition.left)} ${symbols[condition.op]} ${printQuantity(condition.right)}`;
}

function printQuantity(quantity: Quantity): string {
  switch (quantity.kind) {
    case "number":
      return String(quantity.value);
    case "perplexity":
      return quantity.of === "model" ? "perplexity(model)" : "perplexity(model.dense)";
    case "arithmetic": {
      const symbols = { add: "+", subtract: "-", multiply: "*", divide: "/" } as const satisfies Record<
        typeof quantity.op,
        string
      >;
      return `(${printQuantity(quantity.left)} ${symbols[quantity.op]} ${printQuantity(quantity.right)})`;
    }
    default:
      return quantity satisfies never;
  }
}

function lines(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "");
}

function indent(list: readonly string[]): readonly string[] {
  return list.map((line) => `  ${line}`);
}
