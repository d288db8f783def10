/** A step of decoding as one program does what the calls one by one do. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { first } from "../../../runtime/llama/results.js";
import { createDecoder, type Choose } from "../../../runtime/llama/inference/decode.js";
import { openSession, type Cache, type Session } from "../../../runtime/llama/inference/session.js";
import { openArena } from "../../../runtime/run/arena.js";
import { openWorkshop } from "../machine.js";

const test = suite("decode");
const { caller, model } = await openWorkshop(test, "decode");
const { executor } = caller;

const greedy: Choose = async (calls, logits) => first(await calls.call("greedy", { logits }));

/** A cache that holds three tokens of each of two sequences: what a sequence has seen before. */
async function cacheWithPast(session: Session): Promise<Cache> {
  const cache = await session.allocateCache(2, 64);
  const ids = await executor.fill("i32", [2, 3], [7, 8, 9, 10, 11, 12]);
  const positions = await executor.fill("i32", [2], [0, 0]);
  const x = await session.forward(ids, positions, cache);
  for (const tensor of [ids, positions, x]) executor.release(tensor);
  return cache;
}

test("steps of two sequences, recorded once, give the tokens of calls one by one", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const start = [
    [5, 17],
    [3, 0],
  ] as const;
  const steps = 5;
  const expected: number[][] = [];
  {
    const cache = await cacheWithPast(session);
    const pick = await executor.fill("i32", [2], [0, 0]);
    let ids = await executor.fill("i32", [2, 1], start[0]);
    for (let count = 0; count < steps; count++) {
      const positions = await executor.fill(
        "i32",
        [2],
        start[1].map((at) => at + count),
      );
      const x = await session.forward(ids, positions, cache);
      const logits = await session.logits(x, pick);
      executor.release(ids);
      ids = first(await caller.call("greedy", { logits }));
      expected.push([...(await executor.values(ids))]);
      for (const tensor of [positions, x, logits]) executor.release(tensor);
    }
    executor.release(ids);
    executor.release(pick);
    session.releaseCache(cache);
  }

  const cache = await cacheWithPast(session);
  const ids = await executor.fill("i32", [2, 1], start[0]);
  const positions = await executor.fill("i32", [2], start[1]);
  const arena = openArena(executor);
  const decoder = await createDecoder(arena, caller, session, cache, { ids, positions }, greedy);
  const found: number[][] = [];
  for (let count = 0; count < steps; count++) {
    decoder.step();
    found.push([...(await executor.values(ids))]);
  }
  assert.equal(found, expected);
  assert.equal(
    [...(await executor.values(positions))],
    start[1].map((at) => at + steps),
  );
  arena.close();
  for (const tensor of [ids, positions]) executor.release(tensor);
  session.releaseCache(cache);
  session.release();
});

test.run();
