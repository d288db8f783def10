/** A reference as pages. */
import { mathmlLines } from "../../../compiler/documentation/mathml.js";
import { createHighlighter } from "../../../compiler/language-service/highlight.js";
import { firstSentence } from "./markdown.js";
import type { Entry, ModuleReference } from "./reference.js";

/** Text as HTML shows it. */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** A frame around what a page shows. */
export interface Frame {
  readonly title: string;
  /** The way to the folder of the whole, such as `../`. */
  readonly root: string;
  /** Links at the top. */
  readonly top: readonly { readonly href: string; readonly label: string; readonly current: boolean }[];
  /** Links beside the text; none where there are none. */
  readonly beside: readonly { readonly href: string; readonly label: string; readonly current: boolean }[];
}

/** A whole page. */
export function htmlPage({ title, root, top, beside }: Frame, body: string): string {
  const link = ({ href, label, current }: Frame["top"][number]): string =>
    `<a href="${escapeHtml(href)}"${current ? ' aria-current="page"' : ""}>${escapeHtml(label)}</a>`;
  const side =
    beside.length === 0
      ? ""
      : `<nav class="beside" aria-label="Pages beside this one"><ul>${beside.map((each) => `<li>${link(each)}</li>`).join("")}</ul></nav>\n`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${root}pages.css">
</head>
<body>
<a class="skip" href="#text">To the text</a>
<header><nav aria-label="Site">${top.map(link).join("\n")}</nav></header>
<div class="page${beside.length === 0 ? "" : " with-beside"}">
${side}<main id="text">
${body}
</main>
</div>
</body>
</html>
`;
}

/** What is coloured alike has one class. */
const classes: readonly (readonly [scope: RegExp, className: string])[] = [
  [/^comment/, "comment"],
  [/^constant|^string/, "literal"],
  [/^keyword\.operator\.espalier/, "operator"],
  [/^keyword|^storage\.type\.espalier/, "word"],
  [/^storage|^support\.type/, "type"],
  [/^support\.function|^entity\.name\.function/, "function"],
];

/** Makes source of the language HTML, coloured by the TextMate grammar. */
export function createColouring(): (source: string) => string {
  const highlight = createHighlighter();
  return (source) => {
    let at = 0;
    const parts: string[] = [];
    for (const { start, end, scope } of highlight(source)) {
      const name = classes.find(([pattern]) => pattern.test(scope))?.[1];
      if (name === undefined) continue;
      parts.push(
        escapeHtml(source.slice(at, start)),
        `<span class="${name}">${escapeHtml(source.slice(start, end))}</span>`,
      );
      at = end;
    }
    return `${parts.join("")}${escapeHtml(source.slice(at))}`;
  };
}

/** Words of a comment: paragraphs, and `code`, which leads to what it names. */
function paragraphs(words: string, linkOf: (name: string) => string | null): string {
  return words
    .split(/\n\s*\n/)
    .filter((each) => each.trim() !== "")
    .map((each) => `<p>${inline(each, linkOf)}</p>`)
    .join("\n");
}

function inline(words: string, linkOf: (name: string) => string | null): string {
  return escapeHtml(words).replaceAll(/`([^`]+)`/g, (_, code: string) => {
    const href = linkOf(code);
    return href === null ? `<code>${code}</code>` : `<a href="${href}"><code>${code}</code></a>`;
  });
}

/** A command and what it prints. */
export function consoleHtml(text: string): string {
  const lines = text.split("\n").map((line) => (/^\$ /.test(line) ? `<b>${escapeHtml(line)}</b>` : escapeHtml(line)));
  return `<pre class="console" tabindex="0"><code>${lines.join("\n")}</code></pre>`;
}

/** The text of the page of a module. */
export function moduleHtml(module: ModuleReference, all: readonly ModuleReference[]): string {
  const colour = createColouring();
  const linkOf = linksFrom(module, all);
  const contents = module.entries.map(
    ({ name, words }) =>
      `<dt><a href="#${name}"><code>${name}</code></a></dt><dd>${inline(firstSentence(words), linkOf)}</dd>`,
  );
  return [
    `<h1>${escapeHtml(module.name)}</h1>`,
    paragraphs(module.words, linkOf),
    `<dl class="contents">${contents.join("\n")}</dl>`,
    ...module.entries.map((entry) => entryHtml(entry, linkOf, colour)),
  ].join("\n");
}

function entryHtml(entry: Entry, linkOf: (name: string) => string | null, colour: (source: string) => string): string {
  const { name, kind, words, head, equation, example, program } = entry;
  const own = (code: string): string | null => (code === name ? null : linkOf(code));
  const source = (text: string): string => `<pre class="esp" tabindex="0"><code>${colour(text)}</code></pre>`;
  return [
    `<section class="entry">`,
    `<h2 id="${name}"><a href="#${name}">${name}</a></h2>`,
    paragraphs(words, own),
    ...(equation.length === 0
      ? []
      : [`<div class="equation" role="group" aria-label="equation">${mathmlLines(equation)}</div>`]),
    source(kind === "recipe" ? program : head),
    ...(example === null ? [] : [consoleHtml(`$ ${example.command}\n${example.printed}`)]),
    ...(kind === "function" ? [`<details><summary>The program</summary>${source(program)}</details>`] : []),
    "</section>",
  ].join("\n");
}

function linksFrom(module: ModuleReference, all: readonly ModuleReference[]): (name: string) => string | null {
  return (name) => {
    if (module.entries.some((each) => each.name === name)) return `#${name}`;
    const other = all.find((each) => each.entries.some((entry) => entry.name === name) || each.name === name);
    return other === undefined ? null : `${other.name}.html${other.name === name ? "" : `#${name}`}`;
  };
}

/** The text of the page that leads to the others. */
export function indexHtml(modules: readonly ModuleReference[], title: string, words: string): string {
  const parts = modules.map((module) => {
    const links = module.entries.map(({ name }) => `<a href="${module.name}.html#${name}"><code>${name}</code></a>`);
    return `<h2><a href="${module.name}.html">${escapeHtml(module.name)}</a></h2>\n<p>${inline(firstSentence(module.words), () => null)}</p>\n<p class="names">${links.join("\n")}</p>`;
  });
  return `<h1>${escapeHtml(title)}</h1>\n<p>${escapeHtml(words)}</p>\n${parts.join("\n")}`;
}
