import { existsSync } from "node:fs";
import { join } from "node:path";
import { bundle, type Bundle } from "../../compiler/check/bundle.js";
import { counted } from "../../compiler/words.js";
import { check } from "../../compiler/check/check.js";
import { CompileError, hasErrors } from "../../compiler/diagnostic.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { didYouMean } from "../../compiler/suggest.js";
import { formatBytes } from "../device/error.js";
import { createHost, standardLibrary } from "../library.js";
import { compress } from "../llama/compression/compress.js";
import type { CalibrationText, Compression } from "../llama/compression/compression.js";
import { printPerplexity } from "../llama/compression/outcome.js";
import { checkOutputs, outputsOf } from "../llama/compression/outputs.js";
import { keptLine, leaveState } from "../llama/long-runs/saved-state.js";
import { checkAgainst } from "../llama/compression/fit.js";
import { calibrationWindows, checkContext } from "../llama/windows.js";
import { describeActivations } from "../model/activation-counts.js";
import { ModelError } from "../model/error.js";
import type { ExportTarget, ExportType } from "../model/export/targets.js";
import { filesOf, type Model } from "../model/model.js";
import { discardStaged, missingParents, removeEmpty } from "../model/output.js";
import { examples, sourcePath } from "../package.js";
import { sessionOptions, type DtypeOptions } from "./dtype.js";
import { describeExport } from "./export.js";
import { checkExport, exportSaved } from "./export-saved.js";
import { DiagnosticsError, noteDiagnostics, UsageError } from "./failure.js";
import { givenModel, openGiven, warn, withLocalTexts } from "./given.js";
import { onInterrupt } from "./interrupt.js";
import { openMachine } from "./machine.js";
import {
  devicesOf,
  settings,
  type DeviceChoice,
  type DeviceOptions,
  type SeveralDevicesOptions,
  type TunedOptions,
} from "./options.js";
import type { Output } from "./output.js";
import { stagedProgress } from "./staged-progress.js";
import { compressionPage } from "./report/compression.js";
import { trainingLines } from "./report/training.js";
import { checkPage, printWithPage } from "./report/write.js";
import { scoredText } from "./scored-text.js";
import { table } from "./table.js";
import { givenTexts, readTexts } from "./text.js";
import { noteWarnings } from "./warnings.js";
import { openCalibrationCrew, type CalibrationCrew } from "./workers/calibration-crew.js";

interface CompressCommandOptions extends DeviceOptions, SeveralDevicesOptions, DtypeOptions, TunedOptions {
  readonly model: string;
  readonly out: string;
  readonly text: readonly string[];
  readonly recipe?: string;
  readonly set: readonly string[];
  readonly window: number;
  readonly windows?: number;
  readonly layerErrors?: boolean;
  readonly maxError?: number;
  readonly calibrationMemory?: number;
  readonly deviceMemory?: number;
  readonly eval?: string;
  readonly limit?: number;
  readonly report?: string;
  readonly resume?: boolean;
  readonly force?: boolean;
  readonly to?: ExportTarget;
  readonly type?: ExportType;
  readonly requantize?: boolean;
}

