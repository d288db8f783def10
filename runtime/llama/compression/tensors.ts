/** The tensors of a model beside its linear layers, as recipes take them. */
import type { TensorKind } from "../../../compiler/recipe/recipe.js";
import { embeddingName, headName, normName, type Vector } from "../../model/layout.js";
import type { Linear, Model } from "../../model/model.js";

/**
 * Such a tensor, with the names that a linear layer has: a table `[outputs, inputs]`, or a vector `[inputs]`, whose
 * `outputs` are 1.
 */
export interface BesideTensor extends Linear {
  /** The tensor that it is in the model as given: of the head of a tied model the embedding. */
  readonly source: string;
  readonly isVector: boolean;
}

/**
 * Those of a kind, of a block or, for null, of the model. `isSplit`: whether embedding and head are tensors of their own in
 * a model whose config ties them.
 */
export function tensorsOf(
  model: Pick<Model, "config" | "blocks">,
  of: TensorKind,
  block: number | null,
  isSplit: boolean,
): readonly BesideTensor[] {
  const { config, blocks } = model;
  const table = (name: string): BesideTensor => ({
    ...named(name),
    source: config.tiedEmbeddings ? embeddingName : name,
    parameter: "w",
    block: -1,
    outputs: config.vocabSize,
    inputs: config.hiddenSize,
    isVector: false,
  });
  const vector = ({ name, parameter, length }: Vector, index: number): BesideTensor => ({
    ...named(name),
    source: name,
    parameter,
    block: index,
    outputs: 1,
    inputs: length,
    isVector: true,
  });
  switch (of) {
    case "embedding":
      return [table(embeddingName)];
    case "head":
      return [table(headName)];
    case "tables":
      return [table(embeddingName), ...(config.tiedEmbeddings && !isSplit ? [] : [table(headName)])];
    case "norms":
    case "biases": {
      const own = blocks
        .filter(({ index }) => block === null || index === block)
        .flatMap(({ index, vectors }) =>
          vectors.filter(({ name }) => name.endsWith(".bias") === (of === "biases")).map((each) => vector(each, index)),
        );
      const last = { name: normName, parameter: "gain", length: config.hiddenSize };
      return of === "norms" && block === null ? [...own, vector(last, -1)] : own;
    }
    default:
      return of satisfies never;
  }
}

function named(tensor: string): Pick<Linear, "name" | "weight"> {
  return { name: tensor.replace(/\.weight$/, ""), weight: tensor };
}

/** What of a recipe's loop is treated is no linear layer. */
export function isBeside(linear: Linear): linear is BesideTensor {
  return "source" in linear;
}
