import type { CompressProgress } from "../llama/compression/compression.js";
import type { Output } from "./output.js";

const words: { readonly [Stage in CompressProgress["stage"]]: string } = {
  embed: "embedding",
  observe: "observing",
  compress: "compressing",
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
    update({ stage, subject, done, total, share, secondsLeft }) {
      bar.update(share, secondsLeft, stage === "compress" ? subject : `${words[stage]} ${subject} ${done}/${total}`);
    },
  };
}
