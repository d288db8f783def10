/** Byte pair encoding: a piece's characters, joined in the order of the merges. */
import type { Fields } from "../fields.js";
import { quoted } from "../error.js";
import { byteTokens } from "./bytes.js";
import { noToken, parseVocabulary, type Vocabulary } from "./vocabulary.js";

export interface BytePairs {
  readonly kind: "bpe";
  readonly vocabulary: Vocabulary;
  /** By `pairKey` of the two ids that are joined. */
  readonly merges: ReadonlyMap<number, Merge>;
  /** The token of characters that have none; null where there is no such token. */
  readonly unknown: number | null;
  readonly fusesUnknown: boolean;
  /** Whether characters that have no token become the tokens of their bytes. */
  readonly byteFallback: boolean;
  /** Whether a piece that is a token as a whole is taken as one, whatever the merges. */
  readonly ignoresMerges: boolean;
  /** Before each character of a piece but the first. */
  readonly prefix: string;
  /** Behind the last character of a piece. */
  readonly suffix: string;
  /** Pieces met before. */
  readonly cache: Map<string, readonly number[]>;
}

/** The place in the order of merges, and the id of what they make. */
export interface Merge {
  readonly rank: number;
  readonly id: number;
}

/** The model of type BPE; what of it is not supported is left with the fields' problems. */
export function parseBytePairs(fields: Fields): BytePairs {
  const vocabulary = parseVocabulary(fields);
  const dropout = fields.number("dropout", { min: 0, max: 1 }, 0);
  if (dropout > 0) fields.refuse("dropout", `which is ${dropout}: the tokens of a text would be chosen by chance`);
  const unknown = fields.string("unk_token");
  const prefix = fields.string("continuing_subword_prefix") ?? "";
  return {
    kind: "bpe",
    vocabulary,
    merges: parseMerges(fields, vocabulary, prefix),
    unknown: unknown === null ? null : (vocabulary.get(unknown) ?? null),
    fusesUnknown: fields.boolean("fuse_unk", false),
    byteFallback: fields.boolean("byte_fallback", false),
    ignoresMerges: fields.boolean("ignore_merges", false),
    prefix,
    suffix: fields.string("end_of_word_suffix") ?? "",
    cache: new Map(),
  };
}

function pairKey(left: number, right: number): number {
  return left * 2 ** 24 + right;
}

/** Problems of merges that are told; a wrong file has one in each. */
const mostProblems = 20;

function parseMerges(fields: Fields, vocabulary: Vocabulary, prefix: string): ReadonlyMap<number, Merge> {
  const given = fields.raw("merges");
  const merges = new Map<number, Merge>();
  if (!Array.isArray(given)) {
    fields.problem("merges", "a list of merges", given);
    return merges;
  }
  // the version that a merges.txt begins with
  const listed = given.filter((merge) => typeof merge !== "string" || !merge.startsWith("#version"));
  for (const [rank, merge] of listed.entries()) {
    const parts: readonly unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right, ...rest] = parts;
    if (typeof left !== "string" || typeof right !== "string" || rest.length > 0)
      fields.problem(`merges[${rank}]`, "two tokens", merge);
    else {
      const [first, second, id] = [left, right, left + right.slice(prefix.length)].map((token) =>
        vocabulary.get(token),
      );
      if (first !== undefined && second !== undefined && id !== undefined)
        merges.set(pairKey(first, second), { rank, id });
      else
        fields.refuse(
          `merges[${rank}]`,
          `which joins ${quoted(left)} and ${quoted(right)}: these or what they make are not in \`vocab\``,
        );
    }
    if (fields.problems.length > mostProblems) return merges;
  }
  return merges;
}

/** Pieces that are remembered, and the longest of them. */
const [mostCached, longestCached] = [50_000, 256];

/**
 * The ids of a piece.
 * @throws ModelError M143 for a character that has no token
 */
