/** The unigram model: of all ways to cut a piece into tokens the one of the highest sum of scores. */
import type { Fields } from "../fields.js";
import { byteTokens } from "./bytes.js";
import { noToken, type Vocabulary } from "./vocabulary.js";

export interface Unigram {
  readonly kind: "unigram";
  readonly vocabulary: Vocabulary;
  readonly scores: readonly number[];
  /** The tokens by their characters. */
  readonly root: Node;
  readonly unknown: number | null;
  /** Below every token's. */
  readonly unknownScore: number;
  readonly byteFallback: boolean;
}

interface Node {
  id: number | null;
  readonly next: Map<string, Node>;
}

/** What a token that is not in the vocabulary costs beyond the dearest one. */
const penalty = 10;

/** The model of type Unigram; what of it is not supported is left with the fields' problems. */
export function parseUnigram(fields: Fields): Unigram {
  const given = fields.raw("vocab");
  const pairs: readonly unknown[] = Array.isArray(given) ? given : [];
  if (!Array.isArray(given)) fields.problem("vocab", "a list of tokens with scores", given);
  const vocabulary = new Map<string, number>();
  const scores: number[] = [];
  for (const [id, pair] of pairs.entries()) {
    const [token, score]: readonly unknown[] = Array.isArray(pair) ? pair : [];
    if (typeof token !== "string" || typeof score !== "number") {
      fields.problem(`vocab[${id}]`, "a token and its score", pair);
      break;
    }
    vocabulary.set(token, id);
    scores.push(score);
  }
  const unknown = fields.has("unk_id")
    ? fields.number("unk_id", { integer: true, min: 0, max: Math.max(0, pairs.length - 1) })
    : null;
  const root: Node = { id: null, next: new Map() };
  for (const [token, id] of vocabulary) if (token !== "") insert(root, token, id);
  return {
    kind: "unigram",
    vocabulary,
    scores,
    root,
    unknown,
    unknownScore: scores.reduce((least, score) => Math.min(least, score), Infinity) - penalty,
    byteFallback: fields.boolean("byte_fallback", false),
  };
}

function insert(root: Node, token: string, id: number): void {
  let node = root;
  for (const character of token) {
    let below = node.next.get(character);
    if (below === undefined) {
      below = { id: null, next: new Map() };
      node.next.set(character, below);
    }
    node = below;
  }
  node.id = id;
}

/**
 * The ids of a piece. Unknown characters in a row are one token, or those of their bytes.
 * @throws ModelError M143 for a character that has no token
 */
export function encodeUnigram(model: Unigram, piece: string): readonly number[] {
  const characters = [...piece];
  const cuts = bestCuts(model, characters);
  const ids: number[] = [];
  for (let at = 0; at < cuts.length; at++) {
    let { start, end, id } = cuts[at]!;
    while (id === model.unknown && cuts[at + 1]?.id === id) end = cuts[++at]!.end;
    const text = characters.slice(start, end).join("");
    const known = model.vocabulary.get(text);
    if (known !== undefined) ids.push(known);
    else {
      const bytes = model.byteFallback ? byteTokens(text).map((token) => model.vocabulary.get(token)) : [undefined];
      const found = bytes.filter((byte) => byte !== undefined);
      if (found.length === bytes.length) ids.push(...found);
      else if (id === null) throw noToken(text);
      else ids.push(id);
    }
  }
  return ids;
}

interface Cut {
  readonly start: number;
  readonly end: number;
  /** The unknown token's for a character that has none. */
  readonly id: number | null;
}

function bestCuts({ root, scores, unknown, unknownScore }: Unigram, characters: readonly string[]): readonly Cut[] {
  const best = new Float64Array(characters.length + 1);
  const cuts: (Cut | null)[] = Array.from(best, () => null);
  const offer = (cut: Cut, score: number): void => {
    if (cuts[cut.end] !== null && score <= best[cut.end]!) return;
    cuts[cut.end] = cut;
    best[cut.end] = score;
  };
  for (let start = 0; start < characters.length; start++) {
    let hasOwn = false;
    let node: Node | undefined = root;
    for (let end = start + 1; end <= characters.length; end++) {
      node = node.next.get(characters[end - 1]!);
      if (node === undefined) break;
      if (node.id === null) continue;
      offer({ start, end, id: node.id }, scores[node.id]! + best[start]!);
      if (end === start + 1) hasOwn = true;
    }
    if (!hasOwn) offer({ start, end: start + 1, id: unknown }, unknownScore + best[start]!);
  }
  const path: Cut[] = [];
  for (let end = characters.length; end > 0; ) {
    const cut = cuts[end]!;
    path.push(cut);
    end = cut.start;
  }
  return path.reverse();
}
