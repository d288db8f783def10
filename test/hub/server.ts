/** A hub on this machine: repositories in memory, by the protocol of huggingface.co, and what may go wrong with it. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What a repository holds: small files as git has them, large ones by their sha256, from another host. */
export interface Repo {
  readonly type: "model" | "dataset";
  readonly name: string;
  readonly files: { readonly [path: string]: string | Uint8Array };
  /** Paths of files that are large. */
  readonly large?: readonly string[];
  readonly needsToken?: string;
}

export interface Hub {
  readonly url: string;
  /** Requests in order: method, host's part, path, range, and whether a token came. */
  readonly seen: {
    readonly at: "hub" | "cdn";
    readonly path: string;
    readonly range: string | null;
    readonly token: boolean;
  }[];
  /** Answers instead of the hub where it gives true. */
  intercept: ((request: IncomingMessage, response: ServerResponse, at: "hub" | "cdn") => boolean) | null;
  close(): Promise<void>;
}

/** The commit of all repositories. */
export const commit = "0123456789abcdef0123456789abcdef01234567";

export function hashOf(bytes: Uint8Array, isLarge: boolean): string {
  return isLarge
    ? createHash("sha256").update(bytes).digest("hex")
    : createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** Sends a file, from where the range says. */
export function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array): void {
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? "") ?? [];
  if (from === undefined) {
    response.writeHead(200, { "content-length": bytes.length });
    response.end(bytes);
    return;
  }
  const start = Number(from);
  response.writeHead(206, {
    "content-length": bytes.length - start,
    "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
  });
  response.end(bytes.subarray(start));
}

/** Starts it, with a second server for large files. */
export async function startHub(repos: readonly Repo[]): Promise<Hub> {
  const bytesOf = (content: string | Uint8Array): Uint8Array =>
    typeof content === "string" ? Buffer.from(content) : content;
  const json = (response: ServerResponse, value: unknown): void => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  const fail = (response: ServerResponse, status: number): void => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: `status ${status}` }));
  };
  const seen: Hub["seen"] = [];
  const note = (at: "hub" | "cdn", request: IncomingMessage): void => {
    seen.push({
      at,
      path: decodeURIComponent(new URL(request.url ?? "", "http://x").pathname),
      range: request.headers.range ?? null,
      token: request.headers.authorization !== undefined,
    });
  };
  const listen = async (answer: (request: IncomingMessage, response: ServerResponse) => void) => {
    const server = createServer(answer);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    return {
      url: `http://127.0.0.1:${port}`,
      close: () => new Promise<void>((resolve) => (server.close(() => resolve()), server.closeAllConnections())),
    };
  };
  const cdn = await listen((request, response) => {
    note("cdn", request);
    if (hub.intercept?.(request, response, "cdn") === true) return;
    const hash = (request.url ?? "").slice(1);
    for (const { files, large = [] } of repos)
      for (const path of large)
        if (hashOf(bytesOf(files[path]!), true) === hash) return sendFile(request, response, bytesOf(files[path]!));
    fail(response, 404);
  });
  const main = await listen((request, response) => {
    note("hub", request);
    if (hub.intercept?.(request, response, "hub") === true) return;
    const path = decodeURIComponent(new URL(request.url ?? "", "http://x").pathname);
    for (const repo of repos) {
      const { type, name, files, large = [] } = repo;
      const api = `/api/${type}s/${name}`;
      const resolve = `${type === "dataset" ? "/datasets" : ""}/${name}/resolve/${commit}/`;
      if (!path.startsWith(`${api}/`) && !path.startsWith(resolve)) continue;
      if (repo.needsToken !== undefined && request.headers.authorization !== `Bearer ${repo.needsToken}`)
        return fail(response, 401);
      if (path.startsWith(`${api}/revision/`)) {
        const revision = path.slice(`${api}/revision/`.length);
        if (!["main", "v1", commit].includes(revision)) return fail(response, 404);
        return json(response, { _id: "1", id: name, sha: commit, private: false, lastModified: "2026-01-01" });
      }
      if (path.startsWith(`${api}/tree/${commit}`)) {
        const folder = path.slice(`${api}/tree/${commit}`.length).replace(/^\//, "");
        const inside = Object.keys(files).filter((each) =>
          folder === "" ? !each.includes("/") : each.startsWith(`${folder}/`),
        );
        return json(
          response,
          inside.map((each) => {
            const bytes = bytesOf(files[each]!);
            const isLarge = large.includes(each);
            const lfs = { oid: hashOf(bytes, true), size: bytes.length, pointerSize: 130 };
            const oid = hashOf(isLarge ? Buffer.from("pointer") : bytes, false);
            return { type: "file", path: each, size: bytes.length, oid, ...(isLarge ? { lfs } : {}) };
          }),
        );
      }
      const file = path.slice(resolve.length);
      if (!Object.hasOwn(files, file)) return fail(response, 404);
      const bytes = bytesOf(files[file]!);
      if (!large.includes(file)) return sendFile(request, response, bytes);
      response.writeHead(302, { location: `${cdn.url}/${hashOf(bytes, true)}` });
      response.end();
      return;
    }
    fail(response, 404);
  });
  const hub: Hub = {
    url: main.url,
    seen,
    intercept: null,
    async close() {
      await main.close();
      await cdn.close();
    },
  };
  return hub;
}
