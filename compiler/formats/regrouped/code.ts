/** How kernels read and write `regrouped of V`. */
import { InternalError } from "../../diagnostic.js";
import { add, mul, sub } from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { FormatSpec } from "../../types/type.js";
import type { Build, FormatCode, PackSource, Stored, WordReader } from "../code/code.js";
import { packItems, quotient, readItem } from "../code/layout.js";
import { readGrid } from "../code/scales.js";
import type { Format, Grid, Section, Shape } from "../format.js";
import { sectionOf } from "../layout.js";
import { groupColumns } from "../scales.js";
import { groupedSpec } from "./meaning.js";

/** The code of that format; `codeOf` gives that of V. */
export function regroupedCode(format: Format, codeOf: (values: FormatSpec) => FormatCode): FormatCode {
  const elementOf = (spec: FormatSpec): ReturnType<NonNullable<FormatCode["element"]>> => {
    const { element } = codeOf(groupedSpec(spec));
    if (element === null) throw new InternalError(`${groupedSpec(spec).name} does not store single values`);
    return element(groupedSpec(spec));
  };

  function gridOf(spec: FormatSpec): Grid {
    const grid = format.grid(spec);
    if (grid === null) throw new InternalError(`${spec.name} has no grid`);
    return grid;
  }

  /** What a code of this column stands for. */
  function scaled(
    spec: FormatSpec,
    shape: Shape,
    layout: readonly Section[],
    read: WordReader,
    row: Expr,
    column: Expr,
    code: Expr,
  ): Expr {
    const grid = gridOf(spec);
    const group = read.bind("of", read.word(sectionOf(layout, "groups"), column));
    const { scale, zero } = readGrid(grid, shape, layout, read, row, mul(group, groupColumns(grid, shape)));
    return mul(zero === null ? code : sub(code, zero), scale);
  }

  function locate(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, column: Expr): Expr {
    const one = elementOf(spec);
    const layout = format.sections(spec, shape);
    const index = read.bind("index", add(mul(row, shape.columns), column));
    const code = one.read(read, readItem(read, sectionOf(layout, "values"), one.bits, index));
    return scaled(spec, shape, layout, read, row, column, code);
  }

  function stored(spec: FormatSpec, shape: Shape, read: WordReader, row: Expr, at: Expr): Stored {
    const size = format.unit(spec, shape);
    if (size === null) throw new InternalError(`regrouped has no units at ${shape.columns} columns`);
    const layout = format.sections(spec, shape);
    const index = read.bind("unit", add(mul(row, shape.columns / size.columns), at));
    const word = read.bind("values", read.word(sectionOf(layout, "values"), index));
    const codes = elementOf(spec).readAll(read, word, size.columns);
    const entries = upTo(size.columns).map((column) => ({
      column,
      value: read.bind(
        "value",
        scaled(spec, shape, layout, read, row, add(mul(at, size.columns), column), codes[column]!),
      ),
    }));
    return { entries, scale: null, zero: null };
  }

  function packed(
    spec: FormatSpec,
    shape: Shape,
    build: Build,
    section: string,
    word: Expr,
    source: PackSource,
  ): Expr | null {
    if (section !== "groups")
      return codeOf(groupedSpec(spec)).packed(groupedSpec(spec), shape, build, section, word, source);
    return packItems(build, 32, shape.columns, word, (index) => quotient(index, groupColumns(gridOf(spec), shape)));
  }

  return { locate, stored, packed, element: null, codes: null, halves: () => null };
}
