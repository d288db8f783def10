/** Which sequences go through a model together, and what of them is computed once. */
import type { Sequence } from "./sequences.js";

/** A sequence of a question. */
export interface Branch extends Sequence {
  readonly question: number;
  readonly choice: number;
}

/** Sequences whose first `shared` tokens are the same and are computed once; the longest first. */
export interface Group {
  readonly shared: number;
  readonly branches: readonly Branch[];
}

/**
 * Groups that go through a model side by side: their shared tokens, padded to `shared`, then what follows of a branch
 * of each, then of the next.
 */
export interface Batch {
  /** As many as there are groups or more, so that few programs serve all. */
  readonly rows: number;
  readonly shared: number;
  /** Tokens of a cache that all of it fits. */
  readonly capacity: number;
  readonly groups: readonly Group[];
}

/** Tokens of a branch that go through the model after the shared ones: all but the last, which is only scored. */
export function suffixOf(group: Group, branch: Branch): number {
  return branch.ids.length - 1 - group.shared;
}

/**
 * The power of two that stands for all lengths up to it: every other length would be another program, and to compile
 * one takes longer than to compute some padding. Sixteen at least: products of very few tokens may round their
 * activations.
 */
export function paddedLength(length: number): number {
  return Math.max(16, powerAbove(length));
}

/**
 * What of a question's choices is computed once. All that they begin with, up to the token that predicts the first
 * scored one; where choices differ early, each goes alone, for the tokens between would be taken for scored.
 */
export function groupsOf(question: number, sequences: readonly Sequence[]): readonly Group[] {
  const branches = sequences
    .map((sequence, choice): Branch => ({ ...sequence, question, choice }))
    .sort((a, b) => b.ids.length - a.ids.length || a.choice - b.choice);
  const shared = Math.min(commonLength(sequences), ...sequences.map(unscored));
  const between = sequences.reduce((sum, sequence) => sum + unscored(sequence) - shared, 0);
  if ((sequences.length - 1) * shared > between) return [{ shared, branches }];
  return branches.map((branch) => ({ shared: unscored(branch), branches: [branch] }));
}

/** Tokens before the one that predicts the first scored token. */
function unscored({ ids, scored }: Sequence): number {
  return ids.length - scored - 1;
}

function commonLength(sequences: readonly Sequence[]): number {
  const [first, ...others] = sequences;
  if (first === undefined) return 0;
  let length = first.ids.length;
  for (const { ids } of others) {
    const differs = first.ids.findIndex((id, at) => ids[at] !== id);
    length = Math.min(length, differs === -1 ? first.ids.length : differs);
  }
  return length;
}

/**
 * Batches of groups of similar lengths, the longest first. `rowsFor` says how many sequences with caches of so many
 * tokens go through the model at once.
 */
export function batchesOf(
  groups: readonly Group[],
  rowsFor: (tokens: number, capacity: number) => number,
): readonly Batch[] {
  const sorted = groups
    .map((group) => ({
      group,
      shared: group.shared === 0 ? 0 : paddedLength(group.shared),
      suffix: Math.max(...group.branches.map((branch) => suffixOf(group, branch))),
    }))
    // the sort is stable: questions of one length stay in order
    .sort((a, b) => b.shared - a.shared || b.suffix - a.suffix);
  const batches: Batch[] = [];
  for (let from = 0; from < sorted.length; ) {
    const { shared = 0, suffix = 0 } = sorted[from] ?? {};
    const tokens = Math.max(shared, paddedLength(suffix));
    // those of the next length fill up the last of one, if they need no more room than that
    const ahead = sorted.slice(from, from + powerBelow(Math.max(1, rowsFor(tokens, 2 * tokens))));
    const tooLong = ahead.findIndex((other) => other.suffix > tokens);
    const taken = tooLong === -1 ? ahead : ahead.slice(0, tooLong);
    batches.push({
      rows: powerAbove(taken.length),
      shared,
      capacity: 2 * tokens,
      groups: taken.map(({ group }) => group),
    });
    from += taken.length;
  }
  return batches;
}

function powerBelow(value: number): number {
  return 2 ** Math.floor(Math.log2(value));
}

function powerAbove(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
