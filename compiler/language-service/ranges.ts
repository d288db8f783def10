import { allEqns } from "../graph/eqn.js";
import type { Scalar, SymbolicGraph } from "../graph/graph.js";
import type { Size } from "../types/size.js";

/** The range of an index of a statement as text, where its bounds are sizes; null where that is not known. */
export function scalarRanges(
  graph: SymbolicGraph,
  name: string,
  span: { readonly start: number; readonly end: number } | null,
  print: (size: Size) => string,
): string | null {
  for (const eqn of allEqns(graph.eqns)) {
    const ranges = eqn.kind === "map" || eqn.kind === "update" ? eqn.indices : eqn.kind === "scan" ? [eqn.range] : [];
    const at = graph.values[eqn.out]?.span ?? null;
    if (span !== null && (at === null || at.start >= span.end || span.start >= at.end)) continue;
    const range = ranges.find((each) => each.name === name);
    if (range === undefined) continue;
    const [low, high] = [range.low, range.high].map((bound) => boundText(bound, print));
    if (low != null && high != null) return `${low} .. ${high}`;
  }
  return null;
}

function boundText(bound: Scalar, print: (size: Size) => string): string | null {
  if (bound.kind === "size") return print(bound.size);
  return bound.kind === "constant" ? String(bound.value) : null;
}
