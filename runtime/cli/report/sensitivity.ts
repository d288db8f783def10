import { windowsInWords } from "../../llama/windows.js";
import { counted } from "../../../compiler/words.js";
import type { Sensitivity, SensitivityRow } from "../../llama/compression/sensitivity-plan.js";
import { printPerplexity } from "../../llama/compression/outcome.js";
import type { Model } from "../../model/model.js";
import { duration } from "../progress.js";
import { kindOf, number } from "./compression.js";
import type { Chart, Page, PageCell, Section } from "./page.js";

/** What a page about sensitivities shows besides its result. */
export interface SensitivityContext {
  readonly model: Model;
  readonly device: string;
  readonly text: string;
  readonly calibration: string;
  readonly by: "layer" | "kind" | "block";
  /** Names of all groups, in order. */
  readonly groups: readonly string[];
}

/** The page of a search for sensitive layers: which hurt most, plots by treatment, all tries. */
export function sensitivityPage(result: Sensitivity, context: SensitivityContext): Page {
  const { model, by } = context;
  const treatments = [...new Set(result.rows.map(({ treatment }) => treatment))].sort();
  const [worst] = result.rows;
  return {
    title: `Sensitivity of ${
      model.directory
        .split("/")
        .filter((part) => part !== "")
        .at(-1) ?? ""
    }`,
    subtitle: `Each ${by === "layer" ? "layer" : by === "block" ? "block" : "kind of layer"} compressed alone, all else as given. Scored on ${windowsInWords(result.windows, true)} of ${context.text}, observed on ${context.calibration}, on ${context.device}.`,
    warnings: result.warnings.map(({ message }) => message),
    figures: [
      {
        label: "Perplexity as given",
        value: printPerplexity(result.perplexity),
        note: counted(result.tokens, "token"),
      },
      ...(worst === undefined
        ? []
        : [{ label: "Hurts most", value: growth(worst.delta), note: `${worst.group}, ${worst.treatment}` }]),
      { label: "Tries", value: String(result.rows.length), note: treatments.join(", ") },
      { label: "Time", value: duration(result.seconds) },
    ],
    sections: [
      ...(by === "layer"
        ? treatments.map((treatment) => layerChart(result.rows, treatment, model))
        : [groupChart(result.rows, treatments, context.groups)]),
      tryTable(result.rows),
    ],
  };
}

function growth(delta: number): string {
  return Number.isNaN(delta) ? "no perplexity" : `+${printPerplexity(delta)}`;
}

/** A treatment's growth of perplexity, by block and kind of layer. */
function layerChart(rows: readonly SensitivityRow[], treatment: string, model: Model): Section {
  const own = new Map(rows.filter((row) => row.treatment === treatment).map((row) => [row.group, row.delta]));
  const kinds = [...new Set(model.linears.map(({ name }) => kindOf(name)))];
  const series = kinds.map((kind) => ({
    name: kind,
    values: model.blocks.map(
      ({ linears }) => own.get(linears.find(({ name }) => kindOf(name) === kind)?.name ?? "") ?? null,
    ),
  }));
  return chart(treatment, "How much the perplexity grows when this layer alone is treated so.", {
    kind: "lines",
    below: "block",
    labels: model.blocks.map(({ index }) => String(index)),
    side: "growth of perplexity",
    unit: "number",
    series,
  });
}

/** The growth of perplexity by group, the treatments side by side. */
function groupChart(
  rows: readonly SensitivityRow[],
  treatments: readonly string[],
  groups: readonly string[],
): Section {
  const series = treatments.map((treatment) => ({
    name: treatment,
    values: groups.map(
      (group) => rows.find((row) => row.treatment === treatment && row.group === group)?.delta ?? null,
    ),
  }));
  return chart("Growth of perplexity", "When the layers of a group alone are treated so.", {
    kind: "bars",
    below: "layers",
    labels: groups,
    side: "growth of perplexity",
    unit: "number",
    series,
  });
}

function chart(title: string, caption: string, drawn: Chart): Section {
  return { kind: "chart", title, caption, chart: drawn };
}

function tryTable(rows: readonly SensitivityRow[]): Section {
  const cells = rows.map((row): readonly PageCell[] => [
    row.treatment,
    row.group,
    number(row.perplexity, 3),
    number(row.delta, 4),
    row.layerError === null ? null : number(row.layerError, 4),
    number(row.relativeError, 4),
    row.format,
    number(row.bitsPerWeight, 3),
    number(row.bytesBefore - row.bytesAfter, 0),
    number(row.seconds, 2),
  ]);
  return {
    kind: "table",
    title: "All tries",
    caption: "The worst first; a click on a heading sorts.",
    header: [
      "treatment",
      "layers",
      "perplexity",
      "grows by",
      "layer error",
      "weight error",
      "format",
      "bits/weight",
      "bytes saved",
      "seconds",
    ],
    rows: cells,
  };
}
