/** `espalier lsp` on every file of the library over stdin and stdout: every request, the file whole and then broken. */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  CodeActionRequest,
  CompletionRequest,
  DefinitionRequest,
  DidCloseTextDocumentNotification,
  DocumentFormattingRequest,
  DocumentSymbolRequest,
  HoverRequest,
  ReferencesRequest,
  RenameRequest,
  SignatureHelpRequest,
  type CompletionItem,
  type DocumentSymbol,
  type Position,
} from "vscode-languageserver-protocol/node";
import { projectFile } from "../support/project.js";
import { filesBelow } from "../support/sources.js";
import { startLanguageClient, type LanguageClient } from "./language-client.js";
import { temporaryFolder } from "./support.js";

const test = suite("lsp on the library");
const folder = temporaryFolder();
let editor: LanguageClient;

test.before(async () => {
  editor = await startLanguageClient(folder.path);
});

test.after(async () => {
  assert.is(await editor.close(), 0);
  folder.remove();
});

type Place = { readonly textDocument: { readonly uri: string }; readonly position: Position };

async function completions(place: Place): Promise<readonly CompletionItem[]> {
  const found = await editor.client.sendRequest(CompletionRequest.type, place);
  return Array.isArray(found) ? found : (found?.items ?? []);
}

/** Where a name is declared, and that it is asked for from all places where it stands. */
async function assertNamed(path: string, { name, selectionRange }: DocumentSymbol): Promise<void> {
  const { client } = editor;
  const uri = pathToFileURL(path).href;
  const at = { textDocument: { uri }, position: selectionRange.start };
  const what = `${path} ${name}`;
  assert.match(JSON.stringify(await client.sendRequest(HoverRequest.type, at)), new RegExp(`\\b${name}\\b`), what);
  const places = await client.sendRequest(ReferencesRequest.type, { ...at, context: { includeDeclaration: true } });
  assert.ok(
    places?.some((place) => place.uri === uri && JSON.stringify(place.range) === JSON.stringify(selectionRange)),
    what,
  );
  for (const place of (places ?? []).slice(0, 4))
    assert.equal(
      await client.sendRequest(DefinitionRequest.type, {
        textDocument: { uri: place.uri },
        position: place.range.start,
      }),
      { uri, range: selectionRange },
      what,
    );
  // what is of the library keeps its name
  const renamed = await client.sendRequest(RenameRequest.type, { ...at, newName: "other" }).then(
    () => "renamed",
    (error: unknown) => (error instanceof Error ? error.message : ""),
  );
  assert.match(renamed, /standard library/, what);
}

for (const file of filesBelow(["stdlib"], ".esp"))
  test(file, async () => {
    const { client } = editor;
    const path = projectFile(file);
    const source = readFileSync(path, "utf8");
    const opened = await editor.open(path, source);
    const textDocument = { uri: opened.uri };
    const layOut = () =>
      client.sendRequest(DocumentFormattingRequest.type, { textDocument, options: { tabSize: 2, insertSpaces: true } });
    assert.equal(await opened.diagnostics(), []);
    assert.equal(await layOut(), []);
    const symbols = ((await client.sendRequest(DocumentSymbolRequest.type, { textDocument })) ?? []).filter(
      (symbol) => "selectionRange" in symbol,
    );
    assert.ok(symbols.length > 0);
    for (const symbol of symbols) await assertNamed(path, symbol);

    // in the last declaration: none is proposed twice as the same thing (a function and a local may share a name)
    const end = source.lastIndexOf("\n}");
    const here = await completions(opened.behind(source.slice(0, source.lastIndexOf("\n", end - 1) + 1)));
    const kinds = here.map(({ label, kind }) => `${label} ${kind}`);
    assert.ok(kinds.length > 0 && new Set(kinds).size === kinds.length, kinds.join());

    // as one writes on: a function that does not end, with a call that does not
    const known = symbols.find(({ name }) => source.includes(`fn ${name}(`))?.name;
    const call = known === undefined ? "sqrt(" : `${known}(`;
    const broken = `${source}\nfn written(x: f32[N]) -> f32[N] {\n  let near = x\n  let y = ${call}`;
    await opened.change(`${broken}\n  return zz\n}\n`);
    const found = await opened.diagnostics();
    assert.ok(found.some(({ code }) => /^E1/.test(String(code))));
    const place = opened.behind(broken);
    const proposed = (await completions(place)).map(({ label }) => label);
    for (const name of ["near", "x", "sqrt", ...(known === undefined ? [] : [known])])
      assert.ok(proposed.includes(name), `${name}: ${proposed.join()}`);
    const signature = await client.sendRequest(SignatureHelpRequest.type, place);
    assert.match(signature?.signatures[0]?.label ?? "", new RegExp(`\\b${known ?? "sqrt"}\\(`));
    assert.equal(await layOut(), []);
    for (const symbol of symbols.slice(0, 3)) await assertNamed(path, symbol);

    // a name that was mistyped, and the fix
    await opened.change(`${source}\nfn written(xs: f32[N]) -> f32[N] {\n  return xss\n}\n`);
    const [mistyped, ...others] = await opened.diagnostics();
    assert.equal(others, []);
    if (mistyped === undefined) throw new Error("nothing is mistyped");
    const fixes = await client.sendRequest(CodeActionRequest.type, {
      ...{ textDocument, range: mistyped.range, context: { diagnostics: [mistyped] } },
    });
    assert.match(JSON.stringify(fixes), /"newText":"xs"/);
    await client.sendNotification(DidCloseTextDocumentNotification.type, { textDocument });
  });

test.run();
