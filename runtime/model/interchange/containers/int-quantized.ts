import { groupCount } from "../grid-values.js";
import { gridLayer } from "../grid.js";
import { layerError, readFloats, scaleTypes, tensorOf, type Container, type Module } from "../layer.js";
import { describeWeights, groupsOf, spreadScales, type WeightArguments } from "../weight-arguments.js";
import { scaleBytes, type GridWriter, type WrittenPart } from "../written.js";

/**
 * `int-quantized` of compressed-tensors, and `naive-quantized` of integers: a signed byte for each code, of up to 8
 * bits.
 */
export function intQuantized(name: string, args: WeightArguments): Container {
  const middle = 2 ** (args.bits - 1);
  /** Unsigned codes of signed bytes. @throws ModelError M136 where one has more bits than it should */
  function unsigned(module: Module, bytes: Uint8Array): Uint8Array {
    const codes = bytes.map((byte) => (byte + middle) & 0xff);
    const beyond = codes.findIndex((code) => code >= 2 * middle);
    if (beyond >= 0)
      throw layerError(
        "M136",
        module,
        `byte ${beyond} is ${(bytes[beyond]! << 24) >> 24}, no code of ${args.bits} bits`,
      );
    return codes;
  }
  return {
    name,
    what: describeWeights(args),
    needed: ["weight", "weight_scale", ...(args.symmetric ? [] : ["weight_zero_point"])],
    possible: args.symmetric ? ["weight_zero_point"] : [],
    async open(module, tensors) {
      const weight = tensorOf(module, tensors, "weight", ["I8"], [[module.outputs, module.inputs]]);
      const { shapes } = groupsOf(module, args);
      const scale = tensorOf(module, tensors, "weight_scale", scaleTypes, shapes);
      const zero = tensors.has("weight_zero_point")
        ? tensorOf(module, tensors, "weight_zero_point", ["I8"], [scale.shape])
        : null;
      return gridLayer(module, {
        bits: args.bits,
        group: args.group ?? "channel",
        order: null,
        isSparse: false,
        scales: async () => spreadScales(module, await readFloats(scale)),
        zeros: zero === null ? null : async () => spreadScales(module, unsigned(module, await zero.read())),
        codes: async () => unsigned(module, await weight.read()),
      });
    },
  };
}

/** The same of int8, written, for what multiplies activations in int8: readers of W8A8 look for it. */
export const intQuantizedWriter: GridWriter = {
  name: "int-quantized",
  layer(module, facts) {
    const { outputs, inputs } = module;
    if (facts.bits !== 8 || !facts.symmetric) return "`int-quantized` is written of symmetric int8";
    const parts: readonly WrittenPart[] = [
      { part: "weight", dtype: "I8", shape: [outputs, inputs] },
      { part: "weight_scale", dtype: facts.scale, shape: [outputs, groupCount(module, facts)] },
    ];
    return {
      parts,
      byRows: true,
      bytes: ({ scales, codes }) => [
        Uint8Array.from(codes, (code) => (code + 128) & 0xff),
        scaleBytes(scales, facts.scale),
      ],
    };
  },
};
