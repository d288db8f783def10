import { InternalError } from "../../compiler/diagnostic.js";
import { bench } from "../bench/bench.js";
import { benchModel, type ModelBenchReport } from "../bench/model.js";
import type { Peers } from "../bench/peers.js";
import { modelPoints, productPoints } from "../bench/points.js";
import { measureRoof } from "../bench/roof.js";
import { benchLayers, shapeOfModel } from "../bench/shapes.js";
import { standardLibrary } from "../library.js";
import type { ActivationChoice } from "../llama/rounding.js";
import { UsageError } from "./failure.js";
import { parseFormat } from "./format.js";
import { openUnchecked } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { peersOf, plotOf, type PlotOptions } from "./plot.js";
import { printWithPage } from "./report/write.js";
import { table } from "./table.js";
import { tunedChoices } from "./tuned.js";

interface BenchOptions extends DeviceOptions, TunedOptions, PlotOptions {
  readonly shapes: string;
  readonly batch: readonly number[];
  readonly modelShape?: string;
  readonly blocks?: number;
  readonly format: readonly string[];
  readonly sequences: readonly number[];
  readonly context: readonly number[];
  readonly prompt: readonly number[];
  readonly activations?: ActivationChoice;
  readonly profile?: boolean;
}

/** `espalier bench`: products of a model's linear layers, each format against dense; or a whole model. */
export function run(output: Output, options: BenchOptions): Promise<number | void> {
  if (options.modelShape !== undefined) return wholeModel(output, options, options.modelShape);
  const alone =
    options.format.length > 0
      ? "format"
      : (["blocks", "activations", "profile"] as const).find((name) => options[name] !== undefined);
  if (alone !== undefined) throw new UsageError(`--${alone} belongs to --model-shape, which was not given.`);
  return products(output, options);
}

async function products(output: Output, options: BenchOptions): Promise<number> {
  const linear = standardLibrary().get("linear");
  if (linear === undefined) throw new InternalError("the library has no product to time");
  const layers = benchLayers(shapeOfModel(options.shapes));
  const peers = await peersOf(options);
  const device = await openUnchecked(options.device, output.note);
  try {
    const progress = output.progress("timing");
    const choices = tunedChoices(device, options.tune, output.note);
    const report = await bench(device, linear, layers, options.batch, choices, (done, total) =>
      progress.update(done, total),
    );
    progress.end();
    const words = (): string =>
      [
        `${output.paint.bold(report.device)} reads ${report.roofGBs.toFixed(0)} GB/s`,
        table(
          ["layer", "n", "k", "batch", "format", "schedule", "us", "GB/s", "% of roof", "over dense"],
          report.rows.map((row) => [
            row.layer,
            row.n,
            row.k,
            row.batch,
            row.format,
            row.schedule,
            { number: row.us, digits: 1 },
            { number: row.gbs, digits: 0 },
            { number: (100 * row.gbs) / report.roofGBs, digits: 0 },
            { number: row.speedupOverDense, digits: 2 },
          ]),
          output.paint,
        ),
      ].join("\n");
    return printWithPage(output, report, words, options.plot, () =>
      plotOf(device.name, `products of ${options.shapes}`, report.roofGBs, productPoints(report), peers ?? nobody),
    );
  } finally {
    device.close();
  }
}

const nobody: Peers = { ceilings: [], series: [] };

/** The formats that are compared where none is asked for. */
const usualFormats = ["dense", "int4(128)", "nm(2, 4) of int4(128)"];

async function wholeModel(output: Output, options: BenchOptions, shape: string): Promise<number> {
  const config = shapeOfModel(shape, options.blocks ?? null);
  const peers = await peersOf(options);
  const device = await openUnchecked(options.device, output.note);
  try {
    const dense = device.kind === "gpu" && device.features.has("shader-f16") ? "f16" : "f32";
    const formats = (options.format.length > 0 ? options.format : usualFormats).map((text) =>
      parseFormat(text === "dense" ? dense : text),
    );
    const progress = output.progress("timing");
    const report = await benchModel(
      device,
      {
        shape,
        config,
        functions: standardLibrary(),
        choices: tunedChoices(device, options.tune, output.note),
        formats,
        activations: options.activations ?? "auto",
        sequences: options.sequences,
        contexts: options.context,
        prompts: options.prompt,
        profile: options.profile === true,
      },
      (done, total) => progress.update(done, total),
    );
    progress.end();
    const gbs = peers === null ? 0 : await measureRoof(device);
    return printWithPage(
      output,
      report,
      () => printed(report, output),
      options.plot,
      () => plotOf(device.name, shape, gbs, modelPoints(report, config, formats, dense), peers ?? nobody),
    );
  } finally {
    device.close();
  }
}

function printed({ device, shape, blocks, decode, prefill, kernels }: ModelBenchReport, { paint }: Output): string {
  const tables = [
    table(
      ["format", "sequences", "context", "tokens/s", "ms a step", "of it host", "dispatches"],
      decode.map((row) => [
        row.format,
        row.sequences,
        row.context,
        { number: row.tokensPerSecond, digits: 1 },
        { number: row.msPerStep, digits: 3 },
        { number: row.hostMsPerStep, digits: 3 },
        row.dispatchesPerStep,
      ]),
      paint,
    ),
    table(
      ["format", "prompt", "tokens/s", "ms"],
      prefill.map((row) => [
        row.format,
        row.tokens,
        { number: row.tokensPerSecond, digits: 0 },
        { number: row.ms, digits: 2 },
      ]),
      paint,
    ),
    ...(kernels.length === 0
      ? []
      : [
          table(
            ["of", "kernel", "schedule", "dispatches", "us"],
            kernels.map((row) => [row.row, row.kernel, row.schedule, row.dispatches, { number: row.us, digits: 1 }]),
            paint,
          ),
        ]),
  ];
  return [`${paint.bold(shape)} with ${blocks} blocks on ${device}`, ...tables].join("\n\n");
}
