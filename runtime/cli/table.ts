import type { Output } from "./output.js";

/**
 * Text, a whole number, or a number with so many digits after the point; NaN is one that is not known. Numbers stand at
 * the right of their column.
 */
export type Cell = string | number | { readonly number: number; readonly digits: number };

/** A table with a bold header and columns as wide as their widest cell. */
export function table(header: readonly string[], rows: readonly (readonly Cell[])[], paint: Output["paint"]): string {
  const texts = rows.map((row) => row.map(cellText));
  const columns = header.map((title, column) => ({
    width: Math.max(title.length, ...texts.map((row) => (row[column] ?? "").length)),
    numeric: typeof rows[0]?.[column] !== "string",
  }));
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ width, numeric }, column) =>
        numeric ? (cells[column] ?? "").padStart(width) : (cells[column] ?? "").padEnd(width),
      )
      .join("  ")
      .trimEnd();
  return [paint.bold(line(header)), ...texts.map(line)].join("\n");
}

/** Names come from files: what a terminal would obey is shown as a replacement character. */
function cellText(cell: Cell): string {
  if (typeof cell === "object") return Number.isNaN(cell.number) ? "-" : cell.number.toFixed(cell.digits);
  return String(cell).replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
