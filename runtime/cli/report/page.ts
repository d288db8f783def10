/** Pages of results: one file each, with all that it needs in it, so that it can be sent and kept. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { script } from "./script.js";
import { style } from "./style.js";

/** What a page shows. All text is plain; nothing in it is taken for HTML. */
export interface Page {
  readonly title: string;
  /** A line below the title. */
  readonly subtitle: string;
  /** What makes the result worth less than it looks: shown above all else. */
  readonly warnings?: readonly string[] | undefined;
  /** The few figures that matter most. */
  readonly figures: readonly Figure[];
  /** What it was made of, and by what: texts and their windows, version, date, command. */
  readonly facts?: readonly Fact[] | undefined;
  readonly sections: readonly Section[];
}

/** A name and what it stands for. */
export type Fact = readonly [name: string, value: string];

export interface Figure {
  readonly label: string;
  readonly value: string;
  /** In smaller letters below. */
  readonly note?: string | undefined;
}

export type Section =
  | { readonly kind: "chart"; readonly title: string; readonly caption: string; readonly chart: Chart }
  | {
      readonly kind: "table";
      readonly title: string;
      readonly caption: string;
      readonly header: readonly string[];
      readonly rows: readonly (readonly PageCell[])[];
    }
  | { readonly kind: "text"; readonly title: string; readonly text: string };

/** Text, or a number as it is to be shown; numbers stand at the right, and rows are sorted by their values. */
export type PageCell = string | { readonly value: number; readonly text: string } | null;

export interface Chart {
  readonly kind: "lines" | "bars" | "stacked";
  /** What the axis below is, and what stands along it. */
  readonly below: string;
  readonly labels: readonly string[];
  /** What the axis at the side is, with its unit. */
  readonly side: string;
  /** How a value is written: a number, a percentage of 1, bytes, or seconds. */
  readonly unit: "number" | "percent" | "bytes" | "seconds";
  /** Whether the side is logarithmic. */
  readonly logarithmic?: boolean | undefined;
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
}

/** The page as one HTML file that loads nothing. */
export function renderPage(page: Page): string {
  const charts = page.sections.flatMap((section) => (section.kind === "chart" ? [section.chart] : []));
  let chart = 0;
  const sections = page.sections.map((section) => {
    switch (section.kind) {
      case "chart":
        return `<section class="${section.chart.labels.length > 24 ? "wide" : ""}"><h2>${escape(section.title)}</h2><p>${escape(section.caption)}</p><div class="chart"><canvas id="chart-${chart++}" role="img" aria-label="${escape(section.title)}"></canvas></div></section>`;
      case "table":
        return `<section class="wide"><h2>${escape(section.title)}</h2><p>${escape(section.caption)}</p>${renderTable(section.header, section.rows)}</section>`;
      case "text":
        return `<section class="wide"><h2>${escape(section.title)}</h2><pre>${escape(section.text)}</pre></section>`;
      default:
        return section satisfies never;
    }
  });
  const figures = page.figures.map(
    ({ label, value, note }) =>
      `<div><dt>${escape(label)}</dt><dd>${escape(value)}</dd>${note === undefined ? "" : `<dd class="note">${escape(note)}</dd>`}</div>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>${escape(page.title)}</title>
<style>${style}</style>
</head>
<body>
<header><div><h1>${escape(page.title)}</h1><p>${escape(page.subtitle)}</p></div><button id="theme" type="button">light / dark</button></header>
${warningsOf(page.warnings ?? [])}<dl class="figures">${figures.join("")}</dl>
${factsOf(page.facts ?? [])}<main>
${sections.join("\n")}
</main>
<script type="application/json" id="charts">${JSON.stringify(charts).replace(/</g, "\\u003c")}</script>
<script>${inlined(readFileSync(chartLibrary(), "utf8"))}</script>
<script>${script}</script>
</body>
</html>
`;
}

function warningsOf(warnings: readonly string[]): string {
  if (warnings.length === 0) return "";
  return `<section class="warnings" role="alert"><h2>Warnings</h2><ul>${warnings.map((line) => `<li>${escape(line)}</li>`).join("")}</ul></section>\n`;
}

function factsOf(facts: readonly Fact[]): string {
  if (facts.length === 0) return "";
  return `<dl class="facts">${facts.map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`).join("")}</dl>\n`;
}

function renderTable(header: readonly string[], rows: readonly (readonly PageCell[])[]): string {
  const head = header
    .map((title, column) => `<th class="${isNumeric(rows, column) ? "number" : ""}" scope="col">${escape(title)}</th>`)
    .join("");
  const body = rows.map(
    (row) =>
      `<tr>${row
        .map((cell, column) => {
          if (cell === null) return `<td class="${isNumeric(rows, column) ? "number" : ""}">–</td>`;
          return typeof cell === "string"
            ? `<td>${escape(cell)}</td>`
            : `<td class="number" data-value="${cell.value}">${escape(cell.text)}</td>`;
        })
        .join("")}</tr>`,
  );
  return `<div class="table"><table><thead><tr>${head}</tr></thead><tbody>${body.join("\n")}</tbody></table></div>`;
}

function isNumeric(rows: readonly (readonly PageCell[])[], column: number): boolean {
  return rows.some((row) => typeof row[column] === "object" && row[column] !== null);
}

/** Text in HTML; names come from files. */
function escape(text: string): string {
  const entities: { readonly [character: string]: string } = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text
    .replace(/[&<>"']/g, (character) => entities[character] ?? "")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}

/** A script that can stand inside a `script` element; its source map would be another file. */
function inlined(source: string): string {
  return source.replace(/<\/(script)/gi, "<\\/$1").replace(/^\/\/# sourceMappingURL=.*$/m, "");
}

/** The build of Chart.js for a `script` element. */
function chartLibrary(): string {
  return join(dirname(createRequire(import.meta.url).resolve("chart.js")), "chart.umd.min.js");
}
