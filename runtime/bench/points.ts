/** What was timed, as points of a roofline. */
import { printFormat } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { LlamaConfig } from "../model/config.js";
import type { BenchReport } from "./bench.js";
import type { ModelBenchReport } from "./model.js";
import type { RooflinePoint, RooflineSeries } from "./roofline.js";
import { benchLayers, blockBytes } from "./shapes.js";

/** Products, a series a format: weights are read once, activations of each token read and written. */
export function productPoints({ rows }: BenchReport): readonly RooflineSeries[] {
  return seriesOf(
    rows.map(({ format, layer, n, k, batch, bytes, us }) => [
      format,
      { label: `${layer}, ${batch} x ${n} x ${k}`, operations: 2 * n * k * batch, bytes, us },
    ]),
  );
}

/**
 * Whole models, a series a format: steps of decoding, which read all weights and the keys and values seen, and prompts,
 * whose logits are those of one token.
 */
export function modelPoints(
  { decode, prefill }: ModelBenchReport,
  config: LlamaConfig,
  formats: readonly FormatSpec[],
  dense: "f16" | "f32",
): readonly RooflineSeries[] {
  const { layers, vocabSize, hiddenSize, heads, keyValueHeads, headDim } = config;
  const element = dense === "f16" ? 2 : 4;
  const linears = layers * benchLayers(config).reduce((sum, { n, k }) => sum + n * k, 0);
  const head = vocabSize * hiddenSize;
  const weights = new Map(
    formats.map((spec) => [printFormat(spec, "short"), layers * blockBytes(config, spec) + head * element]),
  );
  const seen = (tokens: number): number => 4 * layers * tokens * heads * headDim;
  return seriesOf([
    ...decode.map(({ format, sequences, context, msPerStep }): readonly [string, RooflinePoint] => [
      format,
      {
        label: `${sequences} x 1 token after ${context}`,
        operations: sequences * (2 * (linears + head) + seen(context)),
        bytes: (weights.get(format) ?? 0) + 2 * sequences * layers * context * keyValueHeads * headDim * element,
        us: 1000 * msPerStep,
      },
    ]),
    ...prefill.map(({ format, tokens, ms }): readonly [string, RooflinePoint] => [
      format,
      {
        label: `a prompt of ${tokens}`,
        // a token sees half of the prompt
        operations: tokens * (2 * linears + seen(tokens / 2)) + 2 * head,
        bytes: (weights.get(format) ?? 0) + 2 * layers * tokens * keyValueHeads * headDim * element,
        us: 1000 * ms,
      },
    ]),
  ]);
}

function seriesOf(points: readonly (readonly [string, RooflinePoint])[]): readonly RooflineSeries[] {
  const names = [...new Set(points.map(([name]) => name))];
  return names.map((name) => ({
    name,
    peer: false,
    points: points.filter(([of]) => of === name).map(([, point]) => point),
  }));
}
