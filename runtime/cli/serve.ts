import { basename, extname, resolve } from "node:path";
import { counted } from "../../compiler/words.js";
import { createChatRenderer } from "../chat/renderer.js";
import { chatTemplateOf, turnEnds } from "../chat/template.js";
import { openSession } from "../llama/inference/session.js";
import { openScheduler } from "../llama/serving/scheduler.js";
import { createApp } from "../server/app.js";
import { listen, type Listening } from "../server/listen.js";
import type { ServedModel } from "../server/served.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { failureOf, UsageError } from "./failure.js";
import { openGiven, warn } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";

interface ServeOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly model: string;
  readonly name?: string;
  readonly port: number;
  readonly host: string;
  readonly sequences: number;
  readonly queue: number;
  readonly cacheMemory?: number;
  readonly context?: number;
  readonly apiKey?: string;
  readonly cors?: string;
}

/** Milliseconds that requests have to end when the server is asked to stop. */
const patience = 60_000;

/** `espalier serve`: a model behind the OpenAI interface, until it is asked to stop. */
export async function run(output: Output, options: ServeOptions): Promise<number> {
  const apiKey = options.apiKey ?? process.env["ESPALIER_API_KEY"];
  if (apiKey === "") throw new UsageError("--api-key should not be empty");
  let served: ServedModel | null = null;
  let isClosing = false;
  let fault: unknown = null;
  const stopping = stopSignal();
  const app = createApp({
    model: () => served,
    isClosing: () => isClosing,
    apiKey,
    cors: options.cors,
    onFault(error) {
      const { code, message } = failureOf(error);
      output.note(`${output.alarm(`error[${code}]`)}: ${message}`);
      if (code !== "device-lost") return;
      fault = error;
      stopping.stop();
    },
  });
  // before the model is loaded: a port that is taken is found at once
  const server = await listen(app.fetch, options).catch((error: unknown) => {
    throw portError(error, options);
  });
  try {
    if (!isLoopback(options.host) && apiKey === undefined)
      warn(output, `whoever reaches ${options.host} may use the model: --api-key KEY asks for a key`);
    const model = await openGiven(options.model, output);
    try {
      const tokenizer = await model.tokenizer();
      const template = await chatTemplateOf(model);
      if (template === null)
        output.note("note: the model has no chat template: /v1/chat/completions answers with 400.");
      const renderer = template === null ? null : createChatRenderer(template);
      const { device, caller, close } = await openMachine(options, output.note);
      try {
        const session = await openSession(caller, model, {
          ...sessionOptions(options, caller.target),
          activations: options.activations,
        });
        const scheduler = await openScheduler(session, {
          sequences: options.sequences,
          queue: options.queue,
          memory: options.cacheMemory,
          contextLength: options.context,
        });
        const { eosTokens } = model.generation;
        const name = options.name ?? nameOf(options.model);
        served = {
          name,
          created: Math.floor(Date.now() / 1000),
          vocabulary: model.config.vocabSize,
          tokenizer,
          scheduler,
          ends: eosTokens,
          chat:
            renderer === null || template === null
              ? null
              : { renderer, ends: turnEnds(template, tokenizer, eosTokens) },
        };
        const url = `http://${options.host.includes(":") ? `[${options.host}]` : options.host}:${server.port}/v1`;
        output.note(
          `${name} at ${url}: ${counted(scheduler.state.sequences, "text")} at once of up to ${counted(scheduler.contextLength, "token")}, on ${device.name}`,
        );
        if (output.json) output.result({ url, model: name, port: server.port, device: device.name }, () => "");
        await stopping.asked;
        isClosing = true;
        if (fault === null) await drain(server, scheduler, output);
        server.closeNow();
        await scheduler.close().catch(() => {});
        if (fault === null) session.release();
        return fault === null ? 0 : 1;
      } finally {
        close();
      }
    } finally {
      await model.close();
    }
  } finally {
    server.closeNow();
    void server.close();
    stopping.end();
  }
}

/** Lets requests end, for a while. */
async function drain(server: Listening, scheduler: { drain(): Promise<void> }, output: Output): Promise<void> {
  output.note("stopping: requests that are under way come to their end");
  const timer = setTimeout(() => {
    warn(output, `requests that have not ended in ${patience / 1000} s are cancelled`);
    server.closeNow();
  }, patience);
  await Promise.all([server.close(), scheduler.drain()]);
  clearTimeout(timer);
}

/** SIGTERM and Ctrl-C ask to stop; the second time the process ends at once. */
function stopSignal(): { readonly asked: Promise<void>; stop(): void; end(): void } {
  let settle = (): void => {};
  const asked = new Promise<void>((done) => (settle = done));
  let times = 0;
  const handlers = (["SIGTERM", "SIGINT", "SIGHUP"] as const).map((signal) => {
    const handler = (): void => {
      if (times++ > 0) process.exit(130);
      settle();
    };
    process.on(signal, handler);
    return { signal, handler };
  });
  return {
    asked,
    stop: () => settle(),
    end() {
      for (const { signal, handler } of handlers) process.off(signal, handler);
    },
  };
}

/** A model's name for requests: that of its directory or file. */
function nameOf(path: string): string {
  const name = basename(resolve(path));
  return extname(name).toLowerCase() === ".gguf" ? name.slice(0, -".gguf".length) : name;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}

function portError(error: unknown, { host, port }: ServeOptions): unknown {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE")
    return new UsageError(`port ${port} of ${host} is in use: give another with --port, or 0 for one that is free`);
  if (code === "EACCES")
    return new UsageError(`port ${port} of ${host} may not be used: those below 1024 are for root`);
  if (code === "ENOTFOUND" || code === "EADDRNOTAVAIL")
    return new UsageError(`this machine has no address ${host}: --host 127.0.0.1 is for this machine, 0.0.0.0 for all`);
  return error;
}
