/** Which blocks of a model schedules are tried on. */
import type { Model } from "../model/model.js";

/** Bytes of weights that no cache of a device holds: in a whole model those of each block come from memory. */
export function bytesToTune({ kind }: { readonly kind: "gpu" | "cpu" }): number {
  return kind === "cpu" ? 2 ** 23 : 2 ** 28;
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
