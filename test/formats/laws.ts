/** The laws that hold the parts of a format together, as assertions about one tensor. */
import * as assert from "uvu/assert";
import { codeOf } from "../../compiler/formats/code/registry.js";
import type { Format, GridValues, Shape } from "../../compiler/formats/format.js";
import { formatOfSpec, formatWords, gridValues, scaleShape } from "../../compiler/formats/registry.js";
import {
  abs,
  add,
  assign,
  bitAnd,
  bitcast,
  convert,
  div,
  f32,
  forRange,
  ifThen,
  less,
  local,
  max,
  mul,
  rem,
  select,
  shiftLeft,
  shiftRight,
  store,
  sub,
  u32,
  variable,
} from "../../compiler/kernel/build.js";
import type { Kernel } from "../../compiler/kernel/kernel.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { elementAt, elementKernel, runKernel, wordBuffers, wordReader } from "../support/expressions.js";

/** A tensor and the grid it is to be packed on. */
export interface Sample {
  readonly spec: FormatSpec;
  readonly shape: Shape;
  readonly dense: Float32Array;
  readonly grid: GridValues | null;
}

/** The kernels that read and pack tensors of one spec and shape, by what they do. */
export interface LawKernels {
  readonly locate: Kernel;
  /** Null where the shape has no units. */
  readonly stored: Kernel | null;
  /** Null where units are no integer codes. */
  readonly codes: Kernel | null;
  /** Null where the format packs on the host only. */
  readonly packed: Kernel | null;
}

/** Makes them. */
export function lawKernels(spec: FormatSpec, shape: Shape): LawKernels {
  return {
    locate: locateKernel(spec, shape),
    stored: storedKernel(spec, shape),
    codes: codesKernel(spec, shape),
    packed: packedKernel(spec, shape),
  };
}

function locateKernel(spec: FormatSpec, shape: Shape): Kernel {
  const count = shape.rows * shape.columns;
  return elementKernel(
    count,
    { ...wordBuffers(spec, shape), out: { element: "f32", length: count } },
    (build, id, put) =>
      put(id, codeOf(spec).locate(spec, shape, wordReader(build), div(id, shape.columns), rem(id, shape.columns))),
  );
}

function storedKernel(spec: FormatSpec, shape: Shape): Kernel | null {
  const format = formatOfSpec(spec);
  const unit = format.unit(spec, shape);
  if (unit === null) return null;
  assert.is(unit.scaleColumns % unit.columns, 0, "a unit lies in one group of the grid");
  assert.is(shape.columns % unit.columns, 0, "a unit lies in one row");
  const units = shape.columns / unit.columns;
  const count = shape.rows * shape.columns;
  return elementKernel(
    shape.rows * units,
    { ...wordBuffers(spec, shape), out: { element: "f32", length: count } },
    (build, id, put) => {
      const { entries, scale, zero } = codeOf(spec).stored(
        spec,
        shape,
        wordReader(build),
        div(id, units),
        rem(id, units),
      );
      assert.is(entries.length, unit.entries);
      for (const { column, value } of entries) {
        if (typeof column === "number") assert.ok(column >= 0 && column < unit.columns, "a column lies in its unit");
        put(
          add(mul(id, unit.columns), typeof column === "number" ? u32(column) : column),
          mul(sub(value, zero ?? f32(0)), scale ?? f32(1)),
        );
      }
    },
  );
}

function codesKernel(spec: FormatSpec, shape: Shape): Kernel | null {
  const { codes } = codeOf(spec);
  const layout = codes?.layout(spec, shape) ?? null;
  const unit = formatOfSpec(spec).unit(spec, shape);
  if (codes === null || layout === null || unit === null) return null;
  const units = shape.columns / unit.columns;
  const count = shape.rows * shape.columns;
  assert.equal(
    layout.words.flat().sort((a, b) => a - b),
    Array.from({ length: unit.entries }, (_, at) => at),
    "each entry is a byte of a word",
  );
  return elementKernel(
    shape.rows * units,
    { ...wordBuffers(spec, shape), out: { element: "f32", length: count } },
    (build, id, put) => {
      const held = codes.read(spec, shape, wordReader(build), div(id, units), rem(id, units));
      assert.is(held.words.length, layout.words.length);
      assert.is(held.positions === null, layout.dense);
      assert.is(held.zero !== null, layout.zero);
      layout.words.forEach((entries, word) =>
        entries.forEach((entry, byte) => {
          const code = shiftRight(bitcast("i32", shiftLeft(held.words[word]!, 24 - 8 * byte)), 24);
          // nibble g has the two positions of group g
          const position =
            held.positions === null
              ? u32(entry)
              : add(bitAnd(shiftRight(held.positions[entry >> 4]!, 2 * (entry & 15)), 3), 4 * (entry >> 1));
          const value = convert("f32", code);
          put(
            add(mul(id, unit.columns), position),
            mul(held.zero === null ? value : sub(value, held.zero), mul(held.scale, f32(layout.factor))),
          );
        }),
      );
    },
  );
}

