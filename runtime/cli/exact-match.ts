/** Problems that `eval` lets a model solve, and what came of them in words. */
import { writeFile } from "node:fs/promises";
import { counted } from "../../compiler/words.js";
import { readProblems, solveProblems, type ExactMatch, type Problems } from "../llama/tasks/exact-match.js";
import type { Session } from "../llama/inference/session.js";
import type { Model } from "../model/model.js";
import { UsageError } from "./failure.js";
import type { Output } from "./output.js";

interface ProblemOptions {
  readonly exactMatch?: string;
  readonly maxTokens: number;
  readonly solutions?: string;
  readonly limit?: number;
}

/** The problems of `--exact-match`; null where there are none. @throws ModelError; UsageError */
export async function givenProblems({ exactMatch, solutions, limit }: ProblemOptions): Promise<Problems | null> {
  if (exactMatch === undefined) {
    if (solutions !== undefined) throw new UsageError("--solutions belongs to --exact-match FILE");
    return null;
  }
  return readProblems(exactMatch, limit);
}

/** Lets the model solve them, with a bar; solutions go to the file of `--solutions`. */
export async function solve(
  session: Session,
  model: Model,
  problems: Problems,
  prompts: readonly ArrayLike<number>[],
  { maxTokens, solutions }: ProblemOptions,
  output: Output,
): Promise<ExactMatch> {
  const started = performance.now();
  const bar = output.share("solving problems");
  const texts = new Map<number, string>();
  const match = await solveProblems(session, problems, prompts, {
    tokenizer: await model.tokenizer(),
    eosTokens: model.generation.eosTokens,
    maxNewTokens: maxTokens,
    onSolution: (at, text) => texts.set(at, text),
    onProgress(share) {
      const seconds = (performance.now() - started) / 1000;
      bar.update(share, share > 0 ? (seconds / share) * (1 - share) : null);
    },
  });
  bar.end();
  if (solutions !== undefined) {
    const lines = problems.problems.map(({ prompt, number }, at) =>
      JSON.stringify({ prompt, number, right: match.right[at], solution: texts.get(at) ?? "" }),
    );
    await writeFile(solutions, `${lines.join("\n")}\n`);
  }
  return match;
}

/** What came of them. */
export function matchInWords(match: ExactMatch, output: Output, device: string): string {
  const of = match.problems === match.available ? "" : ` of ${match.available}`;
  const error = match.standardError === null ? "" : ` +- ${(100 * match.standardError).toFixed(2)}`;
  return `exact match ${output.paint.bold((100 * match.accuracy).toFixed(2))}${error}% (${match.correct} of ${counted(match.problems, "problem")}${of}; ${match.withoutNumber} without a number), ${counted(match.newTokens, "new token")} in ${match.seconds.toFixed(1)} s on ${device}`;
}
