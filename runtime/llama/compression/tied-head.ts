/** Whether embedding and head, which a model ties, are two tensors by now. */
import { embeddingName, headName } from "../../model/layout.js";
import type { Model } from "../../model/model.js";
import { storedFormat } from "../weights.js";
import type { WeightRecord } from "../long-runs/manifest.js";

/** What is asked of a working model. */
interface TreatedTables {
  readonly treated: ReadonlyMap<string, WeightRecord>;
  /** The bytes of a treated weight, a piece at a time. */
  pieces(name: string): AsyncIterable<Uint8Array>;
}

/** Fills parts, in order, from a stream of pieces. */
export function readerOf(pieces: AsyncIterable<Uint8Array>): (part: Uint8Array) => Promise<void> {
  const iterator = pieces[Symbol.asyncIterator]();
  let left: Uint8Array = new Uint8Array(0);
  return async (part) => {
    for (let done = 0; done < part.length; ) {
      if (left.length === 0) {
        const next = await iterator.next();
        if (next.done === true) return;
        left = next.value;
      }
      const some = left.subarray(0, part.length - done);
      part.set(some, done);
      done += some.length;
      left = left.subarray(some.length);
    }
  };
}

/**
 * Whether a model that ties its head to its embedding is to be written with a head of its own: where both were stored,
 * and differ.
 */
export async function isUntied(model: Model, working: TreatedTables): Promise<boolean> {
  const head = working.treated.get(headName);
  if (head === undefined || !model.config.tiedEmbeddings) return false;
  const embedding = working.treated.get(embeddingName);
  const stored = model.tensor(embeddingName);
  const format = embedding?.format ?? storedFormat(stored);
  if (JSON.stringify(head.format) !== JSON.stringify(format) || head.bytes !== (embedding?.bytes ?? stored.bytes))
    return true;
  const read = readerOf(embedding === undefined ? chunksOf(model) : working.pieces(embeddingName));
  for await (const part of working.pieces(headName)) {
    const other = new Uint8Array(part.length);
    await read(other);
    if (part.some((byte, at) => byte !== other[at])) return true;
  }
  return false;
}

async function* chunksOf(model: Model): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of model.chunks(embeddingName)) yield bytes;
}
