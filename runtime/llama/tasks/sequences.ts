/** Choices as tokens: a context and what is scored of what follows it. */
import { counted } from "../../../compiler/words.js";
import { ModelError, quoted } from "../../model/error.js";
import type { Tokenizer } from "../../model/tokenizer/tokenizer.js";
import { allDone } from "../../run/outcomes.js";
import type { Question, Task } from "./questions.js";

/** A text whose last `scored` tokens are scored; at least one token is before them. */
export interface Sequence {
  readonly ids: Int32Array<ArrayBuffer>;
  readonly scored: number;
}

/** The choices of a question in order, as tokens. */
export interface TokenizedQuestion {
  readonly sequences: readonly Sequence[];
  /** Characters (code points) of each continuation, all that it begins with counted. */
  readonly characters: readonly number[];
  readonly label: number;
}

/** A task as tokens. */
export interface TokenizedTask extends Pick<Task, "name" | "available"> {
  readonly questions: readonly TokenizedQuestion[];
  /** Choices whose contexts were cut at their start, as they are longer than the model's. */
  readonly truncated: number;
}

/** Questions that are tokenised at once. */
const atOnce = 64;

/**
 * Context and continuation are tokenised together; where that would move the boundary between them, the context by
 * itself and then the continuation. What the tokenizer puts before each text comes before each context. A context that
 * the model's has no room for loses its oldest tokens, but not those.
 * @throws ModelError M143, M174 (a choice that cannot be scored)
 */
export async function tokenizeTask(task: Task, tokenizer: Tokenizer, contextLength: number): Promise<TokenizedTask> {
  const questions: TokenizedQuestion[] = [];
  let truncated = 0;
  for (let from = 0; from < task.questions.length; from += atOnce) {
    const some = task.questions.slice(from, from + atOnce);
    for (const made of await allDone(
      some.map((question) => tokenizeQuestion(task.path, question, tokenizer, contextLength)),
    )) {
      questions.push(made.question);
      truncated += made.truncated;
    }
  }
  return { name: task.name, available: task.available, questions, truncated };
}

async function tokenizeQuestion(
  path: string,
  { choices, label }: Question,
  tokenizer: Tokenizer,
  contextLength: number,
): Promise<{ readonly question: TokenizedQuestion; readonly truncated: number }> {
  const { prefix } = tokenizer;
  const contexts = new Map<string, Promise<Uint32Array<ArrayBuffer>>>();
  for (const { context } of choices)
    if (!contexts.has(context)) contexts.set(context, tokenizer.encode(context, { prefix: false }));
  await allDone([...contexts.values()]);
  let truncated = 0;
  const sequences = await allDone(
    choices.map(async ({ context, continuation, line }): Promise<Sequence> => {
      const before = (await contexts.get(context)) ?? new Uint32Array();
      const whole = await tokenizer.encode(context + continuation, { prefix: false });
      const joins = before.every((id, at) => whole[at] === id);
      const after = joins ? whole.subarray(before.length) : await tokenizer.encode(continuation, { prefix: false });
      const wrong = unscorable(before.length + prefix.length, after.length, Math.max(1, prefix.length), contextLength);
      if (wrong !== null) throw new ModelError("M174", `${quoted(path)}, line ${line}: ${wrong}.`);
      // the last token is scored, but the model does not see it
      const room = contextLength + 1 - prefix.length - after.length;
      if (before.length > room) truncated++;
      const kept = before.subarray(Math.max(0, before.length - room));
      return { ids: Int32Array.from([...prefix, ...kept, ...after]), scored: after.length };
    }),
  );
  const characters = choices.map(({ continuation }) => [...continuation].length);
  return { question: { sequences, characters, label }, truncated };
}

/** Why a continuation after so many tokens cannot be scored, or null. `least` tokens have to stay before it. */
function unscorable(before: number, after: number, least: number, contextLength: number): string | null {
  if (after === 0) return "the continuation has no tokens";
  if (before === 0)
    return "the context has no tokens, and the model's tokenizer puts none before texts: nothing would predict the continuation's first";
  if (least + after > contextLength + 1)
    return `the continuation has ${counted(after, "token")}, which the model's context of ${contextLength} has no room for`;
  return null;
}
