import { gridLayer } from "../grid.js";
import {
  layerError,
  readFloats,
  readWords,
  tensorOf,
  type Container,
  type LayerTensor,
  type Module,
} from "../layer.js";
import { groupCount } from "../grid-values.js";
import { turned } from "../pack.js";
import { describeWeights, groupsOf, type WeightArguments } from "../weight-arguments.js";
import { bytesOf, scaleBytes, type GridWriter } from "../written.js";

/**
 * `marlin-24` of compressed-tensors: 2:4 of int4 or int8 for the kernels of Sparse-Marlin. The two codes that are kept
 * of four, turned to [inputs / 2, outputs], in the order in which those kernels load tiles of 16 x 64; their positions
 * in the order of CUTLASS; scales of f16, which may be in an order, too. What is kept and rounds to zero is stored, so
 * that two positions are always there.
 */
export function marlin24(args: WeightArguments): Container {
  const { bits } = args;
  return {
    name: "marlin-24",
    what: `2 of 4 of ${describeWeights(args)}`,
    needed: ["weight_packed", "scale_packed", "meta"],
    possible: [],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      if ((bits !== 4 && bits !== 8) || !args.symmetric)
        throw layerError("M133", module, "`marlin-24` holds symmetric codes of 4 or 8 bits");
      if (outputs % 64 !== 0 || inputs % 32 !== 0)
        throw layerError("M135", module, `\`marlin-24\` holds multiples of [64, 32], not [${outputs}, ${inputs}]`);
      const tiles = inputs / 32;
      const packed = tensorOf(module, tensors, "weight_packed", ["I32"], [[tiles, (outputs * bits) / 2]]);
      const meta = tensorOf(module, tensors, "meta", ["I16"], [[tiles, 2 * outputs]]);
      const { groups } = groupsOf(module, args);
      const scale = tensorOf(module, tensors, "scale_packed", ["F16"], [[groups, outputs]]);
      return gridLayer(module, {
        bits,
        group: args.group ?? "channel",
        order: null,
        isSparse: true,
        zeros: null,
        scales: async () => scalesOf(module, args, await readFloats(scale), groups),
        codes: async () => codesOf(module, bits, await readWords(packed), await positionsOf(module, meta)),
      });
    },
  };
}

/** The order of scales of groups within 8 rows. */
const scaleOrder = [0, 4, 1, 5, 2, 6, 3, 7] as const;

/** Scales [outputs, groups]. The packer compares the group with the columns that are kept, half of all. */
function scalesOf(
  { outputs, inputs }: Module,
  { group }: WeightArguments,
  stored: Float32Array,
  groups: number,
): Float32Array {
  if (group === null || group >= inputs / 2) return turned(stored, groups, outputs);
  const scales = new Float32Array(stored.length);
  for (let at = 0; at < stored.length; at += 1) {
    const group = Math.floor(at / outputs);
    const row = at % outputs;
    scales[(row - (row % 8) + scaleOrder[row % 8]!) * groups + group] = stored[at]!;
  }
  return scales;
}

/** Row and column (of 16 x 64) of each code of a tile, in the order in which they are packed. */
function tileOrder(bits: number): readonly (readonly [number, number])[] {
  const interleave = bits === 4 ? [0, 2, 4, 6, 1, 3, 5, 7] : [0, 2, 1, 3];
  return Array.from({ length: 1024 }, (_, at) => {
    const within = at % interleave.length;
    const element = (at % 8) - within + interleave[within]!;
    const lane = Math.floor(at / 32);
    const column = 16 * (lane >> 3) + 8 * ((lane >> 2) & 1) + 4 * (element >> 2) + (Math.floor(at / 8) % 4);
    return [2 * (lane % 4) + (element & 1) + 8 * ((element & 3) >> 1), column];
  });
}

/** Calls `visit` for each code as it is packed: its word and bit, and its output and entry, one of the two of a group. */
function eachCode(
  { outputs, inputs }: Module,
  bits: number,
  visit: (word: number, shift: number, output: number, entry: number) => void,
): void {
  const order = tileOrder(bits);
  for (let tile = 0, word = 0; tile < inputs / 32; tile += 1)
    for (let block = 0; block < outputs; block += 64)
      for (let at = 0; at < 1024; word += 1)
        for (let shift = 0; shift < 32; shift += bits, at += 1) {
          const [row, column] = order[at]!;
          visit(word, shift, block + column, 16 * tile + row);
        }
}

/** Dense codes [outputs, inputs], the middle where nothing is kept. */
function codesOf(module: Module, bits: number, words: Uint32Array, positions: Uint8Array): Uint8Array {
  const { outputs, inputs } = module;
  const codes = new Uint8Array(outputs * inputs).fill(2 ** (bits - 1));
  const mask = 2 ** bits - 1;
  eachCode(module, bits, (word, shift, output, entry) => {
    const position = positions[output * (inputs / 2) + entry]!;
    codes[output * inputs + 4 * (entry >> 1) + position] = (words[word]! >>> shift) & mask;
  });
  return codes;
}

