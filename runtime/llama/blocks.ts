/**
 * What is run of a block beside the function of the language that it is: whole sequences without a cache, a cache in
 * pages, products of activations rounded to int8, a window of the last tokens, what the weights receive. All are made of its graph.
 */
import { InternalError } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { cacheInPages, withoutCache, withWindow } from "../../compiler/graph/passes/cache.js";
import {
  receivedOf,
  withReceived,
  withRoundedProducts,
  type Received,
  type Rounding,
} from "../../compiler/graph/passes/weight-products.js";
import type { Block, Linear } from "../model/layout.js";
import type { TensorForm, DeviceTensor } from "../run/run.js";
import { bind, type Arguments } from "./call.js";
import { functionOf, type Functions } from "./functions.js";
import type { RoundingChoice } from "./rounding.js";
import type { BlockWeights } from "./weights.js";

/** What of a block is run. */
export interface BlockVariant {
  /** Over whole sequences, which start at position 0; without, with a cache. */
  readonly whole?: boolean;
  /** With a cache in pages: of each row's own, or of sequences among which rows take turns. */
  readonly pages?: "own" | "shared";
  /** Whose attention sees the last tokens alone. */
  readonly window?: boolean;
  /** With products of activations rounded to int8, of groups of a size `group`. */
  readonly int8?: boolean;
  /** With products whose activations are rounded as the model says, by the parameters that are their weights. */
  readonly rounded?: { readonly [parameter: string]: RoundedProduct };
  /** Gives what the weights receive, in the order of `receivedBy`; with `result` also what the block gives. */
  readonly received?: "alone" | "with-result";
}

/** By which function of the library a product's activations are rounded. */
interface RoundedProduct {
  readonly function: "round_tokens" | "round_activations" | "round_by_scale" | "round_rows_by_scale";
  /** Columns that share a scale; null where the function does not ask. */
  readonly group: number | null;
  /** The number that the graph is given for the scale; null where scales are found as it runs. */
  readonly scale: string | null;
}

const variants = new WeakMap<SymbolicGraph, Map<string, SymbolicGraph>>();

/** The graph of a block's function, or what is made of it; the same object each time. */
export function blockGraph(functions: Functions, name: string, variant: BlockVariant = {}): SymbolicGraph {
  const block = functionOf(functions, name);
  const known = variants.get(block) ?? new Map<string, SymbolicGraph>();
  variants.set(block, known);
  const { whole = false, pages, int8 = false, window = false, received, rounded = {} } = variant;
  const stored = Object.entries(rounded);
  const full = [
    whole ? `whole_${name}` : name,
    ...(window ? ["window"] : []),
    ...(int8 ? ["int8"] : []),
    ...(stored.length === 0 ? [] : ["rounded"]),
    ...(pages === undefined ? [] : [pages === "own" ? "in_pages" : "paged"]),
    ...(received === undefined ? [] : [received === "alone" ? "received" : "all"]),
  ].join("_");
  const key = JSON.stringify([full, stored]);
  let graph = known.get(key);
  if (graph === undefined) {
    graph = window ? withWindow(block, full) : block;
    if (whole) graph = withoutCache(graph, full);
    // what is received is what it was before it is rounded
    if (received !== undefined) graph = withReceived(graph, full, received === "with-result");
    const rounding = int8 ? { graph: functionOf(functions, "round_activations"), group: null, scale: null } : null;
    if (rounding !== null) graph = withRoundedProducts(graph, () => rounding, full);
    if (stored.length > 0) graph = withRoundedProducts(graph, (weight) => roundingOf(functions, rounded[weight]), full);
    if (pages !== undefined) graph = cacheInPages(graph, full, pages === "shared");
    known.set(key, graph);
  }
  return graph;
}

function roundingOf(functions: Functions, product: RoundedProduct | undefined): Rounding | null {
  return product === undefined ? null : { ...product, graph: functionOf(functions, product.function) };
}

/** The most columns that stand by one copy of a stored scale: what a subgroup rounds together. */
const mostCopied = 128;

