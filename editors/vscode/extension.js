// Starts `espalier lsp` for files of the language, and stops it.
const { workspace } = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

exports.activate = ({ subscriptions }) => {
  // what is started may lie in the folder itself
  if (!workspace.isTrusted) return void subscriptions.push(workspace.onDidGrantWorkspaceTrust(start));
  return start();
};

function start() {
  const [command, ...args] = workspace.getConfiguration("espalier").get("command");
  client = new LanguageClient(
    "espalier",
    "Espalier",
    { command, args, transport: TransportKind.stdio, options: { shell: process.platform === "win32" } },
    {
      documentSelector: [{ language: "espalier" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.esp") },
    },
  );
  return client.start();
}

exports.deactivate = () => client?.stop();
