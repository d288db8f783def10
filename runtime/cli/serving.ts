/** What `serve` does alike on one device and on several: its port, what it says, and how it ends. */
import { counted } from "../../compiler/words.js";
import { listen, type Listening } from "../server/listen.js";
import { UsageError } from "./failure.js";
import { warn } from "./given.js";
import type { SeveralDevicesOptions } from "./options.js";
import type { Output } from "./output.js";
import { servedName, type ServedOptions } from "./served-model.js";

/** What `serve` is given. */
export interface ServeOptions extends ServedOptions, SeveralDevicesOptions {
  readonly port: number;
  readonly host: string;
  readonly apiKey?: string;
  readonly cors?: string;
}

/** Milliseconds that requests have to end when the server is asked to stop. */
const patience = 60_000;

/** Listens, and warns where others than this machine's users may. @throws UsageError */
export async function listenAt(
  fetch: Parameters<typeof listen>[0],
  options: Pick<ServeOptions, "host" | "port" | "apiKey">,
  output: Output,
): Promise<Listening> {
  const server = await listen(fetch, options).catch((error: unknown) => {
    throw portError(error, options);
  });
  if (!isLoopback(options.host) && options.apiKey === undefined)
    warn(output, `whoever reaches ${options.host} may use the model: --api-key KEY asks for a key`);
  return server;
}

/** Says that requests are taken. */
export function tellOfServing(
  output: Output,
  options: Pick<ServeOptions, "host" | "name" | "model">,
  port: number,
  device: string,
  { sequences, contextLength }: { readonly sequences: number; readonly contextLength: number },
): void {
  const name = servedName(options);
  const url = `http://${options.host.includes(":") ? `[${options.host}]` : options.host}:${port}/v1`;
  output.note(
    `${name} at ${url}: ${counted(sequences, "text")} at once of up to ${counted(contextLength, "token")}, on ${device}`,
  );
  if (output.json) output.result({ url, model: name, port, device }, () => "");
}

/** Lets requests end, for a while. */
export async function drain(server: Listening, underWay: () => Promise<void>, output: Output): Promise<void> {
  output.note("stopping: requests that are under way come to their end");
  const timer = setTimeout(() => {
    warn(output, `requests that have not ended in ${patience / 1000} s are cancelled`);
    server.closeNow();
  }, patience);
  await Promise.all([server.close(), underWay()]);
  clearTimeout(timer);
}

/** SIGTERM and Ctrl-C ask to stop; the second time the process ends at once. */
export function stopSignal(): { readonly asked: Promise<void>; stop(): void; end(): void } {
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

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}

function portError(error: unknown, { host, port }: Pick<ServeOptions, "host" | "port">): unknown {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE")
    return new UsageError(`port ${port} of ${host} is in use: give another with --port, or 0 for one that is free`);
  if (code === "EACCES")
    return new UsageError(`port ${port} of ${host} may not be used: those below 1024 are for root`);
  if (code === "ENOTFOUND" || code === "EADDRNOTAVAIL")
    return new UsageError(`this machine has no address ${host}: --host 127.0.0.1 is for this machine, 0.0.0.0 for all`);
  return error;
}
