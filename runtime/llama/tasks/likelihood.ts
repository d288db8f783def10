/** Log-likelihoods of continuations: batched, what a question's choices share computed once. */
import { withArena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import { tokenLosses } from "../inference/evaluate.js";
import { notFinite } from "../inference/not-finite.js";
import type { Cache, Session } from "../inference/session.js";
import { chunkOf, windowsAtOnce } from "../room.js";
import { batchesOf, groupsOf, paddedLength, suffixOf, type Batch, type Branch } from "./batches.js";
import type { Sequence } from "./sequences.js";

/** How far it is: tokens that went through the model, of how many. */
export type OnTokens = (done: number, total: number) => void;

/**
 * Log-likelihood in nats of the scored tokens of each sequence, given those before. Sequences stand by question; those
 * of one may share what they begin with. Sums are f64 in the order of the tokens; the same sequences give the same
 * bytes.
 * @throws LlamaError context-too-large, not-finite; DeviceError
 */
export async function logLikelihoods(
  session: Session,
  questions: readonly (readonly Sequence[])[],
  onTokens: OnTokens = () => {},
): Promise<readonly (readonly number[])[]> {
  const result = questions.map((sequences) => sequences.map(() => NaN));
  const batches = batchesOf(
    questions.flatMap((sequences, question) => groupsOf(question, sequences)),
    (tokens, capacity) => rowsFor(session, tokens, capacity),
  );
  const total = batches.reduce((sum, batch) => sum + tokensOf(batch), 0);
  let done = 0;
  for (const batch of batches) {
    await scoreBatch(session, batch, ({ question, choice }, likelihood) => {
      const row = result[question];
      if (row !== undefined) row[choice] = likelihood;
    });
    done += tokensOf(batch);
    onTokens(done, total);
  }
  return result;
}

/** Tokens that a batch puts through the model, without its padding. */
function tokensOf({ groups }: Batch): number {
  return groups.reduce(
    (sum, group) => group.branches.reduce((all, branch) => all + suffixOf(group, branch), sum + group.shared),
    0,
  );
}

function rowsFor({ caller, config, dtype }: Session, tokens: number, capacity: number): number {
  const keys = (dtype === "f16" ? 2 : 4) * capacity * config.keyValueHeads * config.headDim;
  return Math.min(windowsAtOnce(caller.target, config, tokens), Math.floor(caller.target.maxBinding / keys));
}

async function scoreBatch(
  session: Session,
  batch: Batch,
  found: (branch: Branch, likelihood: number) => void,
): Promise<void> {
  const { rows, groups } = batch;
  const { executor } = session.caller;
  await withArena(executor, async (arena) => {
    const cache = await session.allocateCache(rows, batch.capacity);
    arena.defer(() => session.releaseCache(cache));
    // padding comes after what it pads: no token sees it before it is written over
    const prefixes = {
      rows,
      tokens: batch.shared,
      token: (row: number, at: number) => tokenOf(groups[row]?.branches[0], at),
    };
    await eachPiece(session, { ...prefixes, position: () => 0 }, cache, null);
    const rounds = Math.max(...groups.map(({ branches }) => branches.length));
    for (let round = 0; round < rounds; round++) {
      const branches = groups.map((group) => group.branches[round]);
      const lengths = groups.map((group, row) => {
        const branch = branches[row];
        return branch === undefined ? 0 : suffixOf(group, branch);
      });
      const tokens = paddedLength(Math.max(...lengths));
      const likelihoods = new Float64Array(rows);
      await eachPiece(
        session,
        {
          rows,
          tokens,
          position: (row) => groups[row]?.shared ?? 0,
          token: (row, at) => tokenOf(branches[row], (groups[row]?.shared ?? 0) + at),
        },
        cache,
        (row, at, loss) => {
          const scored = branches[row]?.scored ?? 0;
          const length = lengths[row] ?? 0;
          if (at >= length - scored && at < length) likelihoods[row]! -= loss;
        },
      );
      for (const [row, branch] of branches.entries()) {
        if (branch === undefined) continue;
        const likelihood = likelihoods[row] ?? NaN;
        if (!Number.isFinite(likelihood)) throw await notFinite(session, "the questions");
        found(branch, likelihood);
      }
    }
  });
}

function tokenOf(branch: Branch | undefined, at: number): number {
  return branch?.ids[at] ?? 0;
}

/** Tokens of some sequences, side by side. */
interface Span {
  readonly rows: number;
  readonly tokens: number;
  /** Where the first token of a row stands. */
  position(row: number): number;
  /** The token at a place of a row; one behind the last is what follows. */
  token(row: number, at: number): number;
}

/** Puts tokens through the model, as many at once as there is room for; `scored` is given the loss of what follows. */
async function eachPiece(
  session: Session,
  span: Span,
  cache: Cache,
  scored: ((row: number, at: number, loss: number) => void) | null,
): Promise<void> {
  const { config, dtype, caller } = session;
  const { executor } = caller;
  const { rows, tokens } = span;
  if (tokens === 0) return;
  const room = chunkOf(caller.target, config, dtype, { seen: cache.capacity, most: tokens, batch: rows });
  for (let start = 0; start < tokens; start += room) {
    const chunk = Math.min(room, tokens - start);
    const some = (offset: number): Int32Array<ArrayBuffer> =>
      Int32Array.from({ length: rows * chunk }, (_, at) =>
        span.token(Math.floor(at / chunk), start + (at % chunk) + offset),
      );
    await withArena(executor, async (arena) => {
      const fill = async (shape: readonly number[], values: Int32Array<ArrayBuffer>): Promise<DeviceTensor> =>
        arena.own(await executor.fill("i32", shape, values));
      const ids = await fill([rows, chunk], some(0));
      const positions = await fill(
        [rows],
        Int32Array.from({ length: rows }, (_, row) => span.position(row) + start),
      );
      const x = arena.own(await session.forward(ids, positions, cache));
      if (scored === null) return;
      const losses = await tokenLosses(session, x, await fill([rows, chunk], some(1)));
      losses.forEach((loss, at) => scored(Math.floor(at / chunk), start + (at % chunk), loss));
    });
  }
}
