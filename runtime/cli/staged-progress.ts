import type { CompressProgress } from "../llama/compression/compression.js";
import type { Output } from "./output.js";

const words: { readonly [Stage in CompressProgress["stage"]]: string } = {
  embed: "embedding",
  observe: "observing",
  compress: "compressing",
  train: "training",
  advance: "passing",
  evaluate: "scoring",
  save: "writing",
};

/** A bar over a whole compression, with what is being done as its note. */
export function stagedProgress(output: Pick<Output, "share">): {
  update(progress: CompressProgress): void;
  end(): void;
} {
  const bar = output.share("compressing");
  return {
    end: () => bar.end(),
    update({ stage, subject, done, total, detail, share, secondsLeft }) {
      const what = stage === "compress" ? subject : `${words[stage]} ${subject} ${done}/${total}`;
      bar.update(share, secondsLeft, detail === undefined ? what : `${what}: ${detail}`);
    },
  };
}
