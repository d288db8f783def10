/** Items of few bits into words as other tools have them: what `unpackRows` and `unpackColumns` read. */

/**
 * Items of 4 or 8 bits, lowest first, of rows that each begin with a word: [rows, ceil(columns * bits / 32)] of
 * [rows, columns].
 */
export function packRows(items: Uint8Array, rows: number, columns: number, bits: 4 | 8): Uint32Array<ArrayBuffer> {
  const perRow = Math.ceil((columns * bits) / 32);
  const words = new Uint32Array(rows * perRow);
  for (let row = 0, at = 0; row < rows; row += 1)
    for (let column = 0, word = row * perRow; column < columns; word += 1) {
      let all = 0;
      for (let shift = 0; shift < 32 && column < columns; shift += bits, column += 1, at += 1)
        all |= items[at]! << shift;
      words[word] = all;
    }
  return words;
}

/** The same down the columns: [ceil(rows * bits / 32), columns] of items that are turned, [columns, rows]. */
export function packColumns(items: Uint8Array, rows: number, columns: number, bits: 4 | 8): Uint32Array<ArrayBuffer> {
  const perWord = 32 / bits;
  const words = new Uint32Array(Math.ceil(rows / perWord) * columns);
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
