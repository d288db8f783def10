/** Items of few bits into words as other tools have them: what `unpackRows` and `unpackColumns` read. */

/** Bits of an item. */
type Bits = 2 | 3 | 4 | 8;

/**
 * Items, lowest first and across words, of rows that each begin with a word: [rows, ceil(columns * bits / 32)] of
 * [rows, columns].
 */
export function packRows(items: Uint8Array, rows: number, columns: number, bits: Bits): Uint32Array<ArrayBuffer> {
  const perRow = Math.ceil((columns * bits) / 32);
  const words = new Uint32Array(rows * perRow);
  if (32 % bits === 0) {
    for (let row = 0, at = 0; row < rows; row += 1)
      for (let column = 0, word = row * perRow; column < columns; word += 1) {
        let all = 0;
        for (let shift = 0; shift < 32 && column < columns; shift += bits, column += 1, at += 1)
          all |= items[at]! << shift;
        words[word] = all;
      }
    return words;
  }
  for (let row = 0, at = 0; row < rows; row += 1)
    for (let column = 0, bit = 0; column < columns; column += 1, at += 1, bit += bits) {
      const word = row * perRow + (bit >> 5);
      const shift = bit & 31;
      words[word] = words[word]! | (items[at]! << shift);
      if (shift + bits > 32) words[word + 1] = words[word + 1]! | (items[at]! >>> (32 - shift));
    }
  return words;
}

/** The same down the columns: [ceil(rows * bits / 32), columns] of items that are turned, [columns, rows]. */
export function packColumns(items: Uint8Array, rows: number, columns: number, bits: Bits): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil((rows * bits) / 32) * columns);
  if (32 % bits === 0) {
    const perWord = 32 / bits;
    for (let first = 0, word = 0; first < rows; first += perWord) {
      const end = Math.min(perWord, rows - first);
      for (let column = 0; column < columns; column += 1, word += 1) {
        let all = 0;
        for (let item = 0; item < end; item += 1) all |= items[column * rows + first + item]! << (item * bits);
        words[word] = all;
      }
    }
    return words;
  }
  for (let row = 0, bit = 0; row < rows; row += 1, bit += bits) {
    const word = (bit >> 5) * columns;
    const shift = bit & 31;
    const straddles = shift + bits > 32;
    for (let column = 0, at = row; column < columns; column += 1, at += rows) {
      words[word + column] = words[word + column]! | (items[at]! << shift);
      if (straddles) words[word + columns + column] = words[word + columns + column]! | (items[at]! >>> (32 - shift));
    }
  }
  return words;
}
