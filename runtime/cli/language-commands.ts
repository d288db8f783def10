/** The commands for whoever writes in the language, with their options; loaded as those of `commands.ts` are. */
import type { Command } from "commander";
import { action } from "./action.js";
import { collect, integer, withDevice, withJson } from "./options.js";

/** Adds the commands. */
export function addLanguageCommands(program: Command): void {
  for (const add of [addNew, addFormat, addRun, addDocumentation, addLanguageServer, addPlayground]) add(program);
}

function addNew(program: Command): void {
  withJson(
    program
      .command("new")
      .description("make a folder with a recipe of your own, which checks and runs as it is")
      .argument("<folder>", "folder to make"),
  ).action(action(async () => (await import("./new.js")).run, never));
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

function addRun(program: Command): void {
  withDevice(
    program
      .command("run")
      .description("run a function on numbers")
      .argument("<file>", ".esp file, or the name of an example")
      .option("--fn <name>", "function; may be left out where the file has only one")
      .option(
        "--arg <name=value...>",
        "a number, true, false, JSON such as '[[1, 2], [3, 4]]', or a file that ends in .npy or .json; may be repeated",
        collect,
        [],
      )
      .option(
        "--size <name=value...>",
        "a size, dtype or format that the arguments do not show, as for compile; may be repeated",
        collect,
        [],
      )
      .option("--set <name=value...>", "a parameter of the recipes of the file; may be repeated", collect, [])
      .option("--out <name=file...>", "write a result to a file, .npy or .json; may be repeated", collect, [])
      .option("--evaluate", "compute by the evaluator, each element in order on the host, and open no device"),
  )
    .addHelpText(
      "after",
      `
Sizes are those of the arguments. What a function takes packed is given as plain values and packed first: on the nearest
of a grid with the largest value of each group as its last; what it gives packed is shown unpacked. NaN and infinities
are written "NaN", "Infinity" and "-Infinity".`,
    )
    .action(
      action(
        async () => (await import("./run/run.js")).run,
        (_file, options) => options.evaluate !== true,
      ),
    );
}

function addDocumentation(program: Command): void {
  withJson(
    program
      .command("doc")
      .description("write the reference of the library, or of your own files, as Markdown and as pages")
      .argument("[files...]", ".esp files, or folders of them (default: the standard library)")
      .requiredOption("--out <folder>", "folder to write; must not exist, or hold a reference")
      .option("--title <words>", "what it is called"),
  )
    .addHelpText(
      "after",
      `
Each declaration with its comment (///), its equation as the program has it, its types, and the example of its comment,
\`name(argument: value)\` is \`result\`., which is run: where it gives something else, nothing is written.`,
    )
    .action(action(async () => (await import("./doc/doc.js")).run, never));
}

function addLanguageServer(program: Command): void {
  program
    .command("lsp")
    .description("answer an editor on stdin and stdout, by the Language Server Protocol")
    .option("--stdio", "on stdin and stdout, as always")
    .action(action(async () => (await import("./lsp/lsp.js")).run, never));
}

const never = (): boolean => false;

function addPlayground(program: Command): void {
  program
    .command("playground")
    .description("serve a page to this machine's browser: an editor, every stage, numbers, and a model to compress")
    .option("--port <n>", "port of 127.0.0.1, 0 for any that is free", integer(0, 65535), 8377)
    .action(action(async () => (await import("./playground.js")).run, never));
}
