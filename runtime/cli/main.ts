#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { packageRoot } from "../library.js";
import { addCheck } from "./check.js";
import { addCompile } from "./compile.js";
import { addCompress } from "./compress.js";
import { addBench } from "./bench.js";
import { addDevices } from "./devices.js";
import { addEval } from "./eval.js";
import { addGenerate } from "./generate.js";
import { addInspect } from "./inspect.js";
import { UsageError } from "./failure.js";

const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string };
const program = new Command("espalier")
  .description("Compress Llama models: recipes of masks, 2:4 packing and quantised products, lowered to WGSL and run on any GPU or on the CPU.")
  .version(version)
  .showHelpAfterError("(espalier --help, or espalier COMMAND --help, shows the options)");
for (const add of [addCheck, addCompile, addCompress, addGenerate, addEval, addInspect, addBench, addDevices]) add(program);
for (const command of [program, ...program.commands]) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) process.stderr.write(`error: ${error.message}\n`);
  else if (!(error instanceof CommanderError)) throw error;
  // help and version are asked for; everything else here is a wrong use
  process.exitCode = error instanceof CommanderError && error.exitCode === 0 ? 0 : 2;
}
