import type { Warning, WarningKind } from "../llama/compression/outcome.js";
import type { Output } from "./output.js";

/** What can be done about it. */
const advice: { readonly [Kind in WarningKind]: string } = {
  "layer-lost":
    "the model is of no use so: give these layers more bits or fewer zeros, leave them out (`except`), or calibrate on more text. `espalier sensitivity` tells which layers mind most; --max-error 0.5, say, refuses such a result",
  "weight-lost":
    "the model is most likely of no use so: give these layers more bits or fewer zeros, or leave them out (`except`). --layer-errors measures what is lost of what they put out; --max-error 0.5, say, refuses such a result",
  "perplexity-lost":
    "compress it less, or calibrate on more text; `espalier sensitivity` tells which layers mind most, and `expect` in the recipe refuses such a result",
  "worse-than-chance":
    "either the model is damaged or compressed too far, or the model, its tokenizer and the text do not belong together",
  larger: "`pack` weights in a format of fewer bits than they had",
  unchanged: "`store` a weight for the layers that are to be compressed",
  unsaved: "end the recipe with a `save`, or have none",
  "no-perplexity": "with --by layer, each layer is tried alone",
};

/**
 * Says on stderr what a result is to be warned of: each kind once, with what to do. `layers`: those that were treated.
 */
export function noteWarnings(output: Output, warnings: readonly Warning[], layers: number): void {
  for (const line of warningLines(warnings, layers)) output.note(`${output.alarm("warning")}: ${line}`);
}

/** The lines for people: what was reported of layers one by one is reported together. */
export function warningLines(warnings: readonly Warning[], layers: number): readonly string[] {
  const kinds = [...new Set(warnings.map(({ kind }) => kind))];
  return kinds.flatMap((kind) => {
    const own = warnings.filter((warning) => warning.kind === kind);
    const reported =
      kind === "layer-lost" || kind === "weight-lost" ? [together(own, layers)] : own.map(({ message }) => message);
    return reported.map((message, at) => `${message}${at < reported.length - 1 ? "" : `\n  = help: ${advice[kind]}`}`);
  });
}

function together(lost: readonly Warning[], layers: number): string {
  const worst = lost.reduce((a, b) => ((b.value ?? Infinity) > (a.value ?? Infinity) ? b : a));
  return `${lost.length} of ${layers} ${layers === 1 ? "layer is" : "layers are"} lost${lost.length === 1 ? "" : "; the worst"}: ${worst.message}`;
}
