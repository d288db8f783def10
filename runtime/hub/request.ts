/** Requests to the hub: where they may lead, what they may answer, what goes with them. */
import { counted } from "../../compiler/words.js";
import { ModelError, quoted } from "../model/error.js";

/** How the hub is asked. */
export interface HubOptions {
  /** The cache's directory, `~/.cache/huggingface/hub` by custom. */
  readonly cache: string;
  /** `https://huggingface.co` where not said otherwise. */
  readonly endpoint: string;
  readonly token: string | null;
  /** Whether only the cache is asked. */
  readonly offline: boolean;
  /** Bytes of a file that are there, and all. */
  readonly onProgress?: ((file: string, done: number, total: number) => void) | undefined;
  readonly note?: ((line: string) => void) | undefined;
  /** Milliseconds before a download that broke off is gone on with; 500 where not said. */
  readonly pause?: number | undefined;
}

/** Most bytes of an answer that is not a file. */
const answerLimit = 64 * 1024 * 1024;

/** Milliseconds without an answer, or without further bytes of one. */
const patience = 60_000;
const silence = `nothing came for ${patience / 1000} s`;

/** Whether the hub could not be asked at all. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof ModelError && error.code === "M180";
}

/**
 * Asks, following redirects: of a file to any host, for its hash is known; of anything else on the hub only. The token
 * goes to the hub alone.
 * @throws ModelError M180 (no answer), M181 (not there, or not for everybody), M183 (a redirect that is not followed)
 */
export async function ask(
  url: string,
  { endpoint, token }: HubOptions,
  { headers = {}, what, isFile }: { readonly headers?: object; readonly what: string; readonly isFile: boolean },
): Promise<Response> {
  const hub = new URL(endpoint).origin;
  let at = new URL(url);
  for (let hop = 0; hop <= 5; hop += 1) {
    if (!isFile && at.origin !== hub) throw elsewhere(what, at);
    const own: Record<string, string> = { "user-agent": "espalier" };
    if (at.origin === hub && token !== null) own["authorization"] = `Bearer ${token}`;
    // until the answer begins; its pieces have a time each
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(silence)), patience);
    const response = await fetch(at.href, { headers: { ...headers, ...own }, redirect: "manual", signal: late.signal })
      .catch((error: unknown) => {
        throw unreachable(what, error);
      })
      .finally(() => clearTimeout(timer));
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return checked(response, what);
    await response.body?.cancel();
    const next = URL.canParse(location, at.href) ? new URL(location, at) : null;
    if (
      next === null ||
      !["http:", "https:"].includes(next.protocol) ||
      (at.protocol === "https:" && next.protocol === "http:")
    )
      throw elsewhere(what, next ?? location);
    at = next;
  }
  throw new ModelError("M183", `The hub redirects in a circle when asked for ${what}.`);
}

function elsewhere(what: string, to: URL | string): ModelError {
  return new ModelError(
    "M183",
    `The hub redirects to ${quoted(String(to))} when asked for ${what}; that is not followed.`,
    "look at HF_ENDPOINT, and at proxies between",
  );
}

function unreachable(what: string, error: unknown): ModelError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const reason = cause instanceof Error ? cause.message || cause.name : String(cause);
  return new ModelError(
    "M180",
    `The hub cannot be reached for ${what}: ${reason}.`,
    "look at the network and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only the cache is asked",
    { cause: error },
  );
}

async function checked(response: Response, what: string): Promise<Response> {
  const { status } = response;
  if (response.ok || status === 416) return response;
  await response.body?.cancel();
  if (status === 401 || status === 403)
    throw new ModelError(
      "M181",
      `The hub does not give ${what} to everybody (status ${status}).`,
      "accept its terms on its page, and give a token of your account in HF_TOKEN; it may also be misspelt",
    );
  if (status === 404) throw new ModelError("M181", `The hub has no ${what}.`, "look at its name and revision");
  throw new ModelError("M180", `The hub answers with status ${status} when asked for ${what}.`, "try again later");
}

/**
 * What the package is given in place of `fetch`: answers are bounded, and an answer that is cut short is told.
 * @throws ModelError as `ask`; M183
 */
export function boundedFetch(options: HubOptions, what: string): typeof fetch {
  let answers = 0;
  return async (input, init) => {
    answers += 1;
    if (answers > 100) throw new ModelError("M183", `The hub has more than 100 pages of ${what}.`);
    const url = typeof input === "string" ? input : input instanceof URL ? input.href : input.url;
    const response = await ask(url, options, { headers: { ...init?.headers }, what, isFile: false });
    const pieces: Uint8Array[] = [];
    let length = 0;
    try {
      for await (const piece of piecesOf(response)) {
        length += piece.length;
        if (length > answerLimit)
          throw new ModelError(
            "M183",
            `The hub answers with more than ${counted(answerLimit, "byte")} when asked for ${what}.`,
          );
        pieces.push(piece);
      }
    } catch (error) {
      throw error instanceof ModelError ? error : unreachable(what, error);
    }
    return new Response(Buffer.concat(pieces), { status: response.status, headers: response.headers });
  };
}

/** The pieces of an answer, each within a time. */
export async function* piecesOf(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(silence)), patience);
      });
      const { done, value } = await Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
