/**
 * Rotary embedding: the frequencies, computed once on the host. The angles are computed on the device (`rope_angles`).
 */
import type { Rope } from "../../model/config.js";

/** Radians a position for each pair of a head's elements: `theta^(-2p / head)`, scaled. Length head / 2. */
export function ropeFrequencies(head: number, rope: Rope): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: head / 2 }, (_, pair) => scaleFrequency(rope.theta ** ((-2 * pair) / head), rope));
}

function scaleFrequency(frequency: number, rope: Rope): number {
  switch (rope.kind) {
    case "default":
      return frequency;
    case "llama3": {
      const { factor, lowFrequencyFactor, highFrequencyFactor, originalContext } = rope;
      const turns = (originalContext * frequency) / (2 * Math.PI); // in the context it was trained with
      if (turns < lowFrequencyFactor) return frequency / factor;
      if (turns > highFrequencyFactor) return frequency;
      const kept = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
      return ((1 - kept) * frequency) / factor + kept * frequency;
    }
    default:
      return rope satisfies never;
  }
}
