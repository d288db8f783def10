import type { CompressProgress } from "../llama/compress.js";
import type { Output } from "./output.js";

/** Bars for the stages of a compression, one after the other. */
export function stagedProgress(output: Pick<Output, "progress">): { update(progress: CompressProgress): void; end(): void } {
  let stage: CompressProgress["stage"] | null = null;
  let bar = output.progress("");
  return {
    update(progress) {
      if (progress.stage !== stage) {
        bar.end();
        stage = progress.stage;
        bar = output.progress(stage.padEnd(8));
      }
      bar.update(progress.done, progress.total, progress.subject);
    },
    end: () => bar.end(),
  };
}
