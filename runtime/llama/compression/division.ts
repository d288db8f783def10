/**
 * How the calibration windows are divided. Sums over them are sums of parts that depend on the model, the windows and
 * the batches alone, added in the order of a fixed tree: so that it makes no difference on how many devices the parts
 * are summed.
 */
import type { LlamaConfig } from "../../model/config.js";
import type { Windows } from "../windows.js";

/** The most parts. */
const mostParts = 8;

/** Bytes of sums that wait for others, at most, where there are several parts. */
const waitingBytes = 2.5 * 2 ** 30;

/** Where each part ends, in batches: the last at the end of all. */
export function partsOf(config: LlamaConfig, batches: number): readonly number[] {
  const { hiddenSize, intermediateSize, heads, headDim } = config;
  const widths = [hiddenSize, heads * headDim, hiddenSize, intermediateSize];
  // of X^T X, the largest that is summed
  const bytes = widths.reduce((sum, width) => sum + 4 * width * width, 0);
  let parts = mostParts;
  while (parts > 1 && Math.log2(parts) * bytes > waitingBytes) parts /= 2;
  const many = Math.min(parts, batches);
  return Array.from({ length: many }, (_, at) => Math.floor(((at + 1) * batches) / many));
}

/** The parts that a device sums: whole ones, next to each other. */
export interface Share {
  /** Its windows alone. */
  readonly windows: Windows;
  /** Of all windows, how many a batch has. */
  readonly batch: number;
  /** Batches and parts of devices before. */
  readonly batchesBefore: number;
  readonly partsBefore: number;
  /** Where its parts end, in batches of its own. */
  readonly ends: readonly number[];
}

/** Divides windows between so many devices, or fewer where there are not as many parts. `batch`: windows of a batch. */
export function sharesOf(config: LlamaConfig, windows: Windows, batch: number, devices: number): readonly Share[] {
  const ends = partsOf(config, Math.ceil(windows.count / batch));
  const many = Math.min(devices, ends.length);
  const share = (at: number): Share => {
    const [from, to] = [at, at + 1].map((edge) => Math.round((edge * ends.length) / many)) as [number, number];
    const before = from === 0 ? 0 : (ends[from - 1] ?? 0);
    const own = ends.slice(from, to).map((end) => end - before);
    const [first, end] = [before * batch, Math.min(windows.count, (before + (own.at(-1) ?? 0)) * batch)];
    return {
      windows: {
        count: end - first,
        tokens: windows.tokens,
        ids: windows.ids.slice(first * windows.tokens, end * windows.tokens),
      },
      batch,
      batchesBefore: before,
      partsBefore: from,
      ends: own,
    };
  };
  return Array.from({ length: many }, (_, at) => share(at));
}
