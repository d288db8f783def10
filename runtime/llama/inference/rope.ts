/**
 * Rotary embedding: the frequencies, computed once on the host. The angles are computed on the device (`rope_angles`).
 */
import type { LlamaConfig, Rope } from "../../model/config.js";
import type { Arena } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Caller } from "../call.js";
import { many } from "../results.js";
import type { Calls } from "./chain.js";

/** The frequencies of a model on the device. */
export interface Rotary {
  /** What cosines and sines are multiplied by. */
  readonly scale: number;
  /** By the room of a sequence: those of the first that is not shorter, of the last for all longer ones. */
  readonly ranges: readonly { readonly upTo: number; readonly frequency: DeviceTensor }[];
}

/** Most lengths that have frequencies of their own. */
const mostRanges = 64;

/**
 * How long sequences are that share frequencies. They are chosen by the room that a sequence has, once, so that keys
 * and queries agree however it is taken through the model; a dynamic scaling has those of whole multiples of its
 * original context.
 */
export function rotaryLengths(rope: Rope, contextLength: number): readonly number[] {
  if (rope.kind === "longrope" && rope.originalContext < contextLength) return [rope.originalContext, contextLength];
  if (rope.kind !== "dynamic") return [contextLength];
  const count = Math.min(mostRanges, Math.ceil(contextLength / rope.originalContext));
  return Array.from({ length: count }, (_, at) => (at === count - 1 ? contextLength : (at + 1) * rope.originalContext));
}

/** The frequencies of a model; the arena owns them. */
export async function loadRotary(caller: Caller, arena: Arena, config: LlamaConfig): Promise<Rotary> {
  const { headDim, rope, contextLength } = config;
  const ranges: { upTo: number; frequency: DeviceTensor }[] = [];
  for (const upTo of rotaryLengths(rope, contextLength)) {
    const values = ropeFrequencies(headDim, rope, upTo);
    const frequency = arena.own(await caller.executor.fill("f32", [headDim / 2], values, "rope frequencies"));
    ranges.push({ upTo, frequency });
  }
  return { scale: "scale" in rope ? rope.scale : 1, ranges };
}

function rangeOf({ ranges }: Pick<Rotary, "ranges">, room: number): Rotary["ranges"][number] {
  const range = ranges.find(({ upTo }) => room <= upTo) ?? ranges.at(-1);
  if (range === undefined) throw new Error("a model has no rotary frequencies");
  return range;
}

/** Whether sequences with room for so many tokens have the same frequencies. */
export function sharesAngles(rotary: Rotary, one: number, other: number): boolean {
  return rangeOf(rotary, one) === rangeOf(rotary, other);
}

/** The call that gives the angles of some tokens, in a sequence with room for `room` tokens. */
function anglesCall<T extends TensorForm>(
  { scale, ranges }: Rotary,
  positions: T,
  room: number,
): { readonly name: string; readonly args: { readonly [name: string]: T | DeviceTensor | number } } {
  const { frequency } = rangeOf({ ranges }, room);
  return scale === 1
    ? { name: "rope_angles", args: { positions, frequency } }
    : { name: "rope_angles_scaled", args: { positions, frequency, scale } };
}

/** Cosines and sines [B, tokens, head / 2] of tokens from `positions` on. */
export async function angles<T extends TensorForm>(
  calls: Calls<T>,
  rotary: Rotary,
  positions: T | DeviceTensor,
  tokens: number,
  room: number,
): Promise<readonly [T, T]> {
  const { name, args } = anglesCall<T | DeviceTensor>(rotary, positions, room);
  return many(await calls.call(name, args, { sizes: { tokens } }), 2);
}

/** Compiles what `angles` calls. */
export function prepareAngles(
  caller: Caller,
  rotary: Rotary,
  positions: TensorForm,
  tokens: number,
  room: number,
): Promise<void> {
  const { name, args } = anglesCall<TensorForm>(rotary, positions, room);
  return caller.prepare(name, args, { sizes: { tokens } });
}

/**
 * Radians a position for each pair of a head's elements, for sequences of at most `room` tokens: `theta^(-2p / head)`,
 * scaled. Length head / 2.
 */
export function ropeFrequencies(head: number, rope: Rope, room = 0): Float32Array<ArrayBuffer> {
  const theta = rope.kind === "dynamic" ? dynamicTheta(head, rope, room) : rope.theta;
  return Float32Array.from({ length: head / 2 }, (_, pair) =>
    scaleFrequency(theta ** ((-2 * pair) / head), { pair, head, rope, room }),
  );
}

function dynamicTheta(head: number, rope: Rope & { readonly kind: "dynamic" }, room: number): number {
  const { theta, factor, originalContext } = rope;
  const stretch = (factor * Math.max(room, originalContext)) / originalContext - (factor - 1);
  return theta * stretch ** (head / (head - 2));
}

/** A pair, and what it belongs to. */
interface Pair {
  readonly pair: number;
  readonly head: number;
  readonly rope: Rope;
  readonly room: number;
}

function scaleFrequency(frequency: number, { pair, head, rope, room }: Pair): number {
  switch (rope.kind) {
    case "default":
    case "dynamic":
      return frequency;
    case "linear":
      return frequency / rope.factor;
    case "llama3": {
      const { factor, lowFrequencyFactor, highFrequencyFactor, originalContext } = rope;
      const turns = (originalContext * frequency) / (2 * Math.PI); // in the context it was trained with
      if (turns < lowFrequencyFactor) return frequency / factor;
      if (turns > highFrequencyFactor) return frequency;
      const kept = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
      return ((1 - kept) * frequency) / factor + kept * frequency;
    }
    case "yarn": {
      const { theta, factor, originalContext, fast, slow, truncate } = rope;
      // the pair that makes so many turns in the original context
      const pairOf = (turns: number): number =>
        (head * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
      const low = Math.max(0, truncate ? Math.floor(pairOf(fast)) : pairOf(fast));
      const high = Math.min(head - 1, truncate ? Math.ceil(pairOf(slow)) : pairOf(slow));
      const divided = Math.min(1, Math.max(0, (pair - low) / (high === low ? 0.001 : high - low)));
      return (frequency / factor) * divided + frequency * (1 - divided);
    }
    case "longrope":
      return frequency / ((room > rope.originalContext ? rope.long : rope.short)[pair] ?? 1);
    default:
      return rope satisfies never;
  }
}
