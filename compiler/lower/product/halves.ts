/** Units of packed weights as f16, for the matrices of subgroups. */
import { codeOf } from "../../formats/code/registry.js";
import type { HalfReader, WordReader } from "../../formats/code/code.js";
import type { ProductRows } from "../../graph/analysis/product.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";

/**
 * Piece `piece` (u32) of `count` columns of a row as words of two f16 each, the columns in the order of the side's reader,
 * else neighbours together; where an n:m pattern has no entry, zeros. Scales are applied in f32, and the product is
 * rounded once.
 */
export function halvesOf(
  {
    rows,
    reader,
  }: {
    readonly rows: Pick<ProductRows, "spec" | "shape" | "format">;
    readonly reader: Pick<HalfReader, "read"> | null;
  },
  build: KernelBuilder,
  read: WordReader,
  row: Expr,
  piece: Expr,
  count: number,
): readonly Expr[] {
  const { spec, shape, format } = rows;
  if (reader !== null) return reader.read(spec, shape, read, row, piece, count);
  const stored = codeOf(spec).stored(spec, shape, read, row, piece);
  const pattern = format.pattern(spec);
  const { n, m } = pattern?.kind === "nm" ? pattern : { n: 1, m: 1 };
  const entriesOf = new Map<number, number>();
  const columns = upTo(count).map((): Expr | null => null);
  for (const { column, value } of stored.entries) {
    const shifted = stored.zero === null ? value : k.sub(value, stored.zero);
    const scaled = build.bind("w", stored.scale === null ? shifted : k.mul(shifted, stored.scale));
    if (typeof column === "number") columns[column] = scaled;
    else {
      const { position, first } = positionOf(column);
      const at = build.bind("at", position);
      // positions rise: the last of two entries is never first of its group
      const before = entriesOf.get(first) ?? 0;
      entriesOf.set(first, before + 1);
      for (let place = before; place <= m - n + before; place++)
        columns[first + place] = k.select(k.equal(at, place), scaled, columns[first + place] ?? k.f32(0));
    }
  }
  return upTo(count / 2).map((pair) =>
    k.call("pack2x16float", [k.vector([columns[2 * pair] ?? k.f32(0), columns[2 * pair + 1] ?? k.f32(0)])]),
  );
}

/** A column which is data, `position + first`: the place in its group, and the group's first column. */
function positionOf(column: Expr): { readonly position: Expr; readonly first: number } {
  return column.kind === "binary" && column.op === "add" && column.b.kind === "literal"
    ? { position: column.a, first: column.b.value }
    : { position: column, first: 0 };
}
