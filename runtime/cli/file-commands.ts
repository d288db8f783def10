/** The commands that work on files of models and open no device: what a command does is in the file of its name. */
import { Option, type Command } from "commander";
import { exportTargets, exportTypes } from "../model/export/targets.js";
import { action } from "./action.js";
import { byteCount, withJson } from "./options.js";

/** Adds them. */
export function addFileCommands(program: Command): void {
  addExport(program);
  addDiff(program);
}

function addDiff(program: Command): void {
  withJson(
    program
      .command("diff")
      .description("tell in which tensors two models differ, and by how much")
      .argument("<first>", "model directory or GGUF file")
      .argument("<second>", "another, of the same shape")
      .option("--all", "list also tensors of the same values"),
  )
    .addHelpText(
      "after",
      `
Values are compared, whatever the formats are. Exit codes: 0 all are the same, 1 something differs, 2 wrong use.`,
    )
    .action(action(async () => (await import("./diff.js")).run, never));
}

function addExport(program: Command): void {
  withJson(
    program
      .command("export")
      .description("write a model in a format of other tools")
      .argument("<model>", "model directory or GGUF file")
      .addOption(new Option("--to <format>", "the format").choices(exportTargets).makeOptionMandatory())
      .requiredOption("--out <path>", "directory to write; must not exist")
      .addOption(
        new Option(
          "--type <type>",
          "of all tensors of safetensors (f32, f16, bf16), of the linear layers of gguf (default: what holds the values)",
        ).choices(exportTypes),
      )
      .addOption(new Option("--embedding-type <type>", "of embedding and head of gguf").choices(exportTypes))
      .option("--requantize", "round values that the format does not hold, and tell what that costs")
      .option("--max-shard-size <bytes>", "most bytes of a file of safetensors, as 2GB", byteCount)
      .option("--force", "replace the output if it is a model"),
  )
    .addHelpText(
      "after",
      `
Formats: safetensors (dense, read by any tool), gguf (llama.cpp; with a card, NAME.md beside NAME.gguf), compressed-tensors (pack-quantized: vLLM, transformers), gptq, awq,
marlin-24, sparse-24-bitmask and sparse-bitmask (2:4, and zeros anywhere, for vLLM up to 0.14). Values are those of the model, bit for bit, unless --requantize
allows to round them. What a format cannot express is refused, with those that can. A README.md says what was written,
by which recipe. Nothing is written unless all goes well.`,
    )
    .action(
      action(
        async () => (await import("./export.js")).run,
        () => false,
      ),
    );
}

const never = (): boolean => false;
