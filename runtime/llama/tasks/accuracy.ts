/** Accuracy on tasks of multiple choice, with standard errors. */
import type { Session } from "../inference/session.js";
import { logLikelihoods, type OnTokens } from "./likelihood.js";
import type { TokenizedQuestion, TokenizedTask } from "./sequences.js";

/** Which questions of a task a model gets right, in their order. */
export interface TaskAnswers {
  readonly name: string;
  /** Questions of the file. */
  readonly available: number;
  /** Choices whose contexts were cut. */
  readonly truncated: number;
  /** The choice of the largest log-likelihood is the right one. */
  readonly plain: readonly boolean[];
  /** The same of log-likelihoods divided by the characters of the continuation. */
  readonly byLength: readonly boolean[];
}

/** How well a model does on a task; shares are of 1. */
export interface TaskScore {
  readonly name: string;
  readonly questions: number;
  readonly accuracy: number;
  readonly accuracyByLength: number;
  /** NaN of a single question. */
  readonly standardError: number;
  readonly standardErrorByLength: number;
  /** Questions of the file; more where they are limited. */
  readonly available: number;
  /** Choices whose contexts were cut at the start to fit the model's. */
  readonly truncated: number;
}

/**
 * Answers that a model gives to tasks, which go through it together.
 * @throws LlamaError context-too-large, not-finite; DeviceError
 */
export async function answerTasks(
  session: Session,
  tasks: readonly TokenizedTask[],
  onTokens?: OnTokens,
): Promise<readonly TaskAnswers[]> {
  const questions = tasks.flatMap((task) => task.questions);
  const likelihoods = await logLikelihoods(
    session,
    questions.map(({ sequences }) => sequences),
    onTokens,
  );
  let from = 0;
  return tasks.map((task) => {
    const own = likelihoods.slice(from, (from += task.questions.length));
    return answersOf(task, own);
  });
}

/** What a model answers by the log-likelihoods of the choices of each question. */
export function answersOf(
  { name, available, truncated, questions }: TokenizedTask,
  likelihoods: readonly (readonly number[])[],
): TaskAnswers {
  const right = (score: (likelihood: number, question: TokenizedQuestion, choice: number) => number): boolean[] =>
    questions.map(
      (question, at) =>
        likeliest((likelihoods[at] ?? []).map((likelihood, choice) => score(likelihood, question, choice))) ===
        question.label,
    );
  return {
    name,
    available,
    truncated,
    plain: right((likelihood) => likelihood),
    byLength: right((likelihood, { characters }, choice) => likelihood / (characters[choice] ?? NaN)),
  };
}

/** The largest of some scores; the first of those that are equal. */
export function likeliest(scores: readonly number[]): number {
  return scores.reduce((best, score, at) => (score > (scores[best] ?? -Infinity) ? at : best), 0);
}

/** What answers come to. */
export function scoreOf({ name, available, truncated, plain, byLength }: TaskAnswers): TaskScore {
  return {
    name,
    questions: plain.length,
    accuracy: share(plain),
    accuracyByLength: share(byLength),
    standardError: standardError(plain),
    standardErrorByLength: standardError(byLength),
    available,
    truncated,
  };
}

/** The share of those that are true. */
export function share(values: readonly boolean[]): number {
  return values.filter((value) => value).length / values.length;
}

/** Standard error of a share p of n: sqrt(p (1 - p) / (n - 1)), the sample's deviation over sqrt(n). */
export function standardError(values: readonly boolean[]): number {
  const p = share(values);
  return Math.sqrt((p * (1 - p)) / (values.length - 1));
}

/** The plain mean of tasks, and its standard error where the tasks are independent. */
export function meanScore(scores: readonly TaskScore[]): Omit<TaskScore, "name" | "available" | "truncated"> {
  const mean = (of: (score: TaskScore) => number): number =>
    scores.reduce((sum, score) => sum + of(score), 0) / scores.length;
  const error = (of: (score: TaskScore) => number): number =>
    Math.sqrt(scores.reduce((sum, score) => sum + of(score) ** 2, 0)) / scores.length;
  return {
    questions: scores.reduce((sum, { questions }) => sum + questions, 0),
    accuracy: mean(({ accuracy }) => accuracy),
    accuracyByLength: mean(({ accuracyByLength }) => accuracyByLength),
    standardError: error((score) => score.standardError),
    standardErrorByLength: error((score) => score.standardErrorByLength),
  };
}
