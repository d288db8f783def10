import { suggest } from "../suggest.js";

/**
 * What to say of a misspelt name: the nearest candidate, or all of them where there are few. Null without candidates.
 */
export function suggestion(name: string, candidates: readonly string[], listed: string): string | null {
  const unique = [...new Set(candidates)];
  const near = suggest(name, unique);
  if (near !== null) return `did you mean \`${near}\`?`;
  return unique.length === 0 || unique.length > 12 ? null : `${listed} ${unique.join(", ")}`;
}
