/** Speculative decoding: the text is that without a draft, whatever is proposed. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { speculate } from "../../../runtime/llama/inference/speculate.js";
import { openMachine } from "../machine.js";
import { tinyModel } from "../tiny.js";

const test = suite("speculate");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-speculate-"));
const model = await tinyModel(join(folder, "model"));
// the same but for some weights of two layers: it says the same now and then
const near = await tinyModel(join(folder, "near"), (name, words) => {
  if (/down_proj|lm_head/.test(name)) for (let at = 0; at < words.length; at += 3) words[at] = 0;
});
const session = await openSession(caller, model, { dtype: "f32" });
const draft = await openSession(caller, near, { dtype: "f32" });
const held = caller.executor.memory.live;

test.after.each(() => assert.is(caller.executor.memory.live, held, "all memory is given back"));
test.after(async () => {
  session.release();
  draft.release();
  await model.close();
  await near.close();
  await rm(folder, { recursive: true });
  close();
});

const plain = async (prompt: readonly number[], maxNewTokens: number, eosTokens: readonly number[] = []) => {
  const { ids, ended } = await generate(session, prompt, { maxNewTokens, eosTokens, temperature: 0 });
  return { ids, ended };
};

test("with a draft that is often wrong, and with the model itself, the text is the plain one", async () => {
  let [proposed, accepted] = [0, 0];
  for (const prompt of [[3], [9, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2]]) {
    const expected = await plain(prompt, 21);
    const found = await speculate(session, draft, prompt, { maxNewTokens: 21, eosTokens: [], proposed: 3 });
    assert.equal({ ids: found.ids, ended: found.ended }, expected);
    proposed += found.proposedTokens;
    accepted += found.acceptedTokens;
    const own = await speculate(session, session, prompt, { maxNewTokens: 21, eosTokens: [], proposed: 3 });
    assert.equal(own.ids, expected.ids);
    // all that is proposed is taken, up to the end of the text
    assert.ok(own.acceptedTokens >= own.proposedTokens - 3, `${own.acceptedTokens} of ${own.proposedTokens}`);
    assert.is(own.passes - own.nearTies, 5);
  }
  assert.ok(accepted > 0 && accepted < proposed, `${accepted} of ${proposed}`);
});

test("it ends where the plain text ends", async () => {
  const prompt = [3, 5, 7];
  const { ids } = await plain(prompt, 9);
  const end = ids[4]!;
  const found = await speculate(session, draft, prompt, { maxNewTokens: 9, eosTokens: [end] });
  assert.equal([found.ids, found.ended], [ids.slice(0, ids.indexOf(end)), "eos"]);
  const stopped = await speculate(session, draft, prompt, {
    maxNewTokens: 9,
    eosTokens: [],
    onToken: (id) => id !== end,
  });
  assert.equal([stopped.ids, stopped.ended], [ids.slice(0, ids.indexOf(end) + 1), "stopped"]);
  const full = await speculate(session, draft, [1, 2], { maxNewTokens: 1000, eosTokens: [] });
  assert.equal([full.newTokens, full.ended], [62, "context"]);
  assert.equal(full.ids, (await plain([1, 2], 1000)).ids);
});

test.run();
