/** Files of tasks that a command is given, and what came of them in words. */
import { counted } from "../../compiler/words.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { readTask, type Task } from "../llama/tasks/questions.js";
import { tokenizeTask, type TokenizedTask } from "../llama/tasks/sequences.js";
import { answerTasks, meanScore, type TaskAnswers, type TaskScore } from "../llama/tasks/accuracy.js";
import type { Session } from "../llama/inference/session.js";
import { warn } from "./given.js";
import type { Output } from "./output.js";
import { table, type Cell } from "./table.js";

/**
 * Reads files of tasks, one after another; two of one name go by their paths.
 * @throws ModelError M100, M101, M170 to M173
 */
export async function readTasks(paths: readonly string[], limit: number | undefined): Promise<readonly Task[]> {
  const tasks: Task[] = [];
  for (const path of paths) tasks.push(await readTask(path, { limit }));
  const named = (name: string): number => tasks.filter((task) => task.name === name).length;
  return tasks.map((task) => (named(task.name) > 1 ? { ...task, name: task.path } : task));
}

/**
 * The same as tokens; contexts that had to be cut are warned of.
 * @throws ModelError M143, M174
 */
export async function tokenizeTasks(
  tasks: readonly Task[],
  tokenizer: Tokenizer,
  contextLength: number,
  output: Pick<Output, "note" | "alarm">,
): Promise<readonly TokenizedTask[]> {
  const tokenized: TokenizedTask[] = [];
  for (const task of tasks) {
    const made = await tokenizeTask(task, tokenizer, contextLength);
    if (made.truncated > 0)
      warn(
        output,
        `${task.name}: ${counted(made.truncated, "choice")} of ${made.questions.reduce((sum, { sequences }) => sum + sequences.length, 0)} have more tokens than the model's context of ${contextLength}; the oldest of their contexts are left out`,
      );
    tokenized.push(made);
  }
  return tokenized;
}

/** A model's answers to tasks, with a bar. */
export async function answerWithBar(
  session: Session,
  tasks: readonly TokenizedTask[],
  output: Pick<Output, "share">,
  label: string,
): Promise<readonly TaskAnswers[]> {
  if (tasks.length === 0) return [];
  const started = performance.now();
  const bar = output.share(label);
  const answers = await answerTasks(session, tasks, (done, all) => {
    const seconds = (performance.now() - started) / 1000;
    bar.update(done / all, (seconds / done) * (all - done));
  });
  bar.end();
  return answers;
}

/** Scores as a table, in percent; the mean below where there are several. */
export function scoreTable(scores: readonly TaskScore[], paint: Output["paint"]): string {
  const percent = (share: number): Cell => ({ number: 100 * share, digits: 2 });
  const row = (name: string, questions: string, score: Omit<TaskScore, "name" | "available" | "truncated">): Cell[] => [
    name,
    questions,
    percent(score.accuracy),
    percent(score.standardError),
    percent(score.accuracyByLength),
    percent(score.standardErrorByLength),
  ];
  const rows = scores.map((score) => row(score.name, questionsInWords(score), score));
  if (scores.length > 1) rows.push(row("mean", String(meanScore(scores).questions), meanScore(scores)));
  return table(["task", "questions", "accuracy %", "+-", "by length %", "+-"], rows, paint);
}

/** So many questions, of so many where not all are asked. */
export function questionsInWords({ questions, available }: Pick<TaskScore, "questions" | "available">): string {
  return questions === available ? String(questions) : `${questions} of ${available}`;
}
