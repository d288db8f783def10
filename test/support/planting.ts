/** Where the faults of `mutations.ts` stand, and how they are planted. */
import { readFileSync } from "node:fs";
import type { Mutation } from "./mutations.js";
import { projectFile } from "./project.js";
import { filesBelow } from "./sources.js";

const sources = filesBelow(["compiler", "runtime"], ".ts")
  .concat(filesBelow(["stdlib"], ".esp"))
  .map((file) => ({ file, text: readFileSync(projectFile(file), "utf8") }));

/** The files of the project that have a mutation's text, one for each time that it stands there. */
export function filesWith(mutation: Mutation): readonly string[] {
  return sources.flatMap(({ file, text }) => [...text.matchAll(patternOf(mutation))].map(() => file));
}

/** The mutation's text as a pattern: any spaces between its parts, and a group for each name. */
function patternOf({ text }: Mutation): RegExp {
  const names = new Set<string>();
  const parts = text.match(/\$\w+|\w+|\S/g) ?? [];
  const written = parts.map((part, at) => {
    const space = at === 0 ? "" : /^[$\w]/.test(part) && /\w$/.test(parts[at - 1] ?? "") ? "\\s+" : "\\s*";
    // the formatter ends a list of several lines with a comma
    const comma = /^[)\]}]$/.test(part) ? ",?\\s*" : "";
    if (!/^\$\w/.test(part)) return `${space}${comma}${part.replace(/\W/g, "\\$&")}`;
    const name = part.slice(1);
    if (names.has(name)) return `${space}\\k<${name}>\\b`;
    names.add(name);
    return `${space}\\b(?<${name}>\\w+)\\b`;
  });
  return new RegExp(written.join(""), "g");
}

/** The text with the fault. */
export function plant(mutation: Mutation, text: string): string {
  return text.replace(patternOf(mutation), (...found) => {
    const names = found.at(-1) as { readonly [name: string]: string } | string;
    return mutation.replacement.replace(/\$(\w+)/g, (_, name: string) =>
      typeof names === "string" ? `$${name}` : (names[name] ?? `$${name}`),
    );
  });
}
