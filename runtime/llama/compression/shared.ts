/**
 * What layers that share an input share of their treatment: the factor of a Hessian, computed once and kept while a
 * layer needs it.
 */
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { withPivots, type WatchedGraph } from "../../../compiler/graph/passes/pivots.js";
import { hoistShared } from "../../../compiler/graph/passes/hoist.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import type { DeviceTensor } from "../../run/run.js";
import { building, type OpenArena, type Arena } from "../../run/arena.js";
import type { Arguments, Caller } from "../call.js";
import { foundFactorizations, type FoundFactorization } from "./pivots.js";

/** The graph of a treatment, split where layers of one input have something costly in common. */
export interface Parts {
  readonly shared: WatchedGraph | null;
  /** What is left; takes the results of `shared` beside the inputs of the treatment. */
  readonly rest: WatchedGraph;
}

/**
 * Splits a treatment's graph, or one with the same inputs, into what depends on a layer's input only and what depends
 * on its weight.
 */
export function partsOf(graph: SymbolicGraph, inputs: Treatment["inputs"]): Parts {
  const common = inputs.filter(({ kind }) => !ofOneLayer.has(kind)).map(({ name }) => name);
  const parts = hoistShared(graph, { inputs: new Set(common), sizes: new Set(["K"]) });
  return parts === null
    ? { shared: null, rest: withPivots(graph) }
    : { shared: withPivots(parts.shared), rest: withPivots(parts.rest) };
}

/** What no other layer has. */
const ofOneLayer: ReadonlySet<Treatment["inputs"][number]["kind"]> = new Set([
  "weight",
  "start",
  "original",
  "number",
  "block",
  "parameter",
  "measured",
  "measured_here",
]);

/** A layer that will need the results of `shared`. */
export interface Need {
  /** What the layer receives, as `inputOf` has it. */
  readonly input: string;
  readonly shared: WatchedGraph;
  /** Where the inputs of `shared` come from, among others. */
  readonly inputs: Treatment["inputs"];
}

/** Results that layers share, each computed when the first layer needs it. */
export interface SharedResults {
  /**
   * The results by name, for one of the layers announced; `args` has the inputs. Factorisations are given to the first
   * layer, whose arena owns their pivots.
   */
  take(
    need: Need,
    args: Arguments,
    inputs: number,
    arena: Arena,
  ): Promise<{
    readonly results: Readonly<Record<string, DeviceTensor>>;
    readonly factorizations: readonly FoundFactorization[];
  }>;
  /** Tells that one layer is done with its results; those that no layer will need again are freed. */
  done(need: Need): void;
  /** Frees all. */
  release(): void;
}

/** What is retained for the layers that still need it. */
interface Retained {
  readonly results: Readonly<Record<string, DeviceTensor>>;
  readonly arena: OpenArena;
}

/** Results for the layers given, of one block and one set of statistics. */
export function createSharedResults(caller: Caller, needs: readonly Need[]): SharedResults {
  // the text of a graph is long: once a layer
  const keys = new Map(needs.map((need) => [need, keyOf(need)]));
  const keyFor = (need: Need): string => keys.get(need) ?? keyOf(need);
  const left = new Map<string, number>();
  for (const key of keys.values()) left.set(key, (left.get(key) ?? 0) + 1);
  const retained = new Map<string, Retained>();
  const free = (key: string): void => {
    retained.get(key)?.arena.close();
    retained.delete(key);
  };
  return {
    async take(need, args, inputs, arena) {
      const key = keyFor(need);
      const known = retained.get(key);
      if (known !== undefined) return { results: known.results, factorizations: [] };
      const { graph, factorizations: watched } = need.shared;
      return building(caller.executor, async (own) => {
        const results = own.ownAll(await caller.callGraph(graph, args, { sizes: { K: inputs } }));
        const factorizations = foundFactorizations(watched, graph.outputs, results);
        for (const { tensor } of factorizations) arena.own(own.keep(tensor));
        const named = Object.fromEntries(
          graph.outputs.flatMap(({ name }, at) => {
            const tensor = results[at];
            return tensor === undefined || factorizations.some((found) => found.tensor === tensor)
              ? []
              : [[name, tensor]];
          }),
        );
        retained.set(key, { results: named, arena: own });
        return { results: named, factorizations };
      });
    },
    done(need) {
      const key = keyFor(need);
      const more = (left.get(key) ?? 1) - 1;
      left.set(key, more);
      if (more <= 0) free(key);
    },
    release() {
      for (const key of [...retained.keys()]) free(key);
    },
  };
}

/**
 * A text that layers have in common whose results are the same: one input, one graph, its inputs from the same places.
 */
function keyOf({ input, shared, inputs }: Need): string {
  const sources = shared.graph.inputs.map(({ name }) => inputs.find((one) => one.name === name));
  // two branches of a recipe write the same thing in two places
  return JSON.stringify([input, sources, shared.graph], (name, value: unknown) =>
    name === "span" ? undefined : value,
  );
}
