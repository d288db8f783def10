/** What a model says of its activations, in short. */
import { counted } from "../../compiler/words.js";
import { printActivations, type ActivationFormat } from "../../compiler/types/activation-format.js";

/** Linear layers that take what they multiply in one format. */
export interface ActivationCount {
  /** As it is written in a recipe: `int8(token)`. */
  readonly format: string;
  readonly layers: number;
  /** The smallest and the largest of the scales that are stored; none where they are found as the model runs. */
  readonly scales?: readonly [least: number, most: number];
}

/** The formats of a model's activations, in the order of its layers. */
export function countActivations(found: ReadonlyMap<string, ActivationFormat>): readonly ActivationCount[] {
  const counts = new Map<string, ActivationCount>();
  for (const activations of found.values()) {
    const format = printActivations(activations);
    const { layers = 0, scales } = counts.get(format) ?? {};
    const scale = activations.group === "tensor" ? activations.scale : null;
    counts.set(format, {
      format,
      layers: layers + 1,
      ...(scale === null
        ? {}
        : { scales: [Math.min(scale, scales?.[0] ?? scale), Math.max(scale, scales?.[1] ?? scale)] }),
    });
  }
  return [...counts.values()];
}

/** In words: `activations of 28 linear layers: rounded to int8(tensor), scales 0.0021 to 0.31`. */
export function describeActivations({ format, layers, scales }: ActivationCount): string {
  const stored = scales === undefined ? "" : `, ${scales[0] === scales[1] ? "scale" : "scales"} ${range(scales)}`;
  return `activations of ${counted(layers, "linear layer")}: rounded to ${format}${stored}`;
}

function range([least, most]: readonly [number, number]): string {
  const short = (scale: number): string => String(Number(scale.toPrecision(3)));
  return least === most ? short(least) : `${short(least)} to ${short(most)}`;
}
