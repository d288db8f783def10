/**
 * Several servers of one model behind one address: each request goes to the one with the least under way. A server that
 * goes away takes no request with it that has not been answered in part: such a one is asked of another server, once.
 */
import { Hono, type Context } from "hono";
import { withAccess, type AccessOptions } from "./access.js";
import { bytesOf } from "./body.js";
import { routes } from "./app.js";
import { errorBody, RequestError, requestError } from "./error.js";
import { mergeMetrics } from "./front-metrics.js";
import { usualLimits } from "./served.js";
import { askUpstream, type UpstreamAnswer } from "./upstream.js";

/** A server behind the front. */
export interface Upstream {
  /** What it is called in metrics. */
  readonly at: number;
  readonly port: number;
  /** The key that it asks for. */
  readonly key: string;
}

export interface FrontOptions extends AccessOptions {
  /** Those that answer now. */
  readonly upstreams: () => readonly Upstream[];
  /** All that there should be. */
  readonly wanted: number;
  readonly isClosing?: () => boolean;
  readonly note?: (line: string) => void;
}

export interface Front {
  fetch(request: Request): Response | Promise<Response>;
  /** Settles when nothing is under way. */
  drain(): Promise<void>;
}

/** How often a request is asked for: of one server, and of another where that one went away. */
const mostTries = 2;

/** Bytes of an answer that comes whole. */
const longestAnswer = 2 ** 28;

