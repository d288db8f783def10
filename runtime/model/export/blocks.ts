/** Tensors in the types of GGUF. */
import { roundF16, f16Bits } from "../../../compiler/float.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { toFloats, isFloatType } from "../elements.js";
import { nameInFile, interleaved } from "../gguf/tensors.js";
import { tensorTypeNumber, tensorTypes } from "../gguf/types.js";
import type { GgufLayout } from "../gguf/writer.js";
import { gridFacts, gridLayerOf, valuesOfGrid, type GridLayer } from "../interchange/grid-values.js";
import type { Module } from "../interchange/layer.js";
import type { Model, ModelTensor } from "../model.js";
import { lossError, type Loss, type PlannedTensor, type PlanOptions } from "./plan.js";
import { fromFloats, lossMeter, plainType, rowsOf, wordsOf } from "./values.js";

const otherTypes = "or give another --type: q8_0 holds integers of 4 bits with any zero points, f32 everything";

/** Pieces of a tensor's bytes as they come about, and what was lost when the last has come. */
type Pieces = AsyncGenerator<Uint8Array, Loss | null>;

/** A tensor of the model in a type of GGUF, by its name there. */
export function plannedBlocks(
  model: Model,
  tensor: ModelTensor,
  type: string,
  options: PlanOptions,
): PlannedTensor<GgufLayout> {
  const { gguf, interleaved: isHeld } = nameInFile(model.config, tensor.name);
  const layout: GgufLayout = { name: gguf, type, shape: tensor.shape };
  return {
    source: tensor.name,
    parts: [layout],
    stored: type,
    async write(append) {
      // rows in another order: all of them at once
      const held: Uint8Array[] = [];
      const pieces = piecesOf(model, tensor, type);
      for (;;) {
        const { value, done } = await pieces.next();
        if (done === true) {
          if (value !== null && !options.requantize) throw lossError(tensor.name, type, value, otherTypes);
          if (isHeld) await append(layout, interleaved(Buffer.concat(held), tensor.shape[0]!, model.config.headDim));
          return value;
        }
        if (isHeld) held.push(value);
        else await append(layout, value);
      }
    },
  };
}

async function* piecesOf(model: Model, tensor: ModelTensor, type: string): Pieces {
  const { name, format, shape } = tensor;
  const dense = isFloatType(type) ? type : null;
  if (dense !== null && plainType(tensor) === dense) {
    for await (const { bytes } of model.chunks(name)) yield bytes;
    return null;
  }
  if (format !== null && format.name.toUpperCase() === type) {
    yield blockBytes(await wordsOf(model, name), type, elementCount(shape));
    return null;
  }
  if (dense === null) {
    const exact = await gridBlocks(model, tensor, type);
    if (exact !== null) {
      yield exact.bytes;
      return exact.loss;
    }
  }
  const meter = lossMeter();
  for await (const values of rowsOf(model, tensor)) {
    if (dense !== null) {
      const bytes = fromFloats(dense, values);
      meter.add(values, toFloats(dense, bytes));
      yield bytes;
      continue;
    }
    const spec = { name: type.toLowerCase(), args: {}, of: null };
    const columns = shape.at(-1)!;
    const own = shapeOf([values.length / columns, columns]);
    const words = formatOfSpec(spec).encode(spec, own, values, null);
    meter.add(values, formatOfSpec(spec).decode(spec, own, words));
    yield blockBytes(words, type, values.length);
  }
  return meter.loss();
}

/** The bytes of blocks without what fills their last word up. */
function blockBytes(words: Uint32Array, type: string, elements: number): Uint8Array {
  const { columns, bytes } = tensorTypes[tensorTypeNumber(type)]!;
  return new Uint8Array(words.buffer, words.byteOffset, (elements / columns) * bytes);
}

/**
 * A layer of integers on a grid in blocks that have the same codes: null where blocks have none for them. Scales, and
 * the minima of Q4_1, are rounded to f16 where that does not hold them.
 */
async function gridBlocks(
  model: Model,
  tensor: ModelTensor,
  type: string,
): Promise<{ readonly bytes: Uint8Array; readonly loss: Loss | null } | null> {
  const { name, format, shape } = tensor;
  const facts = format === null ? null : gridFacts(format);
  if (facts === null || facts.isOrdered || (facts.group !== "channel" && facts.group % 32 !== 0)) return null;
  const module: Module = { name, outputs: shape[0]!, inputs: shape[1]! };
  const layer = gridLayerOf(format!, facts, module, await wordsOf(model, name));
  const { scales, zeros, codes } = layer;
  const group = facts.group === "channel" ? module.inputs : facts.group;
  const nibbles = type === "Q4_0" || type === "Q4_1";
  if ((nibbles && facts.bits > 4) || !["Q4_0", "Q4_1", "Q8_0"].includes(type)) return null;
  // of fewer than four bits the codes of Q4_0 stand further up
  const up = type === "Q4_0" ? 8 - 2 ** (facts.bits - 1) : 0;
  if (type === "Q4_0" && zeros.some((zero) => zero + up !== 8)) return null;
  if (type === "Q8_0")
    for (let at = 0; at < codes.length; at += 1) {
      const code = codes[at]! - zeros[Math.floor(at / group)]!;
      if (code < -128 || code > 127) return null;
    }
  const span = tensorTypes[tensorTypeNumber(type)]!.bytes;
  const bytes = new DataView(new ArrayBuffer((codes.length / 32) * span));
  for (let block = 0, at = 0; at < codes.length; block += 1) {
    const own = Math.floor(at / group);
    const start = block * span;
    const [scale, zero] = [scales[own]!, zeros[own]!];
    bytes.setUint16(start, f16Bits(scale), true);
    if (type === "Q4_1") bytes.setUint16(start + 2, f16Bits(-zero * scale), true);
    if (nibbles) {
      const first = start + (type === "Q4_1" ? 4 : 2);
      for (let j = 0; j < 16; j += 1)
        bytes.setUint8(first + j, (codes[at + j]! + up) | ((codes[at + 16 + j]! + up) << 4));
    } else for (let j = 0; j < 32; j += 1) bytes.setInt8(start + 2 + j, codes[at + j]! - zero);
    at += 32;
  }
  return { bytes: new Uint8Array(bytes.buffer), loss: lossOf(module, layer, type) };
}

/** What rounding to f16 costs. */
function lossOf(module: Module, layer: GridLayer, type: string): Loss | null {
  const { scales, zeros } = layer;
  const isExact = (value: number): boolean => roundF16(value) === value;
  if (scales.every(isExact) && (type !== "Q4_1" || scales.every((scale, at) => isExact(scale * zeros[at]!))))
    return null;
  const meter = lossMeter();
  const before = valuesOfGrid(module, layer);
  const after = new Float32Array(before.length);
  const columns = before.length / scales.length;
  for (let at = 0; at < after.length; at += 1) {
    const group = Math.floor(at / columns);
    const scale = roundF16(scales[group]!);
    const code = layer.codes[at]!;
    after[at] =
      type === "Q4_1" ? scale * code + roundF16(-zeros[group]! * scales[group]!) : (code - zeros[group]!) * scale;
  }
  meter.add(before, after);
  return meter.loss();
}
