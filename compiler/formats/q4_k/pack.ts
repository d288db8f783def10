/**
 * How blocks of 256 columns with scales and minima of six bits are packed: llama.cpp's quantize_row_q4_K_ref, in f32 step
 * by step. Of each 32 columns the scale and minimum are those of least squared error among 22 steps, weighted by the size
 * of the values.
 */
import { f16FromBits, roundHalfEven } from "../../float.js";
import { upTo } from "../../types/shape.js";
import { storedHalf } from "../block/meaning.js";

const { fround } = Math;

/** The largest code. */
const most = 15;

/** Writes d, dmin, scales and minima to the first 16 bytes of a block; gives the codes. */
export function packBlock(values: Float32Array, bytes: DataView): Uint8Array {
  const found = upTo(8).map((group) => fitted(values.subarray(32 * group, 32 * group + 32)));
  const largest = fround(found.reduce((size, { scale }) => Math.max(size, scale), 0));
  const deepest = fround(found.reduce((size, { min }) => Math.max(size, min), 0));
  const [inverse, inverseMin] = [largest, deepest].map((size) => (size > 0 ? fround(63 / size) : 0)) as [
    number,
    number,
  ];
  bytes.setUint16(0, storedHalf("scale", fround(largest / 63)), true);
  bytes.setUint16(2, storedHalf("minimum", fround(deepest / 63)), true);
  const [d, dmin] = [f16FromBits(bytes.getUint16(0, true)), f16FromBits(bytes.getUint16(2, true))];
  const codes = new Uint8Array(256);
  for (const [group, own] of found.entries()) {
    // as bytes: one below zero is large
    const scale = Math.min(63, roundHalfEven(fround(inverse * own.scale)) & 0xff);
    const min = Math.min(63, roundHalfEven(fround(inverseMin * own.min)) & 0xff);
    putSix(bytes, group, scale, min);
    const step = fround(d * scale);
    const offset = fround(dmin * min);
    for (let at = 0; at < 32; at += 1)
      codes[32 * group + at] =
        step === 0 ? own.codes[at]! : clamped(fround(fround(values[32 * group + at]! + offset) / step));
  }
  return codes;
}

function putSix(bytes: DataView, group: number, scale: number, min: number): void {
  const or = (at: number, value: number): void => bytes.setUint8(at, bytes.getUint8(at) | value);
  if (group < 4) {
    or(4 + group, scale);
    or(8 + group, min);
    return;
  }
  or(8 + group, (scale & 15) | ((min & 15) << 4));
  or(group, (scale >> 4) << 6);
  or(4 + group, (min >> 4) << 6);
}

function clamped(steps: number): number {
  return Math.max(0, Math.min(most, roundHalfEven(steps)));
}

/** What is found for 32 values: value = scale * code - min. */
interface Fitted {
  readonly scale: number;
  readonly min: number;
  readonly codes: Uint8Array;
}

/** Adding and taking off rounds what is below 2^22 to whole numbers, halves to even. */
const whole = 1.5 * 2 ** 23;

/** llama.cpp's make_qkx2_quants(32, 15, values, weights, codes, min, ..., -1, 0.1, 20, false). */
function fitted(values: Float32Array): Fitted {
  const count = values.length;
  let squares = 0;
  for (let at = 0; at < count; at += 1) squares = fround(squares + fround(values[at]! * values[at]!));
  const average = fround(Math.sqrt(fround(squares / count)));
  const weights = new Float32Array(count);
  let [least, greatest, allWeights, weighted] = [values[0]!, values[0]!, 0, 0];
  for (let at = 0; at < count; at += 1) {
    const value = values[at]!;
    weights[at] = average + Math.abs(value);
    if (value < least) least = value;
    if (value > greatest) greatest = value;
    allWeights = fround(allWeights + weights[at]!);
    weighted = fround(weighted + fround(weights[at]! * value));
  }
  // the minimum that is the best so far: each step begins with it
  let min = Math.min(least, 0);
  let codes = new Float32Array(count);
  if (greatest === min) return { scale: 0, min: -min, codes: new Uint8Array(count) };
  let tried = new Float32Array(count);
  const code = (inverse: number, into: Float32Array): void => {
    for (let at = 0; at < count; at += 1) {
      const steps = fround(fround(fround(inverse * fround(values[at]! - min)) + whole) - whole);
      into[at] = steps < 0 ? 0 : steps > most ? most : steps;
    }
  };
  const errorOf = (ownScale: number, ownMin: number, own: Float32Array): number => {
    let error = 0;
    for (let at = 0; at < count; at += 1) {
      const difference = fround(fround(fround(ownScale * own[at]!) + ownMin) - values[at]!);
      error = fround(error + fround(weights[at]! * fround(difference * difference)));
    }
    return error;
  };
  const first = fround(most / fround(greatest - min));
  let scale = fround(1 / first);
  code(first, codes);
  let best = errorOf(scale, min, codes);
  for (let step = 0; step <= 20; step += 1) {
    code(fround(fround(fround(-1 + fround(tenth * step)) + most) / fround(greatest - min)), tried);
    let [sum, square, product] = [0, 0, 0];
    for (let at = 0; at < count; at += 1) {
      const once = fround(weights[at]! * tried[at]!);
      sum = fround(sum + once);
      square = fround(square + fround(once * tried[at]!));
      product = fround(product + fround(once * values[at]!));
    }
    const determinant = fround(fround(allWeights * square) - fround(sum * sum));
    if (!(determinant > 0)) continue;
    let ownScale = fround(fround(fround(allWeights * product) - fround(weighted * sum)) / determinant);
    let ownMin = fround(fround(fround(square * weighted) - fround(sum * product)) / determinant);
    if (ownMin > 0) {
      ownMin = 0;
      ownScale = fround(product / square);
    }
    const error = errorOf(ownScale, ownMin, tried);
    if (!(error < best)) continue;
    [best, scale, min] = [error, ownScale, ownMin];
    [codes, tried] = [tried, codes];
  }
  return { scale, min: -min, codes: Uint8Array.from(codes) };
}

const tenth = fround(0.1);
