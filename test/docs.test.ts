/** The commands that README and docs/ show run, and print what is shown; dots stand for what was left out. */
import { execFileSync } from "node:child_process";
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { command as bundled, temporaryFolder } from "./cli/support.js";
import { projectFile } from "./support/project.js";
import { filesBelow } from "./support/sources.js";

const test = suite("docs");
const folder = temporaryFolder();
test.after(() => folder.remove());
for (const name of ["examples", "stdlib"]) symlinkSync(projectFile(name), join(folder.path, name));

/** Those that need neither a device nor what another command would have made with one. */
const runnable = /^espalier (?:check|fmt|compile|run .*--evaluate|new|doc)\b/;

/** Commands with what is shown of their output. */
const shown = ["README.md", ...filesBelow(["docs"], ".md")].flatMap((page) =>
  [...readFileSync(projectFile(page), "utf8").matchAll(/^( *)```console\n([\s\S]*?)^\1```$/gm)].flatMap(
    ([, indent = "", text = ""]) =>
      text
        .replaceAll(new RegExp(`^${indent}`, "gm"), "")
        .split(/^\$ /m)
        .slice(1)
        .map((each) => {
          const [command = "", ...lines] = each.split("\n");
          return { page, command, output: lines.join("\n").trim() };
        }),
  ),
);

test("commands print what is shown of them", () => {
  const run = shown.filter(({ command }) => runnable.test(command));
  assert.ok(run.length >= 7, `${run.length}`);
  for (const { page, command, output } of run) {
    const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "").slice(1);
    const stdout = execFileSync(process.execPath, [projectFile(`dist/${bundled}`), ...words], {
      cwd: folder.path,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const pattern = output
      .split("\n")
      .map((line) => (/^\.\.\./.test(line) ? "[^]*?" : line.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")))
      // the library grows
      .map((line) => (/^\d+ modules/.test(line) ? line.replaceAll(/\d+/g, "\\d+") : line))
      .join("\n");
    assert.match(stdout.trim(), new RegExp(`^${pattern}$`), `${page}: ${command}`);
  }
});

test("every command that is shown is one", () => {
  const known = readFileSync(projectFile("runtime/cli/commands.ts"), "utf8");
  const all = ["commands", "language-commands", "file-commands", "serving-commands", "text-commands"]
    .map((name) => readFileSync(projectFile(`runtime/cli/${name}.ts`), "utf8"))
    .join(known);
  for (const { page, command } of shown)
    assert.ok(all.includes(`.command("${command.split(" ")[1]}")`), `${page}: ${command}`);
});

test.run();
