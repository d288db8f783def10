/**
 * Writes the site beside the playground: README, docs, specification, the library's reference, and whatever else they
 * lead to, as pages: part of `npm run site`, after the build.
 */
import { copyFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, extname, join, posix } from "node:path";
import { Marked } from "marked";
import { libraryTitle, libraryWords, readLibrary } from "./dist/runtime/cli/doc/doc.js";
import {
  consoleHtml,
  createColouring,
  escapeHtml,
  htmlPage,
  indexHtml,
  moduleHtml,
} from "./dist/runtime/cli/doc/html.js";
import { pageStyle } from "./dist/runtime/cli/doc/style.js";

/** What is shown of other files. */
const texts = /\.(?:md|esp|ts|mjs|js|json|txt|py|css|html|svg)$/;
const images = /\.(?:png|jpe?g|svg|webp)$/;
/** A larger file is told of, and not shown. */
const largest = 256 * 1024;

/** The page of a file or folder of the project. */
function pageOf(path) {
  if (path === "" || path === "README.md") return "index.html";
  const module = /^stdlib\/(\w+)\.esp$/.exec(path);
  if (module !== null) return `library/${module[1]}.html`;
  if (path === "stdlib") return "library/index.html";
  if (path.endsWith(".md")) return path.replace(/\.md$/, ".html");
  return extname(path) === "" ? `${path}/index.html` : `${path}.html`;
}

