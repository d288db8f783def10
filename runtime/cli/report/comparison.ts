import { counted } from "../../../compiler/words.js";
import { printPerplexity, type Warning } from "../../llama/compression/outcome.js";
import type { Divergence } from "../../llama/inference/divergence.js";
import type { MeanMeasure, TasksComparison } from "../../llama/tasks/comparison.js";
import { duration } from "../progress.js";
import { number } from "./compression.js";
import type { Figure, Page, PageCell, Section } from "./page.js";

/** What two models were compared by. */
export interface Comparison {
  readonly models: readonly [string, string];
  readonly tasks: TasksComparison | null;
  readonly text: Divergence | null;
}

/** What a page about two models shows besides their comparison. */
export interface ComparisonContext {
  readonly seconds: number;
  readonly device: string;
  /** The text's file. */
  readonly text: string | null;
  readonly warnings: readonly Warning[];
}

/** The page of a comparison: recovery, both models by task, divergence along the text. */
export function comparisonPage(comparison: Comparison, context: ComparisonContext): Page {
  const { models, tasks, text } = comparison;
  return {
    title: `${nameOf(models[1])} beside ${nameOf(models[0])}`,
    subtitle: `First: ${models[0]}. Second: ${models[1]}. On ${context.device}.`,
    warnings: context.warnings.map(({ message }) => message),
    facts:
      text === null || context.text === null
        ? []
        : [["Compared on", `${counted(text.windows, "window")}, ${counted(text.tokens, "token")}, of ${context.text}`]],
    figures: [
      ...(tasks === null
        ? []
        : [recoveryFigure("Recovery", tasks.mean.plain), recoveryFigure("Recovery, by length", tasks.mean.byLength)]),
      ...(text === null
        ? []
        : [
            {
              label: "Perplexity",
              value: text.perplexities.map(printPerplexity).join(" → "),
              note: `${counted(text.tokens, "token")} of ${context.text ?? ""}`,
            },
            { label: "KL(first || second)", value: text.divergence.toFixed(4), note: "nats a token" },
            { label: "Same next token", value: percent(text.sameNext) },
          ]),
      { label: "Time", value: duration(context.seconds) },
    ],
    sections: [
      ...(tasks === null ? [] : taskSections(tasks)),
      ...(text === null
        ? []
        : [
            {
              kind: "chart" as const,
              title: "Divergence along the text",
              caption:
                "KL(first || second) of each window: how far the second model's next tokens are from the first's.",
              chart: {
                kind: "lines" as const,
                below: "window",
                labels: text.byWindow.map((_, at) => String(at)),
                side: "nats a token",
                unit: "number" as const,
                series: [{ name: "KL(first || second)", values: text.byWindow }],
              },
            },
          ]),
    ],
  };
}

function recoveryFigure(label: string, { recovery, accuracies, recoveryAboveChance }: MeanMeasure): Figure {
  const { low, high } = recovery.interval;
  const above = Number.isNaN(recoveryAboveChance) ? "" : `; of what is above chance ${percent(recoveryAboveChance)}`;
  return {
    label,
    value: percent(recovery.value),
    note: `95%: ${percent(low)} to ${percent(high)}; mean accuracy ${accuracies.map(percent).join(" → ")}${above}`,
  };
}

const ways = [
  ["plain", "Accuracy", "The choice of the largest log-likelihood."],
  ["byLength", "Accuracy by length", "The choice of the largest log-likelihood a character."],
] as const;

function taskSections({ tasks }: TasksComparison): readonly Section[] {
  return ways.flatMap(([way, title, caption]): readonly Section[] => [
    {
      kind: "chart",
      title,
      caption,
      chart: {
        kind: "bars",
        below: "task",
        labels: tasks.map(({ name }) => name),
        side: "accuracy",
        unit: "percent",
        series: [
          { name: "first", values: tasks.map((task) => task[way].accuracies[0]) },
          { name: "second", values: tasks.map((task) => task[way].accuracies[1]) },
          { name: "chance", values: tasks.map(({ chance }) => chance) },
        ],
      },
    },
    {
      kind: "table",
      title: `${title}, by task`,
      caption:
        "Recovery is the second model's accuracy over the first's; its 95% interval is by the paired bootstrap. p is McNemar's exact test: how probable so much of a difference is by chance.",
      header: [
        "task",
        "questions",
        "first",
        "± first",
        "second",
        "± second",
        "recovery",
        "low",
        "high",
        "only first",
        "only second",
        "p",
      ],
      rows: tasks.map((task): readonly PageCell[] => {
        const { accuracies, standardErrors, recovery, onlyOne, onlyOther, probability } = task[way];
        return [
          task.name,
          number(task.questions, 0),
          share(accuracies[0]),
          share(standardErrors[0]),
          share(accuracies[1]),
          share(standardErrors[1]),
          share(recovery.value),
          share(recovery.interval.low),
          share(recovery.interval.high),
          number(onlyOne, 0),
          number(onlyOther, 0),
          number(probability, 4),
        ];
      }),
    },
  ]);
}

function share(value: number): PageCell {
  return Number.isFinite(value) ? { value, text: percent(value) } : null;
}

function percent(value: number): string {
  return Number.isFinite(value) ? `${(100 * value).toFixed(2)}%` : "–";
}

function nameOf(path: string): string {
  return (
    path
      .split("/")
      .filter((part) => part !== "")
      .at(-1) ?? path
  );
}
