/** Who may use a server: those with its key, and pages of an origin. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Hono } from "hono";
import { cors } from "hono/cors";
import { RequestError } from "./error.js";

export interface AccessOptions {
  readonly apiKey?: string | undefined;
  /** An origin whose pages may read answers; none by default. */
  readonly cors?: string | undefined;
}

/** Refuses requests without the key, but for `/health`. */
export function withAccess(app: Hono, options: AccessOptions): void {
  if (options.cors !== undefined)
    app.use(
      cors({ origin: options.cors, allowHeaders: ["authorization", "content-type"], allowMethods: ["GET", "POST"] }),
    );
  app.use(async (context, next) => {
    if (options.apiKey !== undefined && context.req.path !== "/health") {
      const given = /^Bearer\s+(.*)$/i.exec(context.req.header("authorization") ?? "")?.[1];
      if (given === undefined || !sameText(given, options.apiKey))
        throw new RequestError(401, "invalid_api_key", "Expected the key of this server: `Authorization: Bearer KEY`.");
    }
    await next();
  });
}

/** Compares without telling by the time it takes where two texts differ. */
function sameText(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
