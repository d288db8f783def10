import { fileURLToPath } from "node:url";
import {
  CodeActionKind,
  createConnection,
  ErrorCodes,
  ProposedFeatures,
  ResponseError,
  TextDocuments,
  TextDocumentSyncKind,
  type InitializeResult,
  type TextDocumentPositionParams,
} from "vscode-languageserver/node";
import { TextDocument } from "vscode-languageserver-textdocument";
import { createLanguageService } from "../../../compiler/language-service/service.js";
import { packageVersion } from "../../package.js";
import type { Output } from "../output.js";
import {
  changedPart,
  completionItem,
  editorDiagnostic,
  outlineKinds,
  placesIn,
  textEdit,
  workspaceEdit,
} from "./convert.js";
import { editorFiles } from "./files.js";

/** Milliseconds without an edit after which a file is checked: what is asked with an edit is answered before. */
const pause = 10;

/** After a check that took long, as many times its own as it took: who types on is not kept waiting by checks. */
const share = 2;

/** `espalier lsp`: a language server on stdin and stdout. */
export async function run(_output: Output): Promise<void> {
  const connection = createConnection(ProposedFeatures.all, process.stdin, process.stdout);
  const documents = new TextDocuments(TextDocument);
  let folders: readonly string[] = [];
  const files = editorFiles(
    {
      text: (uri) => documents.get(uri)?.getText() ?? null,
      uris: () => documents.keys(),
    },
    () => folders,
  );
  const service = createLanguageService(files);
  const waiting = new Map<string, NodeJS.Timeout>();

  connection.onInitialize(({ workspaceFolders, rootUri }): InitializeResult => {
    const uris = workspaceFolders?.map(({ uri }) => uri) ?? (rootUri === null ? [] : [rootUri]);
    folders = uris.filter((uri) => uri.startsWith("file:")).map((uri) => fileURLToPath(uri));
    return {
      serverInfo: { name: "espalier", version: packageVersion() },
      capabilities: {
        textDocumentSync: TextDocumentSyncKind.Incremental,
        hoverProvider: true,
        definitionProvider: true,
        referencesProvider: true,
        documentSymbolProvider: true,
        documentFormattingProvider: true,
        renameProvider: { prepareProvider: true },
        completionProvider: { triggerCharacters: [".", " "] },
        signatureHelpProvider: { triggerCharacters: ["(", ","] },
        codeActionProvider: { codeActionKinds: [CodeActionKind.QuickFix] },
      },
    };
  });

  /** When the last check ended, and how many ms it took. */
  let last = { end: 0, took: 0 };

  /** Checks a file and says what was found. */
  function tell(uri: string): void {
    const document = documents.get(uri);
    if (document === undefined) return;
    const began = performance.now();
    const places = placesIn(files);
    const diagnostics = service.diagnostics(files.fileOf(uri)).map((found) => editorDiagnostic(found, places));
    void connection.sendDiagnostics({ uri, version: document.version, diagnostics });
    const end = performance.now();
    last = { end, took: end - began };
  }

  /** How long a check waits after an edit. */
  function delay(): number {
    return Math.max(pause, last.end + share * last.took - performance.now());
  }

  function later(uri: string, after: number): void {
    clearTimeout(waiting.get(uri));
    waiting.set(
      uri,
      setTimeout(() => {
        waiting.delete(uri);
        tell(uri);
      }, after),
    );
  }

  /** What other files say may depend on one that has changed. */
  function tellOthers(uri: string): void {
    for (const other of documents.keys()) if (other !== uri) later(other, delay());
  }

  documents.onDidOpen(({ document }) => later(document.uri, 0));
  documents.onDidChangeContent(({ document }) => {
    later(document.uri, delay());
    tellOthers(document.uri);
  });
  documents.onDidSave(() => files.refresh());
  documents.onDidClose(({ document: { uri } }) => {
    clearTimeout(waiting.get(uri));
    waiting.delete(uri);
    files.refresh();
    service.forget(files.fileOf(uri));
    void connection.sendDiagnostics({ uri, diagnostics: [] });
  });
  connection.onDidChangeWatchedFiles(() => {
    files.refresh();
    tellOthers("");
  });

  /** The file and the offset of a request. */
  function at({ textDocument, position }: TextDocumentPositionParams): readonly [string, number] {
    return [files.fileOf(textDocument.uri), documents.get(textDocument.uri)?.offsetAt(position) ?? 0];
  }

  connection.onHover((params) => {
    const found = service.hover(...at(params));
    if (found === null) return null;
    const value = `\`\`\`espalier\n${found.code}\n\`\`\`${found.text === "" ? "" : `\n\n${found.text}`}`;
    return { contents: { kind: "markdown", value }, range: placesIn(files).range(found.span) };
  });
  connection.onDefinition((params) => {
    const span = service.definition(...at(params));
    return span === null ? null : placesIn(files).location(span);
  });
  connection.onReferences((params) => {
    const places = placesIn(files);
    return service.references(...at(params), params.context.includeDeclaration).map((span) => places.location(span));
  });
  connection.onPrepareRename((params) => {
    const found = service.renamable(...at(params));
    if (found === null) return null;
    if ("problem" in found) throw new ResponseError(ErrorCodes.InvalidRequest, found.problem);
    return placesIn(files).range(found.span);
  });
  connection.onRenameRequest((params) => {
    const renamed = service.rename(...at(params), params.newName);
    if ("problem" in renamed) throw new ResponseError(ErrorCodes.InvalidRequest, renamed.problem);
    return workspaceEdit(renamed.edits, files, placesIn(files));
  });
  connection.onCompletion((params) => {
    const places = placesIn(files);
    return service.completions(...at(params)).map((found) => completionItem(found, places));
  });
  connection.onSignatureHelp((params) => {
    const found = service.signature(...at(params));
    if (found === null) return null;
    const { label, documentation, parameters, active } = found;
    return {
      activeSignature: 0,
      activeParameter: active,
      signatures: [
        {
          label,
          documentation: { kind: "markdown", value: documentation },
          parameters: parameters.map(({ start, end }) => ({ label: [start, end] })),
        },
      ],
    };
  });
  connection.onDocumentSymbol(({ textDocument }) => {
    const places = placesIn(files);
    return service.outline(files.fileOf(textDocument.uri)).map(({ name, kind, span, declaration }) => ({
      name,
      kind: outlineKinds[kind],
      range: places.range(declaration?.span ?? span),
      selectionRange: places.range(span),
    }));
  });
  connection.onDocumentFormatting(({ textDocument }) => {
    const file = files.fileOf(textDocument.uri);
    const text = service.format(file);
    if (text === null) return [];
    const before = documents.get(textDocument.uri)?.getText() ?? "";
    return [textEdit({ file, ...changedPart(before, text) }, placesIn(files))];
  });
  connection.onCodeAction(({ textDocument, range }) => {
    const file = files.fileOf(textDocument.uri);
    const document = documents.get(textDocument.uri);
    if (document === undefined) return [];
    const places = placesIn(files);
    return service.fixes(file, document.offsetAt(range.start), document.offsetAt(range.end)).map((fix) => ({
      title: fix.title,
      kind: CodeActionKind.QuickFix,
      diagnostics: [editorDiagnostic(fix.diagnostic, places)],
      edit: workspaceEdit(fix.edits, files, places),
    }));
  });

  documents.listen(connection);
  const closed = new Promise<void>((resolve) => {
    process.stdin.once("end", resolve);
    process.stdin.once("close", resolve);
  });
  connection.listen();
  await closed;
}
