/** One text that a model makes for a request: pieces of it as they come, and how it ended. */
import { createStopStrings } from "../llama/inference/stop-strings.js";
import type { Submission, TokenScore } from "../llama/serving/requests.js";
import type { ServedModel } from "./served.js";

/** A token's text with its log-probability; null for the first of all, which nothing comes before. */
export interface TokenLog {
  readonly id: number;
  readonly text: string;
  readonly logprob: number | null;
  readonly top: readonly { readonly id: number; readonly text: string; readonly logprob: number }[];
}

/** Text that has become certain, with the scores of the tokens that it is made of, as far as they are asked for. */
export interface AnswerPiece {
  readonly text: string;
  readonly logs: readonly TokenLog[];
}

export interface AnswerEnd {
  readonly reason: "stop" | "length";
  readonly newTokens: number;
}

/**
 * Reads a submission to its end or to a stop string, which is not given. Whoever stops reading cancels it. `logsStop`:
 * the scores of a token that ends the text are given as well, though its text is not.
 * @throws what the submission throws
 */
export async function* readAnswer(
  model: ServedModel,
  submission: Submission,
  prompt: ArrayLike<number>,
  stops: readonly string[],
  logsStop: boolean,
): AsyncGenerator<AnswerPiece, AnswerEnd, undefined> {
  const stream = model.tokenizer.stream();
  // the text of the first new token depends on those before it
  for (let at = Math.max(0, prompt.length - 8); at < prompt.length; at++) stream.push(prompt[at] ?? 0);
  const watch = createStopStrings(stops);
  let logs: TokenLog[] = [];
  let newTokens = 0;
  for await (const { id, logprob, top } of submission.tokens) {
    newTokens++;
    if (logprob !== undefined) logs.push(logOf(model, id, logprob, top ?? []));
    const text = watch.push(stream.push(id));
    if (watch.found) {
      if (text !== "" || logs.length > 0) yield { text, logs };
      return { reason: "stop", newTokens };
    }
    if (text === "") continue;
    yield { text, logs };
    logs = [];
  }
  const { ended, stop } = await submission.end;
  if (logsStop && stop?.logprob !== undefined) logs.push(logOf(model, stop.id, stop.logprob, stop.top ?? []));
  const rest = watch.push(stream.end());
  const text = rest + watch.end();
  if (text !== "" || logs.length > 0) yield { text, logs };
  return { reason: watch.found || ended !== "length" ? "stop" : "length", newTokens };
}

/** A token as it is told of. */
export function logOf(model: ServedModel, id: number, logprob: number | null, top: readonly TokenScore[]): TokenLog {
  return {
    id,
    text: tokenText(model, id),
    logprob,
    top: top.map((other) => ({ ...other, text: tokenText(model, other.id) })),
  };
}

/** The text of a token that stands behind another: a decoder may leave out the space before the first. */
export function tokenText({ tokenizer }: ServedModel, id: number): string {
  if (tokenizer.special.has(id)) return tokenizer.spelling(id) ?? "";
  return tokenizer.decode([id, id]).slice(tokenizer.decode([id]).length);
}
