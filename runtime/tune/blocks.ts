/** Which blocks of a model schedules are tried on. */
import { formatBytes } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { LlamaConfig } from "../model/config.js";
import type { Model } from "../model/model.js";

/** Bytes of weights that no cache of a device holds: in a whole model those of each block come from memory. */
export function bytesToTune({ kind }: { readonly kind: "gpu" | "cpu" }): number {
  return kind === "cpu" ? 2 ** 23 : 2 ** 28;
}

/** Blocks of a shape, in a format, that have so many bytes; all of it where it has fewer. */
export function shapeBlocks(config: LlamaConfig, format: FormatSpec, bytes: number): number {
  const { hiddenSize, intermediateSize, heads, keyValueHeads, headDim } = config;
  const rows = (heads + 2 * keyValueHeads) * headDim + 2 * intermediateSize;
  const block =
    formatBytes(format, { rows, columns: hiddenSize }) +
    formatBytes(format, { rows: hiddenSize, columns: heads * headDim }) +
    formatBytes(format, { rows: hiddenSize, columns: intermediateSize });
  return Math.min(config.layers, Math.max(1, Math.ceil(bytes / block)));
}

/** Blocks of a model that have so many bytes, by their numbers: one of each list of formats first. */
export function blocksToTune(model: Model, bytes: number): readonly number[] {
  const seen = new Set<string>();
  const [first, others]: [number[], number[]] = [[], []];
  model.blocks.forEach(({ linears }, at) => {
    const formats = JSON.stringify(
      linears.map(({ weight }) => {
        const { format, dtype } = model.tensor(weight);
        return format ?? dtype;
      }),
    );
    (seen.has(formats) ? others : first).push(at);
    seen.add(formats);
  });
  const taken: number[] = [];
  let sum = 0;
  for (const at of [...first, ...others]) {
    if (taken.length >= first.length && sum >= bytes) break;
    taken.push(at);
    sum += model.blocks[at]!.linears.reduce((total, { weight }) => total + model.tensor(weight).bytes, 0);
  }
  return taken.sort((a, b) => a - b);
}
