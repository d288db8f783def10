import { counted } from "../../../compiler/words.js";
import type { Compression } from "../../llama/compression/compression.js";
import type { Chart, Section } from "./page.js";

type Trainings = Compression["trainings"];
type Training = Trainings[number];

/** Points of a curve that are drawn, at most. */
const mostPoints = 240;

/** How trainings went: the loss of each over its steps. Blocks that were trained one by one share a plot. */
export function trainingCharts(trainings: Trainings): readonly Section[] {
  const groups = new Map<string, Training[]>();
  for (const training of trainings) {
    const key = `${kindOf(training)} by ${training.loss}, ${training.planned}`;
    groups.set(key, [...(groups.get(key) ?? []), training]);
  }
  return [...groups.values()].flatMap(chartOf);
}

function kindOf({ what }: Training): string {
  return what.startsWith("block") ? "blocks" : what;
}

function chartOf(trainings: readonly Training[]): readonly Section[] {
  const [first] = trainings;
  if (first === undefined || first.losses.length === 0) return [];
  const alone = trainings.length === 1;
  const stride = Math.max(1, Math.ceil(first.planned / mostPoints));
  const steps = Array.from({ length: Math.floor(first.planned / stride) + 1 }, (_, at) => at * stride);
  const series: Chart["series"] = trainings.flatMap((training) => {
    const name = alone ? "trained on" : training.what;
    const watched = new Map(training.watched.map(({ step, loss }) => [Math.floor(step / stride), loss]));
    return [
      { name, values: steps.map((step) => meanBetween(training, step - stride, step)) },
      ...(alone && watched.size > 0
        ? [{ name: "held out", values: steps.map((_, at) => watched.get(at) ?? null) }]
        : []),
    ];
  });
  return [
    {
      kind: "chart",
      title: `Loss of ${alone ? first.what : "blocks"}, by ${first.loss}`,
      caption: trainings.map(trainingWords).slice(0, 1).join(""),
      chart: {
        kind: "lines",
        below: "step",
        labels: steps.map(String),
        side: "loss",
        unit: "number",
        logarithmic: true,
        series,
      },
    },
  ];
}

/** Of the steps after `from` up to `to`. */
function meanBetween({ losses }: Training, from: number, to: number): number | null {
  const some = losses.filter(({ step, loss }) => step > from && step <= to && Number.isFinite(loss) && loss > 0);
  return some.length === 0 ? null : some.reduce((sum, { loss }) => sum + loss, 0) / some.length;
}

/** How a training went, in a sentence. */
export function trainingWords(training: Training): string {
  const { what, loss, steps, planned, tokensPerStep, losses, watched, best, seconds } = training;
  const [first, last] = [watched[0] ?? losses[0], best ?? losses.at(-1)];
  const of = watched.length > 0 ? " on what is held out" : "";
  return `Trained ${what} by ${loss} in ${steps === planned ? counted(steps, "step") : `${steps} of ${counted(planned, "step")}`} of ${tokensPerStep.toLocaleString("en")} tokens, ${seconds.toFixed(1)} s: ${first?.loss.toPrecision(4) ?? "?"} -> ${last?.loss.toPrecision(4) ?? "?"}${of}${best === null || best.step === steps ? "" : `, taken from step ${best.step}`}`;
}

/** The same for all, blocks together. */
export function trainingLines(trainings: Trainings): readonly string[] {
  const blocks = trainings.filter((training) => kindOf(training) === "blocks");
  const lines = trainings.filter((training) => kindOf(training) !== "blocks").map(trainingWords);
  if (blocks.length < 2) return trainings.map(trainingWords);
  const mean = (some: readonly (number | undefined)[]): string =>
    (some.reduce<number>((sum, value) => sum + (value ?? NaN), 0) / some.length).toPrecision(4);
  const first = mean(blocks.map(({ watched, losses }) => (watched[0] ?? losses[0])?.loss));
  const last = mean(blocks.map(({ best, losses }) => (best ?? losses.at(-1))?.loss));
  const seconds = blocks.reduce((sum, training) => sum + training.seconds, 0);
  return [
    `Trained ${counted(blocks.length, "block")} by ${blocks[0]?.loss ?? ""}, ${seconds.toFixed(1)} s: ${first} -> ${last} on average`,
    ...lines,
  ];
}
