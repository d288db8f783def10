/** What is minimised: a function of the language over what the model gives and what it should. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { TrainStep } from "../../../compiler/recipe/recipe.js";

export interface Loss {
  /** Gives the loss of each token. */
  readonly graph: SymbolicGraph;
  /** Its inputs by what they are: what the trained model or block gives, what the dense one does, the next tokens. */
  readonly own: string;
  readonly dense: string | null;
  readonly next: string | null;
}

/** A loss of each block beside that of the model. */
export interface BlockLoss {
  readonly loss: Loss;
  /** What the mean of the blocks counts. */
  readonly weight: number;
}

/** The loss of blocks that a training has besides, if any. */
export function besideOf({ beside }: Pick<TrainStep, "beside">): BlockLoss | null {
  return beside === null ? null : { loss: lossOf(beside.loss), weight: beside.weight };
}

/** The inputs of a loss: the first of numbers is the model's, the second the dense one's, one of integers the tokens. */
export function lossOf(graph: SymbolicGraph): Loss {
  const typed = graph.inputs.map(({ name, value }) => ({ name, dtype: graph.values[value]?.type.dtype }));
  const [own, dense] = typed.filter(({ dtype }) => dtype !== "i32").map(({ name }) => name);
  if (own === undefined) throw new InternalError(`${graph.name} takes nothing that a model gives`);
  return { graph, own, dense: dense ?? null, next: typed.find(({ dtype }) => dtype === "i32")?.name ?? null };
}
