/** Pieces of so many columns of so many rows side by side, those of the next columns after them. */
export interface RowOrder {
  readonly rows: number;
  readonly columns: number;
  /** Where the words of a piece are those that the format's `spread` makes of its own. */
  readonly spread?: true;
}

/** The same text for orders that are one. */
export function rowOrderText({ rows, columns, spread }: RowOrder): string {
  return `${rows} rows of ${columns}${spread === true ? " spread" : ""}`;
}
