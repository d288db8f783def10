/** The commands for whoever writes in the language, with their options; loaded as those of `commands.ts` are. */
import type { Command } from "commander";
import { action } from "./action.js";
import { withJson } from "./options.js";

/** Adds the commands. */
export function addLanguageCommands(program: Command): void {
  for (const add of [addFormat]) add(program);
}

function addFormat(program: Command): void {
  withJson(
    program
      .command("fmt")
      .description("lay source files out: the one layout, of 120 columns")
      .argument("[files...]", ".esp files, folders of them, or - for stdin (default: all below the working directory)")
      .option("--check", "write nothing, and end with 1 where a file is not laid out so"),
  )
    .addHelpText(
      "after",
      `
What is written stays the same, comments too. Where a file has a syntax error, no file is changed.`,
    )
    .action(action(async () => (await import("./fmt.js")).run, never));
}

const never = (): boolean => false;
