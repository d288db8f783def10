/**
 * q6_k of GGUF (Q6_K): 256 columns in 210 bytes: 128 bytes with the low four bits of the codes, 64 with the upper two,
 * 16
 * signed bytes of scales, f16 d. Sixteen columns share a scale; value = d * scale * (code - 32).
 *
 * A half of a block is 128 columns, 32 l + j of them four quarters l of 32: their low bits are bits 4 (l / 2) and on of
 * byte 64 half + 32 (l % 2) + j, the upper ones bits 2 l and on of byte 128 + 32 half + j.
 *
 * Packing is that of llama.cpp without an importance matrix: of 19 scales for each sixteen columns the one of least
 * error,
 * weighted by x^2; then scales rounded to 8 bits, codes to nearest.
 */
import { upTo } from "../../types/shape.js";
import { blockFormat, storedHalf, type BlockLayout } from "../block/meaning.js";
import type { Format } from "../format.js";
import { f16FromBits, roundHalfEven } from "../../float.js";

const { fround } = Math;
/** Where the upper bits, the scales and d stand in the bytes of a block. */
export const [upper, scales, d] = [128, 192, 208] as const;
/** Scales below are taken for zero. */
const tiny = fround(1e-15);

export const q6_kLayout: BlockLayout = {
  name: "q6_k",
  columns: 256,
  bytes: 210,
  unitColumns: 16,
  encode(values, bytes) {
    const found = upTo(16).map((at) => bestScale(values.subarray(16 * at, 16 * at + 16)));
    // Squares of large values leave f32.
    for (const { scale } of found) storedHalf("scale", fround(scale / 128));
    const largest = found.reduce((most, { scale }) => (Math.abs(scale) > Math.abs(most) ? scale : most), 0);
    if (Math.abs(largest) < tiny) return;
    const inverse = fround(-128 / largest);
    bytes.setUint16(d, storedHalf("scale", fround(1 / inverse)), true);
    const step = f16FromBits(bytes.getUint16(d, true));
    for (const [at, { scale, codes }] of found.entries()) {
      const rounded = Math.min(127, roundHalfEven(fround(inverse * scale)));
      bytes.setInt8(scales + at, rounded);
      const width = fround(step * rounded);
      for (let i = 0; i < 16; i += 1)
        putCode(bytes, 16 * at + i, (width === 0 ? codes[i]! : nearest(fround(values[16 * at + i]! / width))) + 32);
    }
  },
  decode(bytes, values) {
    const step = f16FromBits(bytes.getUint16(d, true));
    for (let at = 0; at < 256; at += 1)
      values[at] = step * bytes.getInt8(scales + (at >> 4)) * (getCode(bytes, at) - 32);
  },
};

export const q6_kFormat: Format = blockFormat(q6_kLayout);

/** The nearest code, -32 .. 31. */
function nearest(steps: number): number {
  return Math.max(-32, Math.min(31, roundHalfEven(steps)));
}

/**
 * The scale of sixteen values, and their codes by it; llama.cpp's make_qx_quants(16, 32, x, codes, 1, NULL), in f32.
 */
function bestScale(values: Float32Array): { readonly scale: number; readonly codes: readonly number[] } {
  const extreme = values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  if (Math.abs(extreme) < tiny) return { scale: 0, codes: upTo(16).map(() => -32) };
  const fit = (
    inverse: number,
  ): { readonly codes: readonly number[]; readonly product: number; readonly square: number } => {
    let [product, square] = [0, 0];
    const codes = Array.from(values, (value) => {
      const code = nearest(fround(inverse * value));
      const weight = fround(value * value);
      product = fround(product + fround(fround(weight * value) * code));
      square = fround(square + fround(fround(weight * code) * code));
      return code;
    });
    return { codes, product, square };
  };
  const first = fit(fround(-32 / extreme));
  let scale = first.square === 0 ? 0 : fround(first.product / first.square);
  let best = fround(scale * first.product);
  let { codes } = first;
  for (let shift = -9; shift <= 9; shift += 1) {
    if (shift === 0) continue;
    const tried = fit(fround(-fround(32 + fround(fround(0.1) * shift)) / extreme));
    if (!(tried.square > 0 && fround(tried.product * tried.product) > fround(best * tried.square))) continue;
    scale = fround(tried.product / tried.square);
    best = fround(scale * tried.product);
    codes = tried.codes;
  }
  return { scale, codes };
}

/** Where the parts of the code of a column stand. */
function placeOf(column: number): {
  readonly low: number;
  readonly lowShift: number;
  readonly high: number;
  readonly highShift: number;
} {
  const [half, quarter, j] = [column >> 7, (column >> 5) & 3, column & 31];
  return {
    low: 64 * half + 32 * (quarter & 1) + j,
    lowShift: 4 * (quarter >> 1),
    high: upper + 32 * half + j,
    highShift: 2 * quarter,
  };
}

function putCode(bytes: DataView, column: number, code: number): void {
  const { low, lowShift, high, highShift } = placeOf(column);
  bytes.setUint8(low, bytes.getUint8(low) | ((code & 15) << lowShift));
  bytes.setUint8(high, bytes.getUint8(high) | ((code >> 4) << highShift));
}

function getCode(bytes: DataView, column: number): number {
  const { low, lowShift, high, highShift } = placeOf(column);
  return ((bytes.getUint8(low) >> lowShift) & 15) | (((bytes.getUint8(high) >> highShift) & 3) << 4);
}
