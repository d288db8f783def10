/** How kernels read and write the single values of `element.ts`. */
import { bitAnd, bitcast, call, component, convert, notEqual, round, shiftLeft } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { ElementCode } from "./code.js";
import { bf16BitsExpr, f16BitsExpr } from "./half.js";

const f32Code: ElementCode = {
  bits: 32,
  read: (word) => bitcast("f32", word),
  readAll: (_build, word) => [bitcast("f32", word)],
  write: (_build, value) => bitcast("u32", value),
  isNonzero: (bits) => notEqual(shiftLeft(bits, 1), 0),
};

const f16Code: ElementCode = {
  bits: 16,
  read: (word) => component(unpackHalves(word), 0),
  readAll(build, word, count) {
    const pair = build.bind("pair", unpackHalves(word));
    return upTo(count).map((at) => component(pair, at));
  },
  write: (build, value) => f16BitsExpr(build, value),
  isNonzero: (bits) => notEqual(bitAnd(bits, 0x7fff), 0),
};

const bf16Code: ElementCode = {
  bits: 16,
  read: (word) => bitcast("f32", shiftLeft(word, 16)),
  readAll: (_build, word, count) =>
    [bitcast("f32", shiftLeft(word, 16)), bitcast("f32", bitAnd(word, 0xffff0000))].slice(0, count),
  write: (build, value) => bf16BitsExpr(build, value),
  isNonzero: f16Code.isNonzero,
};

const i32Code: ElementCode = {
  bits: 32,
  read: (word) => convert("f32", bitcast("i32", word)),
  readAll: (_build, word) => [convert("f32", bitcast("i32", word))],
  write: (_build, value) => bitcast("u32", convert("i32", round(value))),
  isNonzero: (bits) => notEqual(bits, 0),
};

const u32Code: ElementCode = {
  bits: 32,
  read: (word) => convert("f32", word),
  readAll: (_build, word) => [convert("f32", word)],
  write: (_build, value) => convert("u32", round(value)),
  isNonzero: i32Code.isNonzero,
};

/** The code of the elements without a grid, by the name of their dense format. */
export const plainElementCodes = { f32: f32Code, f16: f16Code, bf16: bf16Code, i32: i32Code, u32: u32Code } as const;

function unpackHalves(word: Expr): Expr {
  return call("unpack2x16float", [word]);
}
