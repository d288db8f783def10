import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { check } from "../../compiler/check/check.js";
import { hasErrors } from "../../compiler/diagnostic.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { compress, type CompressProgress } from "../llama/compress.js";
import { openModel } from "../model/model.js";
import { checkOutput } from "../model/output.js";
import { createHost, type SourceHost } from "../library.js";
import { action, integerOption, openMachine, withDevice, type DeviceOptions } from "./context.js";
import { DiagnosticsError, UsageError } from "./failure.js";
import { bytesText, table, type Output } from "./output.js";
import { readTokens } from "./text.js";

interface CompressCommandOptions extends DeviceOptions {
  readonly model: string;
  readonly out: string;
  readonly text?: string;
  readonly recipe?: string;
  readonly set: readonly string[];
  readonly window: number;
  readonly windows: number;
  readonly force?: boolean;
}

/** `espalier compress`: a model by a recipe. */
export function addCompress(program: Command): void {
  withDevice(program.command("compress").description("compress a model by a recipe").argument("<recipe>", ".esp file with a recipe")
    .requiredOption("--model <dir>", "model directory")
    .requiredOption("--out <dir>", "directory to write; must not exist")
    .option("--text <file>", "calibration text; calibration.txt of the model directory unless given")
    .option("--recipe <name>", "which recipe, where the file has several")
    .option("--set <name=value...>", "a parameter of the recipe", (value: string, previous: readonly string[]) => [...previous, value], [])
    .option("--window <n>", "tokens of a calibration window", integerOption("--window", 2), 256)
    .option("--windows <n>", "calibration windows, the first of the text", integerOption("--windows", 1), 128)
    .option("--force", "replace the output directory"))
    .action(action(async (output, file: string, options: CompressCommandOptions) => {
      const host = createHost();
      const recipe = findRecipe(file, host, options);
      const model = await openModel(options.model);
      try {
        await checkOutput(options.out, { model: options.model, force: options.force === true });
        const text = recipe.needsText ? await calibrationText(options, model) : null;
        const { device, caller } = await openMachine(options, output);
        try {
          const progress = stagedProgress(output);
          const report = await compress(caller, model, recipe, { output: options.out, force: options.force, source: readFileSync(file, "utf8"), text, onProgress: progress.update });
          progress.end();
          output.result({ ...report, device: device.name }, () => [
            table(["tensor", "pattern", "format", "bits/weight", "bytes", "relative error"], report.tensors.map((tensor) => [
              tensor.name, tensor.pattern, tensor.format, tensor.bitsPerWeight.toFixed(3), tensor.bytes, tensor.relativeError.toFixed(5),
            ])),
            `${bytesText(report.bytesBefore)} -> ${bytesText(report.bytesAfter)} in ${report.seconds.toFixed(1)} s on ${device.name}: ${report.saved.join(", ")}`,
          ].join("\n"));
        } finally {
          device.close();
        }
      } finally {
        await model.close();
      }
    }));
}

async function calibrationText(options: CompressCommandOptions, model: Awaited<ReturnType<typeof openModel>>): Promise<{ ids: number[]; bos: number | null; window: number; windows: number }> {
  const beside = join(options.model, "calibration.txt");
  const path = options.text ?? (existsSync(beside) ? beside : null);
  if (path === null) throw new UsageError("the recipe observes the model on a text: --text FILE is needed, as the model directory has no calibration.txt");
  const tokenizer = await model.tokenizer();
  return { ids: await readTokens(path, tokenizer), bos: tokenizer.bos, window: options.window, windows: options.windows };
}

function findRecipe(file: string, host: SourceHost, options: CompressCommandOptions): Recipe {
  const { value, diagnostics } = check(file, host, { set: settings(options.set) });
  if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
  const names = [...value.recipes.keys()];
  const [only, ...others] = names;
  if (only === undefined) throw new UsageError(`${file} has no recipe`);
  if (options.recipe === undefined && others.length > 0) throw new UsageError(`--recipe NAME is needed: ${file} has ${names.join(", ")}`);
  const found = value.recipes.get(options.recipe ?? only);
  if (found === undefined) throw new UsageError(`${file} has no recipe ${options.recipe}; it has ${names.join(", ")}`);
  return found;
}

/** Values of `--set name=value`: numbers and booleans as such. */
export function settings(given: readonly string[]): Record<string, number | boolean | string> {
  return Object.fromEntries(given.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new UsageError(`--set is name=value, not "${text}"`);
    const value = text.slice(at + 1).trim();
    const number = Number(value);
    return [text.slice(0, at).trim(), value === "true" ? true : value === "false" ? false : value !== "" && Number.isFinite(number) ? number : value] as const;
  }));
}

/** One bar a stage. */
export function stagedProgress(output: Output): { update(progress: CompressProgress): void; end(): void } {
  let stage: string | null = null;
  let bar = output.progress("");
  return {
    update(progress) {
      if (progress.stage !== stage) {
        bar.end();
        stage = progress.stage;
        bar = output.progress(stage.padEnd(8));
      }
      bar.update(progress.done, progress.total, progress.subject);
    },
    end: () => bar.end(),
  };
}
