/** Keys and values in pages of one pool: sequences of any length share it, and what one has others may read. */
import { building } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { LlamaConfig } from "../../model/config.js";
import type { Cache } from "./pass.js";
import type { Session } from "./session.js";

/** Tokens of a page. */
export const pageTokens = 16;

/** Pages of keys and values, for each block: [pages, tokens of a page, groups, head]. */
export interface PagePool {
  readonly pages: number;
  readonly blocks: Cache["blocks"];
}

/** Bytes that a page takes in one tensor, and in all blocks together. */
export function pageBytes(
  config: LlamaConfig,
  dtype: Session["dtype"],
): { readonly one: number; readonly all: number } {
  const one = pageTokens * config.keyValueHeads * config.headDim * (dtype === "f16" ? 2 : 4);
  return { one, all: 2 * config.layers * one };
}

/** Pages of nothing yet. @throws DeviceError out-of-memory */
export async function allocatePages({ caller, config, dtype, blocks }: Session, pages: number): Promise<PagePool> {
  const { executor } = caller;
  const type: TensorForm = { dtype, shape: [pages, pageTokens, config.keyValueHeads, config.headDim], format: null };
  return building(executor, async (arena) => {
    const kept: { keys: DeviceTensor; values: DeviceTensor }[] = [];
    for (let at = 0; at < blocks.length; at++) {
      kept.push({
        keys: arena.own(await executor.allocate(type, `pages of keys of block ${at}`)),
        values: arena.own(await executor.allocate(type, `pages of values of block ${at}`)),
      });
    }
    return { pages, blocks: kept };
  });
}

/** Gives a pool's memory back. */
export function releasePages({ caller }: Pick<Session, "caller">, pool: PagePool): void {
  for (const { keys, values } of pool.blocks) {
    caller.executor.release(keys);
    caller.executor.release(values);
  }
}

/**
 * The cache of rows whose sequences have places [B] in a table of pages i32 [places, L] of a pool. What has a place of
 * which all pages are -1 is kept nowhere.
 */
export function cacheInPages({ blocks }: PagePool, pages: DeviceTensor, places: DeviceTensor): Cache {
  return {
    batch: places.shape[0] ?? 0,
    capacity: (pages.shape[1] ?? 0) * pageTokens,
    table: { pages, places },
    blocks,
  };
}
