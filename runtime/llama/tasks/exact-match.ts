/** Problems whose solutions end in a number, solved by greedy decoding: the number has to be that of the reference. */
import { ModelError } from "../../model/error.js";
import type { Tokenizer } from "../../model/tokenizer/tokenizer.js";
import { LlamaError } from "../error.js";
import { generateBatch } from "../inference/generate-batch.js";
import type { Session } from "../inference/session.js";
import { readRecords } from "../texts.js";
import { standardError } from "./accuracy.js";

/** A problem, as the model is asked, and the number that it should find. */
export interface Problem {
  readonly prompt: string;
  readonly number: string;
}

export interface Problems {
  readonly path: string;
  readonly problems: readonly Problem[];
  /** Problems of the file; more where they are limited. */
  readonly available: number;
}

/** How a model solved them. */
export interface ExactMatch {
  readonly path: string;
  readonly problems: number;
  readonly available: number;
  readonly correct: number;
  readonly accuracy: number;
  /** Null of a single problem. */
  readonly standardError: number | null;
  /** Solutions that end in no number. */
  readonly withoutNumber: number;
  /** Which were right, in order. */
  readonly right: readonly boolean[];
  readonly newTokens: number;
  readonly seconds: number;
}

/** Problems that are solved at once. */
export const problemsAtOnce = { gpu: 64, cpu: 8 } as const;

/**
 * The number behind `####` in a solution, without commas and a full stop, as the data set's own script takes it (Cobbe
 * et al. 2021); null where there is none.
 */
export function finalNumber(solution: string): string | null {
  const [, digits] = /#### *\$?(-?[0-9.,]+)/.exec(solution) ?? [];
  const number = digits?.replaceAll(",", "").replace(/\.$/, "");
  return number === undefined || number === "" ? null : number;
}

/**
 * Reads problems, a line each as texts with prompts and answers have them, whose answers end in `#### NUMBER`.
 * @throws ModelError M100, M101, M143, M145 (a line without its fields, or without a number), M170
 */
export async function readProblems(path: string, limit?: number): Promise<Problems> {
  const records = await readRecords(path, ({ answer }, where) => {
    if (answer === null || finalNumber(answer) === null)
      throw new ModelError(
        "M145",
        `${where}: there is no number to be found: its answer has no \`####\`.`,
        'a line is `{"question": "...", "answer": "... #### 42"}`',
      );
  });
  const problems = records.map(({ prompt, answer }) => ({ prompt, number: finalNumber(answer ?? "") ?? "" }));
  return { path, problems: problems.slice(0, limit), available: problems.length };
}

/** Problems as tokens. @throws LlamaError prompt-too-long */
export async function tokenizeProblems(
  { path, problems }: Problems,
  tokenizer: Pick<Tokenizer, "encode">,
  contextLength: number,
): Promise<readonly ArrayLike<number>[]> {
  const prompts: ArrayLike<number>[] = [];
  for (const [at, { prompt }] of problems.entries()) {
    const ids = await tokenizer.encode(prompt, { prefix: true });
    if (ids.length >= contextLength)
      throw new LlamaError(
        "prompt-too-long",
        `Problem ${at + 1} of ${path} has ${ids.length} tokens, and the model's context holds ${contextLength}.`,
      );
    prompts.push(ids);
  }
  return prompts;
}

/**
 * Lets a model solve problems, those of like length together.
 * @throws LlamaError context-too-large, not-finite; DeviceError
 */
export async function solveProblems(
  session: Session,
  given: Problems,
  prompts: readonly ArrayLike<number>[],
  options: {
    readonly tokenizer: Pick<Tokenizer, "decode">;
    readonly eosTokens: readonly number[];
    readonly maxNewTokens: number;
    /** The share that is done, and how many of so many were right. */
    readonly onProgress?: (share: number, right: number, solved: number) => void;
    /** A solution, when it is there. */
    readonly onSolution?: (at: number, text: string) => void;
  },
): Promise<ExactMatch> {
  const { tokenizer, maxNewTokens, eosTokens } = options;
  const { path, problems, available } = given;
  const started = performance.now();
  const order = [...problems.keys()].sort((a, b) => (prompts[a]?.length ?? 0) - (prompts[b]?.length ?? 0) || a - b);
  const right = problems.map(() => false);
  const size = problemsAtOnce[session.target.kind];
  let [solved, withoutNumber, newTokens] = [0, 0, 0];
  const tell = (part: number): void =>
    options.onProgress?.((solved + part) / problems.length, right.filter((each) => each).length, solved);
  for (let begin = 0; begin < order.length; begin += size) {
    const some = order.slice(begin, begin + size);
    const solutions = await generateBatch(
      session,
      some.map((at) => prompts[at]!),
      {
        maxNewTokens,
        eosTokens,
        // what stands behind the number decides where it ends
        isDone: (ids) => /#### *\$?-?[0-9.,]+[^0-9.,]/.test(tokenizer.decode(ids)),
        onStep: (steps) => tell((some.length * steps) / maxNewTokens),
      },
    );
    solutions.forEach((ids, place) => {
      const at = some[place]!;
      const text = tokenizer.decode(ids);
      const found = finalNumber(text);
      if (found === null) withoutNumber++;
      right[at] = found !== null && found === problems[at]!.number;
      newTokens += ids.length;
      options.onSolution?.(at, text);
    });
    solved += some.length;
    tell(0);
  }
  const correct = right.filter((each) => each).length;
  return {
    path,
    problems: problems.length,
    available,
    correct,
    accuracy: correct / problems.length,
    standardError: problems.length > 1 ? standardError(right) : null,
    withoutNumber,
    right,
    newTokens,
    seconds: (performance.now() - started) / 1000,
  };
}
