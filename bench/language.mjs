/**
 * How long the language service takes to answer after an edit of a file of 500 lines: node bench/language.mjs [ROUNDS].
 * Each answer is the first after an edit, and begins with reading what was edited. Beside the time that passed stands
 * what the thread that answers computed (Linux), which others on the machine delay less.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import {
  createProtocolConnection,
  StreamMessageReader,
  StreamMessageWriter,
} from "vscode-languageserver-protocol/node";
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
const rounds = Number(process.argv[2] ?? 45);
/** Milliseconds that a process's first thread has computed; NaN where that is not told. */
const computed = (id) => {
  try {
    return Number(readFileSync(`/proc/${id}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  } catch {
    return NaN;
  }
};
const times = new Map(Object.keys(questions).map((name) => [name, []]));
for (let round = 0; round < rounds; round += 1)
  for (const [name, ask] of Object.entries(questions)) {
    edit("aside");
    const [start, before] = [performance.now(), computed("self")];
    ask();
    if (round >= 5) times.get(name).push({ passed: performance.now() - start, computed: computed("self") - before });
  }
console.log(`${source.split("\n").length} lines, ${process.version}; milliseconds from an edit to the answer`);
tell(times);

/** The same by `espalier lsp`, as an editor asks: an edit and a request, until the answer has come. */
const server = spawn(process.execPath, [`${packageRoot()}/dist/bundle/main.js`, "lsp"], {
  stdio: ["pipe", "pipe", "inherit"],
});
const client = createProtocolConnection(new StreamMessageReader(server.stdout), new StreamMessageWriter(server.stdin));
let checked = () => {};
client.onNotification("textDocument/publishDiagnostics", () => checked());
client.listen();
await client.sendRequest("initialize", {
  processId: process.pid,
  rootUri: null,
  workspaceFolders: null,
  capabilities: {},
});
await client.sendNotification("initialized", {});
const uri = "file:///all.esp";
const textDocument = { uri };
const first = new Promise((resolve) => (checked = resolve));
await client.sendNotification("textDocument/didOpen", {
  textDocument: { uri, languageId: "espalier", version: 1, text: source },
});
await first;
const placeOf = (offset) => {
  const lines = source.slice(0, offset).split("\n");
  return { line: lines.length - 1, character: lines.at(-1).length };
};
const typed = placeOf(at);
const call = { textDocument, position: placeOf(source.indexOf("nearest(") + 10) };
/** w0, below the line that is put there and taken away again. */
const here = (added) => ({ textDocument, position: { line: typed.line + (added ? 1 : 0), character: 11 } });
const requests = {
  hover: ["textDocument/hover", here],
  definition: ["textDocument/definition", here],
  references: ["textDocument/references", (added) => ({ ...here(added), context: { includeDeclaration: true } })],
  completion: ["textDocument/completion", here],
  "signature help": ["textDocument/signatureHelp", call],
  "prepare rename": ["textDocument/prepareRename", here],
  rename: ["textDocument/rename", (added) => ({ ...here(added), newName: "w_before" })],
  symbols: ["textDocument/documentSymbol", { textDocument }],
  fixes: [
    "textDocument/codeAction",
    { textDocument, range: { start: typed, end: { ...typed, character: 20 } }, context: { diagnostics: [] } },
  ],
  formatting: ["textDocument/formatting", { textDocument, options: { tabSize: 2, insertSpaces: true } }],
};
const byServer = new Map(Object.keys(requests).map((name) => [name, []]));
const told = [];
let version = 1;
for (let round = 0; round < rounds; round += 1)
  for (const [name, [method, params]] of Object.entries(requests)) {
    version += 1;
    const added = version % 2 === 0;
    // what was edited before has been told of
    await new Promise((resolve) => setTimeout(resolve, 60));
    const [start, before] = [performance.now(), computed(server.pid)];
    await client.sendNotification("textDocument/didChange", {
      textDocument: { uri, version },
      contentChanges: [
        {
          range: {
            start: { line: typed.line, character: 0 },
            end: { line: typed.line + (added ? 0 : 1), character: 0 },
          },
          text: added ? "  let aside = 1.0\n" : "",
        },
      ],
    });
    await client.sendRequest(method, typeof params === "function" ? params(added) : params);
    const took = (since) => ({ passed: performance.now() - since, computed: computed(server.pid) - before });
    if (round >= 5) byServer.get(name).push(took(start));
    if (name !== "formatting") continue;
    await new Promise((resolve) => (checked = resolve));
    if (round >= 5) told.push(took(start));
  }
byServer.set("diagnostics", told);
console.log(
  "\nby the server, over stdio; diagnostics from the edit on, its formatting and the pause before a check included",
);
tell(byServer);
await client.sendRequest("shutdown");
await client.sendNotification("exit");
client.dispose();

function tell(found) {
  const every = [...found.values()].flat();
  for (const [name, each] of [...found, ["all", every]]) {
    const words = ["passed", "computed"].map((kind) => {
      const sorted = each.map((one) => one[kind]).sort((a, b) => a - b);
      const at = (share) => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN).toFixed(1);
      return `${kind} median ${at(0.5).padStart(6)}   p99 ${at(0.99).padStart(6)}   longest ${at(1).padStart(6)}`;
    });
    console.log(`${name.padEnd(15)} ${words.join("      ")}`);
  }
}
