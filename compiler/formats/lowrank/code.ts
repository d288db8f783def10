/**
 * How kernels read `lowrank(rank) of F`: element by element. Products never do: they read the packed weight and both
 * factors each for itself (`graph/passes/low-rank.ts`).
 */
import { InternalError } from "../../diagnostic.js";
import { add, mul } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type { ElementCode, FormatCode } from "../code/code.js";
import { readItem } from "../code/layout.js";
import type { Format } from "../format.js";
import { sectionOf } from "../layout.js";
import { correctedSpec, rankOf } from "./meaning.js";

/** The code of that format; `codeOf` gives that of F, `half` that of numbers in f16. */
export function lowrankCode(
  format: Format,
  codeOf: (packed: FormatSpec) => FormatCode,
  half: () => ElementCode,
): FormatCode {
  return {
    locate(spec, shape, read, row, column) {
      const layout = format.sections(spec, shape);
      const rank = rankOf(spec);
      const item = (name: string, index: Expr): Expr =>
        half().read(read, readItem(read, sectionOf(layout, name), 16, index));
      const packed = codeOf(correctedSpec(spec)).locate(correctedSpec(spec), shape, read, row, column);
      return upTo(rank).reduce<Expr>((sum, at) => {
        const a = item("left", read.bind("at", add(mul(row, rank), at)));
        const b = item("right", read.bind("at", add(column, at * shape.columns)));
        return read.bind("sum", add(sum, mul(a, b)));
      }, packed);
    },
    stored() {
      throw new InternalError("lowrank has no units");
    },
    packed: () => null,
    element: null,
    codes: null,
    halves: () => null,
  };
}
