/** Colours of a text by the TextMate grammar, for pages: the rules of ours match within a line and do not nest. */
import { textMateGrammar } from "./grammar.js";

/** A part of a text of one colour; what lies between has none. */
export interface Coloured {
  readonly start: number;
  readonly end: number;
  /** The scope, as `keyword.control.espalier`. */
  readonly scope: string;
}

/** A highlighter; it compiles the rules once. */
export function createHighlighter(): (text: string) => readonly Coloured[] {
  const rules = textMateGrammar().patterns.map((rule) => ({ ...rule, pattern: new RegExp(rule.match, "dg") }));
  return (text) => {
    const found: Coloured[] = [];
    let lineStart = 0;
    for (const line of text.split("\n")) {
      // where each rule matches next: it is asked again only once that is passed
      const next: (RegExpExecArray | null | undefined)[] = rules.map(() => undefined);
      for (let at = 0; at < line.length; ) {
        // the rule that matches first; of those that match at one place, the first in the grammar
        let first: { readonly match: RegExpExecArray; readonly rule: (typeof rules)[number] } | null = null;
        for (const [place, rule] of rules.entries()) {
          let match = next[place];
          if (match === undefined || (match !== null && match.index < at)) {
            rule.pattern.lastIndex = at;
            match = rule.pattern.exec(line);
            next[place] = match;
          }
          if (match !== null && (first === null || match.index < first.match.index)) first = { match, rule };
        }
        if (first === null) break;
        const { match, rule } = first;
        const end = match.index + match[0].length;
        if (rule.name !== undefined)
          found.push({ start: lineStart + match.index, end: lineStart + end, scope: rule.name });
        for (const [group, { name }] of Object.entries(rule.captures ?? {})) {
          const range = match.indices?.[Number(group)];
          if (range !== undefined) found.push({ start: lineStart + range[0], end: lineStart + range[1], scope: name });
        }
        at = Math.max(end, at + 1);
      }
      lineStart += line.length + 1;
    }
    return found;
  };
}
