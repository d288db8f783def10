/** How kernels read and write codebooks: the table is in the code. */
import { InternalError } from "../../diagnostic.js";
import { add, bitAnd, div, equal, f32, greater, notEqual, select, shiftRight, u32 } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type { ElementCode, FormatCode } from "../code/code.js";
import { plainCode } from "../plain/code.js";
import { bordersOf, codebookFormat, codeBits, tableOf } from "./meaning.js";

function codebookElement(spec: FormatSpec): ElementCode {
  const table = tableOf(spec);
  const bits = codeBits(table);
  const last = table.length - 1;
  const filled = upTo(2 ** bits).map((code) => table[Math.min(code, last)]!);
  /** The number at a code, by its bits from the highest on. */
  const find = (word: Expr, shift: number, bit: number, first: number): Expr => {
    if (bit < 0) return f32(filled[first]!);
    const [low, high] = [find(word, shift, bit - 1, first), find(word, shift, bit - 1, first + 2 ** bit)];
    return filled[first] === filled[first + 2 ** (bit + 1) - 1]
      ? low
      : select(notEqual(bitAnd(word, u32(2 ** (shift + bit))), 0), high, low);
  };
  const zero = table.indexOf(0);
  return {
    bits,
    integer: false,
    read: (build, word) => find(build.bind("code", word), 0, bits - 1, 0),
    readAll(build, word, count) {
      const whole = build.bind("codes", word);
      return upTo(count).map((at) => build.bind("value", find(whole, at * bits, bits - 1, 0)));
    },
    write(build, value, scale) {
      if (scale === null) throw new InternalError("codes of a table need a scale");
      const none = equal(scale, 0);
      const steps = build.bind("steps", select(none, f32(0), div(value, select(none, f32(1), scale))));
      return build.bind(
        "code",
        bordersOf(table)
          .map((border) => select(greater(steps, f32(border)), u32(1), u32(0)))
          .reduce((a, b) => add(a, b)),
      );
    },
    isNonzero: (code) => (zero < 0 ? equal(shiftRight(code, bits), 0) : notEqual(code, zero)),
  };
}

export const codebookCode: FormatCode = plainCode(codebookFormat, codebookElement);
