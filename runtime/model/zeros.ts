import { countZeros, elementBits, type ElementType } from "./elements.js";

/** What was found in the elements of a tensor. */
export interface PatternCounts {
  /** Null for types whose zeros cannot be counted. */
  readonly zeros: number | null;
  /** The most non-zeros in an aligned group of 4 (of 8) along the last axis; null where groups do not divide it. */
  readonly mostOf4: number | null;
  readonly mostOf8: number | null;
}

/**
 * Counts zeros, and non-zeros in groups along the last axis, over a tensor's bytes in pieces. Each piece but the last
 * must hold a multiple of 8 elements: rows whose length is a multiple of the group need no more care than that.
 */
export function countsPatterns(
  dtype: ElementType,
  columns: number,
): { add(bytes: Uint8Array): void; counts(): PatternCounts } {
  let zeros: number | null = 0;
  let most4 = 0;
  let most8 = 0;
  const inGroups = (dtype === "F16" || dtype === "BF16" || dtype === "F32") && columns % 4 === 0;
  return {
    add(bytes) {
      if (!inGroups) {
        const found = countZeros(dtype, bytes);
        zeros = zeros === null || found === null ? null : zeros + found;
        return;
      }
      const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
      const wide = elementBits[dtype] === 32;
      const elements = wide
        ? new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4)
        : new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length / 2);
      const magnitude = wide ? 0x7fffffff : 0x7fff;
      let nonZeros = 0;
      let before = 0;
      for (let i = 0; i + 3 < elements.length; i += 4) {
        let found = 0;
        if ((elements[i]! & magnitude) !== 0) found++;
        if ((elements[i + 1]! & magnitude) !== 0) found++;
        if ((elements[i + 2]! & magnitude) !== 0) found++;
        if ((elements[i + 3]! & magnitude) !== 0) found++;
        if (found > most4) most4 = found;
        if ((i & 4) !== 0 && before + found > most8) most8 = before + found;
        before = found;
        nonZeros += found;
      }
      zeros = (zeros ?? 0) + elements.length - nonZeros;
    },
    counts: () => ({ zeros, mostOf4: inGroups ? most4 : null, mostOf8: inGroups && columns % 8 === 0 ? most8 : null }),
  };
}
