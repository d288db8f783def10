/** What to say of a misspelt name: the nearest candidate, or all of them where there are few. Null without candidates. */
export function suggestion(name: string, candidates: readonly string[], listed: string): string | null {
  const unique = [...new Set(candidates)];
  const near = nearest(name, unique);
  if (near !== null) return `did you mean \`${near}\`?`;
  return unique.length === 0 || unique.length > 12 ? null : `${listed} ${unique.join(", ")}`;
}

/** The candidate that differs in the fewest characters, if they are few against the name's length. */
export function nearest(name: string, candidates: readonly string[]): string | null {
  let found: string | null = null;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least && candidate !== name) [found, least] = [candidate, distance];
  }
  return found;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
