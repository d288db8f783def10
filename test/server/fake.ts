/** A model of nothing: it answers with what it is told, in capitals, a character a token. */
import type { ServedModel, ServerLimits } from "../../runtime/server/served.js";
import { createApp, type AppOptions } from "../../runtime/server/app.js";
import { listen, type Listening } from "../../runtime/server/listen.js";
import { LlamaError } from "../../runtime/llama/error.js";
import { createStream } from "../../runtime/llama/serving/stream.js";
import type { Submission, TextEnd, TextRequest, TextToken } from "../../runtime/llama/serving/requests.js";
import { ModelError } from "../../runtime/model/error.js";
import { textStream } from "../../runtime/model/tokenizer/stream.js";

/** The token that ends texts. */
export const end = 1;
/** A token of a thousand letters. */
export const wide = 2;

const letter = (id: number): string => (id === end ? "" : id === wide ? "w".repeat(1000) : String.fromCharCode(id));
const decode = (ids: Iterable<number>): string => [...ids].map(letter).join("");

export interface FakeModel extends ServedModel {
  /** What was submitted, and how it ended. */
  readonly requests: { readonly request: TextRequest; ended: TextEnd["ended"] | null }[];
}

/**
 * The model: "endless..." is answered without an end, "wide..." by an endless row of wide tokens, "broken..." by a
 * failure after three tokens. At most `queue` run at once.
 */
export function fakeModel({ queue = 64, contextLength = 256 } = {}): FakeModel {
  const requests: FakeModel["requests"] = [];
  const state = { newTokens: 0, running: 0 };

  function submit(request: TextRequest): Submission {
    if (state.running >= queue) throw new LlamaError("queue-full", `${queue} requests wait already.`);
    if (request.prompt.length === 0) throw new LlamaError("prompt-empty", "The prompt has no tokens.");
    for (const id of Array.from(request.prompt))
      if (id > 255) throw new LlamaError("bad-option", `A token of the prompt should be from 0 to 255, found ${id}.`);
    const entry: FakeModel["requests"][number] = { request, ended: null };
    requests.push(entry);
    state.running++;
    const prompt = Array.from(request.prompt);
    let settle: (end: TextEnd) => void = () => {};
    const over = new Promise<TextEnd>((done) => (settle = done));
    const stream = createStream<TextToken>(() => finish("cancelled"));
    let given = 0;
    function finish(ended: TextEnd["ended"], stop: TextToken | null = null): void {
      if (entry.ended !== null) return;
      entry.ended = ended;
      state.running--;
      stream.end();
      settle({ ended, promptTokens: prompt.length, sharedTokens: 0, newTokens: given, stop });
    }
    const text = decode(prompt).replace(/^[^]*<user>/, "");
    const score = (id: number) => ({
      id,
      logprob: -0.5,
      top: [
        { id, logprob: -0.5 },
        { id: 33, logprob: -1 },
      ],
    });
    const answer = [...Buffer.from(text.toUpperCase(), "latin1"), end];
    const next = (): void => {
      for (let burst = text.startsWith("wide") ? 100 : 1; burst > 0 && entry.ended === null; burst--) {
        const id = text.startsWith("endless") ? 97 : text.startsWith("wide") ? wide : (answer[given] ?? end);
        if (text.startsWith("broken") && given === 3) {
          entry.ended = "cancelled";
          state.running--;
          return stream.fail(new LlamaError("not-finite", "What the model computes is NaN."));
        }
        if (given === request.maxNewTokens) return finish("length");
        const { top, ...own } = score(id);
        const token = request.logprobs === undefined ? { id } : { ...own, top: top.slice(0, request.logprobs) };
        if (request.stopTokens.includes(id)) return finish("stop", token);
        given++;
        state.newTokens++;
        stream.push(token);
      }
      if (entry.ended === null) setImmediate(next);
    };
    setImmediate(next);
    return {
      tokens: stream.values,
      end: over,
      prompt: Promise.resolve(
        prompt.map((id, at) =>
          at === 0
            ? { id, logprob: null, top: [] }
            : { ...score(id), top: score(id).top.slice(0, request.promptLogprobs) },
        ),
      ),
      cancel: () => finish("cancelled"),
    };
  }

  return {
    name: "fake",
    created: 1,
    vocabulary: 256,
    requests,
    tokenizer: {
      special: new Set([end]),
      encode: async (text) => Uint32Array.from(Buffer.from(text, "latin1")),
      decode,
      spelling: (id) => (id === end ? "<end>" : letter(id)),
      stream: () => textStream(decode, { isByte: () => false, hasText: (id) => id !== end }),
    },
    scheduler: {
      contextLength,
      submit,
      get state() {
        return {
          running: state.running,
          waiting: 0,
          sequences: queue,
          queue,
          pages: { total: 8, used: 0, kept: 0, tokens: 16 },
          promptTokens: 0,
          computedPromptTokens: 0,
          newTokens: state.newTokens,
          ended: requests.filter(({ ended }) => ended !== null).length,
        };
      },
    },
    ends: [end],
    chat: {
      ends: [end],
      renderer: {
        async render(messages) {
          if (messages.some(({ role }) => role === "wizard"))
            throw new ModelError("M147", "The template refuses `wizard`.");
          return messages.map(({ role, content }) => `<${role}>${content}`).join("");
        },
      },
    },
  };
}

/** A server of a model on a free port. */
export async function fakeServer(
  model: ServedModel | null,
  options: Partial<Omit<AppOptions, "limits">> & { readonly limits?: Partial<ServerLimits> } = {},
): Promise<Listening & { readonly url: string }> {
  const app = createApp({ model: () => model, ...options });
  const server = await listen(app.fetch, { host: "127.0.0.1", port: 0 });
  return { ...server, url: `http://127.0.0.1:${server.port}` };
}

/** Waits until something holds. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
