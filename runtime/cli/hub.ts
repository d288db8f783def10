/** What is named on the command line, on this disk: a path, or a repository of the Hugging Face hub. */
import { fetchFromHub } from "../hub/fetch.js";
import type { HubReference } from "../hub/reference.js";
import type { Output } from "./output.js";

const mebibyte = 2 ** 20;

/** Fetches it, with a bar for each file of some size. */
export async function fetchNamed(reference: HubReference, output: Pick<Output, "note" | "progress">): Promise<string> {
  let bar: { readonly file: string; readonly progress: ReturnType<Output["progress"]> } | null = null;
  try {
    return await fetchFromHub(reference, {
      note: output.note,
      onProgress(file, done, total) {
        if (total < mebibyte) return;
        if (bar?.file !== file) {
          bar?.progress.end();
          bar = { file, progress: output.progress(file) };
        }
        bar.progress.update(Math.floor(done / mebibyte), Math.ceil(total / mebibyte), "MiB");
      },
    });
  } finally {
    (bar as { readonly progress: ReturnType<Output["progress"]> } | null)?.progress.end();
  }
}
