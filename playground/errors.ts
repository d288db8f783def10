/** What layers have lost, drawn while a model is compressed. */
import { byId, element } from "./page.js";
import { drawPlot, type Series } from "./plot.js";
import type { Compression, Model } from "../web.js";

/** What is told of a layer. */
interface Loss {
  readonly name: string;
  readonly relativeError: number;
  readonly layerError: number | null;
}

/** Plots of a compression that begins; `add` is called for each layer that is done. */
export function showErrors(model: Model): { add(loss: Loss): void } {
  const losses = new Map<string, Loss>();
  const kinds = [...new Set(model.linears.map(({ name }) => kindOf(name)))];
  const labels = model.blocks.map(({ index }) => String(index));
  const place = byId("plots", HTMLDivElement);
  place.replaceChildren();
  let waiting = 0;

  function series(value: (loss: Loss) => number | null): readonly Series[] {
    return kinds
      .map((name) => ({
        name,
        values: model.blocks.map(({ linears }) => {
          const weight = linears.find((each) => kindOf(each.name) === name)?.weight;
          const loss = weight === undefined ? undefined : losses.get(weight);
          return loss === undefined ? null : value(loss);
        }),
      }))
      .filter(({ values }) => values.some((each) => each !== null));
  }

  function draw(): void {
    const ofLayers = series(({ layerError }) => layerError);
    place.replaceChildren(
      ...(ofLayers.length === 0
        ? []
        : [
            drawPlot({
              title: "Layer error",
              caption: "‖(W′ − W) X‖ / ‖W X‖: how much of a layer's output on the text is lost.",
              labels,
              series: ofLayers,
            }),
          ]),
      drawPlot({
        title: "Weight error",
        caption: "‖W′ − W‖ / ‖W‖: how much of the weights themselves is lost.",
        labels,
        series: series(({ relativeError }) => relativeError),
      }),
    );
  }

  return {
    add(loss) {
      losses.set(loss.name, loss);
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(draw);
    },
  };
}

function kindOf(name: string): string {
  return name.split(".").at(-1) ?? name;
}

/** The few figures of a compression that is done. */
export function showFigures({ tensors, bytesBefore, bytesAfter, seconds }: Compression, device: string): void {
  const size = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  const weights = tensors.reduce((sum, { bytes, bitsPerWeight }) => sum + (bytes * 8) / bitsPerWeight, 0);
  const bits = tensors.reduce((sum, { bytes }) => sum + bytes * 8, 0) / Math.max(1, weights);
  const errors = tensors.flatMap(({ layerError }) => (layerError === null ? [] : [layerError]));
  const mean = errors.reduce((sum, each) => sum + each, 0) / Math.max(1, errors.length);
  const figures: readonly (readonly [string, string, string])[] = [
    [
      "The model",
      `${size(bytesBefore)} → ${size(bytesAfter)}`,
      `${(bytesBefore / bytesAfter).toFixed(2)} times smaller`,
    ],
    ["Bits a weight", bits.toFixed(3), `${tensors.length} compressed layers`],
    ...(errors.length === 0 ? [] : [["Layer error", `${(100 * mean).toFixed(1)} %`, "mean"] as const]),
    ["Time", `${seconds.toFixed(1)} s`, device],
  ];
  byId("figures", HTMLDListElement).replaceChildren(
    ...figures.map(([label, value, note]) => {
      const group = element("div");
      group.append(element("dt", label), element("dd", value), element("dd", note, "note"));
      return group;
    }),
  );
}
