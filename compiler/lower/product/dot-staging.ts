/** Activations that a workgroup rounds to int8 for itself, in its memory: what a pack would have stored. */
import type { StagedPack } from "../../graph/analysis/staged-packs.js";
import { codeOf } from "../../formats/code/registry.js";
import type { Codes } from "../../formats/code/code.js";
import type { Scalar } from "../../graph/graph.js";
import {
  constantOf,
  freeIndices,
  scalarKey,
  scalarLoads,
  substitute,
  type Load,
  type Reduce,
} from "../../graph/scalar.js";
import type { Concrete } from "../../types/type.js";
import type { ProductRows } from "../../graph/analysis/product.js";
import * as k from "../../kernel/build.js";
import type { Expr } from "../../kernel/kernel.js";
import { upTo } from "../../types/shape.js";
import type { KernelBuilder } from "../toolkit/builder.js";
import { accumulate, finishAccumulator, mergeAccumulator, startAccumulator } from "../toolkit/reduction.js";
import { lowerIndex, lowerScalar, reduceBody, withIndices, withKnown, type Environment } from "../toolkit/scalar.js";
import { combineTeam, reduceByTeam, soleTeam, type Team } from "../toolkit/team.js";

/** Columns that an invocation rounds: those of a word of codes. */
const perWord = 4;

/** Words after which one is left out, so that lanes that read units of 64 columns read other banks. */
const padded = 16;

/** Words of workgroup memory for the codes of so many columns. */
const codeWords = (columns: number): number => columns / perWord + Math.ceil(columns / perWord / padded);

/** Where the word of codes is that would be word `word` (u32). */
const placeOfWord = (word: Expr): Expr => k.add(word, k.div(word, padded));

/** Bytes of workgroup memory for so many columns of a token. */
export function stagedBytes({ group }: StagedPack, columns: number): number {
  return 4 * codeWords(columns) + (4 * columns) / group;
}

/** Whether a workgroup of so many invocations can round by subgroups. */
export function canRound({ group }: StagedPack, subgroup: number | null, size: number): boolean {
  return subgroup !== null && size % subgroup === 0 && group / perWord <= subgroup;
}

/** Codes and scales of a row's columns from the first that was rounded last. */
export interface RoundedRow {
  /** Computes what all columns share, by the whole workgroup: reductions that the row has one of, as a norm's. Once, first. */
  begin(): void;
  /**
   * Rounds the columns from `first` (u32, a multiple of the columns of a group) on, into that one of several memories;
   * barriers before and after are the caller's. Those past the row's end are the last ones again.
   */
  round(first: Expr, memory: Expr | null): void;
  /** The same, with the loads at once and the rest where what is returned is called. */
  roundLater(first: Expr, memory: Expr | null): () => void;
  /**
   * The codes of `words` words from `column` (u32, counted from the first) on, and their scale; or of these the word
   * `only` (u32), for all of them.
   */
  read(column: Expr, words: number, only: Expr | null, memory: Expr | null): Codes;
}

