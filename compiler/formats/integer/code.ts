/** How kernels read and write int8 to int2. */
import { InternalError } from "../../diagnostic.js";
import {
  add,
  bitAnd,
  bitcast,
  call,
  convert,
  div,
  equal,
  f32,
  notEqual,
  round,
  select,
  shiftLeft,
  shiftRight,
  u32,
} from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { ElementCode, FormatCode } from "../code/code.js";
import type { Format } from "../format.js";
import { plainCode } from "../plain/code.js";
import {
  codeRange,
  int2Format,
  int3Format,
  int4Format,
  int5Format,
  int6Format,
  int8Format,
  isSymmetric,
} from "./meaning.js";

function integerElement(bits: number, symmetric: boolean): ElementCode {
  const { low, high } = codeRange(bits, symmetric);
  const mask = 2 ** bits - 1;
  const at = (word: Expr, position: number): Expr => {
    if (!symmetric) return convert("f32", bitAnd(shiftRight(word, position * bits), mask));
    // Up to the top, so that the shift back extends the sign.
    return convert("f32", shiftRight(bitcast("i32", shiftLeft(word, 32 - (position + 1) * bits)), 32 - bits));
  };
  return {
    bits,
    integer: true,
    read: (_build, word) => at(word, 0),
    readAll: (_build, word, count) => upTo(count).map((position) => at(word, position)),
    write(build, value, scale, zero) {
      if (scale === null) throw new InternalError("integer codes need a scale");
      const steps = select(equal(scale, 0), f32(0), div(value, select(equal(scale, 0), f32(1), scale)));
      const code = call("clamp", [round(zero === null ? steps : add(steps, zero)), f32(low), f32(high)]);
      return build.bind("code", bitAnd(bitcast("u32", convert("i32", code)), mask));
    },
    isNonzero: (code, zero) => notEqual(code, zero === null ? u32(0) : convert("u32", zero)),
  };
}

function integerCode(format: Format, bits: number): FormatCode {
  const [symmetric, asymmetric] = [integerElement(bits, true), integerElement(bits, false)];
  return plainCode(format, (spec) => (isSymmetric(spec) ? symmetric : asymmetric));
}

export const int2Code: FormatCode = integerCode(int2Format, 2);
export const int3Code: FormatCode = integerCode(int3Format, 3);
export const int4Code: FormatCode = integerCode(int4Format, 4);
export const int5Code: FormatCode = integerCode(int5Format, 5);
export const int6Code: FormatCode = integerCode(int6Format, 6);
export const int8Code: FormatCode = integerCode(int8Format, 8);
