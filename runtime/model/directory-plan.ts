/** What a model directory that is being written is made of, and how its tensors are put into files. */
import { byteCount } from "./elements.js";
import type { Model } from "./opened.js";
import type { TensorLayout } from "./safetensors-layout.js";

/** What such a directory is made of. */
export interface DirectoryPlan {
  /** The model that it is made from: its tokenizer and what else belongs to it are taken over. */
  readonly source: Pick<Model, "directory" | "companions">;
  /** Every tensor, in the order in which they will lie in the files. */
  readonly layouts: readonly TensorLayout[];
  /** Whether an existing model directory may be replaced. */
  readonly force: boolean;
  /** Most bytes of data of a shard; a tensor larger than that is a shard of its own. 5 GB where not said. */
  readonly maxShardBytes?: number | undefined;
  /** Further files by name, asked for when all tensors are written; they replace what would be taken over. */
  texts(): ReadonlyMap<string, string>;
}

/** Writes a model directory, tensor by tensor; it appears under its name when it is complete. */
export interface DirectoryWriter {
  /** Bytes of data of all tensors. */
  readonly bytes: number;
  /** Where files are written meanwhile, for a caller that is asked to stop at once and has no time for `discard`. */
  readonly staging: string;
  /**
   * Adds the next bytes of a tensor: of a packed one its words, padding included, of a dense one its elements.
   * @throws ModelError M153 (disk full), M154; everything is removed then
   */
  append(name: string, bytes: Uint8Array): Promise<void>;
  /**
   * Completes the directory. A tensor that lacks bytes is a RangeError, and nothing is kept. `before` is called when
   * all is written, just before what lies in `staging` gets the name `directory`.
   */
  finish(
    before?: (directory: string, staging: string) => Promise<void>,
  ): Promise<{ readonly directory: string; readonly files: readonly string[]; readonly bytes: number }>;
  /** Removes everything; nothing happens after `finish`. */
  discard(): Promise<void>;
}

/** A file of weights. */
export interface Shard {
  readonly file: string;
  readonly tensors: readonly TensorLayout[];
}

/** Tensors in order, as many to a file as fit. */
export function splitShards(layouts: readonly TensorLayout[], maxBytes: number): readonly Shard[] {
  const groups: TensorLayout[][] = [[]];
  let size = 0;
  for (const layout of layouts) {
    const bytes = dataBytes(layout);
    if (size > 0 && size + bytes > maxBytes) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)?.push(layout);
    size += bytes;
  }
  if (groups.length === 1) return groups.map((tensors) => ({ file: "model.safetensors", tensors }));
  const digits = (n: number): string => String(n).padStart(5, "0");
  return groups.map((tensors, i) => ({
    file: `model-${digits(i + 1)}-of-${digits(groups.length)}.safetensors`,
    tensors,
  }));
}

/** What `model.safetensors.index.json` holds. */
export function indexOf(shards: readonly Shard[], bytes: number): object {
  const map = shards.flatMap((shard) => shard.tensors.map((tensor) => [tensor.name, shard.file] as const));
  return { metadata: { total_size: bytes }, weight_map: Object.fromEntries(map) };
}

/** Bytes of a tensor's data. */
export function dataBytes(layout: TensorLayout): number {
  const bytes = byteCount(layout.dtype, layout.shape);
  if (bytes === null) throw new RangeError(`tensor ${layout.name} is too large`);
  return bytes;
}
