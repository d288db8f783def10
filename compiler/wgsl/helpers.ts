/**
 * Functions that a module carries with it, for what WGSL does not require of its own: rounding to f16 bit for bit, and
 * the ends of the range. Drivers make NaN of tanh(89) and of infinity / 2^127, infinity of exp(NaN), -88 of log(0),
 * -6e-8 of 1.5 % 0.3, and lose the sine of large angles; WGSL allows all of it. They look at bits, since a compiler may
 * take it that there is no NaN.
 */
import type { Expr, KernelBinary, KernelType, KernelUnary } from "../kernel/kernel.js";
import { elementType, width } from "../kernel/kernel.js";

/** Ops that are written as a call of a function of the module, some of them only of floats. */
export type HelperOp =
  | Extract<KernelUnary, "round_f16" | "exp" | "log" | "sin" | "cos" | "tanh">
  | Extract<KernelBinary, "power" | "divide" | "remainder">;

/** A function of its own for each of them, and the one that the sine and the cosine call. */
type HelperName = HelperOp | "turned";

interface Helper {
  readonly name: string;
  readonly operands: readonly string[];
  /** Of f32. `hide_u32` keeps bits from being constants, where infinities and NaN are refused. */
  readonly text: string;
  /** What else the text calls. */
  readonly calls?: readonly HelperName[];
}

const turned = `// The binary digits of 1 / (2 pi), after a word of zeros.
const turn_digits = array<u32, 7>(0u, 0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u, 0x36d8a566u, 0x4f10e410u);

// The angle from -pi to pi that differs from x by whole turns (Payne & Hanek 1983).
fn total_turned(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  if (size <= 0x40490fdbu) {
    return x;
  }
  if (size >= 0x7f800000u) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  // |x| = m 2^(at - 32 - 32): of the digits, those from \`at\` on make the fraction of a turn
  let m = (bits & 0x7fffffu) | 0x800000u;
  let at = (size >> 23u) - 118u;
  let word = at >> 5u;
  let shift = at & 31u;
  let high = (turn_digits[word] << shift) | ((turn_digits[word + 1u] >> 1u) >> (31u - shift));
  let low = (turn_digits[word + 1u] << shift) | ((turn_digits[word + 2u] >> 1u) >> (31u - shift));
  let carried = (((m >> 12u) * (low >> 12u)) >> 8u) + (((m & 0xfffu) * (low >> 12u)) >> 20u);
  let angle = f32(bitcast<i32>(m * high + carried)) * 1.4629180792671596e-9f;
  return select(angle, -angle, bits != size);
}`;

const helpers: { readonly [Name in HelperName]: Helper } = {
  round_f16: {
    name: "round_f16",
    operands: ["x"],
    // on bits, because devices round and flush as they like when they convert to f16
    text: `// To the nearest f16 value, halves to even.
fn round_f16(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  let sign = bits & 0x80000000u;
  if (size < 0x38800000u) {
    // Below 2^-14 f16 values are the multiples of 2^-24.
    return bitcast<f32>(sign | bitcast<u32>(round(bitcast<f32>(size) * 16777216.0f) * 5.9604644775390625e-8f));
  }
  if (size >= 0x477ff000u) {
    return bitcast<f32>(sign | select(0x7f800000u, size, size > 0x7f800000u));
  }
  return bitcast<f32>(sign | ((size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u));
}`,
  },
  exp: {
    name: "total_exp",
    operands: ["x"],
    text: `// NaN of NaN.
fn total_exp(x: f32) -> f32 {
  return select(exp(x), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}`,
  },
  log: {
    name: "total_log",
    operands: ["x"],
    text: `// -infinity of zeros and what is flushed to them, infinity of itself, NaN of negative numbers and NaN.
fn total_log(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) < 0x800000u) {
    return bitcast<f32>(hide_u32(0xff800000u));
  }
  if (bits >= 0x7f800000u) {
    return bitcast<f32>(select(hide_u32(0x7fc00000u), bits, bits == 0x7f800000u));
  }
  return log(x);
}`,
  },
  turned: { name: "total_turned", operands: ["x"], text: turned },
  sin: {
    name: "total_sin",
    operands: ["x"],
    calls: ["turned"],
    text: "fn total_sin(x: f32) -> f32 { return sin(total_turned(x)); }",
  },
  cos: {
    name: "total_cos",
    operands: ["x"],
    calls: ["turned"],
    text: "fn total_cos(x: f32) -> f32 { return cos(total_turned(x)); }",
  },
  tanh: {
    name: "total_tanh",
    operands: ["x"],
    calls: ["exp"],
    text: `// Near 0 a polynomial (Moshier's Cephes), then by exp(-2 |x|), which does not overflow.
fn total_tanh(x: f32) -> f32 {
  let size = abs(x);
  if (size < 0.625f) {
    let s = x * x;
    let p = (((-5.70498872745e-3f * s + 2.06390887954e-2f) * s - 5.37397155531e-2f) * s + 1.33314422036e-1f) * s - 3.33332819422e-1f;
    return x + x * s * p;
  }
  let e = total_exp(-2.0f * size);
  let y = (1.0f - e) / (1.0f + e);
  return select(y, -y, x < 0.0f);
}`,
  },
  power: {
    name: "total_power",
    operands: ["x", "y"],
    text: `// 1 for y = 0, NaN of NaN and negative x, and the limits of zeros and infinity.
fn total_power(x: f32, y: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  if ((bitcast<u32>(y) & 0x7fffffffu) < 0x800000u) {
    return 1.0f;
  }
  if (size > 0x7f800000u || (bitcast<u32>(y) & 0x7fffffffu) > 0x7f800000u) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  if (size < 0x800000u) {
    return bitcast<f32>(select(hide_u32(0x7f800000u), 0u, y > 0.0f));
  }
  if (bits != size) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  if (size == 0x7f800000u) {
    return bitcast<f32>(select(0u, bits, y > 0.0f));
  }
  return pow(x, y);
}`,
  },
  divide: {
    name: "total_divide",
    operands: ["x", "y"],
    text: `// The reciprocal of what is larger than 2^126 would be subnormal: of those, a quarter divides.
fn total_divide(x: f32, y: f32) -> f32 {
  let scale = select(1.0f, 0.25f, abs(y) > 8.507059173023462e37f);
  return x / (y * scale) * scale;
}`,
  },
  remainder: {
    name: "total_remainder",
    operands: ["x", "y"],
    // by integers, since x - y * trunc(x / y) has the error of the quotient, which may be a whole one
    text: `// Exact: long division of the significands. NaN of infinity and NaN, and by NaN, zeros and what is flushed to them.
fn total_remainder(x: f32, y: f32) -> f32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  let by = bitcast<u32>(y) & 0x7fffffffu;
  if (size >= 0x7f800000u || by < 0x800000u || by > 0x7f800000u) {
    return bitcast<f32>(hide_u32(0x7fc00000u));
  }
  if (size < by) {
    return x;
  }
  let exponent = by >> 23u;
  let m = (by & 0x7fffffu) | 0x800000u;
  var rest = ((size & 0x7fffffu) | 0x800000u) % m;
  for (var left = (size >> 23u) - exponent; left > 0u && rest > 0u; left -= min(left, 8u)) {
    rest = (rest << min(left, 8u)) % m;
  }
  // rest 2^(exponent - 150), which may be subnormal or zero
  let normal = bitcast<u32>(f32(rest));
  let held = rest > 0u && (normal >> 23u) + exponent > 150u;
  return bitcast<f32>((bits & 0x80000000u) | select(rest << ((exponent - 1u) & 31u), normal + ((exponent - 150u) << 23u), held));
}`,
  },
};

