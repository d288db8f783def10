import type { Diagnostic, Label } from "../diagnostic.js";
import type { FileScope } from "./modules.js";
import { unboundIndex } from "./unknown.js";

/**
 * Several tensors without indices, or indices that nothing binds, in one line are one mistake: the first is told, and
 * the others are marked beside it.
 */
export function together(
  diagnostics: readonly Diagnostic[],
  scopes: ReadonlyMap<string, FileScope>,
): readonly Diagnostic[] {
  const result: Diagnostic[] = [];
  for (const found of diagnostics) {
    const at = result.findIndex((before) => isLike(before, found, scopes));
    const [first, label] = [result[at], found.labels[0]];
    if (first === undefined || label === undefined) result.push(found);
    else result[at] = { ...first, labels: [...first.labels, marked(found, label)] };
  }
  return result;
}

function isLike(first: Diagnostic, found: Diagnostic, scopes: ReadonlyMap<string, FileScope>): boolean {
  const [a, b] = [first.labels[0], found.labels[0]];
  if (first.code !== found.code || a === undefined || b === undefined || a.span.file !== b.span.file) return false;
  const [from, to] = [a.span.start, b.span.start].sort((x, y) => x - y);
  if ((scopes.get(a.span.file)?.source.slice(from, to) ?? "\n").includes("\n")) return false;
  return found.code === "E306"
    ? [first, found].every(({ help }) => elementIn(help) !== null)
    : found.code === "E201" && [a, b].every(({ message }) => message === unboundIndex);
}

/** The label that a finding has beside another. */
function marked({ help }: Diagnostic, label: Label): Label {
  const element = elementIn(help);
  return element === null ? label : { ...label, message: `${label.message}: \`${element}\`` };
}

/** The element that the help of E306 proposes for a whole tensor. */
function elementIn(help: string | null): string | null {
  return /^(?:index it:|operators work on elements: .* with) `([^`]+)`/.exec(help ?? "")?.[1] ?? null;
}