/** `espalier compress`: a model by a recipe. */
export async function run(output: Output, file: string, given: CompressCommandOptions): Promise<number | void> {
  const options = await withLocalTexts(given, output);
  const { recipe, source, files, sources } = findRecipe(file, options, output);
  const path = await givenModel(options.model, output);
  const model = await openGiven(path, output);
  try {
    // whatever can be reported without a device is reported before one is opened, and before a weight is read
    requireFit(model, recipe, sources);
    const outputs = outputsOf(recipe, options.out);
    await checkOutputs(model, recipe, { ...options, output: options.out });
    for (const each of outputs) await checkExport(each, options);
    if (options.report !== undefined)
      await checkPage(options.report, {
        files: [
          ...filesOf(model),
          ...sources.keys(),
          ...givenTexts(options.text).map(({ path }) => path),
          ...(options.eval === undefined ? [] : [options.eval]),
        ],
        directories: [model.directory, ...outputs],
      });
    await model.companions();
    const text =
      recipe.needsText || options.layerErrors === true ? await calibrationText(model, options, output) : null;
    const [first] = givenTexts(options.text);
    const evaluation = await scoredText(model, { ...options, text: first?.path }, output);
    if (text === null && evaluation === null) await warnOfTokenizer(model, output);
    const [own = options.device, ...others] = devicesOf(options) ?? [];
    const { device, caller, close } = await openMachine({ ...options, device: own }, output.note);
    const telling = { model: path, tune: options.tune, note: output.note };
    const crew = await openHelpers(others, telling, device.name).catch((error: unknown) => {
      close();
      throw error;
    });
    const parents = [options.out, ...outputs].flatMap(missingParents);
    const forget = onInterrupt(() => {
      outputs.forEach(discardStaged);
      const finished = leaveState(options.out);
      removeEmpty(parents);
      if (finished !== null) output.note(keptLine(finished));
    }, output.note);
    try {
      const progress = stagedProgress(output);
      const { resume, layerErrors, maxError, calibrationMemory: memory, deviceMemory, force } = options;
      const report = await compress(caller, model, recipe, {
        output: options.out,
        force,
        source,
        files,
        text,
        evaluation: evaluation?.text,
        dtype: sessionOptions(options, caller.target).dtype,
        layerErrors,
        maxError,
        memory,
        deviceMemory,
        resume,
        helpers: crew?.helpers,
        note: output.note,
        onProgress: progress.update,
      }).finally(progress.end);
      const context = {
        model,
        device: device.name,
        recipe: { file, name: recipe.name, parameters: recipe.parameters, source, modules: files.modules },
        evaluation: evaluation?.words ?? null,
        calibration: text === null ? null : calibrationWords(model, text, options),
      };
      const exported = await exportSaved(report, options, output);
      const code = await printWithPage(
        output,
        { ...report, device: device.name, ...(exported.length === 0 ? {} : { exported }) },
        () =>
          [
            describe(report, device.name, output),
            ...exported.map((one) => describeExport(one, one.seconds, output)),
          ].join("\n"),
        options.report,
        () => compressionPage(report, context),
      );
      noteWarnings(output, report.warnings, report.tensors.length);
      return code;
    } finally {
      await crew?.close();
      forget();
      close();
    }
  } finally {
    await model.close();
  }
}

/** The other devices, where there are others. */
async function openHelpers(
  others: readonly DeviceChoice[],
  options: Parameters<typeof openCalibrationCrew>[1],
  own: string,
): Promise<CalibrationCrew | null> {
  if (others.length === 0) return null;
  const crew = openCalibrationCrew(others, options);
  try {
    await crew.ready;
  } catch (error) {
    await crew.close();
    throw error;
  }
  const unlike = crew.devices.find((name) => name !== own);
  if (unlike !== undefined)
    options.note(`note: ${unlike} is another device than ${own}: the result is that of one device within rounding.`);
  return crew;
}

