/** Activations that a workgroup rounds to int8 for itself, in its memory: what a pack would have stored. */
import type { StagedPack } from "../../graph/analysis/staged-packs.js";
import { codeOf } from "../../formats/code/registry.js";
import type { Codes } from "../../formats/code/code.js";
import type { ProductRows } from "../../graph/analysis/product.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { accumulate, finishAccumulator, mergeAccumulator, startAccumulator } from "../toolkit/reduction.js";
import { lowerIndex, lowerScalar, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { reduceByTeam, soleTeam, type Team } from "../toolkit/team.js";

/** Columns that an invocation rounds: those of a word of codes. */
const perWord = 4;

/** Bytes of workgroup memory for so many columns of a token. */
export function stagedBytes({ group }: StagedPack, columns: number): number {
  return columns + (4 * columns) / group;
}

/** Whether a workgroup of so many invocations can round by subgroups. */
export function canRound({ group }: StagedPack, subgroup: number | null, size: number): boolean {
  return subgroup !== null && size % subgroup === 0 && group / perWord <= subgroup;
}

/** Codes and scales of a row's columns from the first that was rounded last. */
export interface RoundedRow {
  /**
   * Rounds the columns from `first` (u32, a multiple of the columns of a group) on; barriers before and after are the
   * caller's. Those past the row's end are the last ones again.
   */
  round(first: Expr): void;
  /** The codes of `words` words from `column` (u32, counted from the first) on, and their scale. */
  read(column: Expr, words: number): Codes;
}

/**
 * What rounds `columns` columns at a time of a token's row. Reductions that the row has one of, as a norm's, are
 * computed at once by the whole workgroup.
 */
export function roundedRow(given: {
  readonly build: KernelBuilder;
  readonly pack: StagedPack;
  /** How the product reads the row. */
  readonly left: ProductRows;
  readonly token: Environment;
  /** Invocations of the workgroup. */
  readonly size: number;
  readonly columns: number;
  /** Arrays of workgroup memory, which all tokens share, and where this one's begin. */
  readonly memory: RoundedMemory;
  readonly at: number;
}): RoundedRow {
  const { build, pack, left, token, size, columns, memory, at } = given;
  const { group, spec } = pack;
  const local = k.builtin("local_index");
  const total = left.shape.columns;
  const row = left.load.at.slice(0, -1).map((index) => lowerIndex(token, index));
  let around: Environment = withIndices(
    { ...token, intervals: new Map([...token.intervals, ...pack.bounds]) },
    pack.row.map((index, axis) => [index, row[axis]!] as const),
  );
  for (const reduce of pack.ofRow) around = withKnown(around, [[reduce, reduceByTeam(around, memory.team, reduce)]]);
  const element = codeOf(spec).element!(spec);
  const lanes = group / perWord;
  const [wordsAt, scalesAt] = [(at * columns) / perWord, (at * columns) / group];

  function round(first: Expr): void {
    const words = columns / perWord;
    const one = (position: Expr): void => {
      const word = words % size === 0 ? position : build.bind("word", k.min(position, words - 1));
      const wanted = build.bind("column", k.add(first, k.mul(word, perWord)));
      const inGroup = build.bind("in_group", k.mul(k.rem(word, lanes), perWord));
      const base =
        total % columns === 0
          ? wanted
          : build.bind("column", k.select(k.less(wanted, total), wanted, k.add(k.u32(total - group), inGroup)));
      let scaled = withIndices(around, [[pack.groupIndex, build.bind("group", k.div(base, group))]]);
      for (const reduce of pack.ofGroup) {
        const accumulator = startAccumulator(build, reduce);
        const { index } = reduce.over[0]!;
        for (const part of upTo(perWord)) {
          const inside = build.bind("j", k.add(inGroup, part));
          accumulate(
            build,
            reduce.op,
            accumulator,
            lowerScalar(withIndices(scaled, [[index, inside]]), reduce.body),
            inside,
          );
        }
        for (let stride = lanes / 2; stride >= 1; stride /= 2)
          mergeAccumulator(build, reduce.op, accumulator, [
            build.bind("other", k.call("subgroupShuffleXor", [accumulator[0]!, k.u32(stride)])),
          ]);
        scaled = withKnown(scaled, [
          [reduce, build.bind(reduce.op, finishAccumulator(reduce, accumulator, k.u32(group)))],
        ]);
      }
      const scale = build.bind("scale", k.convert("f32", lowerScalar(scaled, pack.scale)));
      const bytes = upTo(perWord).map((part) => {
        const value = lowerScalar(withIndices(around, [[pack.column, k.add(base, part)]]), pack.value);
        return k.shiftLeft(element.write(build, build.bind("value", k.convert("f32", value)), scale, null), 8 * part);
      });
      const store = (): void => {
        build.add(k.storeShared(memory.words, k.add(word, wordsAt), bytes.reduce(k.bitOr)));
        build.when(k.equal(inGroup, 0), () =>
          build.add(k.storeShared(memory.scales, k.add(k.div(word, lanes), scalesAt), scale)),
        );
      };
      if (words % size === 0) store();
      else build.when(k.less(position, words), store);
    };
    const turns = Math.ceil(words / size);
    if (turns === 1) one(local);
    else
      build.loop("turn", k.u32(0), k.u32(turns), (turn) =>
        one(build.bind("position", k.add(k.mul(turn, size), local))),
      );
  }

  function read(column: Expr, words: number): Codes {
    const first = build.bind("word", k.add(k.div(column, perWord), wordsAt));
    return {
      words: upTo(words).map((word) => build.bind("codes", k.loadShared(memory.words, "u32", k.add(first, word)))),
      positions: null,
      scale: build.bind("x_scale", k.loadShared(memory.scales, "f32", k.add(k.div(column, group), scalesAt))),
      zero: null,
    };
  }
  return { round, read };
}

/** Workgroup memory of rows that are rounded. */
export interface RoundedMemory {
  readonly words: string;
  readonly scales: string;
  readonly team: Team;
}

/** Memory for `columns` columns of so many tokens. */
export function roundedMemory(
  build: KernelBuilder,
  { group }: StagedPack,
  size: number,
  columns: number,
  tokens: number,
): RoundedMemory {
  return {
    words: build.array("codes", "u32", (columns / perWord) * tokens),
    scales: build.array("code_scale", "f32", (columns / group) * tokens),
    team: soleTeam(size, k.builtin("local_index")),
  };
}
