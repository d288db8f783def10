/**
 * `npm run demo`: a small Llama, scored and heard, compressed by a recipe, scored and heard again, on whatever the
 * machine
 * has. `npm run demo -- DIR` keeps the compressed model in DIR; else it goes with the temporary folder it was written
 * to.
 */
import { windowsInWords } from "../llama/windows.js";
import { counted } from "../../compiler/words.js";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { elementCount } from "../../compiler/types/shape.js";
import { formatBytes } from "../device/error.js";
import { compress } from "../llama/compression/compress.js";
import type { Compression } from "../llama/compression/compression.js";
import { perplexity } from "../llama/inference/evaluate.js";
import { generate } from "../llama/inference/generate.js";
import { openSession } from "../llama/inference/session.js";
import { openModel, type Model } from "../model/model.js";
import { checkOutput, discardStaged } from "../model/output.js";
import { packageRoot } from "../package.js";
import { findRecipe } from "./compress.js";
import { action } from "./action.js";
import { sessionOptions } from "./dtype.js";
import { onInterrupt } from "./interrupt.js";
import { openMachine, type Machine } from "./machine.js";
import type { Output } from "./output.js";
import { stagedProgress } from "./staged-progress.js";
import { table } from "./table.js";
import { readTokens } from "./text.js";

const folder = join(packageRoot(), "examples", "classics-3.7m");
const recipeFile = join(packageRoot(), "examples", "wanda-2of4-int4.esp");
/** The same model by a recipe that trains: made on a GPU, for a step of training takes a CPU minutes. */
const recoveredFolder = join(packageRoot(), "examples", "classics-3.7m-recovered");
const prompt = '"My dear Mr. Holmes," said he,';

/** So much that a CPU of two cores is done within a minute; a GPU does it all. */
const windows = { cpu: { scored: 8, calibration: 16 }, gpu: { scored: undefined, calibration: 128 } } as const;
const window = 256;
const sampleTokens = 40;

/** What was found out about a model. */
interface Impression {
  readonly perplexity: number;
  readonly sample: string;
}

await action(
  async () => demo,
  () => true,
)(process.argv[2]);

async function demo(output: Output, kept: string | undefined): Promise<void> {
  const started = performance.now();
  const { paint } = output;
  const say = (text: string = ""): void => output.stream(`${text}\n`);
  const temporary = kept === undefined ? mkdtempSync(join(tmpdir(), "espalier-demo-")) : null;
  const directory = kept ?? join(temporary ?? "", "model");
  const clean = (): void => {
    discardStaged(directory);
    if (temporary !== null) rmSync(temporary, { recursive: true, force: true });
  };
  const forget = onInterrupt(clean, output.note);
  const dense = await openModel(folder);
  let machine: Machine | null = null;
  try {
    await checkOutput(directory, { model: folder, force: false });
    const { recipe, source, files } = findRecipe(recipeFile, { set: [] }, output);
    say(`${paint.bold(paint.green("espalier"))}  compresses Llama models by recipes, in a language of its own`);
    say();
    say(
      `${paint.bold("model")}     ${here(folder)}: ${counted(dense.config.layers, "block")}, ${(parametersOf(dense) / 1e6).toFixed(1)} million parameters, ${formatBytes(bytesOf(dense))}`,
    );
    machine = await openMachine({ device: "auto", tune: false }, () => undefined);
    const { device } = machine;
    say(
      `${paint.bold("device")}    ${device.name}${device.kind === "cpu" ? ": there is no GPU here, so only the first windows of each text are taken" : ""}`,
    );
    say();

    say(paint.bold("1. The model as it is"));
    const before = await meet(machine, dense, output);

    say(paint.bold(`2. A recipe: ${here(recipeFile)}`));
    say(indented(source.trim(), paint.cyan("| ")));
    say();
    const { calibration } = windows[device.kind === "gpu" ? "gpu" : "cpu"];
    const tokenizer = await dense.tokenizer();
    const progress = stagedProgress(output);
    const report = await compress(machine.caller, dense, recipe, {
      output: directory,
      source,
      files,
      onProgress: progress.update,
      text: {
        ids: await readTokens(join(folder, "calibration.txt"), tokenizer, output),
        bos: tokenizer.bos,
        window,
        windows: calibration,
      },
    });
    progress.end();
    say(indented(describeLayers(report, output), ""));
    say(`   calibrated on ${counted(calibration, "window")} of calibration.txt, ${report.seconds.toFixed(1)} s`);
    say();

    say(paint.bold("3. The model that was written, read back from the disk"));
    const compressed = await openModel(directory);
    let after: Impression;
    try {
      after = await meet(machine, compressed, output);
    } finally {
      await compressed.close();
    }

    say(paint.bold(`4. The same, its kept weights trained on a GPU: ${here(recoveredFolder)}`));
    const trained = await openModel(recoveredFolder);
    let recovered: Impression;
    try {
      recovered = await meet(machine, trained, output);
    } finally {
      await trained.close();
    }

    say(paint.bold("In short"));
    const ofLayers = (model: { readonly bytes: number }[]): number => model.reduce((sum, { bytes }) => sum + bytes, 0);
    const layersBefore = ofLayers(report.tensors.map(({ name }) => dense.tensor(name)));
    const layersAfter = ofLayers([...report.tensors]);
    const layersTrained = ofLayers(report.tensors.map(({ name }) => trained.tensor(name)));
    const smaller = (bytes: number): string => `${(layersBefore / bytes).toFixed(1)} times smaller`;
    say(
      indented(
        table(
          ["", "before", "after", "trained"],
          [
            ["perplexity", ...[before, after, recovered].map((each) => each.perplexity.toFixed(2))],
            [
              "the model",
              ...[report.bytesBefore, report.bytesAfter, bytesOf(trained)].map((each) => formatBytes(each)),
            ],
            ["its linear layers", ...[layersBefore, layersAfter, layersTrained].map((each) => formatBytes(each))],
            ["", "", smaller(layersAfter), smaller(layersTrained)],
          ],
          paint,
        ),
        "",
      ),
    );
    say(`   all in ${((performance.now() - started) / 1000).toFixed(1)} s`);
    if (kept !== undefined)
      say(`\nThe model is in ${kept}: espalier generate --model ${kept} --prompt "Once upon a time"`);
  } finally {
    machine?.close();
    await dense.close();
    forget();
    clean();
  }
}

