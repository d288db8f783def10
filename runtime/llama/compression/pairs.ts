/** What takes the scale of a block's inputs: found and proved in the graph of the block's function. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { scalePair, type ScalePair } from "../../../compiler/graph/analysis/scale-pair.js";
import type { ConcreteGraph, SymbolicGraph } from "../../../compiler/graph/graph.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import type { NamePattern, ScaleStep } from "../../../compiler/recipe/recipe.js";
import type { Block, Linear } from "../../model/layout.js";
import { blockCall, receivedBy, weightSizes } from "../blocks.js";
import type { Functions } from "../functions.js";
import { isSelected, matchesName } from "./names.js";

/** An input of a block's layers: those that read it, in the order of the block. */
export interface LayerInput {
  readonly layers: readonly Linear[];
}

/** The inputs of a block that a step scales, in the order of the block's products. */
export function inputsOf(
  functions: Functions,
  block: Block,
  step: Pick<ScaleStep, "matching" | "except">,
): readonly LayerInput[] {
  return receivedBy(functions, block.layout.function).flatMap(({ weights }) => {
    const layers = block.linears.filter(({ parameter }) => weights.includes(parameter));
    const chosen = layers.some(({ name }) => isSelected({ matching: step.matching, except: [] }, name));
    const spared = layers.some(({ name }) => step.except.some((pattern) => matchesName(pattern, name)));
    return chosen && !spared ? [{ layers }] : [];
  });
}

const pairs = new WeakMap<SymbolicGraph, Map<string, ScalePair>>();

/** The pair for an input of a block, through what a pattern names or through whatever can take the scale. */
export function pairOf(
  functions: Functions,
  block: Block,
  { layers }: LayerInput,
  through: NamePattern | null,
): ScalePair {
  const { layout } = block;
  const { graph } = blockCall(functions, block, { whole: true });
  const known = pairs.get(graph) ?? new Map<string, ScalePair>();
  pairs.set(graph, known);
  const names = layers.map(({ parameter }) => parameter);
  const key = JSON.stringify([layout.sizes, layout.tensors.map(({ shape }) => shape), names, through?.glob]);
  const before = known.get(key);
  if (before !== undefined) return before;
  const own = new Set([...layout.tensors, ...(layout.zeros ?? [])].map(({ parameter }) => parameter));
  const pair = scalePair(
    boundBlock(graph, block),
    names,
    (input) => own.has(input),
    (producers) => through === null || producers.some((producer) => named(block, producer, through)),
  );
  known.set(key, pair);
  return pair;
}

/** The name of a parameter's tensor, without `.weight`: what patterns match. */
export function moduleOf({ name, layout }: Block, parameter: string): string {
  const part = layout.tensors.find((tensor) => tensor.parameter === parameter)?.name ?? parameter;
  return `${name}.${part.replace(/\.(weight|bias)$/, "")}`;
}

function named(block: Block, parameter: string, pattern: NamePattern): boolean {
  return matchesName(pattern, moduleOf(block, parameter));
}

/** The block's graph over two tokens, all sizes bound. */
export function boundBlock(graph: SymbolicGraph, block: Block): ConcreteGraph {
  const sizes: { readonly [name: string]: number } = { B: 1, T: 2, ...weightSizes(graph, block) };
  const bound = specialize(
    graph,
    {
      sizes: new Map(graph.parameters.sizes.map((name) => [name, sizes[name] ?? 1])),
      dtypes: new Map(graph.parameters.dtypes.map((name) => [name, "f32"])),
      formats: new Map(graph.parameters.formats.map((name) => [name, null])),
    },
    { f16: false },
  );
  if (!("graph" in bound))
    throw new InternalError(`${graph.name} cannot be bound: ${bound.map(({ message }) => message).join("; ")}`);
  return bound.graph;
}
