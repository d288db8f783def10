/** The routes of a server, over a model that may still be loading. */
import { Hono, type Context } from "hono";
import { isObject, type JsonObject } from "../model/files.js";
import { withAccess, type AccessOptions } from "./access.js";
import { bytesOf } from "./body.js";
import { beginChat } from "./chat.js";
import { beginCompletion, type Completion } from "./completions.js";
import { errorBody, RequestError, requestError } from "./error.js";
import { openEvents } from "./events.js";
import { createMetrics } from "./metrics.js";
import { parseBody, readChat, readCompletion, type CommonParameters } from "./parameters.js";
import { usualLimits, type ServedModel, type ServerLimits } from "./served.js";

/** How a server is set up. */
export interface AppOptions extends AccessOptions {
  /** Null while it is loaded. */
  readonly model: () => ServedModel | null;
  /** Whether new requests are taken. */
  readonly isClosing?: () => boolean;
  readonly limits?: Partial<ServerLimits>;
  /** Faults that are none of the request's. */
  readonly onFault?: (error: unknown) => void;
}

/** The server as a function from requests to answers. */
export function createApp(options: AppOptions): { fetch(request: Request): Response | Promise<Response> } {
  const limits: ServerLimits = { ...usualLimits, ...options.limits };
  const metrics = createMetrics();
  const app = new Hono();

  function failed(context: Context, thrown: unknown): Response {
    const error = requestError(thrown);
    if (error.status >= 500 && error.code !== "closing" && error.code !== "loading") options.onFault?.(thrown);
    if (error.status === 429 || error.status === 503) context.header("Retry-After", "1");
    if (error.status === 401) context.header("WWW-Authenticate", "Bearer");
    return context.json(errorBody(error), error.status);
  }

  app.use(async (context, next) => {
    const began = performance.now();
    await next();
    const route = routes.includes(context.req.path) ? context.req.path : "other";
    metrics.count(route, context.res.status, (performance.now() - began) / 1000);
  });
  withAccess(app, options);

  function served(name: string | null): ServedModel {
    const model = options.model();
    if (model === null) throw new RequestError(503, "loading", "The model is being loaded. Try again in a moment.");
    if (name !== null && name !== model.name)
      throw new RequestError(
        404,
        "model_not_found",
        `There is no model ${JSON.stringify(name.slice(0, 200))} here, only ${JSON.stringify(model.name)}.`,
        "model",
      );
    return model;
  }

  app.get("/health", (context) => {
    const status = options.isClosing?.() === true ? "closing" : options.model() === null ? "loading" : "ok";
    return context.json({ status }, status === "ok" ? 200 : 503);
  });
  app.get("/metrics", (context) =>
    context.text(metrics.print(options.model()?.scheduler.state ?? null), 200, {
      "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
    }),
  );
  app.get("/v1/models", (context) => {
    const model = served(null);
    return context.json({ object: "list", data: [card(model)] });
  });
  app.get("/v1/models/:name", (context) => context.json(card(served(context.req.param("name")))));

  /** A route whose answers come whole or in events. */
  function route<P extends CommonParameters>(
    path: string,
    read: (body: JsonObject, limits: ServerLimits) => P,
    begin: (model: ServedModel, parameters: P, signal: AbortSignal) => Promise<Completion>,
  ): void {
    app.post(path, async (context) => {
      if (options.isClosing?.() === true)
        throw new RequestError(503, "closing", "The server is being stopped and takes no more requests.");
      const body = parseBody(await bytesOf(context.req.raw, limits.body));
      // the name first: another server's parameters say nothing here
      const name = isObject(body) && typeof body["model"] === "string" ? body["model"] : null;
      const model = served(name);
      const parameters = read(body, limits);
      const gone = new AbortController();
      const leave = (): void => {
        if (gone.signal.aborted) return;
        gone.abort();
        metrics.countGone();
      };
      const { signal } = context.req.raw;
      if (signal.aborted) leave();
      signal.addEventListener("abort", leave, { once: true });
      const completion = await begin(model, parameters, gone.signal);
      if (!parameters.stream) return context.json(await completion.whole());
      const events = openEvents(limits.unread, leave);
      void completion
        .stream(events)
        .then(
          () => events.send("[DONE]"),
          (error: unknown) => {
            if (gone.signal.aborted) return;
            const told = requestError(error);
            if (told.status >= 500) options.onFault?.(error);
            events.send(errorBody(told));
          },
        )
        .finally(events.end);
      return context.body(events.body, 200, {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",
      });
    });
  }
  route("/v1/completions", readCompletion, beginCompletion);
  route("/v1/chat/completions", readChat, beginChat);

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
  return { fetch: (request) => app.fetch(request) };
}

/** What a server has. */
export const routes: readonly string[] = [
  "/v1/completions",
  "/v1/chat/completions",
  "/v1/models",
  "/health",
  "/metrics",
];

function card({ name, created, scheduler }: ServedModel): object {
  return { id: name, object: "model", created, owned_by: "espalier", max_model_len: scheduler.contextLength };
}
