import { groupOrder, gridLayer } from "../grid.js";
import {
  checkShapeTensor,
  readFloats,
  readIntegers,
  readWords,
  scaleTypes,
  tensorOf,
  type Container,
  type LayerTensors,
  type Module,
} from "../layer.js";
import { groupCount } from "../grid-values.js";
import { packColumns, packRows } from "../pack-words.js";
import { turned, unpackColumns, unpackRows } from "../pack.js";
import { describeWeights, groupsOf, spreadScales, type WeightArguments } from "../weight-arguments.js";
import { bytesOf, scaleBytes, shapeBytes, type GridWriter, type WrittenPart } from "../written.js";

/**
 * `pack-quantized` of compressed-tensors: codes, moved up to be unsigned, lie low first in the words of each row; zero
 * points in words down the rows. `weight_g_idx` has the group of each column where a method chose them.
 */
export function packQuantized(args: WeightArguments): Container {
  const { bits } = args;
  return {
    name: "pack-quantized",
    what: describeWeights(args),
    needed: ["weight_packed", "weight_scale", "weight_shape", ...(args.symmetric ? [] : ["weight_zero_point"])],
    possible: args.group === null ? [] : ["weight_g_idx"],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      await checkShapeTensor(module, tensors, "weight_shape", [[2]]);
      const packed = tensorOf(module, tensors, "weight_packed", ["I32"], [[outputs, Math.ceil((inputs * bits) / 32)]]);
      const { groups, shapes } = groupsOf(module, args);
      const scale = tensorOf(module, tensors, "weight_scale", scaleTypes, shapes);
      const rows = scale.shape.length === 1 ? 1 : outputs;
      const zero = args.symmetric
        ? null
        : tensorOf(module, tensors, "weight_zero_point", ["I32"], [[Math.ceil((rows * bits) / 32), groups]]);
      return gridLayer(module, {
        bits,
        group: args.group ?? "channel",
        order: await orderOf(module, tensors, args),
        isSparse: false,
        scales: async () => spreadScales(module, await readFloats(scale)),
        zeros:
          zero === null
            ? null
            : async () =>
                spreadScales(module, turned(unpackColumns(await readWords(zero), rows, groups, bits), groups, rows)),
        codes: async () => unpackRows(await readWords(packed), outputs, inputs, bits),
      });
    },
  };
}

async function orderOf(module: Module, tensors: LayerTensors, { group }: WeightArguments): Promise<Uint32Array | null> {
  if (group === null || !tensors.has("weight_g_idx")) return null;
  const tensor = tensorOf(module, tensors, "weight_g_idx", ["I32", "I64"], [[module.inputs]]);
  const indices = await readIntegers(tensor);
  // what a quantiser that orders nothing leaves there
  return indices.every((index) => index === -1) ? null : groupOrder(module, "weight_g_idx", indices, group);
}

/** The same, written. What is zero in 2:4 is a code like any other. */
export const packQuantizedWriter: GridWriter = {
  name: "pack-quantized",
  layer(module, facts) {
    const { outputs, inputs } = module;
    const { bits, symmetric, isOrdered } = facts;
    // whose readers differ in whether codes cross words
    if (bits === 3) return "`pack-quantized` has codes of 2, 4 or 8 bits, not 3";
    const groups = groupCount(module, facts);
    const parts: readonly WrittenPart[] = [
      { part: "weight_packed", dtype: "I32", shape: [outputs, Math.ceil((inputs * bits) / 32)] },
      { part: "weight_scale", dtype: facts.scale, shape: [outputs, groups] },
      { part: "weight_shape", dtype: "I64", shape: [2], once: true },
      ...(symmetric
        ? []
        : [{ part: "weight_zero_point", dtype: "I32", shape: [Math.ceil((outputs * bits) / 32), groups] } as const]),
      ...(isOrdered ? [{ part: "weight_g_idx", dtype: "I32", shape: [inputs], once: true } as const] : []),
    ];
    return {
      parts,
      byRows: true,
      bytes({ scales, zeros, codes, order }) {
        const rows = scales.length / groups;
        return [
          bytesOf(packRows(codes, rows, inputs, bits)),
          scaleBytes(scales, facts.scale),
          shapeBytes(module),
          ...(symmetric ? [] : [bytesOf(packColumns(turned(zeros, rows, groups), rows, groups, bits))]),
          ...(isOrdered ? [bytesOf(order)] : []),
        ];
      },
    };
  },
};