/** The tensors and the sizes, for people. */
export function describe(report: Compression, device: string, output: Output): string {
  return [
    table(
      ["tensor", "pattern", "format", "bits/weight", "bytes", "weight error", "layer error", "seconds"],
      report.tensors.map((tensor) => [
        tensor.name,
        tensor.pattern,
        tensor.format,
        { number: tensor.bitsPerWeight, digits: 3 },
        tensor.bytes,
        { number: tensor.relativeError, digits: 4 },
        { number: tensor.layerError ?? NaN, digits: 4 },
        { number: tensor.seconds, digits: 2 },
      ]),
      output.paint,
    ),
    `Time: ${Object.entries(report.stageSeconds)
      .filter(([, seconds]) => seconds >= 0.05)
      .map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)} s`)
      .join(", ")}.`,
    ...trainingLines(report.trainings),
    ...report.activations.map(describeActivations),
    ...report.perplexities.map(
      ({ text, of, value }) =>
        `perplexity ${printPerplexity(value)}: the model ${of === "given" ? "as given" : "compressed"}, on the ${text} text`,
    ),
    `${formatBytes(report.bytesBefore)} -> ${output.paint.bold(formatBytes(report.bytesAfter))} in ${report.seconds.toFixed(1)} s on ${device}, ${formatBytes(report.deviceBytesPeak)} of its memory: ${report.saved.join(", ")}`,
  ].join("\n");
}

interface FoundRecipe {
  readonly recipe: Recipe;
  readonly source: string;
  /** The same with what it uses, as it is saved. */
  readonly files: Bundle;
  /** What was read on the way, by file. */
  readonly sources: ReadonlyMap<string, string>;
}

/** The recipe of a file that is asked for; warnings go to stderr. */
export function findRecipe(
  file: string,
  options: { readonly set: readonly string[]; readonly recipe?: string | undefined },
  output: Pick<Output, "note">,
): FoundRecipe {
  const host = createHost();
  const path = sourcePath(file);
  if (/^[a-z0-9-]+$/i.test(path) && !existsSync(path)) throw noRecipe(file);
  const { value, diagnostics } = check(path, host, { set: settings(options.set) });
  if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
  if (diagnostics.length > 0) noteDiagnostics(output, diagnostics, host.sources);
  const names = [...value.recipes.keys()];
  const [only, ...others] = names;
  if (only === undefined)
    throw new UsageError(`${file} has no recipe; expected one such as examples/wanda-2of4.esp has`);
  if (options.recipe === undefined && others.length > 0)
    throw new UsageError(`--recipe NAME is needed: ${file} has ${names.join(", ")}`);
  const recipe = value.recipes.get(options.recipe ?? only);
  if (recipe === undefined) throw new UsageError(`${file} has no recipe ${options.recipe}; it has ${names.join(", ")}`);
  const source = host.read(path) ?? "";
  const files = bundle(path, host) ?? { source, modules: new Map(), standard: new Map() };
  return { recipe, source, files, sources: host.sources };
}

function noRecipe(file: string): UsageError {
  const meant = didYouMean(file, examples());
  return new UsageError(
    `there is no recipe ${file}: neither a file nor one of ${examples().join(", ")}${meant === undefined ? "" : `; ${meant}`}`,
  );
}

/** Whether the recipe fits the model: names and sizes. The device's own limits come later. */
function requireFit(model: Model, recipe: Recipe, sources: ReadonlyMap<string, string>): void {
  try {
    checkAgainst(model, recipe, standardLibrary());
  } catch (error) {
    throw error instanceof CompileError ? new DiagnosticsError(error.diagnostics, sources) : error;
  }
}

/**
 * A tokenizer that is not read is carried over whatever it is made of; one that no text can be read with is reported.
 */
async function warnOfTokenizer(model: Model, output: Output): Promise<void> {
  await model.tokenizer().catch((error: unknown) => {
    if (!(error instanceof ModelError)) throw error;
    if (error.code === "M141")
      warn(output, `the tokenizer is carried over as it is, but no text can be read with it: ${error.message}`);
  });
}

/** The calibration text, known to be long enough. */
async function calibrationText(
  model: Model,
  options: CompressCommandOptions,
  output: Output,
): Promise<CalibrationText> {
  const given = calibrationTexts(model, options);
  if (given.length === 0)
    throw new UsageError(
      "the recipe observes the model on a text: --text FILE is needed, as the model directory has no calibration.txt",
    );
  const tokenizer = await model.tokenizer();
  const { window, windows } = options;
  const { bos } = tokenizer;
  const own = bos === null ? window : window - 1;
  const text = await readTexts(given, tokenizer, { window: own, ends: model.config.eosTokens }, output);
  const { ids } = text;
  checkContext(calibrationWindows(ids, window, tokenizer.bos, windows), model.config.contextLength);
  return { ...text, bos, window, windows };
}

/** The texts that are given, or else the one beside the model, if there is one. */
function calibrationTexts(model: Model, options: CompressCommandOptions): ReturnType<typeof givenTexts> {
  const beside = join(model.directory, "calibration.txt");
  if (options.text.length > 0) return givenTexts(options.text);
  return existsSync(beside) ? [{ path: beside, weight: 1 }] : [];
}

/** For a page: `128 windows of 256 tokens of calibration.txt`. */
function calibrationWords(model: Model, { ids, bos }: CalibrationText, options: CompressCommandOptions): string {
  const { window, windows } = options;
  const count = calibrationWindows(ids, window, bos, windows).count;
  const texts = calibrationTexts(model, options).map(({ path, weight }) => (weight === 1 ? path : `${path}=${weight}`));
  return `${counted(count, "window")} of ${window} tokens of ${texts.join(", ")}`;
}
