import { counted } from "../../../compiler/words.js";
import { formatBytes } from "../../device/device.js";
import type { Compression, TensorReport } from "../../llama/compression/compression.js";
import { printPerplexity } from "../../llama/compression/outcome.js";
import { describeActivations } from "../../model/activation-counts.js";
import type { Model } from "../../model/model.js";
import { duration } from "../progress.js";
import { trainingCharts } from "./training.js";
import type { Chart, Figure, Page, PageCell, Section } from "./page.js";

/** What a page about a compression shows besides its result. */
export interface CompressionContext {
  readonly model: Model;
  readonly device: string;
  /** Where the recipe came from, its name, its parameters and its text. */
  readonly recipe: {
    readonly file: string;
    readonly name: string;
    readonly parameters: readonly { readonly name: string; readonly value: number | boolean | string }[];
    readonly source: string;
    /** Texts of the modules that it uses, by name. */
    readonly modules: ReadonlyMap<string, string>;
  };
  /** What was scored before and after, in words; null where nothing was. */
  readonly evaluation: string | null;
  /** What the model was observed on, in words; null where it was on nothing. */
  readonly calibration: string | null;
}

/** The page of a compression: its figures, plots by block and kind of layer, all tensors, the recipe. */
export function compressionPage(report: Compression, context: CompressionContext): Page {
  const { model, recipe } = context;
  const parameters = recipe.parameters.map(({ name, value }) => `${name} = ${String(value)}`).join(", ");
  return {
    title: `${recipe.name}: ${
      model.directory
        .split("/")
        .filter((part) => part !== "")
        .at(-1) ?? ""
    }`,
    subtitle: `Compressed by ${recipe.file}${parameters === "" ? "" : ` with ${parameters}`}, on ${context.device}. Written: ${report.saved.join(", ")}.`,
    warnings: report.warnings.map(({ message }) => message),
    figures: figuresOf(report, context),
    facts: [
      ...(context.calibration === null ? [] : [["Observed on", context.calibration] as const]),
      ...(context.evaluation === null ? [] : [["Scored on", context.evaluation] as const]),
      ...report.activations.map((each) => ["Activations", describeActivations(each)] as const),
    ],
    sections: [
      ...trainingCharts(report.trainings),
      ...chartsOf(report, model),
      ...perplexityTable(report, context),
      ...printedTable(report),
      tensorTable(report.tensors),
      { kind: "text", title: "The recipe", text: recipe.source },
      ...[...recipe.modules].map(([title, text]): Section => ({ kind: "text", title, text })),
    ],
  };
}

function figuresOf(report: Compression, { evaluation }: CompressionContext): readonly Figure[] {
  const { tensors } = report;
  const weights = tensors.reduce((sum, { bytes, bitsPerWeight }) => sum + (bytes * 8) / bitsPerWeight, 0);
  const bits = tensors.reduce((sum, { bytes }) => sum + bytes * 8, 0) / Math.max(1, weights);
  const errors = tensors.flatMap(({ layerError }) => (layerError === null ? [] : [layerError]));
  const scored = report.perplexities.filter(({ text }) => text === "evaluation");
  const [before, after] = (["given", "compressed"] as const).map((of) => scored.find((one) => one.of === of)?.value);
  return [
    {
      label: "Bytes of the model",
      value: `${formatBytes(report.bytesBefore)} → ${formatBytes(report.bytesAfter)}`,
      note: sizeWords(report.bytesBefore, report.bytesAfter),
    },
    { label: "Bits a weight, compressed layers", value: bits.toFixed(3), note: counted(tensors.length, "layer") },
    ...(before === undefined || after === undefined
      ? []
      : [
          {
            label: "Perplexity",
            value: `${shortPerplexity(before)} → ${shortPerplexity(after)}`,
            note: evaluation ?? undefined,
          },
        ]),
    ...(errors.length === 0
      ? []
      : [
          {
            label: "Layer error, mean",
            value: percent(errors.reduce((sum, error) => sum + error, 0) / errors.length),
            note: `${percent(Math.min(...errors))} to ${percent(Math.max(...errors))}`,
          },
        ]),
    {
      label: "Time",
      value: duration(report.seconds),
      note: `${duration(tensors.reduce((sum, { seconds }) => sum + seconds, 0))} of it in the layers`,
    },
    { label: "Device memory, most at once", value: formatBytes(report.deviceBytesPeak) },
  ];
}

/** What became of the size. */
function sizeWords(before: number, after: number): string {
  const [least, most] = [Math.max(1, Math.min(before, after)), Math.max(before, after)];
  return least === most ? "no smaller" : `${(most / least).toFixed(2)} times ${after < before ? "smaller" : "larger"}`;
}

