/**
 * How long the language service takes to answer after an edit of a file of 500 lines: node bench/language.mjs. Each
 * answer is the first after an edit, and begins with reading what was edited.
 */
import { readFileSync } from "node:fs";
import { createLanguageService } from "../dist/compiler/language-service/service.js";
import { createHost, packageRoot, standardModules } from "../dist/runtime/library.js";

const parts = ["gptq", "sparsegpt", "refine"].map((name) =>
  readFileSync(`${packageRoot()}/stdlib/${name}.esp`, "utf8").replaceAll(/^use.*\n/gm, ""),
);
const recipe = readFileSync(`${packageRoot()}/examples/best.esp`, "utf8").replaceAll(/^use.*\n/gm, "");
const source = `use statistics, prune, quantize, solve\n\n${[...parts, recipe].join("\n")}`;

const host = createHost();
let text = source;
const service = createLanguageService({
  ...host,
  standardModules,
  read: (path) => (path === "all.esp" ? text : host.read(path)),
});

/** An edit in the middle of the file, in a body: a comment, and a name that no other has. */
const at = source.indexOf("  var w = w0", source.length / 2);
let edits = 0;
function edit(name) {
  text = `${source.slice(0, at)}  let ${name}${(edits += 1)} = 1.0\n${source.slice(at)}`;
}

const place = source.indexOf("w0", at);
const questions = {
  diagnostics: () => service.diagnostics("all.esp"),
  hover: () => service.hover("all.esp", place + 25),
  definition: () => service.definition("all.esp", place + 25),
  references: () => service.references("all.esp", place + 25),
  completion: () => service.completions("all.esp", place),
  "signature help": () => service.signature("all.esp", text.indexOf("nearest(") + 10),
  rename: () => service.rename("all.esp", text.indexOf("gain_of_two"), "gain_of_both"),
  fixes: () => service.fixes("all.esp", at, at + 10),
  formatting: () => service.format("all.esp"),
};
const times = new Map(Object.keys(questions).map((name) => [name, []]));
for (let round = 0; round < 25; round += 1)
  for (const [name, ask] of Object.entries(questions)) {
    edit("aside");
    const start = performance.now();
    ask();
    if (round >= 5) times.get(name).push(performance.now() - start);
  }
console.log(`${source.split("\n").length} lines, ${process.version}; milliseconds from an edit to the answer`);
for (const [name, found] of times) {
  const sorted = found.toSorted((a, b) => a - b);
  const [median, most] = [sorted[sorted.length >> 1], sorted.at(-1)];
  console.log(`${name.padEnd(15)} median ${median.toFixed(1).padStart(6)}   longest ${most.toFixed(1).padStart(6)}`);
}
