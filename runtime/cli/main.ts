#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { packageVersion } from "../package.js";
import { addCommands } from "./commands.js";

const program = new Command("espalier")
  .description(
    "Compresses Llama models by recipes: masks, 2:4 packing and quantised products, lowered to WGSL and run on any GPU, or on the CPU.",
  )
  .version(packageVersion())
  .showHelpAfterError("(espalier --help and espalier COMMAND --help show the options)")
  .addHelpText(
    "after",
    `
Exit codes: 0 done (of check: nothing to report), 1 failed or found something, 2 wrong use.

Examples:
  espalier check recipe.esp
  espalier compress examples/wanda-2of4-int4.esp --model MODEL --out SMALLER
  espalier eval --model SMALLER --text eval.txt
  espalier generate --model SMALLER --prompt "Once upon a time"`,
  );
addCommands(program);
for (const command of [program, ...program.commands]) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // help and version are asked for, and end with 0; everything else that commander finds is a wrong use
  process.exitCode = error.exitCode === 0 ? 0 : 2;
  if (error.exitCode !== 0 && process.argv.includes("--json")) {
    process.stdout.write(
      `${JSON.stringify({ error: { code: "usage", message: error.message.replace(/^error: /, ""), help: null } }, null, 1)}\n`,
    );
  }
}
