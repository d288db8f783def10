/**
 * Bundles what is shipped, the command and the library, from the sources to `dist/bundle`: part of `npm run build`,
 * after `tsc`, which makes the types and what the tests import.
 *
 * Modules that several of them load are chunks that they share, so that a process has one copy of each; what a command
 * imports when it is called is loaded then. Names stay as they are and each module is marked by its path, so that a
 * stack trace can be read; `node --enable-source-maps` shows the lines of the sources, in a clone.
 */
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { digestOfCode } from "./dist/runtime/build.js";
import { keepLibrary, standardModules } from "./dist/runtime/library.js";

const root = fileURLToPath(new URL(".", import.meta.url));
const outdir = join(root, "dist", "bundle");

/** Packages with native code, or of which files are read: they stay where npm installs them. */
const external = ["@sparticuz/chromium", "chart.js", "koffi", "tokenizers", "webgpu"];

rmSync(outdir, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    main: "runtime/cli/main.ts",
    demo: "runtime/cli/demo.ts",
    index: "index.ts",
    run: "run.ts",
    // a thread of its own, found beside whoever begins it
    "chat-worker": "runtime/chat/chat-worker.ts",
    // a process of its own
    "device-worker": "runtime/cli/workers/device-worker.ts",
  },
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.11",
  external,
  define: { digestOfBundle: JSON.stringify(digestOfCode(join(root, "dist"))) },
  // packages that are no modules ask for those of Node by `require`
  banner: {
    js: 'import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);',
  },
  sourcemap: "linked",
  sourcesContent: false,
  metafile: true,
  logLevel: "warning",
});

/** For pages: one file, which asks for nothing of Node. */
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const texts = Object.fromEntries(
  standardModules.map((name) => [name, readFileSync(join(root, "stdlib", `${name}.esp`), "utf8")]),
);
const web = await build({
  absWorkingDir: root,
  entryPoints: { web: "web.ts" },
  outdir: join(root, "dist", "web"),
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  define: { standardTexts: JSON.stringify(texts), versionOfBundle: JSON.stringify(version) },
  metafile: true,
  logLevel: "warning",
});

/** The playground: a page, its style, and one script; `npm run site` puts the model and all other pages beside it. */
const site = join(root, "dist", "site");
const page = join(site, "playground");
const recipes = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".esp"));
const exampleTexts = Object.fromEntries([
  ...recipes.map((name) => [name.replace(/\.esp$/, ""), readFileSync(join(root, "examples", name), "utf8")]),
  ...standardModules.map((name) => [`stdlib/${name}`, texts[name]]),
]);
await build({
  absWorkingDir: root,
  entryPoints: { app: "playground/main.ts" },
  outdir: page,
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  define: {
    standardTexts: JSON.stringify(texts),
    exampleTexts: JSON.stringify(exampleTexts),
    versionOfBundle: JSON.stringify(version),
  },
  metafile: true,
  logLevel: "warning",
});
copyFileSync(join(root, "playground", "style.css"), join(page, "style.css"));
const html = readFileSync(join(root, "playground", "index.html"), "utf8");
const wholeSite = process.argv.includes("--site");
// by itself the page has nowhere to lead to
writeFileSync(join(page, "index.html"), wholeSite ? html : html.replace(/ *<nav [^]*?<\/nav>\n/, ""));

// whoever ships other people's code ships their licences
const packages = new Set(
  [metafile, web.metafile]
    .flatMap(({ inputs }) => Object.keys(inputs))
    .flatMap((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
);
const licences = [...packages].sort().map((name) => {
  const folder = join(root, "node_modules", name);
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const text = file === undefined ? license : readFileSync(join(folder, file), "utf8").trim();
  return `${name} ${version}\n\n${text}\n`;
});
for (const folder of [outdir, join(root, "dist", "web"), page])
  writeFileSync(join(folder, "LICENSES.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
keepLibrary();
if (wholeSite) {
  const model = join(root, "examples", "classics-3.7m");
  mkdirSync(join(page, "model"), { recursive: true });
  for (const name of readdirSync(model)) copyFileSync(join(model, name), join(page, "model", name));
  const { writeSite } = await import("./site.mjs");
  console.log(`${writeSite(root, site).size + 1} pages: ${join(site, "index.html")}`);
}
if (process.argv.includes("--sizes"))
  for (const [path, { bytes, inputs }] of Object.entries(metafile.outputs))
    if (path.endsWith(".js"))
      console.log(String(bytes).padStart(9), String(Object.keys(inputs).length).padStart(4), path);
