/** A server in a process of its own, on a port that only its front is told of. */
import { openModel } from "../../model/model.js";
import { createApp } from "../../server/app.js";
import { listen } from "../../server/listen.js";
import type { ServedModel } from "../../server/served.js";
import { openServed, type ServedOptions } from "../served-model.js";
import { failureOf } from "../failure.js";
import type { BeginWork } from "./messages.js";

/** What a server's process tells its front. */
export interface ServedPort {
  readonly port: number;
  readonly sequences: number;
  readonly contextLength: number;
}

export const begin: BeginWork = async (choice, given, note) => {
  const { options, key } = given as { readonly options: ServedOptions; readonly key: string };
  let served: ServedModel | null = null;
  const app = createApp({
    model: () => served,
    apiKey: key,
    onFault,
  });
  function onFault(error: unknown): void {
    const { code, message } = failureOf(error);
    if (code === "device-lost") process.stderr.write(`${message}\n`, () => process.exit(1));
    else note(`error[${code}]: ${message}`);
  }
  const server = await listen(app.fetch, { host: "127.0.0.1", port: 0 });
  const model = await openModel(options.model);
  const opened = await openServed(model, { ...options, device: choice }, note);
  served = opened.model;
  void opened.lost.then(onFault);
  const answer: ServedPort = {
    port: server.port,
    sequences: opened.scheduler.state.sequences,
    contextLength: opened.scheduler.contextLength,
  };
  return {
    device: opened.device,
    answer,
    run: () => Promise.reject(new Error("a server has no tasks")),
    // the front has waited for all that was under way
    async close() {
      server.closeNow();
      await opened.close(false);
      await model.close();
    },
  };
};
