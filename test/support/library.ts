import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { blockGraph, type BlockVariant } from "../../runtime/llama/blocks.js";
import { standardLibrary } from "../../runtime/library.js";

const standard = standardLibrary();

/** What is made of the graph of a block. */
const variants: readonly BlockVariant[] = [
  { whole: true },
  { pages: "shared" },
  { pages: "own" },
  { int8: true },
  { window: true },
  { int8: true, pages: "shared" },
  { whole: true, received: "alone" },
  { whole: true, received: "with-result" },
];

/** Every function of the standard library by name, and what is made of a Llama's block: `block_paged`. */
export const libraryFunctions: ReadonlyMap<string, SymbolicGraph> = new Map([
  ...standard,
  ...variants.map((variant) => blockGraph(standard, "block", variant)).map((graph) => [graph.name, graph] as const),
]);
