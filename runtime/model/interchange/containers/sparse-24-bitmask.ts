import { getItems, newWords, sectionOf } from "../../../../compiler/formats/layout.js";
import { formatOfSpec, shapeOf } from "../../../../compiler/formats/registry.js";
import type { Strip } from "../../../../compiler/formats/strips.js";
import type { FormatSpec } from "../../../../compiler/types/type.js";
import { denseFormat } from "../../packed.js";
import { gridLayer, scaledLayer } from "../grid.js";
import { checkedFloats, fp8Scales, fp8Spec } from "./float-quantized.js";
import {
  checkShapeTensor,
  layerError,
  readFloats,
  scaleTypes,
  tensorOf,
  type Container,
  type LayerTensor,
  type LayerTensors,
  type Module,
} from "../layer.js";
import { packQuads } from "../pack.js";
import { describeWeights, groupsOf, spreadScales, type WeightArguments } from "../weight-arguments.js";
import { bytesOf, shapeBytes, type WrittenPart } from "../written.js";

/**
 * `sparse-24-bitmask` of compressed-tensors: the two values that are kept of every four, and a bit for each column that
 * is. A value that is kept may be zero. With a grid, values are the signed bytes of `int-quantized`, or the fp8 of
 * `float-quantized`.
 */
export function sparse24Bitmask(args: WeightArguments | null): Container {
  const parts = ["compressed", "bitmask", "shape"];
  return {
    name: "sparse-24-bitmask",
    what: args === null ? "2 of 4" : `2 of 4 of ${describeWeights(args)}`,
    needed: args === null ? parts : [...parts, "weight_scale"],
    possible: [],
    async open(module, tensors) {
      const { inputs } = module;
      if (inputs % 4 !== 0) throw layerError("M135", module, `its ${inputs} columns are no multiple of 4`);
      await checkShapeTensor(module, tensors, "shape", [[2, 1], [2]]);
      if (args === null) return floats(module, tensors);
      return args.type === "float" ? smallFloats(module, tensors, args) : integers(module, tensors, args);
    },
  };
}

function floats(module: Module, tensors: LayerTensors): Layer24 {
  const { mask, kept } = keptOf(module, tensors, scaleTypes);
  const bits = kept.dtype === "F32" ? 32 : 16;
  const shape = shapeOf([module.outputs, module.inputs]);
  const format: FormatSpec = { name: "nm", args: { n: 2, m: 4 }, of: denseFormat(kept.dtype) };
  return {
    format,
    pattern: { kind: "nm", n: 2, m: 4, axis: 1 },
    async words() {
      const sections = formatOfSpec(format).sections(format, shape);
      const words = newWords(sections);
      const { buffer, byteLength } = await kept.read();
      const items = bits === 32 ? new Uint32Array(buffer) : new Uint16Array(buffer, 0, byteLength / 2);
      const dense = bits === 32 ? new Uint32Array(2 * items.length) : new Uint16Array(2 * items.length);
      spread(module, await mask.read(), items, dense);
      packQuads(words, sections, dense, { bits, magnitude: bits === 32 ? 0x7fffffff : 0x7fff });
      return words;
    },
  };
}

type Layer24 = Awaited<ReturnType<Container["open"]>>;

function integers(module: Module, tensors: LayerTensors, args: WeightArguments): Promise<Layer24> {
  const { mask, kept } = keptOf(module, tensors, ["I8"]);
  const { shapes } = groupsOf(module, args);
  const scale = tensorOf(module, tensors, "weight_scale", scaleTypes, shapes);
  return gridLayer(module, {
    bits: 8,
    group: args.group ?? "channel",
    order: null,
    isSparse: true,
    zeros: null,
    scales: async () => spreadScales(module, await readFloats(scale)),
    async codes() {
      const dense = new Uint8Array(module.outputs * module.inputs);
      spread(module, await mask.read(), await kept.read(), dense);
      return dense.map((byte) => (byte + 128) & 0xff);
    },
  });
}

function smallFloats(module: Module, tensors: LayerTensors, args: WeightArguments): Promise<Layer24> {
  const { mask, kept } = keptOf(module, tensors, ["F8_E4M3"]);
  return scaledLayer(module, {
    values: fp8Spec(args),
    isSparse: true,
    scales: fp8Scales(module, tensors, args),
    async items() {
      const dense = new Uint8Array(module.outputs * module.inputs);
      spread(module, await mask.read(), checkedFloats(module, "compressed", await kept.read()), dense);
      return dense;
    },
  });
}

function keptOf(
  module: Module,
  tensors: LayerTensors,
  dtypes: readonly string[],
): { readonly mask: LayerTensor; readonly kept: LayerTensor } {
  const { outputs, inputs } = module;
  return {
    mask: tensorOf(module, tensors, "bitmask", ["U8"], [[outputs, Math.ceil(inputs / 8)]]),
    kept: tensorOf(module, tensors, "compressed", dtypes, [[outputs, inputs / 2]]),
  };
}

/** Puts entries where the mask says. @throws ModelError M136 where it has not two bits of every four */
function spread<T extends Uint8Array | Uint16Array | Uint32Array>(
  module: Module,
  mask: Uint8Array,
  entries: T,
  dense: T,
): void {
  const { outputs, inputs } = module;
  const perRow = Math.ceil(inputs / 8);
  for (let row = 0, entry = 0; row < outputs; row += 1)
    for (let column = 0; column < inputs; column += 4) {
      const four = (mask[row * perRow + (column >> 3)]! >> (column & 4)) & 15;
      let count = 0;
      for (let at = 0; at < 4; at += 1) {
        if (((four >> at) & 1) === 0) continue;
        if (count < 2) dense[row * inputs + column + at] = entries[entry]!;
        entry += 1;
        count += 1;
      }
      if (count !== 2)
        throw layerError(
          "M136",
          module,
          `\`bitmask\` keeps ${count} of columns ${column} to ${column + 3} of row ${row}; expected 2`,
        );
    }
}

/** The tensors of a layer in `nm(2, 4)` of floats of this type. */
export function sparse24Parts({ outputs, inputs }: Module, dtype: "F32" | "F16" | "BF16"): readonly WrittenPart[] {
  return [
    { part: "bitmask", dtype: "U8", shape: [outputs, Math.ceil(inputs / 8)] },
    { part: "compressed", dtype, shape: [outputs, inputs / 2] },
    { part: "shape", dtype: "I64", shape: [2, 1], once: true },
  ];
}

/** Their bytes, from the words of some of its rows: the entries are those that they store, in their order. */
export function sparse24Bytes(
  module: Module,
  format: FormatSpec,
  { shape, words }: Pick<Strip, "shape" | "words">,
): readonly Uint8Array[] {
  const { rows: outputs, columns: inputs } = shape;
  const sections = formatOfSpec(format).sections(format, shape);
  const entries = (outputs * inputs) / 2;
  const positions = getItems(words, sectionOf(sections, "index"), 2, entries);
  const perRow = Math.ceil(inputs / 8);
  const mask = new Uint8Array(outputs * perRow);
  for (let entry = 0; entry < entries; entry += 1) {
    const row = Math.floor(entry / (inputs / 2));
    const column = 4 * ((entry - (row * inputs) / 2) >> 1) + positions[entry]!;
    const byte = row * perRow + (column >> 3);
    mask[byte] = mask[byte]! | (1 << (column & 7));
  }
  const values = getItems(words, sectionOf(sections, "values"), format.of?.name === "f32" ? 32 : 16, entries);
  return [mask, bytesOf(values as Uint16Array | Uint32Array), shapeBytes(module)];
}
