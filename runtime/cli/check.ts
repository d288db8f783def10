import type { Command } from "commander";
import { check } from "../../compiler/check/check.js";
import { hasErrors, type Diagnostic } from "../../compiler/diagnostic.js";
import { render } from "../../compiler/render.js";
import { createHost } from "../library.js";
import { action, withJson } from "./context.js";

/** `espalier check`: diagnostics of files; exit code 0 when clean, 1 with diagnostics. */
export function addCheck(program: Command): void {
  withJson(program.command("check").description("check recipes and functions").argument("<files...>", ".esp files"))
    .action(action(async (output, files: string[], _options: { readonly json?: boolean }) => {
      const diagnostics: Diagnostic[] = [];
      const sources = new Map<string, string>();
      for (const file of files) {
        const host = createHost();
        diagnostics.push(...check(file, host).diagnostics);
        for (const [path, text] of host.sources) sources.set(path, text);
      }
      const failed = diagnostics.length > 0;
      output.result({ diagnostics }, () => (failed ? render(diagnostics, sources, { color: process.stdout.isTTY === true }) : `${files.length} ${files.length === 1 ? "file" : "files"}: no diagnostics`));
      return hasErrors(diagnostics) || failed ? 1 : 0;
    }));
}
