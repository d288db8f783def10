/** Pieces of so many columns of so many rows side by side, those of the next columns after them. */
export interface RowOrder {
  readonly rows: number;
  readonly columns: number;
}
