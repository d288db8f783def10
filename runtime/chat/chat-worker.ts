/**
 * Renders chat templates, in a thread of its own: a template is a program of a stranger's, and one that never ends or
 * takes all memory ends with the thread.
 */
import { Template } from "@huggingface/jinja";
import { parentPort, workerData } from "node:worker_threads";
import type { RenderAnswer, RenderOrder } from "./renderer.js";

serve(workerData as { readonly source: string; readonly longest: number });

function serve({ source, longest }: { readonly source: string; readonly longest: number }): void {
  let template: Template | null = null;

  function answer(values: RenderOrder["values"]): { readonly text: string } | { readonly problem: string } {
    try {
      template ??= new Template(source);
      const text = template.render({ ...values });
      return text.length > longest
        ? { problem: `it makes a text of ${text.length} characters; at most ${longest} are taken` }
        : { text };
    } catch (error) {
      return { problem: (error instanceof Error ? error.message : String(error)).slice(0, 500) };
    }
  }

  parentPort?.on("message", ({ id, values }: RenderOrder) => {
    parentPort?.postMessage({ id, ...answer(values) } satisfies RenderAnswer);
  });
}