/** The front as a function from requests to answers. */
export function createFront(options: FrontOptions): Front {
  const { upstreams, wanted, isClosing = () => false, note = () => {} } = options;
  const underWay = new Map<number, number>();
  const counts = { retried: 0, broken: 0 };
  let total = 0;
  let last = -1;
  let settleDrain = (): void => {};
  const app = new Hono();

  function failed(context: Context, thrown: unknown): Response {
    const error = requestError(thrown);
    if (!(thrown instanceof RequestError)) note(`error: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
    if (error.status === 429 || error.status === 503) context.header("Retry-After", "1");
    if (error.status === 401) context.header("WWW-Authenticate", "Bearer");
    return context.json(errorBody(error), error.status);
  }

  withAccess(app, options);

  app.get("/health", (context) => {
    const ready = upstreams().length;
    const status = isClosing() ? "closing" : ready === 0 ? "loading" : ready < wanted ? "degraded" : "ok";
    return context.json({ status, servers: ready, wanted }, status === "ok" || status === "degraded" ? 200 : 503);
  });
  app.get("/metrics", async (context) => {
    const each = await Promise.all(
      upstreams().map(async (one) => {
        // one that is gone has nothing to tell
        const text = await ask(one, "GET", "/metrics", null, context.req.raw.signal)
          .then(async (answer) => (await whole(answer)).toString("utf8"))
          .catch(() => "");
        return { at: one.at, text };
      }),
    );
    const own = { ready: upstreams().length, wanted, underWay: total, ...counts };
    return context.text(mergeMetrics(each, own), 200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  });
  for (const path of ["/v1/models", "/v1/models/:name"]) app.get(path, (context) => forward(context, "GET", null));
  for (const path of ["/v1/completions", "/v1/chat/completions"])
    app.post(path, async (context) => {
      if (isClosing())
        throw new RequestError(503, "closing", "The server is being stopped and takes no more requests.");
      return forward(context, "POST", await bytesOf(context.req.raw, usualLimits.body));
    });
  app.notFound((context) => {
    const known = routes.includes(context.req.path);
    return failed(
      context,
      known
        ? new RequestError(405, "method_not_allowed", `${context.req.path} does not take ${context.req.method}.`)
        : new RequestError(404, "not_found", `There is nothing here; there are ${routes.join(", ")}.`),
    );
  });
  app.onError((error, context) => failed(context, error));

  /** The server with the least under way; of several, the next in turn. */
  function choose(tried: ReadonlySet<number>): Upstream | null {
    const left = upstreams().filter(({ at }) => !tried.has(at));
    const load = ({ at }: Upstream): number => underWay.get(at) ?? 0;
    const turn = ({ at }: Upstream): number => (at > last ? 0 : 1);
    const [best = null] = [...left].sort((a, b) => load(a) - load(b) || turn(a) - turn(b) || a.at - b.at);
    return best;
  }

  function ask(
    { port, key }: Upstream,
    method: string,
    path: string,
    body: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<UpstreamAnswer> {
    return askUpstream({ port, path, method, key, body, signal });
  }

  async function forward(context: Context, method: "GET" | "POST", body: Uint8Array | null): Promise<Response> {
    const { signal } = context.req.raw;
    const tried = new Set<number>();
    for (;;) {
      const upstream = choose(tried);
      if (upstream === null)
        throw tried.size > 0
          ? new RequestError(502, "server_lost", "The process that had this request went away, and no other is left.")
          : new RequestError(503, "loading", "The model is being loaded. Try again in a moment.");
      tried.add(upstream.at);
      last = upstream.at;
      const release = take(upstream);
      let isStreaming = false;
      try {
        const answer = await ask(upstream, method, context.req.path, body, signal);
        const headers = answerHeaders(answer);
        if (!(answer.headers["content-type"] ?? "").startsWith("text/event-stream"))
          return new Response(new Uint8Array(await whole(answer)), { status: answer.status, headers });
        const chunks = answer.body[Symbol.asyncIterator]();
        // what breaks before its first piece has said nothing yet
        const first = await chunks.next();
        isStreaming = true;
        return new Response(eventsOf(first, chunks, release), { status: answer.status, headers });
      } catch (error) {
        if (signal.aborted) throw new RequestError(502, "client_gone", "The client went away.");
        if (error instanceof RequestError) throw error;
        if (tried.size >= mostTries)
          throw new RequestError(
            502,
            "server_lost",
            "The processes that had this request went away, one after the other.",
          );
        counts.retried++;
      } finally {
        if (!isStreaming) release();
      }
    }
  }

  function take({ at }: Upstream): () => void {
    underWay.set(at, (underWay.get(at) ?? 0) + 1);
    total++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      underWay.set(at, (underWay.get(at) ?? 1) - 1);
      total--;
      if (total === 0) settleDrain();
    };
  }

  /** An answer in events as it comes; one that breaks off says so in an event of its own. */
  function eventsOf(
    first: IteratorResult<Uint8Array>,
    chunks: AsyncIterator<Uint8Array>,
    release: () => void,
  ): ReadableStream<Uint8Array> {
    let next: IteratorResult<Uint8Array> | null = first;
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const piece = next ?? (await chunks.next());
          next = null;
          if (!piece.done) {
            controller.enqueue(piece.value);
            return;
          }
        } catch {
          counts.broken++;
          const error = new RequestError(502, "server_lost", "The process that made this answer went away.");
          controller.enqueue(new TextEncoder().encode(`\n\ndata: ${JSON.stringify(errorBody(error))}\n\n`));
        }
        release();
        controller.close();
      },
      async cancel() {
        release();
        await chunks.return?.();
      },
    });
  }

  return {
    fetch: (request) => app.fetch(request),
    drain: () => (total === 0 ? Promise.resolve() : new Promise((done) => (settleDrain = done))),
  };
}

/** What of an answer's headers is the client's. */
function answerHeaders({ headers }: UpstreamAnswer): Headers {
  const kept = new Headers();
  for (const name of ["content-type", "cache-control", "x-accel-buffering", "retry-after"]) {
    const value = headers[name];
    if (value !== undefined) kept.set(name, value);
  }
  return kept;
}

async function whole({ body }: UpstreamAnswer): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.length;
    if (bytes > longestAnswer) throw new RequestError(502, "too_large", "The answer is too large to be handed on.");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
