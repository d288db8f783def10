import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { counted } from "../../../compiler/words.js";
import { createHost, standardModules } from "../../library.js";
import { UsageError } from "../failure.js";
import { filesOf } from "../fmt.js";
import type { JsonOptions } from "../options.js";
import type { Output } from "../output.js";
import { htmlPage, indexHtml, moduleHtml } from "./html.js";
import { indexMarkdown, moduleMarkdown } from "./markdown.js";
import { readModule, type ModuleReference } from "./reference.js";
import { pageStyle } from "./style.js";

interface DocCommandOptions extends JsonOptions {
  readonly out: string;
  readonly title?: string;
}

/** What the reference of the library is called, and what it says first. */
export const libraryTitle = "The library";
export const libraryWords =
  "Every function of the standard library: what it is for, its equation as the program has it, its types, and an example with the command that computes it.";

/** Reads the modules of the library. @throws UsageError if an example shows what it does not give */
export function readLibrary(): readonly ModuleReference[] {
  return readAll(standardModules.map((name) => `stdlib/${name}.esp`));
}

function readAll(files: readonly string[]): readonly ModuleReference[] {
  const host = createHost();
  const problems: string[] = [];
  const modules = files.map((file) => readModule(file, host, problems));
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  const names = modules.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  if (twice !== undefined)
    throw new UsageError(`two files are called ${twice}.esp, and would have one page: give them one at a time`);
  return modules;
}

/** `espalier doc`: the reference of the library, or of one's own files, as Markdown and as pages. */
export async function run(output: Output, given: string[], { out, title }: DocCommandOptions): Promise<void> {
  const modules = given.length === 0 ? readLibrary() : readAll(filesOf(given));
  const name = title ?? (given.length === 0 ? libraryTitle : "Reference");
  if (existsSync(out) && !existsSync(join(out, "pages.css")))
    throw new UsageError(`${out} is there, and no reference: give the name of a folder that is not there yet`);
  mkdirSync(out, { recursive: true });
  const texts = new Map([
    ["index.md", indexMarkdown(modules, name)],
    ["pages.css", pageStyle],
    ["index.html", page(name, modules, null, indexHtml(modules, name, given.length === 0 ? libraryWords : ""))],
    ...modules.flatMap((module): readonly (readonly [string, string])[] => [
      [`${module.name}.md`, moduleMarkdown(module)],
      [`${module.name}.html`, page(name, modules, module, moduleHtml(module, modules))],
    ]),
  ]);
  for (const [file, text] of texts) writeFileSync(join(out, file), text);
  const entries = modules.flatMap((module) => module.entries);
  const examples = entries.filter(({ example }) => example !== null).length;
  output.result({ out, files: [...texts.keys()], declarations: entries.length, examples }, () =>
    [
      `${counted(modules.length, "module")}, ${counted(entries.length, "declaration")}, ${counted(examples, "example")} run`,
      join(out, "index.html"),
      join(out, "index.md"),
    ].join("\n"),
  );
}

function page(
  title: string,
  modules: readonly ModuleReference[],
  module: ModuleReference | null,
  body: string,
): string {
  return htmlPage(
    {
      title: module === null ? title : `${module.name}: ${title}`,
      root: "",
      top: [{ href: "index.html", label: title, current: module === null }],
      beside: modules.map(({ name }) => ({ href: `${name}.html`, label: name, current: name === module?.name })),
    },
    body,
  );
}
