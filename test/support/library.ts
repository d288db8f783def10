import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { blockGraph, type BlockVariant } from "../../runtime/llama/blocks.js";
import { standardLibrary } from "../../runtime/library.js";

const standard = standardLibrary();

/** What is made of the graph of a block, by the names that it has. */
const variants: readonly BlockVariant[] = [
  { whole: true },
  { pages: true },
  { int8: true },
  { int8: true, pages: true },
  { whole: true, received: "alone" },
  { whole: true, received: "with-result" },
];

/** Functions of the standard library that are blocks. */
const blocks: readonly string[] = [...standard.values()]
  .filter(({ inputs }) => inputs.some(({ name, mutable }) => mutable && name === "keys"))
  .map(({ name }) => name);

/** Every function of the standard library by name, and what is made of blocks: `block_paged`. */
export const libraryFunctions: ReadonlyMap<string, SymbolicGraph> = new Map([
  ...standard,
  ...blocks
    .flatMap((name) => variants.map((variant) => blockGraph(standard, name, variant)))
    .map((graph) => [graph.name, graph] as const),
]);
