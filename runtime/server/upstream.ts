/** Requests to a server on this machine. `fetch` gives answers up that begin after five minutes; these may take longer. */
import { request, type IncomingMessage } from "node:http";

export interface UpstreamRequest {
  readonly port: number;
  readonly path: string;
  readonly method: string;
  readonly key: string;
  readonly body: Uint8Array | null;
  readonly signal: AbortSignal;
}

export interface UpstreamAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Throws where the connection ends before the answer does. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** @throws what Node says of a connection that cannot be made, or breaks before the answer begins */
export function askUpstream({ port, path, method, key, body, signal }: UpstreamRequest): Promise<UpstreamAnswer> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        ...{ host: "127.0.0.1", port, path, method, signal },
        headers: {
          authorization: `Bearer ${key}`,
          ...(body === null ? {} : { "content-type": "application/json", "content-length": body.length }),
        },
      },
      (answer) => resolve({ status: answer.statusCode ?? 502, headers: plain(answer), body: answer }),
    );
    asked.once("error", reject);
    asked.end(body ?? undefined);
  });
}

function plain({ headers }: IncomingMessage): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (typeof value === "string" ? [[name, value] as const] : [])),
  );
}