/** What rounds `columns` columns at a time of a token's row. */
export function roundedRow(given: {
  readonly build: KernelBuilder;
  readonly pack: StagedPack;
  /** How the product reads the row. */
  readonly left: ProductRows;
  readonly token: Environment;
  /** Invocations of the workgroup. */
  readonly size: number;
  readonly columns: number;
  /** Arrays of workgroup memory, which all tokens share; of a memory of so many rows this one is row `at`. */
  readonly memory: RoundedMemory;
  readonly at: number;
  readonly apart: number;
}): RoundedRow {
  const { build, pack, left, token, size, columns, memory, at, apart } = given;
  const { group, spec } = pack;
  const local = k.builtin("local_index");
  const total = left.shape.columns;
  const row = left.load.at.slice(0, -1).map((index) => lowerIndex(token, index));
  let around: Environment = withIndices(
    { ...token, intervals: new Map([...token.intervals, ...pack.bounds]) },
    pack.row.map((index, axis) => [index, row[axis]!] as const),
  );
  const element = codeOf(spec).element!(spec);
  const lanes = group / perWord;
  const rowIn = (which: Expr | null): Expr => (which === null ? k.u32(at) : k.add(k.mul(which, apart), at));
  const wordsIn = (which: Expr | null): Expr => k.mul(rowIn(which), codeWords(columns));
  const scalesIn = (which: Expr | null): Expr => k.mul(rowIn(which), columns / group);
  const words = columns / perWord;
  const turns = Math.ceil(words / size);

  /** Where a word of four columns stands, and its elements' environments: what the row's reductions do not change. */
  const placeOf = (position: Expr, first: Expr, isWhole: boolean): WordPlace => {
    const word = isWhole ? position : build.bind("word", k.min(position, words - 1));
    const wanted = build.bind("column", k.add(first, k.mul(word, perWord)));
    const inGroup = build.bind("in_group", k.mul(k.rem(word, lanes), perWord));
    const base =
      total === columns
        ? wanted
        : build.bind("column", k.select(k.less(wanted, total), wanted, k.add(k.u32(total - group), inGroup)));
    return {
      inside: isWhole ? null : k.less(position, words),
      word,
      inGroup,
      base,
      readers: upTo(perWord).map(() => around.readers),
    };
  };
  /** The same with what the elements are made of loaded before the row's reductions, which wait for all invocations. */
  const loadedWords = (first: Expr): readonly WordPlace[] =>
    upTo(turns).map((turn) => {
      const position = turn === 0 ? local : build.bind("position", k.add(local, turn * size));
      const place = placeOf(position, first, (turn + 1) * size <= words);
      const elementAt = (part: number): Environment =>
        withIndices(around, [[pack.column, build.bind("column", k.add(place.base, part))]]);
      return { ...place, readers: upTo(perWord).map((part) => loadedEarly(elementAt(part), pack.value)) };
    });
  let early: readonly WordPlace[] | null = null;
  /** The environment of a word's columns. */
  const columnsOf = ({ base, readers }: WordPlace): readonly Environment[] =>
    upTo(perWord).map((part) => ({
      ...withIndices(around, [[pack.column, build.bind("column", k.add(base, part))]]),
      readers: readers[part]!,
    }));
  /** Does something for a word, where it is one of the row's and not the last again. */
  const where = ({ inside }: WordPlace, work: () => void): void =>
    inside === null ? work() : build.when(inside, work);
  function begin(): void {
    if (pack.ofRow.length > 0 && total === columns && turns <= earlyTurns) early = loadedWords(k.u32(0));
    for (const reduce of pack.ofRow) {
      const found = early === null ? null : reduceLoaded(reduce, early);
      around = withKnown(around, [[reduce, found ?? reduceByTeam(around, memory.team, reduce)]]);
    }
  }
  /** A reduction over all columns, each invocation's from what it has loaded of them; null where it is over others. */
  function reduceLoaded(reduce: Reduce<Concrete>, loaded: readonly WordPlace[]): Expr | null {
    const { op, body, over } = reduce;
    const [range, ...more] = over;
    const isWhole = range !== undefined && constantOf(range.low) === 0 && constantOf(range.high) === total;
    if (!isWhole || more.length > 0 || (op !== "sum" && op !== "mean" && op !== "max" && op !== "min")) return null;
    const element = substitute(body, new Map([[range.index, { kind: "index", index: pack.column, name: "k" }]]));
    const accumulator = startAccumulator(build, reduce);
    for (const place of loaded)
      where(place, () => {
        for (const own of columnsOf(place))
          accumulate(build, op, accumulator, reduceBody(own, { ...reduce, body: element }, accumulator), k.u32(0));
      });
    combineTeam(build, around.target, memory.team, op, accumulator);
    return build.bind(op, finishAccumulator(reduce, accumulator, k.u32(total)));
  }

  const roundWord = (which: Expr | null, place: WordPlace): void => {
    const { word, inGroup, base } = place;
    const own = columnsOf(place);
    let scaled = withIndices(around, [[pack.groupIndex, build.bind("group", k.div(base, group))]]);
    for (const { reduce, ofColumn } of pack.ofGroup) {
      const accumulator = startAccumulator(build, reduce);
      const { index } = reduce.over[0]!;
      for (const part of upTo(perWord)) {
        const inside = build.bind("j", k.add(inGroup, part));
        const reduced =
          ofColumn === null
            ? reduceBody(withIndices(scaled, [[index, inside]]), reduce, accumulator)
            : reduceBody({ ...own[part]!, known: scaled.known }, { ...reduce, body: ofColumn }, accumulator);
        accumulate(build, reduce.op, accumulator, reduced, inside);
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
    const bytes = own.map((environment, part) => {
      const value = build.bind("value", k.convert("f32", lowerScalar(environment, pack.value)));
      return k.shiftLeft(element.write(build, value, scale, null), 8 * part);
    });
    where(place, () => {
      build.add(k.storeShared(memory.words, k.add(placeOfWord(word), wordsIn(which)), bytes.reduce(k.bitOr)));
      build.when(k.equal(inGroup, 0), () =>
        build.add(k.storeShared(memory.scales, k.add(k.div(word, lanes), scalesIn(which)), scale)),
      );
    });
  };
  function round(first: Expr, which: Expr | null): void {
    const one = (place: WordPlace): void => roundWord(which, place);
    if (early !== null) early.forEach(one);
    else if (turns === 1) one(placeOf(local, first, size <= words));
    else
      build.loop("turn", k.u32(0), k.u32(turns), (turn) =>
        one(placeOf(build.bind("position", k.add(k.mul(turn, size), local)), first, words % size === 0)),
      );
  }

  function read(column: Expr, count: number, only: Expr | null, which: Expr | null): Codes {
    const first = build.bind("word", k.div(column, perWord));
    const load = (word: Expr | number): Expr =>
      build.bind("codes", k.loadShared(memory.words, "u32", k.add(placeOfWord(k.add(first, word)), wordsIn(which))));
    const one = only === null ? null : load(only);
    return {
      words: upTo(count).map((word) => one ?? load(word)),
      positions: null,
      scale: build.bind("x_scale", k.loadShared(memory.scales, "f32", k.add(k.div(column, group), scalesIn(which)))),
      zero: null,
    };
  }
  function roundLater(first: Expr, which: Expr | null): () => void {
    const words = early ?? (turns <= earlyTurns ? loadedWords(first) : null);
    return () => (words === null ? round(first, which) : words.forEach((place) => roundWord(which, place)));
  }
  return { begin, round, roundLater, read };
}

/** A word of four columns that an invocation rounds. */
interface WordPlace {
  /** Whether it is one of all, and not the last again; null where it is. */
  readonly inside: Expr | null;
  readonly word: Expr;
  /** Its first column in its group, and in the row. */
  readonly inGroup: Expr;
  readonly base: Expr;
  /** How the elements of each column are read. */
  readonly readers: readonly Environment["readers"][];
}

/** Words of an invocation whose elements may wait in registers. */
const earlyTurns = 2;

/** Readers that have the loads of a scalar, outside of its reductions, in locals that are made now. */
function loadedEarly(environment: Environment, scalar: Scalar<Concrete>): Environment["readers"] {
  const { build, indices, readers } = environment;
  const loads = scalarLoads(scalar).filter(
    (load) => !load.guarded && [...freeIndices(load)].every((index) => indices.has(index)),
  );
  const early = new Map(loads.map((load) => [scalarKey(load), build.bind("early", lowerScalar(environment, load))]));
  return new Map([
    ...readers,
    ...loads.map(
      ({ tensor }) =>
        [
          tensor,
          (own: Environment, load: Load<Concrete>): Expr =>
            early.get(scalarKey(load)) ?? lowerScalar({ ...own, readers }, load),
        ] as const,
    ),
  ]);
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
    words: build.array("codes", "u32", codeWords(columns) * tokens),
    scales: build.array("code_scale", "f32", (columns / group) * tokens),
    team: soleTeam(size, k.builtin("local_index")),
  };
}
