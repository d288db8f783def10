/** Literals in WGSL, exact to the bit. */
import type { ScalarType } from "../kernel/kernel.js";

/**
 * The literal as WGSL text. Infinities and NaN, which may not stand in constant expressions, and -0 go through
 * `hide("u32", bits)`, which makes a value that the compiler takes for computed.
 */
export function wgslLiteral(type: ScalarType, value: number, hide: (type: ScalarType, text: string) => string): string {
  switch (type) {
    case "bool":
      return value !== 0 ? "true" : "false";
    case "u32":
      return `${value}u`;
    case "i32":
      return value === -0x80000000 ? "i32(-2147483648)" : `${value}i`;
    case "f32":
      return special(value, hide) ?? f32Text(value);
    case "f16": {
      const text = special(value, hide);
      return text === null ? `${decimal(String(value))}h` : `f16(${text})`;
    }
    default:
      return type satisfies never;
  }
}

function special(value: number, hide: (type: ScalarType, text: string) => string): string | null {
  // Constants of -0 come out as 0.
  if (Number.isFinite(value) && !Object.is(value, -0)) return null;
  const bits =
    value === 0 ? "0x80000000u" : Number.isNaN(value) ? "0x7fc00000u" : value > 0 ? "0x7f800000u" : "0xff800000u";
  return `bitcast<f32>(${hide("u32", bits)})`;
}

/** The shortest decimal that gives the value; denormals, which a compiler may flush, as bits. */
function f32Text(value: number): string {
  const size = Math.abs(value);
  if (size > 0 && size < 2 ** -126)
    return `bitcast<f32>(${value < 0 ? "0x8" : "0x0"}${(size / 2 ** -149).toString(16).padStart(7, "0")}u)`;
  for (let digits = 1; digits <= 9; digits++) {
    const text = value.toPrecision(digits);
    // Above the largest f32 even a decimal that rounds to it is refused.
    if (Math.fround(Number(text)) === value && Math.abs(Number(text)) <= 3.4028234663852886e38)
      return `${decimal(String(Number(text)))}f`;
  }
  return `${decimal(String(value))}f`;
}

/** With a point, so that it reads as a float. */
function decimal(text: string): string {
  return /[.e]/.test(text) ? text : `${text}.0`;
}
