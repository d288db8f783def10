/** Keys and values in pages of one pool: sequences of any length share it, and what one has others may read. */
import { building } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { LlamaConfig } from "../../model/config.js";
import type { Caller } from "../call.js";
import type { Cache } from "./pass.js";
import { chunkOf } from "../room.js";
import type { ActivationDtype } from "../weights.js";

/** Tokens of a page. */
export const pageTokens = 16;

/** Pages of keys and values, for each block: [pages, tokens of a page, groups, head]. */
export interface PagePool {
  readonly pages: number;
  readonly blocks: Cache["blocks"];
}

/** What caches are made for: a session, or what it is made of. */
interface Sized {
  readonly caller: Caller;
  readonly config: LlamaConfig;
  readonly dtype: ActivationDtype;
}
interface Pooled extends Sized {
  readonly blocks: readonly unknown[];
}

/** Bytes that a page takes in one tensor, and in all blocks together. */
export function pageBytes(config: LlamaConfig, dtype: ActivationDtype): { readonly one: number; readonly all: number } {
  const one = pageTokens * config.keyValueHeads * config.headDim * (dtype === "f16" ? 2 : 4);
  return { one, all: 2 * config.layers * one };
}

/** The form of a block's keys, or its values, in so many pages. */
export function pagesForm({ config, dtype }: Pick<Sized, "config" | "dtype">, pages: number): TensorForm {
  return { dtype, shape: [pages, pageTokens, config.keyValueHeads, config.headDim], format: null };
}

/** Pages of nothing yet. @throws DeviceError out-of-memory */
export async function allocatePages(session: Pooled, pages: number): Promise<PagePool> {
  const { executor } = session.caller;
  const { blocks } = session;
  const type = pagesForm(session, pages);
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
export function releasePages({ caller }: Pick<Sized, "caller">, pool: Pick<PagePool, "blocks">): void {
  for (const { keys, values } of pool.blocks) {
    caller.executor.release(keys);
    caller.executor.release(values);
  }
}

/**
 * The cache of rows whose sequences have places [B] in a table of pages i32 [places, L] of a pool. What has a place of
 * which all pages are -1 is kept nowhere.
 */
export function cacheInPages({ pages: pool, blocks }: PagePool, pages: DeviceTensor, places: DeviceTensor): Cache {
  return {
    batch: places.shape[0] ?? 0,
    capacity: (pages.shape[1] ?? 0) * pageTokens,
    table: { pages, places, most: pool },
    blocks,
  };
}

/** Tokens beyond a model's context that a text may be looked at for: as many as a draft may propose, and more. */
const beyondContext = 64;

/** Keys up to which attention on a GPU takes one pass, without a kernel that merges parts of it. */
const onePass = 512;

/** What caches of their own are made for: tables, and pools at most. */
export interface TableRoom {
  /** Pages of a sequence at most. */
  readonly length: number;
  /** Pages of all at most. */
  readonly most: number;
}

/**
 * The tables of `batch` sequences that may come to so many tokens: as long as any that the model can have, so that the
 * same programs serve a text of any length. A GPU has other programs for those that stay short for good.
 */
export function tableRoom({ caller, config, dtype }: Sized, batch: number, capacity: number): TableRoom {
  const { target } = caller;
  const wanted = Math.ceil(capacity / pageTokens);
  const whole = Math.max(wanted, Math.ceil((config.contextLength + beyondContext) / pageTokens));
  const length = target.kind === "gpu" && capacity <= onePass ? Math.min(onePass / pageTokens, whole) : whole;
  const bindable = Math.floor(target.maxBinding / pageBytes(config, dtype).one);
  return { length, most: Math.max(1, Math.min(batch * length, bindable)) };
}

/**
 * A cache of `batch` sequences that may come to `capacity` tokens each, with pages for the first `held` of them.
 * @throws LlamaError context-too-large; DeviceError out-of-memory
 */
export async function allocateCache(session: Pooled, batch: number, capacity: number, held: number): Promise<Cache> {
  const { executor, target } = session.caller;
  // what cannot be bound is refused in words
  chunkOf(target, session.config, session.dtype, { seen: held, most: 1, batch });
  const { length, most } = tableRoom(session, batch, capacity);
  const each = pagesFor(held, batch, most);
  return building(executor, async (arena) => {
    const pages = arena.own(await executor.fill("i32", [batch, length], pagesInOrder(batch, length, each), "pages"));
    const { blocks } = await allocatePages(session, batch * each);
    return { batch, capacity, table: { pages, places: null, most }, blocks };
  });
}

/** Pages of each of some sequences for so many tokens, at most as many as can be bound. */
function pagesFor(tokens: number, batch: number, most: number): number {
  return Math.max(1, Math.min(Math.ceil(tokens / pageTokens), Math.floor(most / batch)));
}

/** The tables of sequences that have `each` pages, one sequence after the other. */
function pagesInOrder(batch: number, length: number, each: number): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length: batch * length }, (_, at) => {
    const [row, place] = [Math.floor(at / length), at % length];
    return place < each ? row * each + place : -1;
  });
}

/** Tokens that the pages of each sequence of a cache have room for. */
export function heldTokens({ batch, blocks }: Cache): number {
  return (pageTokens * (blocks[0]?.keys.shape[0] ?? 0)) / batch;
}

/**
 * The cache of one sequence with pages for so many tokens, what lies in it kept; the one given is gone. What is bound to
 * that is to be bound anew; nothing is compiled.
 * @throws LlamaError context-too-large; DeviceError out-of-memory, and then the cache given is as it was
 */
export async function growCache(session: Pooled, cache: Cache, tokens: number): Promise<Cache> {
  const { executor, target } = session.caller;
  const { table } = cache;
  if (cache.batch !== 1) throw new Error(`a cache of ${cache.batch} sequences does not grow`);
  chunkOf(target, session.config, session.dtype, { seen: tokens, most: 1 });
  const each = pagesFor(tokens, 1, table.most);
  if (each * pageTokens <= heldTokens(cache)) return cache;
  const pool = await allocatePages(session, each);
  executor.copy(
    pool.blocks.flatMap(({ keys, values }, at) => [
      { from: cache.blocks[at]!.keys, to: keys },
      { from: cache.blocks[at]!.values, to: values },
    ]),
  );
  releasePages(session, cache);
  await executor.write(table.pages, pagesInOrder(1, table.pages.shape[1] ?? 0, each));
  return { ...cache, blocks: pool.blocks };
}

/** Gives back what a cache of its own has. */
export function releaseCache(session: Pick<Sized, "caller">, cache: Cache): void {
  session.caller.executor.release(cache.table.pages);
  releasePages(session, cache);
}
