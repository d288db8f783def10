/** Conversations written as their model's template says. */
import { Worker } from "node:worker_threads";
import { ModelError } from "../model/error.js";
import type { ChatMessage, ChatTemplate } from "./template.js";

/** What the thread is asked. */
export interface RenderOrder {
  readonly id: number;
  readonly values: { readonly [name: string]: unknown };
}

/** What it answers. */
export type RenderAnswer = { readonly id: number } & ({ readonly text: string } | { readonly problem: string });

export interface ChatRenderer {
  /**
   * The text of a conversation, with the beginning of the answer that is to come.
   * @throws ModelError M147: no messages, or the template refuses them, does not end, or is no template
   */
  render(messages: readonly ChatMessage[]): Promise<string>;
  /** Ends the thread; nothing is rendered after it. */
  close(): void;
}

/** Milliseconds that a template may take. */
const patience = 5000;

/** The most characters of a conversation. */
const longestText = 2 ** 24;

/** Megabytes that the thread may take. */
const memory = 256;

/** A renderer of a template. Its thread is begun at the first conversation, and does not keep the process alive. */
export function createChatRenderer(template: ChatTemplate, { limit = patience } = {}): ChatRenderer {
  let worker: Worker | null = null;
  let orders = 0;
  let last: Promise<unknown> = Promise.resolve();

  function begin(): Worker {
    const begun = new Worker(new URL("./chat-worker.js", import.meta.url), {
      workerData: { source: template.source, longest: longestText },
      resourceLimits: { maxOldGenerationSizeMb: memory, maxYoungGenerationSizeMb: 32 },
      stderr: true,
    });
    begun.unref();
    return begun;
  }

  function ask(messages: readonly ChatMessage[]): Promise<string> {
    const thread = (worker ??= begin());
    const id = orders++;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        thread.off("message", onMessage).off("error", onEnd).off("exit", onEnd);
        act();
      };
      const stop = (why: string): void =>
        settle(() => {
          if (worker === thread) worker = null;
          void thread.terminate();
          reject(refused(template, why));
        });
      const onMessage = (answer: RenderAnswer): void => {
        if (answer.id !== id) return;
        settle(() => ("text" in answer ? resolve(answer.text) : reject(refused(template, answer.problem))));
      };
      const onEnd = (error: unknown): void =>
        stop(
          error instanceof Error && "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY"
            ? `it takes more than ${memory} MB`
            : `it ended: ${error instanceof Error ? error.message : String(error)}`,
        );
      // the wait for an answer keeps the process alive, the thread does not
      const timer = setTimeout(() => stop(`it has not come to an end in ${limit / 1000} s`), limit);
      thread.on("message", onMessage).on("error", onEnd).on("exit", onEnd);
      const values = {
        messages,
        add_generation_prompt: true,
        bos_token: template.bosToken,
        eos_token: template.eosToken,
      };
      thread.postMessage({ id, values } satisfies RenderOrder);
    });
  }

  return {
    async render(messages) {
      if (messages.length === 0) throw new ModelError("M147", "There is no message to answer.");
      // one after the other: the time that one takes is not the next one's
      const answer = last.then(() => ask(messages));
      last = answer.catch(() => null);
      return answer;
    },
    close() {
      void worker?.terminate();
      worker = null;
    },
  };
}

function refused(template: ChatTemplate, why: string): ModelError {
  return new ModelError(
    "M147",
    `The model's chat template (${template.place}) does not take these messages: ${why.replace(/\.$/, "")}.`,
    "templates commonly want turns of `user` and `assistant` by turns, `system` before them if at all",
  );
}
