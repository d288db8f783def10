/** A client of the protocol, as an editor is one, and `espalier lsp` behind it over stdin and stdout. */
import { spawn } from "node:child_process";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import {
  createProtocolConnection,
  DidChangeTextDocumentNotification,
  DidOpenTextDocumentNotification,
  ExitNotification,
  InitializedNotification,
  InitializeRequest,
  PublishDiagnosticsNotification,
  ShutdownRequest,
  StreamMessageReader,
  StreamMessageWriter,
  type InitializeResult,
  type Position,
  type ProtocolConnection,
  type PublishDiagnosticsParams,
} from "vscode-languageserver-protocol/node";
import { command } from "./support.js";

/** A file that is open in the editor. */
export interface OpenFile {
  readonly uri: string;
  /** The place right behind the first occurrence of a text. */
  behind(text: string): { textDocument: { uri: string }; position: Position };
  change(text: string): Promise<void>;
  /** What is told of the text as it is. */
  diagnostics(): Promise<PublishDiagnosticsParams["diagnostics"]>;
}

/** The editor. */
export interface LanguageClient {
  readonly client: ProtocolConnection;
  readonly capabilities: InitializeResult["capabilities"];
  open(path: string, text: string): Promise<OpenFile>;
  /** Ends the server; its exit code. */
  close(): Promise<number | null>;
}

/** Starts both, in a folder. */
export async function startLanguageClient(folder: string): Promise<LanguageClient> {
  const server = spawn(
    process.execPath,
    [fileURLToPath(new URL(`../../${command}`, import.meta.url)), "lsp", "--stdio"],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const ended = new Promise<number | null>((resolve) => server.once("exit", resolve));
  const client = createProtocolConnection(
    new StreamMessageReader(server.stdout),
    new StreamMessageWriter(server.stdin),
  );
  const told = new Map<string, PublishDiagnosticsParams>();
  const listeners = new Set<() => void>();
  client.onNotification(PublishDiagnosticsNotification.type, (params) => {
    told.set(params.uri, params);
    for (const listener of listeners) listener();
  });
  client.listen();
  const { capabilities } = await client.sendRequest(InitializeRequest.type, {
    processId: process.pid,
    rootUri: null,
    workspaceFolders: [{ uri: pathToFileURL(folder).href, name: "recipes" }],
    capabilities: {},
  });
  await client.sendNotification(InitializedNotification.type, {});

  const open = async (path: string, text: string): Promise<OpenFile> => {
    const uri = pathToFileURL(path).href;
    let [now, version] = [text, 1];
    await client.sendNotification(DidOpenTextDocumentNotification.type, {
      textDocument: { uri, languageId: "espalier", version, text },
    });
    return {
      uri,
      behind(part) {
        const at = now.indexOf(part);
        assert.ok(at >= 0, `${part} is not there`);
        const lines = now.slice(0, at + part.length).split("\n");
        return { textDocument: { uri }, position: { line: lines.length - 1, character: lines.at(-1)?.length ?? 0 } };
      },
      async change(next) {
        now = next;
        version += 1;
        await client.sendNotification(DidChangeTextDocumentNotification.type, {
          textDocument: { uri, version },
          contentChanges: [{ text: next }],
        });
      },
      diagnostics: () =>
        new Promise((resolve) => {
          const look = (): void => {
            const found = told.get(uri);
            if (found?.version !== version) return;
            listeners.delete(look);
            resolve(found.diagnostics);
          };
          listeners.add(look);
          look();
        }),
    };
  };
  return {
    client,
    capabilities,
    open,
    async close() {
      await client.sendRequest(ShutdownRequest.type);
      await client.sendNotification(ExitNotification.type);
      const code = await ended;
      client.dispose();
      return code;
    },
  };
}