/** The functions that a module turns out to need. */
export interface Helpers {
  /** The name to call for an op on operands of a type. */
  call(op: HelperOp, type: KernelType): string;
  /** Whether a text says `hide_u32`. */
  readonly hides: boolean;
  /** The functions, each followed by an empty line. */
  lines(): readonly string[];
}

/** Whether an op of one operand is written as a call of a helper. */
export function isHelperUnary(op: KernelUnary): op is Extract<HelperOp, KernelUnary> {
  return op in helpers;
}

/** Whether an op of two operands is written as a call of a helper: WGSL's own is right for integers and near 1. */
export function isHelperBinary(op: KernelBinary, a: Expr, b: Expr): op is Extract<HelperOp, KernelBinary> {
  const type = elementType(a.type);
  if (type !== "f32" && type !== "f16") return false;
  return op === "power" || op === "remainder" || (op === "divide" && !dividesInRange(a, b, type));
}

/**
 * Whether nothing is divided by that has a subnormal reciprocal, or at most 1 is, so that the quotient is subnormal,
 * too. For f16 WGSL has the limits of f32 at 2^14.
 */
function dividesInRange(a: Expr, b: Expr, type: "f32" | "f16"): boolean {
  if (a.kind === "literal" && Math.abs(a.value) <= 1) return true;
  const limit = type === "f32" ? 2 ** 126 : 2 ** 14;
  if (b.kind === "literal") return Math.abs(b.value) >= 1 / limit && Math.abs(b.value) <= limit;
  return type === "f32" && b.kind === "convert" && elementType(b.a.type) !== "f32";
}

/** The functions of one module: none at first. */
export function createHelpers(): Helpers {
  /** Ops in the order in which they are defined, and of each the types other than f32. */
  const used = new Map<HelperName, Set<KernelType>>();
  const use = (op: HelperName): Set<KernelType> => {
    const helper: Helper = helpers[op];
    for (const other of helper.calls ?? []) use(other);
    const known = used.get(op) ?? new Set<KernelType>();
    used.set(op, known);
    return known;
  };
  return {
    call(op, type) {
      const types = use(op);
      if (type !== "f32") types.add(type);
      return nameOf(helpers[op], type);
    },
    get hides() {
      return [...used.keys()].some((op) => helpers[op].text.includes("hide_u32"));
    },
    lines: () =>
      [...used].flatMap(([op, types]) => [
        helpers[op].text,
        "",
        ...[...types].flatMap((type) => [wrapper(helpers[op], type), ""]),
      ]),
  };
}

function nameOf({ name }: Helper, type: KernelType): string {
  const count = width(type);
  return `${name}${elementType(type) === "f16" ? "_half" : ""}${count === 1 ? "" : `_${count}`}`;
}

/** The function for another type: part by part, and f16 through f32. */
function wrapper(helper: Helper, type: KernelType): string {
  const half = elementType(type) === "f16";
  const count = width(type);
  const call = (part: string): string => {
    const operands = helper.operands.map((operand) => (half ? `f32(${operand}${part})` : `${operand}${part}`));
    return half ? `f16(${helper.name}(${operands.join(", ")}))` : `${helper.name}(${operands.join(", ")})`;
  };
  const parts = Array.from({ length: count }, (_, at) => call(count === 1 ? "" : `.${"xyzw"[at]}`));
  const result = count === 1 ? parts[0] : `${type}(${parts.join(", ")})`;
  const operands = helper.operands.map((operand) => `${operand}: ${type}`).join(", ");
  return `fn ${nameOf(helper, type)}(${operands}) -> ${type} { return ${result}; }`;
}
