/**
 * `lowrank(rank) of F`: a tensor in the format F, and beside it a correction of low rank, a b with a [rows, rank] and
 * b [rank, columns] in f16: w[n, k] = F's value + sum[r] a[n, r] b[r, k]. Written `pack ... as F plus lowrank(a, b)`.
 *
 * The sections of F, and "left" (a) and "right" (b), row-major. The sum is zero nowhere for sure, whatever F keeps.
 */
import { f16FromBits } from "../../float.js";
import { InternalError } from "../../diagnostic.js";
import type { FormatOver, FormatSpec } from "../../types/type.js";
import { normalizeArguments } from "../arguments.js";
import type { Format, FormatParameter, Section, Shape } from "../format.js";
import { getItems, roundUp, sectionOf, totalWords, wordsFor } from "../layout.js";

const parameters: readonly FormatParameter[] = [{ kind: "number", name: "rank", words: [] }];

const name = "lowrank";

/** Whether a tensor in a format has a correction beside it. */
export function isCorrected<S>(format: FormatOver<S> | null): boolean {
  return format?.name === name;
}

/** `lowrank(rank) of F`, sizes as F has them. */
export function withCorrection<S>(rank: S, of: FormatOver<S>): FormatOver<S> {
  return { name, args: { rank }, of };
}

/** F of a normalized spec. */
export function correctedSpec(spec: FormatSpec): FormatSpec {
  if (spec.of === null) throw new InternalError("a low-rank format that is not normalized");
  return spec.of;
}

/** The columns of a, and the rows of b. */
export function rankOf(spec: FormatSpec): number {
  const rank = spec.args["rank"];
  if (typeof rank !== "number") throw new InternalError("a low-rank format that is not normalized");
  return rank;
}

/** The format for tensors in these formats. */
export function lowrankFormat(others: readonly Format[]): Format {
  function formatOf(spec: FormatSpec): Format {
    const format = others.find(({ name }) => name === correctedSpec(spec).name);
    if (format === undefined) throw new InternalError(`${correctedSpec(spec).name} has no correction`);
    return format;
  }

  function normalize(spec: FormatSpec): FormatSpec | string {
    const own = normalizeArguments(spec, parameters);
    if (typeof own === "string") return own;
    const format = others.find(({ name }) => name === spec.of?.name);
    if (spec.of === null || format === undefined)
      return `lowrank needs \`of\` and a format, as in \`lowrank(16) of int4(128)\`, and not one that is low-rank itself.`;
    const of = format.normalize(spec.of);
    return typeof of === "string" ? of : { ...own, of };
  }

  function sections(spec: FormatSpec, shape: Shape): readonly Section[] {
    const inner = formatOf(spec).sections(correctedSpec(spec), shape);
    const left = { name: "left", offset: totalWords(inner), words: wordsFor(shape.rows * rankOf(spec), 16) };
    const right = {
      name: "right",
      offset: roundUp(left.offset + left.words, 4),
      words: wordsFor(rankOf(spec) * shape.columns, 16),
    };
    return [...inner, left, right];
  }

  function decode(spec: FormatSpec, shape: Shape, words: Uint32Array): Float32Array<ArrayBuffer> {
    const dense = formatOf(spec).decode(correctedSpec(spec), shape, words);
    const rank = rankOf(spec);
    const layout = sections(spec, shape);
    const halves = (name: string, count: number): Float32Array =>
      Float32Array.from(getItems(words, sectionOf(layout, name), 16, count), f16FromBits);
    const left = halves("left", shape.rows * rank);
    const right = halves("right", rank * shape.columns);
    for (let row = 0, index = 0; row < shape.rows; row += 1)
      for (let column = 0; column < shape.columns; column += 1, index += 1) {
        let sum = 0;
        for (let at = 0; at < rank; at += 1) sum += left[row * rank + at]! * right[at * shape.columns + column]!;
        dense[index] = dense[index]! + sum;
      }
    return dense;
  }

  return {
    name,
    example: "int4(128) with scale int4_scale(w, 128) plus lowrank(a, b)",
    parameters,
    normalize,
    packsOnHost: false,
    readOnly: true,
    made: "a low-rank correction stands behind the format: `pack w as int4(128) with scale s plus lowrank(a, b)`",
    elementwise: false,
    complete: (spec) => spec,
    check(spec, shape) {
      const rank = rankOf(spec);
      if (rank > Math.min(shape.rows, shape.columns))
        return `the rank of ${rank} is more than a tensor of ${shape.rows} rows and ${shape.columns} columns can have`;
      return formatOf(spec).check(correctedSpec(spec), shape);
    },
    pattern: () => null,
    grid: () => null,
    sections,
    encode() {
      throw new Error("a low-rank correction is given beside what is packed, and not found in it");
    },
    decode,
    unit: () => null,
    element: null,
    dense: null,
  };
}
