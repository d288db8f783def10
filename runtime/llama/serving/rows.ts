/**
 * The sequences that a model continues side by side, as they stand on the device: a row of each has its last token,
 * where that stands, its pages, and how its next token is chosen. Programs are recorded once and replayed.
 */
import { withArena, type Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import { createChain, type BoundChain } from "../inference/chain.js";
import { samplingScalars, type Sampling } from "../inference/generate.js";
import { cacheInPages, type PagePool } from "../inference/pages.js";
import { forward, logits } from "../inference/pass.js";
import type { Session } from "../inference/session.js";
import { first } from "../results.js";

/** How large the rows are. */
export interface RowSizes {
  /** A power of two. */
  readonly rows: number;
  /** Pages of a sequence at most. */
  readonly pages: number;
}

/** Tokens of a prompt, [from, from + count) of it, that go through the model together. */
export interface Piece {
  readonly from: number;
  readonly count: number;
  /** As many as its program takes. */
  readonly padded: number;
}

/** What has been recorded for rows or a prompt; its tensors are good until the next of its kind is recorded. */
export interface Step {
  /** i32 [rows, 1]: the tokens chosen; -1 after logits that are not all finite. */
  readonly ids: DeviceTensor;
  /** f32 [rows, V]: those that they were chosen by. */
  readonly logits: DeviceTensor;
}

export interface Rows {
  /** Puts tokens of a prompt through the model; gives their activations [1, padded, D]. */
  prefill(ids: ArrayLike<number>, piece: Piece, pages: readonly number[]): Promise<DeviceTensor>;
  /** Chooses the first new token of the prompt whose last piece went through before, and gives it a row. */
  seat(row: number, last: number, pages: readonly number[], sampling: Sampling): Promise<Step>;
  /** One token more for the first `count` rows; `sampled` unless all take their likeliest. */
  step(count: number, sampled: boolean): Promise<Step>;
  /** Puts the sequence of a row into another. */
  move(from: number, to: number): Promise<void>;
  /** Leaves a row without a sequence. */
  clear(row: number): Promise<void>;
  /** Makes the programs for so many rows, and prompts of so many tokens. */
  prepare(rows: number, prompt: number): Promise<void>;
  /** Dispatches of a step of so many rows. */
  dispatches(count: number): Promise<number>;
}

interface Program {
  readonly chain: BoundChain;
  readonly result: DeviceTensor;
}

/**
 * Makes rows without sequences, for as long as the arena lives.
 * @throws DeviceError
 */
export async function openRows(arena: Arena, session: Session, pool: PagePool, sizes: RowSizes): Promise<Rows> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  const integers = async (label: string, shape: readonly number[], value = 0): Promise<DeviceTensor> =>
    arena.own(await executor.fill("i32", shape, new Int32Array(shape.reduce((a, b) => a * b, 1)).fill(value), label));
  const words = async (label: string, rows: number): Promise<DeviceTensor> =>
    arena.own(await executor.fill("u32", [rows, 4], new Uint32Array(4 * rows), label));

  const ids = await integers("tokens of rows", [sizes.rows, 1], -1);
  const positions = await integers("positions of rows", [sizes.rows]);
  const tables = await integers("pages of rows", [sizes.rows, sizes.pages], -1);
  const settings = await words("settings of rows", sizes.rows);
  const picks = await integers("picks of rows", [sizes.rows]);
  // of the prompt that goes through the model
  const table = await integers("pages of a prompt", [1, sizes.pages], -1);
  const [start, pick, at, row] = [
    await integers("position of a piece", [1]),
    await integers("last token of a piece", [1]),
    await integers("position of the last token", [1]),
    await integers("row of a prompt", [1]),
  ];
  const own = await words("settings of a prompt", 1);
  const last = arena.own(
    await executor.allocate({ dtype, shape: [1, 1, config.hiddenSize], format: null }, "the last token of a prompt"),
  );

  /** The first rows of a tensor. */
  const firstOf = (tensor: DeviceTensor, count: number): DeviceTensor => ({
    ...tensor,
    shape: [count, ...tensor.shape.slice(1)],
    bytes: (tensor.bytes / sizes.rows) * count,
  });

  function once<K extends string | number, T>(make: (key: K) => Promise<T>): (key: K) => Promise<T> {
    const made = new Map<K, Promise<T>>();
    return (key) => {
      const known = made.get(key);
      if (known !== undefined) return known;
      const making = make(key);
      made.set(key, making);
      making.catch(() => made.delete(key));
      return making;
    };
  }

  const prompts = once(async (padded: number) => {
    const ids = await integers("tokens of a prompt", [1, padded]);
    const chain = createChain(arena, caller, `prefill ${padded}`);
    const x = await forward(chain, session, ids, start, cacheInPages(pool, table));
    const taken = first(await chain.call("take_token", { x, pick }));
    const bound = await chain.bind([x], new Map([[taken, last]]));
    return { ids, chain: bound, result: bound.tensor(x) };
  });

  const head = once(async (_: "head"): Promise<Program> => {
    const chain = createChain(arena, caller, "head");
    const found = await logits(chain, session, last, firstOf(picks, 1));
    const bound = await chain.bind([found]);
    return { chain: bound, result: bound.tensor(found) };
  });

  const seats = once(async (sampled: "sampled" | "greedy"): Promise<BoundChain> => {
    const found = (await head("head")).result;
    const chain = createChain(arena, caller, `seat ${sampled}`);
    const next = first(
      sampled === "sampled"
        ? await chain.call("sample_rows", { logits: found, positions: at, settings: own })
        : await chain.call("greedy", { logits: found }),
    );
    await chain.call("seat_row", { ids, positions, next, logits: found, row, at });
    return chain.bind([]);
  });

  const passes = once(async (count: number): Promise<Program> => {
    const chain = createChain(arena, caller, `decode ${count}`);
    const cache = cacheInPages(pool, firstOf(tables, count));
    const x = await forward(chain, session, firstOf(ids, count), firstOf(positions, count), cache);
    const found = await logits(chain, session, x, firstOf(picks, count));
    const bound = await chain.bind([found]);
    return { chain: bound, result: bound.tensor(found) };
  });

  const choices = once(async (key: string): Promise<BoundChain> => {
    const [how, rows] = key.split(" ");
    const count = Number(rows);
    const found = (await passes(count)).result;
    const chain = createChain(arena, caller, `choose ${key}`);
    // one tensor to the chain, however often it is given
    const stand = firstOf(positions, count);
    const next = first(
      how === "sampled"
        ? await chain.call("sample_rows", {
            logits: found,
            positions: stand,
            settings: firstOf(settings, count),
          })
        : await chain.call("greedy", { logits: found }),
    );
    await chain.call("follow_rows", {
      ids: firstOf(ids, count),
      positions: stand,
      next,
      logits: found,
    });
    return chain.bind([]);
  });

  const tableOf = (pages: readonly number[]): Int32Array<ArrayBuffer> =>
    Int32Array.from({ length: sizes.pages }, (_, place) => pages[place] ?? -1);
  const none = tableOf([]);
  const put = (tensor: DeviceTensor, value: number, place = 0): Promise<void> =>
    executor.write(tensor, Int32Array.of(value), 4 * place);
  const sizeFor = (count: number): number => Math.min(sizes.rows, 2 ** Math.ceil(Math.log2(count)));

  function settingsOf(sampling: Sampling): Uint32Array<ArrayBuffer> {
    const found = samplingScalars(config, sampling);
    if (found === null) return new Uint32Array(4);
    const bits = new Uint32Array(Float32Array.of(found.temperature, found.top_k, found.top_p, 0).buffer);
    bits[3] = found.seed;
    return bits;
  }

  // what a row has beside what the device alone knows, to move it
  const held = Array.from({ length: sizes.rows }, () => ({ table: none, settings: new Uint32Array(4) }));
  async function hold(to: number, what: (typeof held)[number]): Promise<void> {
    held[to] = what;
    await executor.write(tables, what.table, 4 * sizes.pages * to);
    await executor.write(settings, what.settings, 16 * to);
  }

  return {
    async prefill(given, { from, count, padded }, pages) {
      const program = await prompts(padded);
      const tokens = Int32Array.from({ length: padded }, (_, place) =>
        place < count ? (given[from + place] ?? 0) : 0,
      );
      await executor.write(program.ids, tokens);
      await executor.write(table, tableOf(pages));
      await put(start, from);
      await put(pick, count - 1);
      program.chain.replay();
      return program.result;
    },
    async seat(to, position, pages, sampling) {
      const [{ chain, result }, chooser] = [
        await head("head"),
        await seats(samplingScalars(config, sampling) === null ? "greedy" : "sampled"),
      ];
      const what = { table: tableOf(pages), settings: settingsOf(sampling) };
      await hold(to, what);
      await executor.write(own, what.settings);
      await put(at, position);
      await put(row, to);
      chain.replay();
      chooser.replay();
      return { ids: { ...ids, shape: [1, 1], offset: ids.offset + 4 * to, bytes: 4 }, logits: result };
    },
    async step(count, sampled) {
      const size = sizeFor(count);
      const [pass, choose] = [await passes(size), await choices(`${sampled ? "sampled" : "greedy"} ${size}`)];
      pass.chain.replay();
      choose.replay();
      return { ids: { ...ids, shape: [count, 1], bytes: 4 * count }, logits: pass.result };
    },
    async move(from, to) {
      await withArena(executor, async (short) => {
        short.ownAll(await caller.call("move_row", { ids, positions, from, to }));
      });
      await hold(to, held[from]!);
    },
    async clear(from) {
      await put(ids, -1, from);
      await put(positions, 0, from);
      await hold(from, { table: none, settings: new Uint32Array(4) });
    },
    async prepare(count, prompt) {
      await choices(`greedy ${sizeFor(count)}`);
      await prompts(prompt);
      await seats("greedy");
    },
    async dispatches(count) {
      const size = sizeFor(count);
      return (await passes(size)).chain.dispatches + (await choices(`greedy ${size}`)).dispatches;
    },
  };
}