/** Writes all pages below a folder; gives their paths. */
export function writeSite(root, site) {
  const colour = createColouring();
  const modules = readLibrary();
  const titles = new Map();
  const inFolder = (folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `${folder}/${name}`);
  const read = (path) => readFileSync(join(root, path), "utf8");
  const titleOf = (path) => {
    if (!titles.has(path)) titles.set(path, plain(/^# (.+)$/m.exec(read(path))?.[1] ?? path));
    return titles.get(path);
  };
  // in the order in which README leads to them
  const readme = read("README.md");
  const docs = [
    ...new Set([...[...readme.matchAll(/\]\((docs\/[\w-]+\.md)\)/g)].map((found) => found[1]).reverse()]),
  ].reverse();
  docs.push(...inFolder("docs").filter((path) => !docs.includes(path)));
  const specs = inFolder("spec");
  const written = new Set();

  function write(page, { title, beside = [], section = null }, body) {
    const up = "../".repeat(page.split("/").length - 1);
    const top = [
      ["index.html", "Espalier"],
      ["docs/index.html", "Docs"],
      ["library/index.html", "Library"],
      ["spec/index.html", "Specification"],
      ["playground/index.html", "Playground"],
    ].map(([href, label]) => ({ href: up + href, label, current: href === (section ?? page) }));
    const links = beside.map(({ page: other, label }) => ({
      href: relativeTo(page, other),
      label,
      current: other === page,
    }));
    const file = join(site, page);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, htmlPage({ title, root: up, top, beside: links }, body));
    written.add(page);
  }

  /** Files and folders that pages lead to, still to be written. */
  const queue = ["README.md", "CHANGELOG.md", ...docs, ...specs, ...inFolder("spec/decisions")];
  const queued = new Set(queue);
  const leadTo = (path) => {
    if (
      path !== "stdlib" &&
      !/^stdlib\/\w+\.esp$/.test(path) &&
      !["docs", "spec"].includes(path) &&
      !queued.has(path)
    ) {
      queued.add(path);
      queue.push(path);
    }
    return pageOf(path);
  };

  /** Markdown as HTML, with its links to pages. */
  function markdown(path, page) {
    const ids = new Map();
    const marked = new Marked({
      gfm: true,
      renderer: {
        heading({ tokens, depth, text }) {
          const base = slug(text);
          const times = ids.get(base) ?? 0;
          ids.set(base, times + 1);
          const id = times === 0 ? base : `${base}-${times}`;
          return `<h${depth} id="${id}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
        },
        code({ text, lang }) {
          if (lang === "esp") return `<pre class="esp" tabindex="0"><code>${colour(text)}</code></pre>\n`;
          if (lang === "console") return consoleHtml(text);
          return `<pre tabindex="0"><code>${escapeHtml(text)}</code></pre>\n`;
        },
        link({ href, tokens }) {
          const target = /^[a-z]+:|^#/i.test(href) ? href : linkTo(href);
          return `<a href="${escapeHtml(target)}">${this.parser.parseInline(tokens)}</a>`;
        },
        image({ href, text }) {
          const from = posix.join(posix.dirname(path), href);
          if (!/^[a-z]+:/i.test(href) && images.test(from)) {
            mkdirSync(join(site, dirname(from)), { recursive: true });
            copyFileSync(join(root, from), join(site, from));
          }
          return `<img src="${escapeHtml(relativeTo(page, from))}" alt="${escapeHtml(text)}">`;
        },
        html: ({ text }) => escapeHtml(text),
      },
    });
    function linkTo(href) {
      const [file = "", anchor] = href.split("#");
      const target = posix.join(posix.dirname(path), file).replace(/^\.$/, "").replace(/\/$/, "");
      return `${relativeTo(page, leadTo(target))}${anchor === undefined ? "" : `#${anchor}`}`;
    }
    return marked
      .parse(read(path))
      .replaceAll("<table>", '<div class="scroll"><table>')
      .replaceAll("</table>", "</table></div>");
  }

  const sections = [
    { folder: "docs", files: docs },
    { folder: "spec", files: specs },
    { folder: "spec/decisions", files: inFolder("spec/decisions") },
  ];
  const besideOf = (path) => {
    const section = sections.find(({ files }) => files.includes(path));
    if (section === undefined) return {};
    const beside = section.files.map((file) => ({ page: pageOf(file), label: titleOf(file) }));
    return { beside, section: `${section.folder.split("/")[0]}/index.html` };
  };

  for (const { folder, files } of sections) {
    const page = `${folder}/index.html`;
    const title = { docs: "Docs", spec: "Specification", "spec/decisions": "Decisions" }[folder];
    const items = files.map(
      (file) =>
        `<li><a href="${relativeTo(page, pageOf(file))}">${escapeHtml(titleOf(file))}</a>${about(read(file))}</li>`,
    );
    const more = folder === "spec" ? '<p><a href="decisions/index.html">Decisions</a>: why it is built so.</p>' : "";
    write(
      page,
      { title, section: `${folder.split("/")[0]}/index.html` },
      `<h1>${title}</h1>\n<ul>${items.join("\n")}</ul>${more}`,
    );
  }
  queued.add("spec/decisions");

  const library = modules.map(({ name }) => ({ page: `library/${name}.html`, label: name }));
  const inLibrary = { beside: library, section: "library/index.html" };
  write("library/index.html", { title: libraryTitle, ...inLibrary }, indexHtml(modules, libraryTitle, libraryWords));
  for (const module of modules)
    write(
      `library/${module.name}.html`,
      { title: `${module.name}: ${libraryTitle}`, ...inLibrary },
      moduleHtml(module, modules),
    );

  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const page = pageOf(path);
    const found = statSync(join(root, path));
    if (found.isDirectory()) {
      const names = readdirSync(join(root, path)).filter((name) => !name.startsWith(".") && name !== "node_modules");
      const items = names.map((name) => {
        const inside = `${path}/${name}`;
        const shown = statSync(join(root, inside)).isDirectory() || texts.test(name);
        return `<li>${shown ? `<a href="${relativeTo(page, leadTo(inside))}"><code>${escapeHtml(name)}</code></a>` : `<code>${escapeHtml(name)}</code>`}</li>`;
      });
      write(page, { title: path }, `<h1><code>${escapeHtml(path)}</code></h1>\n<ul>${items.join("\n")}</ul>`);
    } else if (path.endsWith(".md")) {
      write(
        page,
        { title: path === "README.md" ? "Espalier" : titleOf(path), ...besideOf(path) },
        markdown(path, page),
      );
    } else {
      const shown = texts.test(path) && found.size <= largest;
      const source = shown ? read(path) : "";
      const body = path.endsWith(".esp") ? colour(source) : escapeHtml(source);
      const words = shown
        ? `<pre tabindex="0"><code>${body}</code></pre>`
        : `<p>${found.size} bytes, which are not shown here.</p>`;
      write(page, { title: path }, `<h1><code>${escapeHtml(path)}</code></h1>\n${words}`);
    }
  }
  writeFileSync(join(site, "pages.css"), pageStyle);
  return written;
}

function relativeTo(page, other) {
  return posix.relative(posix.dirname(page), other) || posix.basename(other);
}

/** As GitHub names headings. */
function slug(text) {
  return plain(text)
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** A line of Markdown without its marks. */
function plain(text) {
  return text.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll(/[`*]/g, "");
}

/** What a list says of a page: its first paragraph, if it is short. */
function about(text) {
  const paragraph = text.replace(/^# .*\n+/, "").split(/\n\s*\n/)[0] ?? "";
  const line = plain(paragraph.replaceAll("\n", " ")).trim();
  return /^[A-Z`]/.test(line) && line.length < 140 ? `: ${escapeHtml(line)}` : "";
}
