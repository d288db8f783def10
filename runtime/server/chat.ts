/** `/v1/chat/completions`: the next turn of a conversation. */
import { randomUUID } from "node:crypto";
import type { AnswerPiece, TokenLog } from "./answer.js";
import { followAll, followChoice, submitChoices, usageOf, type Usage } from "./choices.js";
import { seconds, type Completion } from "./completions.js";
import { RequestError } from "./error.js";
import type { ChatParameters } from "./parameters.js";
import type { ServedModel } from "./served.js";

/**
 * Submits a request.
 * @throws RequestError; ModelError M147; what `submit` throws
 */
export async function beginChat(
  model: ServedModel,
  parameters: ChatParameters,
  signal: AbortSignal,
): Promise<Completion> {
  const { stops, logprobs, messages } = parameters;
  if (model.chat === null)
    throw new RequestError(
      400,
      "no_chat_template",
      `The model ${model.name} has no chat template: it continues texts, by /v1/completions.`,
      "model",
    );
  const text = await model.chat.renderer.render(messages);
  const prompt = await encodeTemplate(model, text);
  const options = { ends: model.chat.ends, scoresPrompt: false };
  const choices = submitChoices(model, parameters, [prompt], options, signal);
  const head = { id: `chatcmpl-${randomUUID()}`, created: seconds(), model: model.name };
  const scores = (logs: readonly TokenLog[]): object | null =>
    logprobs === null ? null : { content: logs.map(scoreOf), refusal: null };

  return {
    async whole() {
      const found = await followAll(choices, async (choice) => {
        const logs: TokenLog[] = [];
        let content = "";
        const end = await followChoice(model, choice, { stops, logsStop: false }, (piece) => {
          content += piece.text;
          logs.push(...piece.logs);
        });
        const message = { role: "assistant", content, refusal: null };
        return { end, choice: { index: choice.index, message, logprobs: scores(logs), finish_reason: end.reason } };
      });
      const usage = await usageOf(
        choices,
        found.map(({ end }) => end),
      );
      return { ...head, object: "chat.completion", choices: found.map(({ choice }) => choice), usage };
    },
    async stream(events) {
      const chunk = { ...head, object: "chat.completion.chunk" };
      const extra = (usage: Usage | null): object => (parameters.includeUsage ? { usage } : {});
      const ends = await followAll(choices, async (choice) => {
        const send = (delta: object, logs: readonly TokenLog[] | null, reason: string | null): void =>
          events.send({
            ...chunk,
            choices: [
              { index: choice.index, delta, logprobs: logs === null ? null : scores(logs), finish_reason: reason },
            ],
            ...extra(null),
          });
        send({ role: "assistant", content: "" }, null, null);
        const end = await followChoice(model, choice, { stops, logsStop: false }, (piece: AnswerPiece) =>
          send({ content: piece.text }, piece.logs, null),
        );
        send({}, null, end.reason);
        return end;
      });
      if (parameters.includeUsage) events.send({ ...chunk, choices: [], ...extra(await usageOf(choices, ends)) });
    },
  };
}

/** Ids of what a template wrote: a token that stands before every text is put there once, whoever does so. */
async function encodeTemplate({ tokenizer }: ServedModel, text: string): Promise<ArrayLike<number>> {
  const ids = await tokenizer.encode(text, { prefix: true });
  const bare = await tokenizer.encode(text, { prefix: false });
  const before = ids.length - bare.length;
  return before > 0 && bare[0] === ids[0] ? bare : ids;
}

function scoreOf({ text, logprob, top }: TokenLog): object {
  return {
    ...spelt(text),
    logprob,
    top_logprobs: top.map((other) => ({ ...spelt(other.text), logprob: other.logprob })),
  };
}

function spelt(text: string): { readonly token: string; readonly bytes: readonly number[] } {
  return { token: text, bytes: [...new TextEncoder().encode(text)] };
}