function packedKernel(spec: FormatSpec, shape: Shape): Kernel | null {
  const format = formatOfSpec(spec);
  const sections = format.sections(spec, shape);
  const grid = scaleShape(spec, shape) ?? { rows: 1, columns: 1 };
  const groups = { element: "f32" as const, length: grid.rows * grid.columns };
  const buffers = {
    dense: { element: "f32" as const, length: shape.rows * shape.columns },
    scale: groups,
    zero: groups,
    out: { element: "u32" as const, length: formatWords(spec, shape) },
  };
  const longest = Math.max(...sections.map((section) => section.words));
  let packs = true;
  let mosts = 0;
  const kernel = elementKernel(longest, buffers, (build, id) => {
    for (const section of sections) {
      // Beyond the end of a shorter section its last word is made again, and not stored.
      const word = build.bind("word", select(less(id, section.words), id, u32(section.words - 1)));
      const packed = codeOf(spec).packed(spec, shape, build, section.name, word, {
        value: (row, column) => elementAt("dense", shape.columns, row, column),
        scale: (row, group) => elementAt("scale", grid.columns, row, group),
        zero: (row, group) => elementAt("zero", grid.columns, row, group),
        mostScale(row, count) {
          const name = `most_${(mosts += 1)}`;
          const most = local(name, "f32");
          build.add(variable(name, f32(0)));
          const own = elementAt("scale", grid.columns, row, local(`at_${mosts}`, "u32"));
          build.add(forRange(`at_${mosts}`, 0, u32(count), [assign(name, max(most, abs(own)))]));
          return most;
        },
      });
      if (packed === null) packs = false;
      else build.add(ifThen(less(id, section.words), [store("out", add(id, section.offset), packed)]));
    }
  });
  return packs ? kernel : null;
}

/** decode(encode(x)) = x for values on the pattern and on the grid; encode(decode(w)) = w. Gives the words. */
export function roundTrips({ spec, shape, dense, grid }: Sample): Uint32Array {
  const format = formatOfSpec(spec);
  const words = format.encode(spec, shape, dense, grid);
  assert.is(words.length, formatWords(spec, shape));
  sameValues(format.decode(spec, shape, words), dense, "decode(encode(x))");
  packsAgain(format, spec, shape, words);
  return words;
}

/** encode(decode(w)) = w for words that `encode` made, also of values off the grid. */
export function packsAgain(format: Format, spec: FormatSpec, shape: Shape, words: Uint32Array): void {
  sameWords(
    format.encode(spec, shape, format.decode(spec, shape, words), gridValues(spec, shape, words)),
    words,
    "encode(decode(w))",
  );
}

/** `locate` at every index, and scattering `stored` and `codes` over all units, give `decode`. */
export function readsAlike(kernels: LawKernels, spec: FormatSpec, shape: Shape, words: Uint32Array): void {
  const decoded = formatOfSpec(spec).decode(spec, shape, words);
  sameValues(new Float32Array(runKernel(kernels.locate, { words })), decoded, "locate");
  if (kernels.stored !== null) sameValues(new Float32Array(runKernel(kernels.stored, { words })), decoded, "stored");
  if (kernels.codes !== null) sameValues(new Float32Array(runKernel(kernels.codes, { words })), decoded, "codes");
}

/** `packed` gives every word of every section, the padding left alone. */
export function packsAlike(kernels: LawKernels, { spec, dense, grid }: Sample, words: Uint32Array): void {
  assert.is(kernels.packed === null, formatOfSpec(spec).packsOnHost, "what packs on the host alone says so");
  if (kernels.packed === null) return;
  const none = new Float32Array(1);
  const scale = grid?.scale ?? none;
  sameWords(new Uint32Array(runKernel(kernels.packed, { dense, scale, zero: grid?.zero ?? scale })), words, "packed");
}

/** All of them. */
export function holdsAllLaws(sample: Sample, kernels: LawKernels): void {
  const words = roundTrips(sample);
  readsAlike(kernels, sample.spec, sample.shape, words);
  packsAlike(kernels, sample, words);
}

/** Equality of values: -0.0 is 0, NaN is NaN. */
function sameValues(found: Float32Array, expected: Float32Array, what: string): void {
  assert.is(found.length, expected.length, what);
  const at = found.findIndex(
    (value, index) => !(value === expected[index] || (Number.isNaN(value) && Number.isNaN(expected[index]))),
  );
  assert.ok(at < 0, `${what}: element ${at} is ${found[at]}, not ${expected[at]}`);
}

function sameWords(found: Uint32Array, expected: Uint32Array, what: string): void {
  assert.is(found.length, expected.length, what);
  const at = found.findIndex((value, index) => value !== expected[index]);
  assert.ok(at < 0, `${what}: word ${at} is ${found[at]?.toString(16)}, not ${expected[at]?.toString(16)}`);
}
