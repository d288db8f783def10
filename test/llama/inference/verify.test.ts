/** `--verify` agrees where nothing is wrong, and notices what is. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { verificationFault, verifySession } from "../../../runtime/llama/inference/verify.js";
import { openToyWorkshop } from "../machine.js";

const test = suite("verify");
const { caller, model } = await openToyWorkshop(test, "verify");
const ids = [5, 9, 300, 17, 4, 88, 21];

test("the logits of a prompt and of what follows are those of plain schedules, up to rounding", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const found = await verifySession(session, ids, 4);
  assert.is(found.tokens, 4);
  assert.is(found.sameChoice, 4);
  assert.ok(found.range > 1);
  assert.ok(found.largestDifference < 1e-4 * found.range, `${found.largestDifference}`);
  assert.is(verificationFault(found), null);
  session.release();
});

test("a pass that goes wrong only where tokens come one by one is a fault", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const wrong: typeof session = {
    ...session,
    forward: async (tokens, positions, cache) => {
      if (tokens.shape[1] !== 1) return session.forward(tokens, positions, cache);
      const zero = await caller.executor.fill("i32", [1], [0]);
      const x = await session.forward(tokens, zero, cache);
      caller.executor.release(zero);
      return x;
    },
  };
  assert.match(verificationFault(await verifySession(wrong, ids, 4)) ?? "", /differ by .* from those of the plain/);
  session.release();
});

test("logits that are not finite never pass", () => {
  const found = { tokens: 1, largestDifference: NaN, range: 3, sameChoice: 0, int8: true };
  assert.ok(verificationFault(found) !== null);
});

test.run();
