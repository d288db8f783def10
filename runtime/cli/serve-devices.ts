/** `espalier serve --devices`: a process for each device, behind one front. */
import { randomBytes } from "node:crypto";
import { createFront } from "../server/front.js";
import { noteFailure } from "./failure.js";
import { givenModel, openGiven } from "./given.js";
import type { DeviceChoice } from "./options.js";
import type { Output } from "./output.js";
import { drain, listenAt, stopSignal, tellOfServing, type ServeOptions } from "./serving.js";
import { openCrew } from "./workers/crew.js";
import { crewNames } from "./workers/names.js";
import type { ServedPort } from "./workers/serve-work.js";

/** Serves until it is asked to stop, or no process is left. */
export async function serveOn(
  output: Output,
  options: ServeOptions & { readonly apiKey: string | undefined },
  devices: readonly DeviceChoice[],
): Promise<number> {
  let isClosing = false;
  let fault: Error | null = null;
  const stopping = stopSignal();
  /** Only the front may use the servers. */
  const key = randomBytes(32).toString("hex");
  let members = (): readonly { readonly at: number; readonly answer: unknown }[] => [];
  const front = createFront({
    upstreams: () =>
      members().flatMap(({ at, answer }) => (answer === null ? [] : [{ at, key, port: (answer as ServedPort).port }])),
    wanted: devices.length,
    isClosing: () => isClosing,
    apiKey: options.apiKey,
    cors: options.cors,
    note: output.note,
  });
  // before the model is loaded: a port that is taken is found at once
  const server = await listenAt(front.fetch, options, output);
  try {
    const path = await givenModel(options.model, output);
    // what is wrong with it is said once
    await (await openGiven(path, output)).close();
    const crew = openCrew({
      devices,
      begin: () => ({ work: "serve", options: { options: { ...options, model: path, name: options.name }, key } }),
      note: output.note,
      onFault(error) {
        fault = error;
        stopping.stop();
      },
    });
    members = () => crew.members;
    try {
      await Promise.race([crew.ready, stopping.asked]);
      if (!isClosing && fault === null && crew.members.some(({ isReady }) => isReady)) {
        const ports = crew.members.flatMap(({ answer }) => (answer === null ? [] : [answer as ServedPort]));
        tellOfServing(output, options, server.port, crewNames(crew), {
          sequences: ports.reduce((sum, { sequences }) => sum + sequences, 0),
          contextLength: Math.min(...ports.map(({ contextLength }) => contextLength)),
        });
      }
      await stopping.asked;
      isClosing = true;
      if (fault !== null) {
        server.closeNow();
        noteFailure(output, fault);
        return 1;
      }
      await drain(server, front.drain, output);
      server.closeNow();
      return 0;
    } finally {
      await crew.close();
    }
  } finally {
    server.closeNow();
    void server.close();
    stopping.end();
  }
}
