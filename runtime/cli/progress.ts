import type { CompressProgress } from "../llama/compress.js";
import type { Output, Progress } from "./output.js";

/** What is shown as one bar. */
type Part = "compressing" | "scoring" | "writing";

const parts: { readonly [Stage in CompressProgress["stage"]]: Part } = {
  embed: "compressing", observe: "compressing", compress: "compressing", advance: "compressing", evaluate: "scoring", save: "writing",
};

/** Bars for a compression: one over the layers, with what is being done for them as its note, and others for what comes after. */
export function stagedProgress(output: Pick<Output, "progress">, layers: number): { update(progress: CompressProgress): void; end(): void } {
  let part: Part | null = null;
  let bar: Progress | null = null;
  let done = 0;
  let total = layers;
  return {
    update(progress) {
      const next = parts[progress.stage];
      if (next !== part) {
        bar?.end();
        part = next;
        bar = output.progress(next.padEnd("compressing".length));
      }
      if (next !== "compressing") return bar?.update(progress.done, progress.total, progress.subject);
      if (progress.stage === "compress") ({ done, total } = progress);
      bar?.update(done, total, progress.stage === "compress" ? progress.subject : `${progress.stage} ${progress.subject} ${progress.done}/${progress.total}`);
    },
    end: () => bar?.end(),
  };
}
