import { gridLayer } from "../grid.js";
import { layerError, readFloats, readWords, scaleTypes, tensorOf, type Container, type Module } from "../layer.js";
import { groupCount } from "../grid-values.js";
import { turned, unpackRows } from "../pack.js";
import { bytesOf, scaleBytes, type GridWriter } from "../written.js";

/** Which of 8 neighbours the nibbles of a word are, the lowest first. */
const nibbleOrder = [0, 2, 4, 6, 1, 3, 5, 7] as const;

/** The columns of a group. @throws ModelError M135 where they do not divide the row */
function groupOf(module: Module, groupSize: number | null): number {
  const group = groupSize ?? module.inputs;
  if (module.inputs % group !== 0)
    throw layerError("M135", module, `its ${module.inputs} columns are no multiple of the group of ${group}`);
  return group;
}

/** AWQ, `gemm`: 4-bit codes and zero points along the rows of words [inputs, outputs / 8], neighbours interleaved. */
export function awqGemm(groupSize: number | null): Container {
  return {
    name: "awq gemm",
    what: `int4, ${groupSize === null ? "one scale a row" : `groups of ${groupSize}`}, asymmetric`,
    needed: ["qweight", "qzeros", "scales"],
    possible: [],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      const group = groupOf(module, groupSize);
      if (outputs % 8 !== 0) throw layerError("M135", module, `its ${outputs} rows are no multiple of 8`);
      const groups = inputs / group;
      const weight = tensorOf(module, tensors, "qweight", ["I32"], [[inputs, outputs / 8]]);
      const zero = tensorOf(module, tensors, "qzeros", ["I32"], [[groups, outputs / 8]]);
      const scale = tensorOf(module, tensors, "scales", scaleTypes, [[groups, outputs]]);
      return gridLayer(module, {
        bits: 4,
        group: groupSize ?? "channel",
        order: null,
        isSparse: false,
        scales: async () => turned(await readFloats(scale), groups, outputs),
        zeros: async () => unpackTurned(await readWords(zero), groups, outputs),
        codes: async () => unpackTurned(await readWords(weight), inputs, outputs),
      });
    },
  };
}

/**
 * AWQ, `gemv`: the same along the columns of each row, low first, [outputs, inputs / 8]. Rows of zero points and of
 * scales are filled up to whole words, of small groups to two or four.
 */
export function awqGemv(groupSize: number | null): Container {
  return {
    name: "awq gemv",
    what: `int4, ${groupSize === null ? "one scale a row" : `groups of ${groupSize}`}, asymmetric`,
    needed: ["qweight", "qzeros", "scales"],
    possible: [],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      const group = groupOf(module, groupSize);
      if (inputs % 8 !== 0) throw layerError("M135", module, `its ${inputs} columns are no multiple of 8`);
      if (group < 128 && group !== 64 && group !== 32)
        throw layerError("M133", module, `\`gemv\` has groups of 32, 64, 128 and more, not of ${group}`);
      const groups = inputs / group;
      const unit = group === 32 ? 4 : group === 64 ? 2 : 1;
      const width = Math.ceil(Math.ceil(groups / 8) / unit) * unit;
      const weight = tensorOf(module, tensors, "qweight", ["I32"], [[outputs, inputs / 8]]);
      const zero = tensorOf(module, tensors, "qzeros", ["I32"], [[outputs, width]]);
      const scale = tensorOf(module, tensors, "scales", scaleTypes, [[outputs, 8 * width]]);
      return gridLayer(module, {
        bits: 4,
        group: groupSize ?? "channel",
        order: null,
        isSparse: false,
        scales: async () => firstOfRows(await readFloats(scale), outputs, groups),
        zeros: async () => firstOfRows(unpackRows(await readWords(zero), outputs, 8 * width, 4), outputs, groups),
        codes: async () => unpackRows(await readWords(weight), outputs, inputs, 4),
      });
    },
  };
}

/** The first of each row. */
function firstOfRows<T extends Uint8Array | Float32Array>(items: T, rows: number, count: number): T {
  const width = items.length / rows;
  return items.filter((_, at) => at % width < count) as T;
}

/** [columns, rows] of words [rows, columns / 8]. */
function unpackTurned(words: Uint32Array, rows: number, columns: number): Uint8Array {
  const items = new Uint8Array(rows * columns);
  for (let row = 0, word = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 8, word += 1)
      for (let nibble = 0; nibble < 8; nibble += 1)
        items[(column + nibbleOrder[nibble]!) * rows + row] = (words[word]! >>> (4 * nibble)) & 15;
  return items;
}

/** The same, written. A symmetric layer has the middle for every zero point. */
export const awqWriter: GridWriter = {
  name: "awq gemm",
  layer(module, facts) {
    const { outputs, inputs } = module;
    if (facts.bits !== 4) return `AWQ has codes of 4 bits, not ${facts.bits}`;
    if (facts.isOrdered) return "AWQ has groups of neighbours only";
    if (outputs % 8 !== 0) return `its ${outputs} rows are no multiple of 8`;
    const groups = groupCount(module, facts);
    return {
      parts: [
        { part: "qweight", dtype: "I32", shape: [inputs, outputs / 8] },
        { part: "qzeros", dtype: "I32", shape: [groups, outputs / 8] },
        { part: "scales", dtype: "F16", shape: [groups, outputs] },
      ],
      byRows: false,
      bytes: ({ scales, zeros, codes }) => [
        bytesOf(packTurned(codes, inputs, outputs)),
        bytesOf(packTurned(zeros, groups, outputs)),
        scaleBytes(turned(scales, outputs, groups), "F16"),
      ],
    };
  },
};

/** Words [rows, columns / 8] of [columns, rows]. */
function packTurned(items: Uint8Array, rows: number, columns: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((rows * columns) / 8);
  for (let row = 0, word = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 8, word += 1) {
      let all = 0;
      for (let nibble = 0; nibble < 8; nibble += 1)
        all |= items[(column + nibbleOrder[nibble]!) * rows + row]! << (4 * nibble);
      words[word] = all;
    }
  return words;
}
