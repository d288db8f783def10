/** Ids of tokens. */

/** One above the largest id of a token. */
export const mostIds = 2 ** 24;

/** Whether a parsed value is an id. */
export function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < mostIds;
}
