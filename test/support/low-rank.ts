/** Tensors with a correction of low rank. */
import { f16Bits } from "../../compiler/float.js";
import { formatOfSpec, shapeOf } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { numbers } from "./packed.js";

/** `lowrank(rank) of` a format. */
export function corrected(of: FormatSpec, rank: number): FormatSpec {
  return { name: "lowrank", args: { rank }, of };
}

/** Words of a random tensor [rows, columns] in that format, of 2:4 where the format asks it, and what they stand for. */
export function correctedWords(
  spec: FormatSpec,
  dims: readonly [number, number],
  seed: number,
): { readonly words: Uint32Array; readonly dense: Float32Array } {
  const shape = shapeOf(dims);
  const inner = spec.of ?? spec;
  const format = formatOfSpec(inner);
  const grid = format.grid(inner);
  const isSparse = format.pattern(inner) !== null;
  const values = Float32Array.from(numbers(shape.rows * shape.columns, seed), (value, at) =>
    isSparse && at % 4 > 1 ? 0 : value,
  );
  const groups = grid === null || grid.group === "channel" ? 0 : (shape.rows * shape.columns) / grid.group;
  const packed = format.encode(
    inner,
    shape,
    values,
    grid === null ? null : { scale: new Float32Array(groups).fill(0.25), zero: null },
  );
  if (spec.name !== "lowrank") return { words: packed, dense: format.decode(inner, shape, packed) };
  const sections = formatOfSpec(spec).sections(spec, shape);
  const last = sections.at(-1)!;
  const words = new Uint32Array(Math.ceil((last.offset + last.words) / 4) * 4);
  words.set(packed);
  const halves = new Uint16Array(words.buffer);
  const rank = Number(spec.args["rank"]);
  for (const [name, count] of [
    ["left", shape.rows * rank],
    ["right", rank * shape.columns],
  ] as const) {
    const { offset } = sections.find((section) => section.name === name)!;
    numbers(count, seed + count).forEach((value, at) => (halves[2 * offset + at] = f16Bits(value / 2)));
  }
  return { words, dense: formatOfSpec(spec).decode(spec, shape, words) };
}
