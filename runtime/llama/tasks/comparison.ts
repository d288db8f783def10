/** What is left of a model's accuracy in another: answers of both to the same questions. */
import { share, standardError, type TaskAnswers } from "./accuracy.js";
import { discordance, recoveries, type Discordance, type Pair, type Recovery } from "./paired.js";
import type { TokenizedTask } from "./sequences.js";

/** Accuracies of two models by one way of choosing, as shares of 1. */
export interface Measure {
  readonly accuracies: readonly [number, number];
  readonly recovery: Recovery;
}

/** The same on a task, with what its questions tell besides. */
export interface TaskMeasure extends Measure, Discordance {
  /** NaN of a single question. */
  readonly standardErrors: readonly [number, number];
}

export interface TaskComparison {
  readonly name: string;
  readonly questions: number;
  readonly available: number;
  readonly truncated: number;
  /** The accuracy of guessing. */
  readonly chance: number;
  readonly plain: TaskMeasure;
  readonly byLength: TaskMeasure;
}

/** Means over tasks, each counted once. */
export interface MeanMeasure extends Measure {
  /** Of what the first model has above guessing, the share that the second has; NaN where that is nothing. */
  readonly recoveryAboveChance: number;
}

export interface TasksComparison {
  readonly tasks: readonly TaskComparison[];
  readonly mean: { readonly chance: number; readonly plain: MeanMeasure; readonly byLength: MeanMeasure };
}

/** Puts two models' answers to the same tasks side by side. */
export function compareAnswers(
  tasks: readonly TokenizedTask[],
  models: readonly [readonly TaskAnswers[], readonly TaskAnswers[]],
): TasksComparison {
  const chances = tasks.map(({ questions }) => mean(questions.map(({ sequences }) => 1 / sequences.length)));
  const chance = mean(chances);
  const plain = measure(models, "plain", chance);
  const byLength = measure(models, "byLength", chance);
  return {
    tasks: tasks.map(({ name, available, truncated, questions }, at) => ({
      name,
      questions: questions.length,
      available,
      truncated,
      chance: chances[at] ?? NaN,
      plain: plain.tasks[at]!,
      byLength: byLength.tasks[at]!,
    })),
    mean: { chance, plain: plain.mean, byLength: byLength.mean },
  };
}

function measure(
  [one, other]: readonly [readonly TaskAnswers[], readonly TaskAnswers[]],
  way: "plain" | "byLength",
  chance: number,
): { readonly tasks: readonly TaskMeasure[]; readonly mean: MeanMeasure } {
  const pairs = one.map((answers, task) =>
    answers[way].map((right, question): Pair => [right, other[task]?.[way][question] ?? false]),
  );
  const found = recoveries(pairs);
  const tasks = pairs.map((own, at): TaskMeasure => {
    const sides = [own.map(([right]) => right), own.map(([, right]) => right)] as const;
    return {
      accuracies: [share(sides[0]), share(sides[1])],
      standardErrors: [standardError(sides[0]), standardError(sides[1])],
      recovery: found.tasks[at]!,
      ...discordance(own),
    };
  });
  const accuracies = [0, 1].map((model) => mean(tasks.map((task) => task.accuracies[model] ?? NaN)));
  const [first = NaN, second = NaN] = accuracies;
  return {
    tasks,
    mean: {
      accuracies: [first, second],
      recovery: found.mean,
      recoveryAboveChance: first > chance ? (second - chance) / (first - chance) : NaN,
    },
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
