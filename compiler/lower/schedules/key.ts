/** What choices of schedules are kept by: what an equation computes, as far as it decides which cut is fast. */
import { printFormat } from "../../formats/registry.js";
import type { Attention } from "../../graph/analysis/attention.js";
import type { Product, ProductTerm } from "../../graph/analysis/product.js";
import { extent } from "../../graph/analysis/ranges.js";
import { constantOf, scalarReductions, withoutCasts } from "../../graph/scalar.js";
import { powerOfTwoFrom } from "../../types/shape.js";
import type { Lowering } from "../toolkit/lowering.js";

export interface ScheduleKey {
  readonly text: string;
  /** The same of equations that may become one dispatch, and then have to be cut alike: without their rows. */
  readonly family: string;
}

/**
 * Sizes that are near each other are one: of a size its four highest bits, rounded up. Sizes of most models are
 * themselves.
 */
function bucket(size: number): number {
  const step = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, size))) - 3);
  return Math.ceil(size / step) * step;
}

/** Tokens: one by one as far as products of integers go, then powers of two. */
function tokenBucket(tokens: number): number {
  return tokens <= 8 ? tokens : powerOfTwoFrom(tokens);
}

/** Of a product. */
export function productKey(lowering: Lowering, product: Product): ScheduleKey {
  const { sizes, terms } = product;
  const rights = terms.map(({ rows }) => (rows === null ? "computed" : printFormat(rows.spec)));
  const around = [
    `m=${tokenBucket(sizes.m)}`,
    `k=${[...new Set(terms.map(columnsOf))].join("|")}`,
    ...(sizes.batch === 1 ? [] : [`batch=${bucket(sizes.batch)}`]),
    `${leftOf(lowering, product)} * ${rights.join(" | ")}`,
  ];
  const family = around.join(" ");
  return { text: `product n=${bucket(sizes.n)} ${family}`, family };
}

/** Of an attention that may have so many keys. */
export function attentionKey(
  { sizes, queryCount, groupCount, key }: Attention,
  keys: number,
  dtype: string,
): ScheduleKey {
  const text = [
    "attention",
    `queries=${tokenBucket(queryCount)}`,
    `groups=${bucket(groupCount)}`,
    `keys=${powerOfTwoFrom(keys)}`,
    `head=${sizes.key}|${sizes.value}`,
    dtype,
    ...(key.guarded ? ["in pages"] : []),
  ].join(" ");
  return { text, family: text };
}

function leftOf({ graph, packs }: Lowering, { terms }: Product): string {
  const [first] = terms;
  const rows = first?.leftRows ?? null;
  if (first === undefined) return "nothing";
  if (rows === null) return first.left.some((factor) => scalarReductions(factor).length > 0) ? "normed" : "computed";
  const pack = packs.get(rows.load.tensor);
  if (pack === undefined) return printFormat(rows.spec);
  const whole = scalarReductions(pack.value).length > 0 ? "normed" : withoutCasts(pack.value).kind;
  return `${printFormat(rows.spec)} of ${whole === "load" ? graph.values[rows.load.tensor]!.type.dtype : whole}`;
}

/** The columns that a sum runs over, in words. */
function columnsOf({ column, around }: ProductTerm): string {
  const [low, high] = [constantOf(column.low), constantOf(column.high)];
  const columns = low === null || high === null ? "data" : String(bucket(Math.max(0, high - low)));
  return [columns, ...around.map((range) => bucket(extent(range)))].join(" x ");
}