/** Plots by block and by kind of layer; those that would be empty are left out. */
function chartsOf({ tensors, stageSeconds }: Compression, model: Model): readonly Section[] {
  if (tensors.length === 0) return [];
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const kinds = [...new Set(model.linears.filter(({ weight }) => byName.has(weight)).map(({ name }) => kindOf(name)))];
  const labels = model.blocks.map(({ index }) => String(index));
  const series = (value: (tensor: TensorReport) => number | null): Chart["series"] =>
    kinds.map((kind) => ({
      name: kind,
      values: model.blocks.map(({ linears }) => {
        const linear = linears.find(({ name }) => kindOf(name) === kind);
        const tensor = linear === undefined ? undefined : byName.get(linear.weight);
        return tensor === undefined ? null : value(tensor);
      }),
    }));
  const chart = (
    title: string,
    caption: string,
    kind: Chart["kind"],
    side: string,
    unit: Chart["unit"],
    value: (tensor: TensorReport) => number | null,
  ): Section => ({
    kind: "chart",
    title,
    caption,
    chart: { kind, below: "block", labels, side, unit, series: series(value) },
  });
  return [
    ...(tensors.some(({ layerError }) => layerError !== null)
      ? [
          chart(
            "Layer error",
            "‖(W′ − W) X‖ / ‖W X‖: how much of a layer's output on the calibration text is lost.",
            "lines",
            "layer error",
            "percent",
            ({ layerError }) => layerError,
          ),
        ]
      : []),
    chart(
      "Weight error",
      "‖W′ − W‖ / ‖W‖: how much of the weights themselves is lost.",
      "lines",
      "weight error",
      "percent",
      ({ relativeError }) => relativeError,
    ),
    bytesChart(model, byName),
    chart(
      "Time by layer",
      "Seconds that the treatment of each layer took, measures included.",
      "stacked",
      "seconds",
      "seconds",
      ({ seconds }) => seconds,
    ),
    stagesChart(stageSeconds),
  ];
}

function stagesChart(seconds: Compression["stageSeconds"]): Section {
  const entries = Object.entries(seconds).filter(([, spent]) => spent > 0);
  return {
    kind: "chart",
    title: "Time by stage",
    caption: "Of this run: calibration text taken into a block and through it, layers treated, files written.",
    chart: {
      kind: "bars",
      below: "stage",
      labels: entries.map(([stage]) => stage),
      side: "seconds",
      unit: "seconds",
      series: [{ name: "seconds", values: entries.map(([, spent]) => spent) }],
    },
  };
}

function bytesChart(model: Model, byName: ReadonlyMap<string, TensorReport>): Section {
  const linears = new Map(model.linears.map(({ name, weight }) => [weight, kindOf(name)]));
  const kinds = new Map<string, { readonly before: number; readonly after: number }>(
    [...linears.values()].map((kind) => [kind, { before: 0, after: 0 }]),
  );
  for (const tensor of model.tensors) {
    const kind =
      linears.get(tensor.name) ?? (tensor.shape.length < 2 ? "norms" : kindOf(tensor.name.replace(/\.weight$/, "")));
    const sums = kinds.get(kind) ?? { before: 0, after: 0 };
    kinds.set(kind, {
      before: sums.before + tensor.bytes,
      after: sums.after + (byName.get(tensor.name)?.bytes ?? tensor.bytes),
    });
  }
  const entries = [...kinds];
  return {
    kind: "chart",
    title: "Bytes before and after",
    caption: "Of all tensors of a kind, in all blocks.",
    chart: {
      kind: "bars",
      below: "kind of tensor",
      labels: entries.map(([kind]) => kind),
      side: "bytes",
      unit: "bytes",
      series: [
        { name: "before", values: entries.map(([, { before }]) => before) },
        { name: "after", values: entries.map(([, { after }]) => after) },
      ],
    },
  };
}

function perplexityTable({ perplexities }: Compression, { evaluation }: CompressionContext): readonly Section[] {
  if (perplexities.length === 0) return [];
  return [
    {
      kind: "table",
      title: "Perplexities",
      caption: "As they were computed: for what the recipe expects, and at the end.",
      header: ["text", "model", "perplexity"],
      rows: perplexities.map(({ text, of, value }) => [
        text === "calibration" ? "the calibration text, for what the recipe expects" : (evaluation ?? text),
        of === "given" ? "as given" : "compressed",
        { value, text: printPerplexity(value) },
      ]),
    },
  ];
}

function printedTable({ printed }: Compression): readonly Section[] {
  if (printed.length === 0) return [];
  return [
    {
      kind: "table",
      title: "Printed by the recipe",
      caption: "In the order in which the run came to it. A click on a heading sorts.",
      header: ["layer", "what", "value"],
      rows: printed.map(({ layer, text, value }) => [
        layer,
        text,
        value === null ? "not finite" : { value, text: String(Number(value.toPrecision(6))) },
      ]),
    },
  ];
}

function tensorTable(tensors: readonly TensorReport[]): Section {
  const rows = tensors.map(
    ({ name, pattern, format, bitsPerWeight, bytes, relativeError, layerError, seconds }): readonly PageCell[] => [
      name,
      pattern,
      format,
      number(bitsPerWeight, 3),
      number(bytes, 0),
      number(relativeError, 4),
      layerError === null ? null : number(layerError, 4),
      number(seconds, 2),
    ],
  );
  return {
    kind: "table",
    title: "Compressed tensors",
    caption: "A click on a heading sorts.",
    header: ["tensor", "pattern", "format", "bits/weight", "bytes", "weight error", "layer error", "seconds"],
    rows,
  };
}

/** A number for a cell. */
export function number(value: number, digits: number): PageCell {
  return { value, text: value.toFixed(digits) };
}

/** The last component of a module's name. */
export function kindOf(name: string): string {
  return name.split(".").at(-1) ?? name;
}

/** A perplexity with two digits, or as it is printed elsewhere where it is huge. */
function shortPerplexity(value: number): string {
  return value < 1e6 ? value.toFixed(2) : printPerplexity(value);
}

function percent(share: number): string {
  return `${(100 * share).toPrecision(3)} %`;
}
