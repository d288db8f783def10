/** A model's results held against those of plain schedules: each element by an invocation of its own, nothing fused. */
import { counted } from "../../../compiler/words.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import { createCaller } from "../call.js";
import { roundingFor } from "../rounding.js";
import { makeSession, type Cache, type Session } from "./session.js";

/** How far logits are from those that the plain schedules give on the same device. */
export interface Verification {
  /** Tokens whose logits were compared: the last of a prompt, then some one by one. */
  readonly tokens: number;
  /** The largest difference of two logits. */
  readonly largestDifference: number;
  /** Between the least and the largest logit of the token that has it. */
  readonly range: number;
  /** Tokens after which both choose the same. */
  readonly sameChoice: number;
  /** Whether activations are rounded to int8 on the way, which makes more of small differences: a code is another. */
  readonly int8: boolean;
}

/** Tokens that go through the model at once before the others. */
const mostAtOnce = 64;

/** Tokens that then go through it one by one. */
const mostSteps = 8;

/**
 * The share of the range of logits that f16 activations may move them by: what is more is a fault, not rounding. With
 * activations in int8 a value that f16 moves over the middle between two codes moves by a whole step (1% on an H200).
 */
const allowedShare = { f16: 0.02, int8: 0.05 } as const;

/**
 * Runs the first `prompt` of some tokens at once and others one by one, as decoding does, both with the session's
 * programs and with plain ones.
 * @throws DeviceError
 */
export async function verifySession(session: Session, ids: readonly number[], prompt: number): Promise<Verification> {
  const { caller, config, frame, blocks, dtype } = session;
  const plain = makeSession(
    createCaller(caller.executor, caller.target, caller.functions, { schedule: "loops", fuse: false, merge: false }),
    config,
    frame,
    blocks,
    dtype,
    () => {},
    session.activations,
  );
  const start = Math.max(1, Math.min(prompt, mostAtOnce, ids.length));
  const total = Math.min(ids.length, start + mostSteps);
  return withArena(caller.executor, async (arena) => {
    const sides: readonly (readonly [Session, Cache])[] = [
      [session, await cacheOf(arena, session, total)],
      [plain, await cacheOf(arena, plain, total)],
    ];
    let worst = { largestDifference: 0, range: 0 };
    let sameChoice = 0;
    let tokens = 0;
    for (let from = 0; from < total; from = from === 0 ? start : from + 1) {
      const some = from === 0 ? ids.slice(0, start) : ids.slice(from, from + 1);
      const [found = [], wanted = []] = [await logitsOf(sides[0]!, some, from), await logitsOf(sides[1]!, some, from)];
      const largestDifference = wanted.reduce((most, value, at) => {
        const difference = Math.abs(value - (found[at] ?? NaN));
        return Number.isNaN(difference) || difference > most ? difference : most;
      }, 0);
      const range = extreme(wanted, Math.max) - extreme(wanted, Math.min);
      if (!(largestDifference <= worst.largestDifference)) worst = { largestDifference, range };
      if (largestOf(found) === largestOf(wanted)) sameChoice++;
      tokens++;
    }
    const int8 = blocks.some((block) => roundingFor(session.activations, block, caller.target, 1) !== null);
    return { tokens, ...worst, sameChoice, int8 };
  });
}

/** What is wrong with the outcome of a verification, or null. */
export function verificationFault({ largestDifference, range, int8 }: Verification): string | null {
  if (largestDifference <= allowedShare[int8 ? "int8" : "f16"] * range) return null;
  return `the logits differ by ${largestDifference.toPrecision(3)} from those of the plain schedules, of a range of ${range.toPrecision(3)}: more than rounding explains; please report it`;
}

/** In words. */
export function printVerification({ tokens, largestDifference, range, sameChoice }: Verification): string {
  return `verified: the logits of ${counted(tokens, "token")} differ by at most ${largestDifference.toPrecision(3)} from those of the plain schedules, of a range of ${range.toPrecision(3)}; ${sameChoice === tokens ? "all" : sameChoice} choose the same next token`;
}

async function cacheOf(arena: Arena, session: Session, tokens: number): Promise<Cache> {
  const cache = await session.allocateCache(1, Math.ceil(tokens / 64) * 64);
  arena.defer(() => session.releaseCache(cache));
  return cache;
}

/** The logits of the last of some tokens from `position` on, which the cache is given. */
async function logitsOf(
  [session, cache]: readonly [Session, Cache],
  tokens: readonly number[],
  position: number,
): Promise<readonly number[]> {
  const { executor } = session.caller;
  return withArena(executor, async (arena) => {
    const fill = async (shape: readonly number[], values: readonly number[]): Promise<DeviceTensor> =>
      arena.own(await executor.fill("i32", shape, values));
    const x = arena.own(
      await session.forward(await fill([1, tokens.length], tokens), await fill([1], [position]), cache),
    );
    const logits = arena.own(await session.logits(x, await fill([1], [tokens.length - 1])));
    return [...(await executor.values(logits))];
  });
}

function extreme(values: readonly number[], of: (a: number, b: number) => number): number {
  return values.reduce((all, value) => of(all, value), values[0] ?? NaN);
}

function largestOf(values: readonly number[]): number {
  return values.reduce((best, value, at) => (value > (values[best] ?? -Infinity) ? at : best), 0);
}
