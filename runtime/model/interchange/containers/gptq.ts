import { gridLayer, groupOrder } from "../grid.js";
import {
  layerError,
  readFloats,
  readIntegers,
  readWords,
  scaleTypes,
  tensorOf,
  type Container,
  type Module,
} from "../layer.js";
import { groupCount } from "../grid-values.js";
import { packColumns, packRows } from "../pack-words.js";
import { turned, unpackColumns, unpackRows } from "../pack.js";
import { bytesOf, scaleBytes, type GridWriter } from "../written.js";

/** What the config of a GPTQ checkpoint says. */
export interface GptqArguments {
  readonly bits: 2 | 3 | 4 | 8;
  /** Null: all columns of a row. */
  readonly group: number | null;
  readonly isOrdered: boolean;
  readonly symmetric: boolean;
  /**
   * How zero points are stored: as they are (`v2`), or less one: taken from each 32 bits as a whole number, with what
   * that borrows (`words`), from each so that 0 becomes the largest (`turns`), or from each by a tool that leaves no
   * trace of a zero point of 0 (`items`).
   */
  readonly zeros: "v2" | "words" | "turns" | "items";
}

/** GPTQ: codes low first down the columns of words [inputs * bits / 32, outputs], zero points along their rows. */
export function gptq(args: GptqArguments): Container {
  const { bits } = args;
  const grid = args.group === null ? "one scale a row" : `groups of ${args.group}`;
  return {
    name: args.zeros === "v2" ? "gptq_v2" : "gptq",
    what: `int${bits}, ${grid}, ${args.symmetric ? "symmetric" : "asymmetric"}${args.isOrdered ? ", groups in the order of activations" : ""}`,
    needed: ["qweight", "qzeros", "scales"],
    possible: ["g_idx"],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      const group = args.group ?? inputs;
      if (inputs % group !== 0)
        throw layerError("M135", module, `its ${inputs} columns are no multiple of the group of ${group}`);
      // what is packed is whole words, or what fills three of them
      const unit = bits === 3 ? 32 : 32 / bits;
      if (inputs % unit !== 0 || outputs % unit !== 0)
        throw layerError(
          "M135",
          module,
          `codes of ${bits} bits are packed by ${unit}, which does not divide [${outputs}, ${inputs}]`,
        );
      const groups = inputs / group;
      const weight = tensorOf(module, tensors, "qweight", ["I32"], [[(inputs * bits) / 32, outputs]]);
      const zero = tensorOf(module, tensors, "qzeros", ["I32"], [[groups, (outputs * bits) / 32]]);
      const scale = tensorOf(module, tensors, "scales", scaleTypes, [[groups, outputs]]);
      const order = tensors.has("g_idx")
        ? groupOrder(
            module,
            "g_idx",
            await readIntegers(tensorOf(module, tensors, "g_idx", ["I32", "I64"], [[inputs]])),
            group,
          )
        : null;
      if (order !== null && !args.isOrdered)
        throw layerError("M135", module, "`g_idx` orders groups, but the config says `desc_act: false`");
      return gridLayer(module, {
        bits,
        order,
        group: args.group ?? "channel",
        isSparse: false,
        scales: async () => turned(await readFloats(scale), groups, outputs),
        zeros: async () => turned(zeroPoints(module, args, await readWords(zero), groups), groups, outputs),
        codes: async () => unpackColumns(await readWords(weight), inputs, outputs, bits),
      });
    },
  };
}

/** Zero points [groups, outputs] of the words that hold them. @throws ModelError M133 where that cannot be told */
function zeroPoints(
  module: Module,
  { bits, zeros }: GptqArguments,
  words: Uint32Array,
  groups: number,
): Uint8Array<ArrayBuffer> {
  const { outputs } = module;
  if (zeros === "words" && bits !== 3) {
    let ones = 0;
    for (let bit = 0; bit < 32; bit += bits) ones |= 1 << bit;
    return unpackRows(
      words.map((word) => word + ones),
      groups,
      outputs,
      bits,
    );
  }
  const items = unpackRows(words, groups, outputs, bits);
  if (zeros === "v2") return items;
  if (zeros === "words")
    throw layerError(
      "M133",
      module,
      "zero points of 3 bits as GPTQModel before 7.0.0 stores them are not less one: it adds constants that are no one for each",
    );
  const top = 2 ** bits - 1;
  // an item that is full is what is left of 0 - 1; tools differ in what else they do to the word then
  const full = zeros === "items" ? items.indexOf(top) : -1;
  if (full >= 0)
    throw layerError(
      "M133",
      module,
      `\`qzeros\` has ${top} for zero point ${full}, less one as \`gptq\` stores it: tools differ in what that stands for`,
    );
  return items.map((item) => (item + 1) & top);
}

/**
 * The same, written: zero points less one where all layers are symmetric (`gptq`, no zero point is 0 then), else as they
 * are (`gptq_v2`).
 */
export function gptqWriter(format: "gptq" | "gptq_v2"): GridWriter {
  return {
    name: format,
    layer(module, facts) {
      const { outputs, inputs } = module;
      const { bits } = facts;
      const unit = bits === 3 ? 32 : 32 / bits;
      if (inputs % unit !== 0 || outputs % unit !== 0)
        return `codes of ${bits} bits are packed by ${unit}, which does not divide [${outputs}, ${inputs}]`;
      const groups = groupCount(module, facts);
      return {
        parts: [
          { part: "g_idx", dtype: "I32", shape: [inputs] },
          { part: "qweight", dtype: "I32", shape: [(inputs * bits) / 32, outputs] },
          { part: "qzeros", dtype: "I32", shape: [groups, (outputs * bits) / 32] },
          { part: "scales", dtype: "F16", shape: [groups, outputs] },
        ],
        byRows: false,
        bytes({ scales, zeros, codes, order }) {
          const stored = turned(zeros, outputs, groups);
          if (format === "gptq") for (let at = 0; at < stored.length; at += 1) stored[at] = stored[at]! - 1;
          return [
            bytesOf(order),
            bytesOf(packColumns(codes, inputs, outputs, bits)),
            bytesOf(packRows(stored, groups, outputs, bits)),
            scaleBytes(turned(scales, outputs, groups), "F16"),
          ];
        },
      };
    },
  };
}
