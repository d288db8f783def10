/** `/v1/completions`: prompts continued as they are. */
import { randomUUID } from "node:crypto";
import { logOf, type AnswerPiece, type TokenLog } from "./answer.js";
import { followAll, followChoice, promptScores, submitChoices, usageOf, type Choice, type Usage } from "./choices.js";
import type { EventStream } from "./events.js";
import type { CompletionParameters } from "./parameters.js";
import type { ServedModel } from "./served.js";

/** Log-probabilities in the form of this interface. */
interface Logprobs {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly ({ readonly [token: string]: number } | null)[];
  readonly text_offset: readonly number[];
}

/** A request that has been submitted. */
export interface Completion {
  /** The whole answer, once it is there. */
  whole(): Promise<object>;
  /** The answer in events, without the one that ends all. */
  stream(events: EventStream): Promise<void>;
}

/**
 * Submits a request.
 * @throws RequestError; ModelError M143; what `submit` throws
 */
export async function beginCompletion(
  model: ServedModel,
  parameters: CompletionParameters,
  signal: AbortSignal,
): Promise<Completion> {
  const { echo, logprobs, stops } = parameters;
  const prompts: { readonly ids: ArrayLike<number>; readonly text: string }[] = [];
  for (const prompt of parameters.prompts)
    prompts.push(
      typeof prompt === "string"
        ? { ids: await model.tokenizer.encode(prompt, { prefix: true }), text: prompt }
        : { ids: prompt, text: echo ? model.tokenizer.decode(prompt.filter((id) => id < model.vocabulary)) : "" },
    );
  const options = { ends: model.ends, scoresPrompt: echo };
  const ids = prompts.map((prompt) => prompt.ids);
  const choices = submitChoices(model, parameters, ids, options, signal);
  const head = { id: `cmpl-${randomUUID()}`, object: "text_completion", created: seconds(), model: model.name };

  /** What stands before the new text where the prompt is wanted back. */
  async function lead(choice: Choice): Promise<AnswerPiece> {
    if (!echo) return { text: "", logs: [] };
    const scores = await promptScores(choice, logprobs !== null);
    const { text = "" } = prompts[Math.floor(choice.index / parameters.choices)] ?? {};
    return { text, logs: scores.map(({ id, logprob, top }) => logOf(model, id, logprob, top)) };
  }

  /** Gives pieces in the form of this interface, with places that go on from piece to piece. */
  function shaper(): (piece: AnswerPiece) => { readonly text: string; readonly logprobs: Logprobs | null } {
    let offset = 0;
    return ({ text, logs }) => {
      const shaped = logprobs === null ? null : logprobsOf(logs, logprobs, offset);
      for (const log of logs) offset += log.text.length;
      return { text, logprobs: shaped };
    };
  }

  return {
    async whole() {
      const found = await followAll(choices, async (choice) => {
        const first = await lead(choice);
        const logs = [...first.logs];
        let text = first.text;
        const end = await followChoice(model, choice, { stops, logsStop: true }, (piece) => {
          text += piece.text;
          logs.push(...piece.logs);
        });
        return { end, choice: { index: choice.index, ...shaper()({ text, logs }), finish_reason: end.reason } };
      });
      const usage = await usageOf(
        choices,
        found.map(({ end }) => end),
      );
      return { ...head, choices: found.map(({ choice }) => choice), usage };
    },
    async stream(events) {
      const extra = (usage: Usage | null): object => (parameters.includeUsage ? { usage } : {});
      const ends = await followAll(choices, async (choice) => {
        const shape = shaper();
        const send = (piece: AnswerPiece, reason: string | null): void =>
          events.send({
            ...head,
            choices: [{ index: choice.index, ...shape(piece), finish_reason: reason }],
            ...extra(null),
          });
        const first = await lead(choice);
        if (first.text !== "" || first.logs.length > 0) send(first, null);
        const end = await followChoice(model, choice, { stops, logsStop: true }, (piece) => send(piece, null));
        send({ text: "", logs: [] }, end.reason);
        return end;
      });
      if (parameters.includeUsage) events.send({ ...head, choices: [], ...extra(await usageOf(choices, ends)) });
    },
  };
}

/** Seconds since 1970. */
export function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

function logprobsOf(logs: readonly TokenLog[], top: number, offset: number): Logprobs {
  let place = offset;
  return {
    tokens: logs.map(({ text }) => text),
    token_logprobs: logs.map(({ logprob }) => logprob),
    top_logprobs: logs.map(({ logprob, top: others }) =>
      logprob === null || top === 0
        ? null
        : // of two tokens of one text the likelier stands for both
          Object.fromEntries([...others].reverse().map((other) => [other.text, other.logprob])),
    ),
    text_offset: logs.map(({ text }) => {
      const own = place;
      place += text.length;
      return own;
    }),
  };
}
