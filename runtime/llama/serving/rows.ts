/**
 * The tokens that go through a model together, as they stand on the device: a row of each. The first rows are the last
 * tokens of sequences, which are given another each pass; behind them go tokens of prompts. Programs are recorded once
 * and replayed.
 */
import { withArena, type Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import { createChain, type BoundChain } from "../inference/chain.js";
import {
  chooseNext,
  kindOf,
  settingsOfPlace,
  settingWords,
  weightRows,
  type ChoiceKind,
  type Places,
  type Sampling,
} from "../inference/choice.js";
import { cacheInPages, type PagePool } from "../inference/pages.js";
import { forward, logits } from "../inference/pass.js";
import type { Session } from "../inference/session.js";
import { takeOnce } from "./once.js";

/** How large the rows are. */
export interface RowSizes {
  /** Sequences that are given tokens at once, at most: a power of two. */
  readonly sequences: number;
  /** Rows of a pass at most: a power of two, `sequences` or more. */
  readonly widest: number;
  /** Pages of a sequence at most. */
  readonly pages: number;
  /** Tokens of a prompt that go through the model by themselves, where there are so many. */
  readonly piece: number;
}

/** A token of a prompt. */
export interface RowToken {
  readonly id: number;
  readonly position: number;
  readonly place: number;
}

/** What has been recorded; its tensors are good until the next pass is. */
export interface Step {
  /** i32 [rows, 1]: the tokens chosen for the sequences; -1 after logits that are not all finite. */
  readonly ids: DeviceTensor;
  /** f32 [rows, V]: those that they were chosen by. */
  readonly logits: DeviceTensor;
  /** [rows, 1, D]: activations of all rows. */
  readonly x: DeviceTensor;
}

export interface Rows {
  /** Gives a place to a sequence: its pages, and how its tokens are chosen. */
  open(place: number, pages: readonly number[], prompt: ArrayLike<number>, sampling: Sampling): Promise<void>;
  /** Puts the sequence of a place into a row: the token that the model sees next, and where it stands. */
  seat(row: number, token: RowToken): void;
  /** Leaves a row without a sequence. */
  clear(row: number): void;
  /** Puts the sequence of a row into another. */
  move(from: number, to: number): Promise<void>;
  /** A piece of a prompt, from the token at `from` on; gives its activations [1, piece, D]. */
  prefill(ids: Int32Array, from: number, place: number): Promise<DeviceTensor>;
  /**
   * One token more for the sequences in the first `count` rows, and tokens of prompts in those behind; null where there
   * is neither.
   */
  step(count: number, kind: ChoiceKind, tokens: readonly RowToken[]): Promise<Step | null>;
  /** Makes the programs of `step` for so many sequences and rows. */
  prepare(count: number, rows: number): Promise<void>;
  /** Makes all programs of `step` for the likeliest tokens, and takes for each number of rows the fastest that has them. */
  prepareAll(): Promise<void>;
  /** Throws what has gone wrong with what was written. */
  settle(): Promise<void>;
}

/** The power of two that holds so many. */
export function powerFor(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}

/**
 * Makes rows without sequences, for as long as the arena lives.
 * @throws DeviceError
 */
export async function openRows(arena: Arena, session: Session, pool: PagePool, sizes: RowSizes): Promise<Rows> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  const { sequences, widest, piece } = sizes;
  /** Of nobody: it has no pages. */
  const nobody = sequences;
  const integers = async (label: string, shape: readonly number[], value = 0): Promise<DeviceTensor> =>
    arena.own(await executor.fill("i32", shape, new Int32Array(shape.reduce((a, b) => a * b, 1)).fill(value), label));

  const ids = await integers("tokens of rows", [widest, 1], -1);
  const positions = await integers("positions of rows", [widest]);
  const places = await integers("places of rows", [widest], nobody);
  const picks = await integers("picks of rows", [sequences]);
  const pages = await integers("pages of places", [sequences + 1, sizes.pages], -1);
  const words = new Uint32Array((sequences + 1) * settingsOfPlace);
  const settings = arena.own(await executor.fill("u32", [sequences + 1, settingsOfPlace], words, "settings of places"));
  const activations = arena.own(
    await executor.allocate({ dtype, shape: [widest, 1, config.hiddenSize], format: null }, "activations of rows"),
  );
  // of a piece of a prompt
  const [own, start] = [await integers("place of a piece", [1]), await integers("position of a piece", [1])];

  /** The first rows of a tensor. */
  const firstOf = (tensor: DeviceTensor, count: number): DeviceTensor => {
    const [all = 1, ...rest] = tensor.shape;
    return count === all ? tensor : { ...tensor, shape: [count, ...rest], bytes: (tensor.bytes / all) * count };
  };

  const pieces = takeOnce(async (_: "piece") => {
    const tokens = await integers("tokens of a piece", [1, piece]);
    const chain = createChain(arena, caller, "piece");
    const x = await forward(chain, session, tokens, start, cacheInPages(pool, pages, own));
    const bound = await chain.bind([x]);
    return { tokens, chain: bound, x: bound.tensor(x) };
  });

  const passes = takeOnce(async (count: number): Promise<BoundChain> => {
    const chain = createChain(arena, caller, `pass ${count}`);
    const cache = cacheInPages(pool, pages, firstOf(places, count));
    const x = await forward(chain, session, firstOf(ids, count), firstOf(positions, count), cache);
    return chain.bind([], new Map([[x, firstOf(activations, count)]]));
  });

  const heads = takeOnce(async (count: number) => {
    const chain = createChain(arena, caller, `head ${count}`);
    const found = await logits(chain, session, firstOf(activations, count), firstOf(picks, count));
    const bound = await chain.bind([found]);
    return { chain: bound, logits: bound.tensor(found) };
  });

  const weights = takeOnce(async (_: "weights"): Promise<NonNullable<Places["weights"]>> => {
    const shape = [sequences + 1, config.vocabSize];
    const rows = async (label: string): Promise<DeviceTensor> =>
      arena.own(await executor.allocate({ dtype: "f32", shape, format: null }, label));
    return { prompted: await rows("tokens of prompts"), said: await rows("tokens said"), bias: await rows("biases") };
  });

  const choices = takeOnce(async (key: `${"draws" | "greedy"} ${"weighs" | "plain"} ${number}`) => {
    const [draws, weighs, count] = key.split(" ");
    const rows = Number(count);
    const found = (await heads(rows)).logits;
    const kind = { draws: draws === "draws", weighs: weighs === "weighs" };
    const chain = createChain(arena, caller, `choose ${key}`);
    // one tensor to the chain, however often it is given
    const [stand, whose] = [firstOf(positions, rows), firstOf(places, rows)];
    const held: Places = { places: whose, settings, weights: kind.weighs ? await weights("weights") : null };
    const next = await chooseNext(chain, kind, held, found, stand);
    const into = { ids: firstOf(ids, rows), positions: stand, next, logits: found, places: whose, nobody };
    await chain.call("follow_rows", into);
    return chain.bind([]);
  });

  const choiceOf = ({ draws, weighs }: ChoiceKind, rows: number): Promise<BoundChain> =>
    choices(`${draws ? "draws" : "greedy"} ${weighs ? "weighs" : "plain"} ${rows}`);

  /** What was written, and need not be waited for: it is queued before what is recorded next. */
  const writes: Promise<void>[] = [];
  function put(tensor: DeviceTensor, values: Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>, place = 0): void {
    if (values.length === 0) return;
    const work = executor.write(tensor, values, 4 * place);
    work.catch(() => {});
    writes.push(work);
  }

  /** Rows of the programs that are taken for powers of two. */
  const passRows = new Map<number, number>();
  const headRows = new Map<number, number>();
  const rowsFor = (taken: ReadonlyMap<number, number>, count: number): number => {
    const least = powerFor(count);
    return taken.get(least) ?? least;
  };

  /** Milliseconds of the fastest of some runs. */
  async function timed(run: () => void): Promise<number> {
    let best = Infinity;
    for (let at = 0; at < 4; at++) {
      await executor.finish();
      const began = performance.now();
      run();
      await executor.finish();
      // the first one is slower
      if (at > 0) best = Math.min(best, performance.now() - began);
    }
    return best;
  }

  /** Notes for each power of two the number of rows, as many or more, whose program is the fastest. */
  async function takeFastest(
    most: number,
    program: (rows: number) => Promise<() => void>,
    taken: Map<number, number>,
  ): Promise<void> {
    const sizes = Array.from({ length: Math.log2(most) + 1 }, (_, at) => 2 ** at);
    const times: number[] = [];
    for (const rows of sizes) times.push(await timed(await program(rows)));
    let best = sizes.length - 1;
    for (let at = best; at >= 0; at--) {
      // a larger one is taken where it is clearly faster
      if (times[at]! <= 1.1 * times[best]!) best = at;
      taken.set(sizes[at]!, sizes[best]!);
    }
  }

  const placeOf = new Int32Array(widest).fill(nobody);
  let written = placeOf.slice();

  return {
    async open(place, own, prompt, sampling) {
      put(
        pages,
        Int32Array.from({ length: sizes.pages }, (_, at) => own[at] ?? -1),
        sizes.pages * place,
      );
      put(settings, settingWords(config, sampling), settingsOfPlace * place);
      if (!kindOf(sampling).weighs) return;
      const held = await weights("weights");
      const rows = weightRows(config, prompt, sampling);
      for (const name of ["prompted", "said", "bias"] as const)
        put(held[name], new Uint32Array(rows[name].buffer), config.vocabSize * place);
    },
    seat(row, { id, position, place }) {
      placeOf[row] = place;
      put(ids, Int32Array.of(id), row);
      put(positions, Int32Array.of(position), row);
    },
    clear(row) {
      placeOf[row] = nobody;
    },
    async move(from, to) {
      await withArena(executor, async (short) => {
        short.ownAll(await caller.call("move_row", { ids, positions, from, to }));
      });
      placeOf[to] = placeOf[from]!;
      placeOf[from] = nobody;
    },
    async prefill(given, from, place) {
      const { tokens, chain, x } = await pieces("piece");
      put(tokens, given.slice(from, from + piece));
      put(start, Int32Array.of(from));
      put(own, Int32Array.of(place));
      chain.replay();
      return x;
    },
    async step(count, kind, tokens) {
      const used = count + tokens.length;
      if (used === 0) return null;
      const pass = await passes(rowsFor(passRows, used));
      const heading = count === 0 ? null : rowsFor(headRows, count);
      const head = heading === null ? null : await heads(heading);
      const choice = heading === null ? null : await choiceOf(kind, heading);
      placeOf.fill(nobody, count);
      tokens.forEach(({ place }, at) => (placeOf[count + at] = place));
      if (placeOf.some((place, row) => place !== written[row])) put(places, (written = placeOf.slice()));
      put(
        ids,
        Int32Array.from(tokens, ({ id }) => id),
        count,
      );
      put(
        positions,
        Int32Array.from(tokens, ({ position }) => position),
        count,
      );
      pass.replay();
      head?.chain.replay();
      choice?.replay();
      return {
        ids: { ...ids, shape: [Math.max(1, count), 1], bytes: 4 * Math.max(1, count) },
        logits: head?.logits ?? activations,
        x: activations,
      };
    },
    async prepare(count, rows) {
      await passes(powerFor(rows));
      await choiceOf({ draws: false, weighs: false }, powerFor(count));
    },
    async prepareAll() {
      await takeFastest(widest, async (rows) => (await passes(rows)).replay, passRows);
      const program = async (rows: number): Promise<() => void> => {
        const [head, choice] = [await heads(rows), await choiceOf({ draws: false, weighs: false }, rows)];
        return () => {
          head.chain.replay();
          choice.replay();
        };
      };
      await takeFastest(sequences, program, headRows);
    },
    async settle() {
      await Promise.all(writes.splice(0));
    },
  };
}
