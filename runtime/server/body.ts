/** The bodies of requests. */
import { RequestError } from "./error.js";

/** A body of JSON of at most `most` bytes, not read yet. @throws RequestError 413, 415 */
export async function bytesOf(request: Request, most: number): Promise<Buffer<ArrayBuffer>> {
  if (!/^application\/(?:[\w.-]+\+)?json\b/i.test(request.headers.get("content-type") ?? ""))
    throw new RequestError(415, "not_json", "The body should be JSON: `Content-Type: application/json`.");
  const large = (): RequestError => new RequestError(413, "too_large", `The body should have at most ${most} bytes.`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw large();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // as it comes: a body without a length may have any
  const reader = request.body?.getReader();
  for (;;) {
    const next = await reader?.read();
    if (next === undefined || next.done) break;
    bytes += next.value.length;
    if (bytes > most) {
      void reader?.cancel().catch(() => {});
      throw large();
    }
    chunks.push(next.value);
  }
  return Buffer.concat(chunks);
}
