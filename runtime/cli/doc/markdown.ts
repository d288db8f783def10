/** A reference as Markdown, with equations as GitHub and others draw them. */
import { texLines } from "../../../compiler/documentation/tex.js";
import type { Entry, ModuleReference } from "./reference.js";

/** The file of a module. */
export function moduleMarkdown(module: ModuleReference): string {
  const list = module.entries.map(
    ({ name, words }) => `- [\`${name}\`](#${name.toLowerCase()}): ${firstSentence(words)}`,
  );
  return [`# ${module.name}`, module.words, list.join("\n"), ...module.entries.flatMap(entryMarkdown)]
    .filter((part) => part !== "")
    .join("\n\n")
    .concat("\n");
}

/** The file that leads to the others. */
export function indexMarkdown(modules: readonly ModuleReference[], title: string): string {
  const rows = modules.map(
    ({ name, words, entries }) =>
      `| [${name}](${name}.md) | ${firstSentence(words)} | ${entries.map((each) => `[\`${each.name}\`](${name}.md#${each.name.toLowerCase()})`).join(", ")} |`,
  );
  return `# ${title}\n\n| module | | declares |\n|---|---|---|\n${rows.join("\n")}\n`;
}

function entryMarkdown({ name, words, head, equation, example, kind, program }: Entry): readonly string[] {
  return [
    `## ${name}`,
    words,
    ...(equation.length === 0 ? [] : [`\`\`\`math\n${texLines(equation)}\n\`\`\``]),
    `\`\`\`esp\n${kind === "recipe" ? program : head}\n\`\`\``,
    ...(example === null ? [] : [`\`\`\`console\n$ ${example.command}\n${example.printed}\n\`\`\``]),
  ];
}

/** What a list says of something: the first sentence about it, on one line. */
export function firstSentence(words: string): string {
  const line = words.replaceAll(/\s*\n\s*/g, " ");
  return /^.*?[.:](?=\s+[A-Z`(]|$)/.exec(line)?.[0].replace(/:$/, ".") ?? line;
}
