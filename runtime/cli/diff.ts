import { counted } from "../../compiler/words.js";
import { differenceOf, type ModelDifference } from "../model/difference.js";
import { openGiven } from "./given.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

interface DiffCommandOptions extends JsonOptions {
  readonly all?: boolean;
}

/** `espalier diff`: two models, tensor by tensor; the exit code is 1 where they differ. */
export async function run(
  output: Output,
  first: string,
  second: string,
  { all = false }: DiffCommandOptions,
): Promise<number> {
  const one = await openGiven(first, output);
  try {
    const other = await openGiven(second, output);
    try {
      const progress = output.progress("comparing");
      const found = await differenceOf(one, other, progress.update).finally(progress.end);
      output.result(found, () => describe(found, all, output));
      return found.same ? 0 : 1;
    } finally {
      await other.close();
    }
  } finally {
    await one.close();
  }
}

function describe(found: ModelDifference, all: boolean, output: Output): string {
  const { tensors, onlyFirst, onlySecond, shapes, config, activations } = found;
  const shown = all ? tensors : tensors.filter(({ count }) => count > 0);
  const same = tensors.filter(({ count }) => count === 0);
  const otherwise = same.filter(({ formats: [one, other] }) => one !== other).length;
  const both = ([one, other]: readonly [string, string]): string => (one === other ? one : `${one} -> ${other}`);
  return [
    ...(shown.length === 0
      ? []
      : [
          table(
            ["name", "shape", "format", "pattern", "values that differ", "largest", "rms", "relative"],
            shown.map(({ name, shape, formats, patterns, count, largest, rms, relative }) => [
              name,
              shape.join("x"),
              both(formats),
              both(patterns),
              count,
              { number: largest, digits: 6 },
              { number: rms, digits: 6 },
              { number: relative, digits: 5 },
            ]),
            output.paint,
          ),
        ]),
    ...shapes.map(({ name, first, second }) => `${name}: [${first.join(", ")}] -> [${second.join(", ")}]`),
    ...onlyFirst.map((name) => `only in the first: ${name}`),
    ...onlySecond.map((name) => `only in the second: ${name}`),
    ...config.map(({ field, first, second }) => `${field}: ${JSON.stringify(first)} -> ${JSON.stringify(second)}`),
    ...roundedOtherwise(activations),
    `${counted(tensors.length - same.length, "tensor")} of ${tensors.length} ${tensors.length - same.length === 1 ? "differs" : "differ"}${otherwise === 0 ? "" : `; ${otherwise} of the same values ${otherwise === 1 ? "is" : "are"} in other formats`}`,
  ].join("\n");
}

/** What layers take otherwise, a line for each way. */
function roundedOtherwise(activations: ModelDifference["activations"]): readonly string[] {
  const ways = new Map<string, string[]>();
  for (const { layer, first, second } of activations) {
    const [one, other] = [first, second].map((format) => format?.replace(/ with scale .*/, "") ?? "as they are");
    const way = one === other ? `${one} with other scales` : `${one} -> ${other}`;
    ways.set(way, [...(ways.get(way) ?? []), layer]);
  }
  return [...ways].map(
    ([way, layers]) =>
      `activations of ${counted(layers.length, "linear layer")} (${layers[0]}${layers.length === 1 ? "" : " the first"}): ${way}`,
  );
}
