/** The site: README, docs, specification and the library's reference as pages whose links lead somewhere. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "../support/project.js";

const test = suite("site");
const folder = mkdtempSync(join(tmpdir(), "espalier-site-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

let pages: ReadonlyMap<string, string> = new Map();

test.before(async () => {
  const { writeSite } = (await import(new URL("../../../site.mjs", import.meta.url).href)) as {
    writeSite(root: string, site: string): ReadonlySet<string>;
  };
  const written = writeSite(projectFile("."), folder);
  pages = new Map([...written].map((page) => [page, readFileSync(join(folder, page), "utf8")]));
});

/** All links of a page but those to other sites. */
function linksOf(html: string): readonly string[] {
  return [...html.matchAll(/ href="([^"]+)"/g)].map(([, href = ""]) => href).filter((href) => !/^[a-z]+:/i.test(href));
}

test("every link leads to a page, and to a place in it", () => {
  const ids = new Map(
    [...pages].map(([page, html]) => [page, new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id))]),
  );
  // beside what is written here, the build makes the playground, and the style is one file
  const others = ["playground/index.html", "pages.css"];
  const broken = [...pages].flatMap(([page, html]) =>
    linksOf(html)
      .filter((href) => {
        const [file = "", anchor] = href.split("#");
        const target = file === "" ? page : posix.join(posix.dirname(page), file);
        if (others.includes(target)) return false;
        return anchor === undefined ? !pages.has(target) : ids.get(target)?.has(decodeURIComponent(anchor)) !== true;
      })
      .map((href) => `${page} leads to ${href}`),
  );
  assert.equal(broken, []);
});

test("all of docs, spec and the library is there, and README leads to it", () => {
  for (const page of [
    "index.html",
    "docs/index.html",
    "docs/command-line.html",
    "library/prune.html",
    "spec/language.html",
  ])
    assert.ok(pages.has(page), page);
  const home = linksOf(pages.get("index.html") ?? "");
  for (const page of ["docs/recipes.html", "docs/index.html", "library/index.html", "playground/index.html"])
    assert.ok(home.includes(page), page);
});

test("programs are coloured, formulas drawn, and nothing of a text is taken for HTML", () => {
  assert.match(pages.get("index.html") ?? "", /<span class="word">recipe<\/span>/);
  assert.match(pages.get("library/prune.html") ?? "", /<msqrt>/);
  for (const [page, html] of pages) {
    assert.not.match(html, /<script|undefined<|\[object/, page);
    assert.match(html, /^<!doctype html>\n<html lang="en">/, page);
  }
});

test.run();
