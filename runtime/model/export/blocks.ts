/** Tensors in the types of GGUF. */
import { roundF16, f16Bits } from "../../../compiler/float.js";

import { formatOfSpec, gridValues, shapeOf } from "../../../compiler/formats/registry.js";
import { stripsOf } from "../../../compiler/formats/strips.js";
import { elementCount } from "../../../compiler/types/shape.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import { toFloats, isFloatType } from "../elements.js";
import { nameInFile, interleaved } from "../gguf/tensors.js";
import { tensorTypeNumber, tensorTypes } from "../gguf/types.js";
import type { GgufLayout } from "../gguf/writer.js";
import { gridFacts, gridLayerOf, valuesOfGrid, type GridFacts, type GridLayer } from "../interchange/grid-values.js";
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
    const facts = await sameCodes(model, tensor, type);
    if (facts !== null) return yield* gridBlocks(model, tensor, type, facts);
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

/** What is known of a layer of integers on a grid whose codes blocks of a type have, too; null of any other. */
async function sameCodes(model: Model, { name, format, shape }: ModelTensor, type: string): Promise<GridFacts | null> {
  const facts = format === null ? null : gridFacts(format);
  if (facts === null || facts.isOrdered || (facts.group !== "channel" && facts.group % 32 !== 0)) return null;
  const { bits, symmetric } = facts;
  if (type === "Q4_1") return bits <= 4 ? facts : null;
  if (type === "Q4_0") {
    if (bits > 4) return null;
    const zeros = symmetric ? null : gridValues(format!, shapeOf(shape), await wordsOf(model, name))!.zero;
    return zeros === null || zeros.every((zero) => zero === middle(facts)) ? facts : null;
  }
  if (type !== "Q8_0") return null;
  if (bits <= 4 || symmetric) return facts;
  // signed bytes from the zero point on
  for (const { layer, group } of gridStrips(format!, facts, shape, await wordsOf(model, name)))
    for (let at = 0; at < layer.codes.length; at += 1) {
      const code = layer.codes[at]! - layer.zeros[Math.floor(at / group)]!;
      if (code < -128 || code > 127) return null;
    }
  return facts;
}

/** The zero point of codes that are symmetric. */
function middle({ bits }: GridFacts): number {
  return 2 ** (bits - 1);
}

/** Some rows of a layer on a grid, and the columns that share a scale. */
interface GridStrip {
  readonly module: Module;
  readonly layer: GridLayer;
  readonly group: number;
}

function* gridStrips(
  format: FormatSpec,
  facts: GridFacts,
  shape: readonly number[],
  words: Uint32Array<ArrayBuffer>,
): Generator<GridStrip> {
  for (const strip of stripsOf(format, shapeOf(shape), words)) {
    const { rows: outputs, columns: inputs } = strip.shape;
    const module: Module = { name: "", outputs, inputs };
    const group = facts.group === "channel" ? inputs : facts.group;
    yield { module, layer: gridLayerOf(format, facts, module, strip.words), group };
  }
}

/**
 * A layer of integers on a grid in blocks that have the same codes. Scales, and the minima of Q4_1, are rounded to f16
 * where that does not hold them.
 */
async function* gridBlocks(model: Model, tensor: ModelTensor, type: string, facts: GridFacts): Pieces {
  const { name, format, shape } = tensor;
  const words = await wordsOf(model, name);
  const meter = isHeld(tensor, type, facts, words) ? null : lossMeter();
  for (const strip of gridStrips(format!, facts, shape, words)) {
    yield blocksOf(strip, facts, type);
    meter?.add(valuesOfGrid(strip.module, strip.layer), roundedValues(strip, type));
  }
  return meter?.loss() ?? null;
}

function blocksOf({ layer: { scales, zeros, codes }, group }: GridStrip, facts: GridFacts, type: string): Uint8Array {
  const nibbles = type !== "Q8_0";
  // of fewer than four bits the codes of Q4_0 stand further up
  const up = type === "Q4_0" ? 8 - middle(facts) : 0;
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
  return new Uint8Array(bytes.buffer);
}

/** Whether f16 holds the scales, and the minima of Q4_1. */
function isHeld(
  { format, shape }: ModelTensor,
  type: string,
  facts: GridFacts,
  words: Uint32Array<ArrayBuffer>,
): boolean {
  const isExact = (value: number): boolean => roundF16(value) === value;
  const areExact = (scales: Float32Array, zero: (at: number) => number): boolean =>
    scales.every(isExact) && (type !== "Q4_1" || scales.every((scale, at) => isExact(scale * zero(at))));
  const grid = gridValues(format!, shapeOf(shape), words);
  if (grid !== null) return areExact(grid.scale, (at) => grid.zero?.[at] ?? middle(facts));
  for (const { layer } of gridStrips(format!, facts, shape, words))
    if (!areExact(layer.scales, (at) => layer.zeros[at]!)) return false;
  return true;
}

/** The values of some rows with scales and minima in f16. */
function roundedValues({ layer: { scales, zeros, codes }, group }: GridStrip, type: string): Float32Array {
  const values = new Float32Array(codes.length);
  for (let at = 0; at < values.length; at += 1) {
    const own = Math.floor(at / group);
    const scale = roundF16(scales[own]!);
    values[at] =
      type === "Q4_1" ? scale * codes[at]! + roundF16(-zeros[own]! * scales[own]!) : (codes[at]! - zeros[own]!) * scale;
  }
  return values;
}
