/** `espalier lsp`, driven as an editor does it: a client of the protocol over stdin and stdout. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
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
  PrepareRenameRequest,
  ReferencesRequest,
  RenameRequest,
  SignatureHelpRequest,
  type TextEdit,
} from "vscode-languageserver-protocol/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { changedPart } from "../../runtime/cli/lsp/convert.js";
import { projectFile } from "../support/project.js";
import { startLanguageClient, type LanguageClient } from "./language-client.js";
import { temporaryFolder } from "./support.js";

const test = suite("lsp");
const folder = temporaryFolder();
let editor: LanguageClient;
let client: LanguageClient["client"];
let open: LanguageClient["open"];

test.before(async () => {
  folder.write(
    "mine.esp",
    "/// Doubles.\nfn twice(x: f32[N, K]) -> f32[N, K] {\n  return y where y[n, k] = x[n, k] * 2.0\n}\n",
  );
  editor = await startLanguageClient(folder.path);
  ({ client, open } = editor);
  assert.ok(editor.capabilities.renameProvider);
});

test.after(async () => {
  assert.is(await editor.close(), 0);
  folder.remove();
});

const broken = `use "./mine.esp"

fn open(x: f32[N, K]) -> f32[N, K] {
  let y = twice(x
  return y
}

fn wrong(x: f32[N, K]) -> f32[N, K] {
  let z = twice(x)
  return magnitude(zz)
}
`;

test("a file with errors: diagnostics, then every request, then a fix and none are left", async () => {
  const file = await open(join(folder.path, "broken.esp"), broken);
  const found = await file.diagnostics();
  assert.ok(found.some(({ range, code }) => String(code).startsWith("E1") && range.start.line === 3));
  assert.ok(found.some(({ message }) => /`magnitude` is declared in the module prune/.test(String(message))));
  const hover = await client.sendRequest(HoverRequest.type, file.behind("let z = tw"));
  assert.match(JSON.stringify(hover), /fn twice\(x: f32\[N, K\]\).*Doubles\./);
  const at = file.behind("let z = tw");
  const definition = await client.sendRequest(DefinitionRequest.type, at);
  assert.equal(definition, {
    uri: pathToFileURL(join(folder.path, "mine.esp")).href,
    range: { start: { line: 1, character: 3 }, end: { line: 1, character: 8 } },
  });
  const completion = await client.sendRequest(CompletionRequest.type, file.behind("twice(x"));
  const labels = (Array.isArray(completion) ? completion : (completion?.items ?? [])).map(({ label }) => label);
  assert.ok(
    ["x", "twice", "wanda", "sqrt"].every((label) => labels.includes(label)),
    labels.join(),
  );
  const signature = await client.sendRequest(SignatureHelpRequest.type, file.behind("twice(x"));
  assert.match(signature?.signatures[0]?.label ?? "", /^fn twice\(/);
  const symbols = await client.sendRequest(DocumentSymbolRequest.type, { textDocument: { uri: file.uri } });
  assert.equal(
    symbols?.map(({ name }) => name),
    ["open", "wrong"],
  );
  assert.equal(
    await client.sendRequest(DocumentFormattingRequest.type, {
      textDocument: { uri: file.uri },
      options: { tabSize: 2, insertSpaces: true },
    }),
    [],
  );

  await file.change(broken.replace("twice(x\n", "twice(x)\n").replace("(zz)", "(z)"));
  const [missing, ...none] = await file.diagnostics();
  assert.equal(none, []);
  if (missing === undefined) throw new Error("nothing is missing");
  const actions = await client.sendRequest(CodeActionRequest.type, {
    textDocument: { uri: file.uri },
    range: missing.range,
    context: { diagnostics: [missing] },
  });
  assert.equal(
    actions?.map(({ title }) => title),
    ["Add `use prune`"],
  );
  assert.match(JSON.stringify(actions), /"newText":"use prune\\n"/);
  await file.change(`use prune\n${broken.replace("twice(x\n", "twice(x)\n").replace("(zz)", "(z)")}`);
  assert.equal(await file.diagnostics(), []);

  const references = await client.sendRequest(ReferencesRequest.type, {
    ...file.behind("let z = tw"),
    context: { includeDeclaration: true },
  });
  assert.is(references?.length, 3);
  assert.ok(await client.sendRequest(PrepareRenameRequest.type, file.behind("let z = tw")));
  const renamed = await client.sendRequest(RenameRequest.type, { ...file.behind("let z = tw"), newName: "doubled" });
  assert.equal(
    Object.values(renamed?.changes ?? {}).map((edits) => edits.length),
    [1, 2],
  );
  await client.sendNotification(DidCloseTextDocumentNotification.type, { textDocument: { uri: file.uri } });
});

test("an edit of another file is seen", async () => {
  const file = await open(
    join(folder.path, "uses.esp"),
    'use "./mine.esp"\n\nfn f(x: f32[N, K]) -> f32[N, K] {\n  return thrice(x)\n}\n',
  );
  assert.match(JSON.stringify((await file.diagnostics())[0]), /no function `thrice`/);
  const path = join(folder.path, "mine.esp");
  const mine = await open(path, readFileSync(path, "utf8"));
  await mine.change("fn thrice(x: f32[N, K]) -> f32[N, K] {\n  return y where y[n, k] = x[n, k] * 3.0\n}\n");
  await mine.diagnostics();
  await file.change('use "./mine.esp"\n\nfn f(x: f32[N, K]) -> f32[N, K] {\n  return thrice(x)\n}\n\n');
  assert.equal(await file.diagnostics(), []);
});

test("proposals of formats, fields and modules, the way into the library, both quick fixes, and the layout", async () => {
  const text = `use prune

// as it was typed
recipe mine(model: llama) {
    for block in model.blocks {
      for w in block.linears {
        let keep = mask_2of4(magnitude(w))
        store w as pack w as nm(2, 4) of f16
      }
    }
}
`;
  const file = await open(join(folder.path, "recipe.esp"), text);
  const [unkept] = await file.diagnostics();
  assert.is(unkept?.code, "E502");
  const proposed = async (part: string): Promise<readonly string[]> => {
    const found = await client.sendRequest(CompletionRequest.type, file.behind(part));
    return (Array.isArray(found) ? found : (found?.items ?? [])).map(({ label }) => label);
  };
  assert.ok((await proposed("pack w as ")).includes("int4"));
  assert.ok((await proposed("block.")).includes("linears"));
  assert.ok((await proposed("use ")).includes("sparsegpt"));
  const definition = await client.sendRequest(DefinitionRequest.type, file.behind("mask_2"));
  assert.is(
    definition !== null && "uri" in definition ? definition.uri : null,
    pathToFileURL(projectFile("stdlib/prune.esp")).href,
  );
  const actions = await client.sendRequest(CodeActionRequest.type, {
    textDocument: { uri: file.uri },
    range: unkept!.range,
    context: { diagnostics: [unkept!] },
  });
  assert.equal(
    actions?.map(({ title }) => title),
    ["Keep the mask: `where keep`"],
  );
  const format = async (): Promise<readonly TextEdit[]> =>
    (await client.sendRequest(DocumentFormattingRequest.type, {
      textDocument: { uri: file.uri },
      options: { tabSize: 2, insertSpaces: true },
    })) ?? [];
  // the lines that change, and no others
  assert.equal(
    (await format()).map(({ range }) => [range.start.line, range.end.line]),
    [[4, 10]],
  );
  await file.change(TextDocument.applyEdits(TextDocument.create(file.uri, "espalier", 1, text), [...(await format())]));
  assert.equal(await format(), []);
  await client.sendNotification(DidCloseTextDocumentNotification.type, { textDocument: { uri: file.uri } });
});

test("a change of layout is told by whole lines", () => {
  for (const [before, after] of [
    ["a\nb\nc\n", "a\nB\nc\n"],
    ["a\n", "a\n\n\nb\n"],
    ["", "x\n"],
    ["x\nx\nx\n", "x\nx\n"],
    ["a\r\nb\r\n", "a\nb\n"],
    ["a", "a\n"],
  ] as const) {
    const { start, end, text } = changedPart(before, after);
    assert.ok(start <= end, JSON.stringify([before, after]));
    assert.is(before.slice(0, start) + text + before.slice(end), after);
  }
});

test("a file of the library: what it is, and its names, which stay", async () => {
  const path = projectFile("stdlib/prune.esp");
  const file = await open(path, readFileSync(path, "utf8"));
  assert.equal(await file.diagnostics(), []);
  const hover = await client.sendRequest(HoverRequest.type, file.behind("fn wan"));
  assert.match(JSON.stringify(hover), /fn wanda\(w: f32\[N, K\], x2: f32\[K\]\)/);
  const definition = await client.sendRequest(DefinitionRequest.type, file.behind("fn wan"));
  assert.is(definition !== null && "uri" in definition ? definition.uri : null, file.uri);
  const refused = await client.sendRequest(RenameRequest.type, { ...file.behind("fn wan"), newName: "other" }).then(
    () => "renamed",
    (error: unknown) => (error instanceof Error ? error.message : ""),
  );
  assert.match(refused, /standard library/);
  await file.change(`${readFileSync(path, "utf8")}\nfn new(x: f32[N]) -> f32[N] {\n  return x +\n}\n`);
  assert.match(String((await file.diagnostics())[0]?.code), /^E1/);
});

test.run();
