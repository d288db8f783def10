/** A server on a port. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";

export interface Listening {
  readonly host: string;
  /** The one that was asked for, or, for 0, the one that was free. */
  readonly port: number;
  /** Takes no more connections; settles when those there are have been answered. */
  close(): Promise<void>;
  /** Ends all connections at once. */
  closeNow(): void;
}

/** The most connections that are open at once; others wait to be taken. */
const mostConnections = 4096;

/**
 * Listens. What `fetch` gives is what clients get.
 * @throws Error of Node: EADDRINUSE, EACCES, ENOTFOUND, EADDRNOTAVAIL
 */
export async function listen(
  fetch: (request: Request) => Response | Promise<Response>,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const server = createAdaptorServer({ fetch, overrideGlobalObjects: false }) as Server;
  server.maxConnections = mostConnections;
  // a client that sends its headers or its body slowly does not hold its place
  server.headersTimeout = 20_000;
  server.requestTimeout = 60_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", () => {});
  const address = server.address() as AddressInfo;
  return {
    host,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
    closeNow: () => server.closeAllConnections(),
  };
}
