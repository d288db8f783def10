import { openDevice, type Device, type DeviceOptions } from "./device/device.js";
import { standardLibrary } from "./library.js";
import { createCaller } from "./llama/call.js";
import type { Sampling } from "./llama/inference/choice.js";
import { generate } from "./llama/inference/generate.js";
import { openSession, type Session, type SessionOptions } from "./llama/inference/session.js";
import { openModel, type Model } from "./model/model.js";
import { createExecutor } from "./run/run.js";
import { targetOf } from "./run/target.js";

/** What a model is loaded on, and how. */
export interface LoadOptions extends SessionOptions {
  /** A GPU where there is one, unless told. */
  readonly device?: DeviceOptions;
}

/** How a text goes on; the likeliest tokens unless told. */
export interface TextOptions extends Partial<Sampling> {
  /** 256 unless told. */
  readonly maxNewTokens?: number;
}

/** A model on a device. */
export interface LoadedModel {
  readonly device: Device;
  readonly model: Model;
  /** For what `generate` is not: `perplexity`, `answerTasks`. */
  readonly session: Session;
  /**
   * Continues a prompt: pieces of text as they come. Who stops asking stops the model.
   * @throws LlamaError prompt-too-long, prompt-empty, bad-option, not-finite; DeviceError
   */
  generate(prompt: string, options?: TextOptions): AsyncIterable<string>;
  /** Gives the device and the files back. */
  close(): Promise<void>;
}

/**
 * Opens a model (a directory, or a GGUF file) on a device.
 * @throws ModelError, DeviceError, LlamaError
 */
export async function load(path: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const { device: wanted, ...how } = options;
  const model = await openModel(path);
  let device: Device | null = null;
  try {
    const opened = await openDevice(wanted);
    device = opened;
    const executor = await createExecutor(opened);
    const caller = createCaller(executor, targetOf(opened), standardLibrary());
    const session = await openSession(caller, model, how);
    return {
      device: opened,
      model,
      session,
      generate: (prompt, text = {}) => pieces(model, session, prompt, text),
      async close() {
        executor.close();
        opened.close();
        await model.close();
      },
    };
  } catch (error) {
    device?.close();
    await model.close();
    throw error;
  }
}

async function* pieces(
  model: Model,
  session: Session,
  prompt: string,
  { maxNewTokens = 256, temperature = 0, ...sampling }: TextOptions,
): AsyncGenerator<string, void, undefined> {
  const tokenizer = await model.tokenizer();
  const ids = await tokenizer.encode(prompt, { prefix: true });
  const stream = tokenizer.stream();
  // the text of the first new token depends on those before it
  for (const id of ids) stream.push(id);
  const ready: string[] = [];
  const state = { over: false, stopped: false, wake: (): void => {} };
  const running = generate(session, ids, {
    ...sampling,
    temperature,
    maxNewTokens,
    eosTokens: model.generation.eosTokens,
    onToken(id) {
      ready.push(stream.push(id));
      state.wake();
      return !state.stopped;
    },
  }).finally(() => {
    state.over = true;
    state.wake();
  });
  // a failure is thrown below, once what came before it has been given
  running.catch(() => {});
  try {
    while (!state.over || ready.length > 0) {
      const piece = ready.shift();
      if (piece === undefined) {
        await new Promise<void>((resolve) => {
          state.wake = resolve;
        });
      } else if (piece !== "") yield piece;
    }
    await running;
    const rest = stream.end();
    if (rest !== "") yield rest;
  } finally {
    state.stopped = true;
    await running.catch(() => {});
  }
}