export function encodeBytePairs(model: BytePairs, piece: string): readonly number[] {
  if (model.ignoresMerges) {
    const whole = model.vocabulary.get(piece);
    if (whole !== undefined) return [whole];
  }
  const known = model.cache.get(piece);
  if (known !== undefined) return known;
  const ids = mergeAll(startOf(model, piece), model.merges);
  if (piece.length <= longestCached) {
    if (model.cache.size >= mostCached) model.cache.clear();
    model.cache.set(piece, ids);
  }
  return ids;
}

/** The ids of a piece's characters. */
function startOf(model: BytePairs, piece: string): number[] {
  const { vocabulary, prefix, suffix } = model;
  const ids: number[] = [];
  /** An unknown token that is not yet given: others may be fused with it. */
  let pending: number | null = null;
  let at = 0;
  for (const character of piece) {
    at += character.length;
    const symbol = `${at > character.length ? prefix : ""}${character}${at === piece.length ? suffix : ""}`;
    const id = vocabulary.get(symbol);
    if (id !== undefined) {
      if (pending !== null) ids.push(pending);
      pending = null;
      ids.push(id);
      continue;
    }
    const bytes = model.byteFallback ? byteTokens(symbol).map((token) => vocabulary.get(token)) : [undefined];
    const found = bytes.filter((byte) => byte !== undefined);
    if (found.length === bytes.length) ids.push(...found);
    else if (model.unknown === null) throw noToken(character);
    else {
      if (pending !== null && !model.fusesUnknown) ids.push(pending);
      pending = model.unknown;
    }
  }
  if (pending !== null) ids.push(pending);
  return ids;
}

/** Room for places in a piece beside the rank of a merge. */
const places = 2 ** 29;

/** Joins neighbours until none can be: the first merge first, of those the leftmost. */
function mergeAll(ids: number[], merges: ReadonlyMap<number, Merge>): readonly number[] {
  if (ids.length < 2) return ids;
  const next = Int32Array.from(ids, (_, at) => (at + 1 < ids.length ? at + 1 : -1));
  const previous = Int32Array.from(ids, (_, at) => at - 1);
  const queue = createQueue();
  const offer = (at: number): void => {
    const right = next[at] ?? -1;
    const merge = right < 0 ? undefined : merges.get(pairKey(ids[at] ?? 0, ids[right] ?? 0));
    if (merge !== undefined) queue.push(merge.rank * places + at, merge.id);
  };
  for (let at = 0; at + 1 < ids.length; at++) offer(at);
  for (let top = queue.pop(); top !== null; top = queue.pop()) {
    const at = top.key % places;
    const right = next[at] ?? -1;
    // what stood there may have been joined to others meanwhile
    if (ids[at] === -1 || right < 0) continue;
    if (merges.get(pairKey(ids[at] ?? 0, ids[right] ?? 0))?.id !== top.id) continue;
    ids[at] = top.id;
    ids[right] = -1;
    const after = next[right] ?? -1;
    next[at] = after;
    if (after >= 0) previous[after] = at;
    const before = previous[at] ?? -1;
    if (before >= 0) offer(before);
    offer(at);
  }
  return ids.filter((id) => id >= 0);
}

/** A queue that gives the least key first. */
function createQueue(): {
  push(key: number, id: number): void;
  pop(): { readonly key: number; readonly id: number } | null;
} {
  const keys: number[] = [];
  const ids: number[] = [];
  const swap = (a: number, b: number): void => {
    [keys[a], keys[b]] = [keys[b]!, keys[a]!];
    [ids[a], ids[b]] = [ids[b]!, ids[a]!];
  };
  return {
    push(key, id) {
      keys.push(key);
      ids.push(id);
      for (let at = keys.length - 1; at > 0; ) {
        const above = (at - 1) >> 1;
        if (keys[above]! <= keys[at]!) break;
        swap(at, above);
        at = above;
      }
    },
    pop() {
      if (keys.length === 0) return null;
      const top = { key: keys[0]!, id: ids[0]! };
      swap(0, keys.length - 1);
      keys.pop();
      ids.pop();
      for (let at = 0; ; ) {
        let least = at;
        for (const below of [2 * at + 1, 2 * at + 2])
          if (below < keys.length && keys[below]! < keys[least]!) least = below;
        if (least === at) break;
        swap(at, least);
        at = least;
      }
      return top;
    },
  };
}