/** Scores a model and lets it go on with the prompt. */
async function meet(machine: Machine, model: Model, output: Output): Promise<Impression> {
  const { caller, device } = machine;
  const tokenizer = await model.tokenizer();
  const session = await openSession(caller, model, sessionOptions({ dtype: "auto" }, caller.target));
  try {
    const { scored } = windows[device.kind === "gpu" ? "gpu" : "cpu"];
    const progress = output.progress("scoring");
    const result = await perplexity(session, await readTokens(join(folder, "eval.txt"), tokenizer, output), {
      window,
      bos: tokenizer.bos,
      limit: scored,
      batch: device.kind === "gpu" ? undefined : 2,
      onProgress: (done, total) => progress.update(done, total),
    });
    progress.end();
    const of = `${windowsInWords(result.windows, scored !== undefined)} of eval.txt (${counted(result.tokens, "token")})`;
    output.stream(
      `   perplexity ${output.paint.bold(result.perplexity.toFixed(2))} on ${of}, ${result.seconds.toFixed(1)} s\n`,
    );
    const ids = await tokenizer.encode(prompt, { prefix: true });
    const { ids: fresh, decodeTokensPerSecond } = await generate(session, ids, {
      maxNewTokens: sampleTokens,
      temperature: 0,
      eosTokens: model.generation.eosTokens,
    });
    const sample = tokenizer.decode([...ids, ...fresh]).slice(prompt.length);
    output.stream(
      `${indented(`${output.paint.dim(prompt)}${sample}`, "")}\n   ${counted(fresh.length, "token")}, ${(decodeTokensPerSecond ?? 0).toFixed(0)} a second\n\n`,
    );
    return { perplexity: result.perplexity, sample };
  } finally {
    session.release();
  }
}

/** A row for each layer. */
function describeLayers(report: Compression, output: Output): string {
  return table(
    ["tensor", "pattern", "format", "bits/weight", "bytes", "error"],
    report.tensors.map((tensor) => [
      tensor.name,
      tensor.pattern,
      tensor.format,
      { number: tensor.bitsPerWeight, digits: 3 },
      tensor.bytes,
      { number: tensor.relativeError, digits: 3 },
    ]),
    output.paint,
  );
}

function parametersOf(model: Model): number {
  return model.tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

function bytesOf(model: Model): number {
  return model.tensors.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** A path as seen from the project. */
function here(path: string): string {
  return relative(packageRoot(), path);
}

function indented(text: string, mark: string): string {
  return text
    .split("\n")
    .map((line) => `   ${mark}${line}`.trimEnd())
    .join("\n");
}
