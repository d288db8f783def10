/** Files of requests, made by hand. */

/** A line of one. */
export function line(document: number, index: number, label: number, context: string, continuation: string): string {
  return JSON.stringify({ request: { context, continuation }, doc_id: document, idx: index, label });
}

/** A file of lines. */
export function lines(all: readonly string[]): string {
  return all.map((each) => `${each}\n`).join("");
}