/** Where the 16 bits for columns 16 * column and on of a row stand. */
function metaPlace(outputs: number, row: number, column: number): number {
  const moved =
    64 * Math.floor(row / 64) +
    2 * (row % 2) +
    Math.floor((row % 8) / 4) +
    32 * Math.floor((row % 4) / 2) +
    4 * Math.floor((row % 64) / 8);
  let [r, c] = [moved, column];
  if (r % 2 === 0 && c % 2 === 1) [r, c] = [r + 1, c - 1];
  else if (r % 2 === 1 && c % 2 === 0) [r, c] = [r - 1, c + 1];
  return Math.floor(c / 2) * 2 * outputs + 2 * r + (c % 2);
}

/** The position in its group of four of each entry, [outputs, inputs / 2]. @throws ModelError M136 */
async function positionsOf(module: Module, meta: LayerTensor): Promise<Uint8Array> {
  const { outputs, inputs } = module;
  const { buffer, byteLength } = await meta.read();
  const stored = new Uint16Array(buffer, 0, byteLength / 2);
  const positions = new Uint8Array((outputs * inputs) / 2);
  for (let row = 0; row < outputs; row += 1)
    for (let column = 0; column < inputs / 16; column += 1) {
      const item = stored[metaPlace(outputs, row, column)]!;
      for (let group = 0; group < 4; group += 1) {
        const [low, high] = [(item >> (4 * group)) & 3, (item >> (4 * group + 2)) & 3];
        if (low >= high)
          throw layerError(
            "M136",
            module,
            `\`meta\` has the positions ${low} and ${high} for columns ${16 * column + 4 * group} to ${16 * column + 4 * group + 3} of row ${row}; expected two that rise`,
          );
        const at = (row * inputs) / 2 + 8 * column + 2 * group;
        positions[at] = low;
        positions[at + 1] = high;
      }
    }
  return positions;
}

/**
 * The same, written: as the library's packer does it, which takes positions from the codes that are not zero, and fills
 * up where there are fewer than two.
 */
export const marlin24Writer: GridWriter = {
  name: "marlin-24",
  layer(module, facts) {
    const { outputs, inputs } = module;
    const { bits, group } = facts;
    if (!facts.isSparse) return "`marlin-24` holds 2:4 only";
    if (!facts.symmetric) return "`marlin-24` holds symmetric codes only";
    if (bits !== 4 && bits !== 8) return `\`marlin-24\` has codes of 4 or 8 bits, not ${bits}`;
    if (group !== "channel" && group !== 128) return `\`marlin-24\` has groups of 128 or a row, not of ${group}`;
    if (outputs % 64 !== 0 || inputs % 32 !== 0)
      return `\`marlin-24\` holds multiples of [64, 32], not [${outputs}, ${inputs}]`;
    const groups = groupCount(module, facts);
    const tiles = inputs / 32;
    return {
      parts: [
        { part: "weight_packed", dtype: "I32", shape: [tiles, (outputs * bits) / 2] },
        { part: "scale_packed", dtype: "F16", shape: [groups, outputs] },
        { part: "meta", dtype: "I16", shape: [tiles, 2 * outputs] },
      ],
      byRows: false,
      bytes({ scales, codes }) {
        const middle = 2 ** (bits - 1);
        const positions = new Uint8Array((outputs * inputs) / 2);
        const meta = new Uint16Array(2 * outputs * tiles);
        for (let row = 0; row < outputs; row += 1)
          for (let column = 0; column < inputs; column += 4) {
            const first = row * inputs + column;
            const kept = [0, 1, 2, 3].filter((at) => codes[first + at] !== middle);
            const [low, high] = filledUp(kept);
            positions[first / 2] = low;
            positions[first / 2 + 1] = high;
            const place = metaPlace(outputs, row, column >> 4);
            meta[place] = meta[place]! | ((low | (high << 2)) << (column & 12));
          }
        const words = new Uint32Array((tiles * outputs * bits) / 2);
        eachCode(module, bits, (word, shift, output, entry) => {
          const position = positions[output * (inputs / 2) + entry]!;
          words[word] = words[word]! | (codes[output * inputs + 4 * (entry >> 1) + position]! << shift);
        });
        return [bytesOf(words), scaleBytes(packedScales(module, group, scales, groups), "F16"), bytesOf(meta)];
      },
    };
  },
};

/** Two positions that hold those of what is not zero. */
function filledUp([first, second]: readonly number[]): readonly [number, number] {
  if (second !== undefined) return [first!, second];
  return first === 0 ? [0, 2] : first === 1 ? [1, 2] : [2, 3];
}

/** Scales [outputs, groups] as they are stored: what `scalesOf` reads. */
function packedScales(
  { outputs, inputs }: Module,
  group: number | "channel",
  scales: Float32Array,
  groups: number,
): Float32Array {
  const plain = turned(scales, outputs, groups);
  if (group === "channel" || group >= inputs / 2) return plain;
  return plain.map((_, at) => {
    const row = at % outputs;
    return plain[at - (row % 8) + scaleOrder[row % 8]!]!;
  });
}
