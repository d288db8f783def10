import { createApp } from "../server/app.js";
import type { ServedModel } from "../server/served.js";
import { failureOf, UsageError } from "./failure.js";
import { openGiven } from "./given.js";
import { devicesOf } from "./options.js";
import type { Output } from "./output.js";
import { openServed } from "./served-model.js";
import { drain, listenAt, stopSignal, tellOfServing, type ServeOptions } from "./serving.js";

/** `espalier serve`: a model behind the OpenAI interface, until it is asked to stop. */
export async function run(output: Output, options: ServeOptions): Promise<number> {
  const apiKey = options.apiKey ?? process.env["ESPALIER_API_KEY"];
  if (apiKey === "") throw new UsageError("--api-key should not be empty");
  const devices = devicesOf(options);
  if (devices !== null) return (await import("./serve-devices.js")).serveOn(output, { ...options, apiKey }, devices);
  let served: ServedModel | null = null;
  let isClosing = false;
  let fault: unknown = null;
  const stopping = stopSignal();
  const app = createApp({
    model: () => served,
    isClosing: () => isClosing,
    apiKey,
    cors: options.cors,
    onFault,
  });
  function onFault(error: unknown): void {
    const { code, message } = failureOf(error);
    const isLoss = code === "device-lost";
    // of a device that is lost each request tells
    if (isLoss && fault !== null) return;
    output.note(`${output.alarm(`error[${code}]`)}: ${message}`);
    if (!isLoss) return;
    fault = error;
    stopping.stop();
  }
  // before the model is loaded: a port that is taken is found at once
  const server = await listenAt(app.fetch, { ...options, apiKey }, output);
  try {
    const model = await openGiven(options.model, output);
    try {
      const opened = await openServed(model, options, output.note);
      try {
        served = opened.model;
        // nobody may ask for anything for long
        void opened.lost.then(onFault);
        tellOfServing(output, options, server.port, opened.device, {
          sequences: opened.scheduler.state.sequences,
          contextLength: opened.scheduler.contextLength,
        });
        await stopping.asked;
        isClosing = true;
        if (fault === null) await drain(server, () => opened.scheduler.drain(), output);
        server.closeNow();
        return fault === null ? 0 : 1;
      } finally {
        await opened.close(fault !== null);
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
