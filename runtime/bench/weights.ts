import { formatOfSpec, formatWords } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";

/** Weights whose rows repeat, so that a large tensor is made and checked at the price of a small one. */
export interface RepeatedWeights {
  /** Words of the whole [n, k] tensor. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Dense values of the rows that repeat, [rows, k]. */
  readonly values: Float32Array;
  readonly rows: number;
}

/** Random numbers in -1 .. 1, repeatable. */
export function randomValues(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const values = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[at] = state / 2 ** 31 - 1;
  }
  return values;
}

/** Random weights of [n, k] in a format: n is a multiple of the rows that repeat. */
export function repeatedWeights(spec: FormatSpec, n: number, k: number, seed: number): RepeatedWeights {
  const format = formatOfSpec(spec);
  const rows = Math.min(n, 64);
  const small = { rows, columns: k };
  const full = { rows: n, columns: k };
  const dense = randomValues(rows * k, seed);
  const pattern = format.pattern(spec);
  if (pattern?.kind === "nm") {
    // which ones of a group are kept differs from group to group
    for (let at = 0; at < dense.length; at++) {
      const group = Math.floor(at / pattern.m);
      if ((at + group * 3 + Math.floor(group / 5)) % pattern.m >= pattern.n) dense[at] = 0;
    }
  }
  const grid = format.grid(spec);
  const groups = grid === null ? 0 : grid.group === "channel" ? 1 : k / grid.group;
  const scale = new Float32Array(rows * groups).fill(2 ** -3);
  const packed = format.encode(
    spec,
    small,
    dense,
    grid === null ? null : { scale, zero: grid.symmetric ? null : new Float32Array(rows * groups).fill(8) },
  );
  const words = new Uint32Array(formatWords(spec, full));
  const to = format.sections(spec, full);
  format.sections(spec, small).forEach((section, at) => {
    const target = to[at]!;
    for (let offset = 0; offset < target.words; offset += section.words)
      words.set(
        packed.subarray(section.offset, section.offset + Math.min(section.words, target.words - offset)),
        target.offset + offset,
      );
  });
  return { words, values: format.decode(spec, small, packed), rows };
}
