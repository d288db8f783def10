import type { FormatSpec } from "../../../../compiler/types/type.js";
import { scaledLayer } from "../grid.js";
import { layerError, readFloats, scaleTypes, tensorOf, type Container, type Module } from "../layer.js";
import { describeWeights, groupsOf, spreadBlocks, spreadScales, type WeightArguments } from "../weight-arguments.js";

/** The format of fp8 with scales of such groups. */
export function fp8Spec({ group }: Pick<WeightArguments, "group">): FormatSpec {
  return { name: "fp8_e4m3", args: { group: group ?? "channel" }, of: null };
}

/** Scales of fp8, one for each row and group. @throws ModelError M135 */
export function fp8Scales(
  module: Module,
  tensors: Parameters<Container["open"]>[1],
  args: WeightArguments,
): () => Promise<Float32Array> {
  const { shapes } = groupsOf(module, args);
  const scale = tensorOf(module, tensors, "weight_scale", scaleTypes, shapes);
  return async () => {
    const values = await readFloats(scale);
    return args.blockRows === null ? spreadScales(module, values) : spreadBlocks(module, args, values);
  };
}

/** Holds fp8 to be numbers. @throws ModelError M136 */
export function checkedFloats(module: Module, part: string, bytes: Uint8Array): Uint8Array {
  const bad = bytes.findIndex((byte) => (byte & 0x7f) === 0x7f);
  if (bad >= 0) throw layerError("M136", module, `\`${part}\` has a NaN, number ${bad}`);
  return bytes;
}

/** `float-quantized` of compressed-tensors, and `naive-quantized` of floats: fp8 (e4m3) times a scale. */
export function floatQuantized(name: string, args: WeightArguments): Container {
  return {
    name,
    what: describeWeights(args),
    needed: ["weight", "weight_scale"],
    // zero points of floats are all zero, and some tools write them
    possible: ["weight_zero_point"],
    async open(module, tensors) {
      const weight = tensorOf(module, tensors, "weight", ["F8_E4M3"], [[module.outputs, module.inputs]]);
      const scales = fp8Scales(module, tensors, args);
      const zero = tensors.get("weight_zero_point");
      if (zero !== undefined && (await zero.read()).some((byte) => (byte & 0x7f) !== 0))
        throw layerError("M136", module, "`weight_zero_point` of floats is not zero");
      return scaledLayer(module, {
        values: fp8Spec(args),
        isSparse: false,
        scales,
        items: async () => checkedFloats(module, "weight", await weight.read()),
      });
    },
  };
}
