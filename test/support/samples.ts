/** Tensors to pack, drawn by fast-check: values on the pattern and on the grid of a format, at awkward sizes. */
import fc from "fast-check";
import type { ScaleType, Shape } from "../../compiler/formats/format.js";
import { bf16Bits, bf16FromBits, f16FromBits, roundF16, roundSignificand } from "../../compiler/float.js";
import { completeFormat, formatOfSpec, normalizeFormat, scaleShape } from "../../compiler/formats/registry.js";
import { roundZero } from "../../compiler/formats/scales.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { blockValues } from "./block-samples.js";
import type { Sample } from "../formats/laws.js";

/** A spec with its defaults, from the short form of its parts. */
export function spec(name: string, args: FormatSpec["args"] = {}, of: FormatSpec | null = null): FormatSpec {
  const normal = normalizeFormat({ name, args, of });
  if (typeof normal === "string") throw new Error(normal);
  return normal;
}

/** Values that a dense format holds exactly, the extremes among them. */
function exactValues(format: FormatSpec): fc.Arbitrary<number> {
  const { name } = format;
  switch (name) {
    case "f32":
      return fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1, -1, 1e-45, 3.4028234663852886e38));
    case "f16":
      return fc.oneof(
        fc
          .integer({ min: 0, max: 0xffff })
          .filter((bits) => (bits & 0x7c00) !== 0x7c00)
          .map(f16FromBits),
        fc.constantFrom(0, -0, 65504, -65504, 2 ** -24, -(2 ** -24), 2 ** -14 - 2 ** -24, 2 ** -14),
      );
    case "bf16":
      return fc.oneof(
        fc
          .float({ noNaN: true, noDefaultInfinity: true, max: 2 ** 100, min: -(2 ** 100) })
          .map((value) => bf16FromBits(bf16Bits(value))),
        fc.constantFrom(0, -0),
      );
    case "i32":
      return fc.integer({ min: -(2 ** 24), max: 2 ** 24 });
    case "u32":
      return fc.integer({ min: 0, max: 2 ** 24 });
    default:
      return fc.constantFrom(...unscaled(format));
  }
}

const narrow = fc.float({ min: Math.fround(2 ** -10), max: 8, noNaN: true });
const scales: { readonly [T in ScaleType]: fc.Arbitrary<number> } = {
  f16: fc.oneof(narrow.map(roundF16), fc.constantFrom(0, 1, 2 ** -24, 2 ** -15, 65504)),
  bf16: fc.oneof(
    narrow.map((value) => roundSignificand(value, 8)),
    fc.constantFrom(0, 1, 2 ** -40, 2 ** 30),
  ),
  fp8_e4m3: fc.oneof(
    narrow.filter((value) => value >= 2 ** -6).map((value) => roundSignificand(value, 4)),
    fc.constantFrom(0, 1, 2 ** -6, 448),
  ),
  // codes, of which the first of a row is the largest
  int8: fc.integer({ min: -126, max: 126 }),
  // A power of two times few bits, so that code * scale is exact.
  f32: fc
    .tuple(fc.integer({ min: 1, max: 1023 }), fc.integer({ min: -40, max: 10 }))
    .map(([digits, exponent]) => digits * 2 ** exponent),
};

/** What the values of a format can be before they are scaled. */
function unscaled(format: FormatSpec): readonly number[] {
  const values = format.of ?? format;
  const { element } = formatOfSpec(values);
  if (element === null) throw new Error(`${values.name} does not store single values`);
  const one = element(values);
  return Array.from({ length: 2 ** one.bits }, (_, bits) => one.decode(bits)).filter(Number.isFinite);
}

/** A sample of a format at a shape, on its pattern and its grid. */
export function sampleOf(format: FormatSpec, shape: Shape): fc.Arbitrary<Sample> {
  const blocks = blockValues(format.name, shape);
  if (blocks !== null) return blocks.map((dense) => ({ spec: format, shape, dense, grid: null }));
  const grid = formatOfSpec(format).grid(format);
  const count = shape.rows * shape.columns;
  const keep = keptElements(format, shape);
  if (grid === null) {
    const values = fc.array(exactValues(format.of ?? format), { minLength: count, maxLength: count });
    return fc
      .tuple(values, keep)
      .map(([drawn, kept]) => ({
        spec: format,
        shape,
        dense: Float32Array.from(drawn, (value, at) => (kept[at] ? value : 0)),
        grid: null,
      }))
      .map((sample) => ({ ...sample, spec: completeFormat(format, shape, sample.dense) }));
  }
  const groups = scaleShape(format, shape)!;
  const groupCount = groups.rows * groups.columns;
  const all = unscaled(format);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const code = fc.oneof(fc.constantFrom(...all), fc.constantFrom(low, high));
  const zeros =
    grid.zero === "f16"
      ? fc.float({ min: -8, max: 24, noNaN: true }).map((value) => roundZero(grid, value))
      : fc.integer({ min: 0, max: Math.max(0, Math.floor(grid.high)) });
  return fc
    .tuple(
      fc.array(code, { minLength: count, maxLength: count }),
      fc.array(scales[grid.scale], { minLength: groupCount, maxLength: groupCount }),
      fc.array(zeros, { minLength: groupCount, maxLength: groupCount }),
      keep,
    )
    .map(([codes, scale, zero, kept]) => {
      const columns = shape.columns / groups.columns;
      const shifted = scale.map((size, at) =>
        grid.scale === "int8"
          ? (at % groups.columns === 0 ? 127 : size) * 2 ** (Math.floor(at / groups.columns) - 6)
          : size / 2 ** grid.shift,
      );
      const dense = Float32Array.from(codes, (value, at) => {
        const group = Math.floor(at / columns);
        return kept[at] ? Math.fround(value - (grid.symmetric ? 0 : zero[group]!)) * shifted[group]! : 0;
      });
      const held = { scale: Float32Array.from(shifted), zero: grid.symmetric ? null : Float32Array.from(zero) };
      const own = formatOfSpec(format).packsOnHost ? completeFormat(format, shape, dense, held) : format;
      return { spec: own, shape, dense, grid: held };
    });
}

/** Which elements may be other than zero: for n:m, n drawn positions of each group (values may make it fewer). */
function keptElements(format: FormatSpec, shape: Shape): fc.Arbitrary<readonly boolean[]> {
  const count = shape.rows * shape.columns;
  const pattern = formatOfSpec(format).pattern(format);
  if (pattern === null) return fc.constant(Array<boolean>(count).fill(true));
  if (pattern.kind === "masked")
    return fc.oneof(
      fc.array(fc.boolean(), { minLength: count, maxLength: count }),
      fc.constantFrom(true, false).map((all) => Array<boolean>(count).fill(all)),
    );
  const { n, m } = pattern;
  const positions = Array.from({ length: m }, (_, at) => at);
  const group = fc
    .oneof(
      { weight: 3, arbitrary: fc.shuffledSubarray(positions, { minLength: n, maxLength: n }) },
      { weight: 1, arbitrary: fc.shuffledSubarray(positions, { maxLength: n }) },
    )
    .map((chosen) => positions.map((at) => chosen.includes(at)));
  return fc.array(group, { minLength: count / m, maxLength: count / m }).map((groups) => groups.flat());
}
