/** `espalier playground`: the site of the playground, on this machine alone. */
import { createReadStream, readdirSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { extname, join } from "node:path";
import { packageRoot } from "../package.js";
import { UsageError } from "./failure.js";
import type { Output } from "./output.js";

/** Every file that is served, by its path; nothing else is, whatever is asked for. */
export function siteFiles(root: string = packageRoot()): ReadonlyMap<string, string> {
  const site = join(root, "dist", "site");
  const model = join(root, "examples", "classics-3.7m");
  const names = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ];
  const built = readdirSync(site, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll("\\", "/"))
    .filter((name) => extname(name) in types && !name.startsWith("playground/model/"));
  return new Map([
    ["/playground/", join(site, "playground", "index.html")],
    ...built.map((name) => [`/${name}`, join(site, name)] as const),
    ...[...names, "calibration.txt"].map((name) => [`/playground/model/${name}`, join(model, name)] as const),
  ]);
}

const types: { readonly [extension: string]: string } = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
};

/** A server of these files; it listens once `listen` is called. */
export function createSite(files: ReadonlyMap<string, string> = siteFiles()): Server {
  return createServer((request, response) => {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const file = files.get(path);
    const host = request.headers.host?.replace(/:\d+$/, "") ?? "";
    const refuse = (status: number): void => void response.writeHead(status).end();
    if (request.method !== "GET" && request.method !== "HEAD") return refuse(405);
    // another name for this machine could be that of a page elsewhere
    if (!["127.0.0.1", "localhost", "[::1]"].includes(host)) return refuse(403);
    if (path === "/") return void response.writeHead(302, { location: "/playground/" }).end();
    if (file === undefined) return refuse(404);
    let size: number;
    try {
      ({ size } = statSync(file));
    } catch {
      return refuse(404);
    }
    response.writeHead(200, {
      "content-type": types[extname(file)] ?? "application/octet-stream",
      "content-length": size,
      "cache-control": "no-cache",
      "x-content-type-options": "nosniff",
      "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    });
    if (request.method === "HEAD") return void response.end();
    createReadStream(file)
      .on("error", () => response.destroy())
      .pipe(response);
  });
}

/** Serves the playground until it is stopped. */
export async function run(output: Output, { port }: { readonly port: number }): Promise<void> {
  const server = createSite();
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: Error & { readonly code?: string }) =>
      reject(
        error.code === "EADDRINUSE"
          ? new UsageError(`port ${port} is in use: choose another, or --port 0 for any`)
          : error,
      ),
    );
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  const at = typeof address === "object" && address !== null ? address.port : port;
  output.stream(`http://127.0.0.1:${at}/ (Ctrl-C ends it)\n`);
  await new Promise<void>((resolve) => server.once("close", resolve));
}