/** How the products of a block round what they multiply, by the parameters that are their weights. */
function roundedProducts(
  functions: Functions,
  { layout, activations = {} }: Pick<BlockWeights, "layout" | "activations">,
): NonNullable<BlockVariant["rounded"]> {
  return Object.fromEntries(
    Object.entries(activations).map(([parameter, format]): readonly [string, RoundedProduct] => {
      if (format.group === "token") return [parameter, { function: "round_tokens", group: null, scale: null }];
      if (format.group !== "tensor")
        return [parameter, { function: "round_activations", group: format.group, scale: null }];
      const columns = layout.tensors.find((tensor) => tensor.parameter === parameter)?.shape[1] ?? 0;
      let group = mostCopied;
      while (columns % group !== 0) group /= 2;
      const readers = receivedBy(functions, layout.function).find(({ weights }) => weights.includes(parameter));
      // layers with one scale take one rounded tensor
      const same = readers?.weights.find((each) => {
        const other = activations[each];
        return other?.group === "tensor" && other.scale === format.scale;
      });
      const scale = scaleName(same ?? parameter);
      return [
        parameter,
        group < 4
          ? { function: "round_rows_by_scale", group: null, scale }
          : { function: "round_by_scale", group, scale },
      ];
    }),
  );
}

function scaleName(parameter: string): string {
  return `${parameter}_input_scale`;
}

const receivers = new WeakMap<SymbolicGraph, readonly Received[]>();

/** What the weights of a block receive: which of them share it. */
export function receivedBy(functions: Functions, name: string): readonly Received[] {
  const block = blockGraph(functions, name);
  const found = receivers.get(block) ?? receivedOf(block);
  receivers.set(block, found);
  return found;
}

/** What a linear layer receives: the first weight that receives it, which stands for it. */
export function inputOf(functions: Functions, { layout }: Pick<Block, "layout">, { parameter }: Linear): string {
  const found = receivedBy(functions, layout.function).find(({ weights }) => weights.includes(parameter));
  const [first] = found?.weights ?? [];
  if (first === undefined) throw new InternalError(`${layout.function} has no product with ${parameter}`);
  return first;
}

/** What of a block is run, and the sizes that its tensors do not show: `pool` pages that there may be at most. */
export function blockCall(
  functions: Functions,
  { layout, activations }: Pick<BlockWeights, "layout" | "activations">,
  {
    rounding = null,
    pool = null,
    ...variant
  }: Omit<BlockVariant, "int8" | "window" | "rounded"> & {
    readonly rounding?: RoundingChoice;
    readonly pool?: number | null;
  } = {},
): { readonly graph: SymbolicGraph; readonly sizes: { readonly [name: string]: number } } {
  return {
    graph: blockGraph(functions, layout.function, {
      ...variant,
      int8: typeof rounding === "number",
      ...(rounding === "stored" ? { rounded: roundedProducts(functions, { layout, activations }) } : {}),
      window: layout.scalars["window"] !== undefined,
    }),
    sizes: {
      ...layout.sizes,
      ...(typeof rounding === "number" ? { group: rounding } : {}),
      ...(pool === null ? {} : { POOL: pool }),
    },
  };
}

/** The sizes of a block's function that its weights show, given by their shapes. */
export function weightSizes(
  graph: SymbolicGraph,
  { layout }: Pick<Block, "layout">,
): { readonly [name: string]: number } {
  const tensors = [...layout.tensors, ...(layout.zeros ?? [])].map(
    ({ parameter, shape }) => [parameter, { dtype: "f32", shape, format: null }] as const,
  );
  return bind(graph, Object.fromEntries(tensors), { sizes: layout.sizes }).sizes;
}

/** The arguments of a block by the names of its parameters: its weights and numbers, and what is the pass's own. */
export function blockArguments<T extends TensorForm>(
  graph: SymbolicGraph,
  { layout, vectors, linears, activations = {} }: BlockWeights,
  own: { readonly [name: string]: T },
): Arguments<T | DeviceTensor> {
  const scales = Object.entries(activations).flatMap(([parameter, format]) =>
    format.group === "tensor" ? [[scaleName(parameter), format.scale] as const] : [],
  );
  const given: Arguments<T | DeviceTensor> = {
    ...layout.scalars,
    ...vectors,
    ...linears,
    ...Object.fromEntries(scales),
    ...own,
  };
  return Object.fromEntries(
    graph.inputs.map(({ name }) => {
      const argument = given[name];
      if (argument === undefined) throw new InternalError(`nothing is given for \`${name}\` of ${graph.name}`);
      return [name, argument];
    }),
  );
}
