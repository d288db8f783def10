/** What goes through a model at once follows the device's limits, and gives the same. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCaller, type Caller } from "../../runtime/llama/call.js";
import { LlamaError } from "../../runtime/llama/error.js";
import { perplexity } from "../../runtime/llama/evaluate.js";
import { generate } from "../../runtime/llama/generate.js";
import { chunkOf } from "../../runtime/llama/room.js";
import { openSession, type Session } from "../../runtime/llama/session.js";
import { openModel } from "../../runtime/model/model.js";
import { targets } from "../support/targets.js";
import { classics, openMachine } from "./machine.js";

const test = suite("room for a context");

const { caller, close } = await openMachine();
const model = await openModel(classics);
test.after(async () => {
  await model.close();
  close();
});

/** The same device, that binds less at once. */
const narrow = (maxBinding: number): Caller =>
  createCaller(caller.executor, { ...caller.target, maxBinding }, caller.functions);

async function withSession<T>(on: Caller, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await openSession(on, model, { dtype: "f32" });
  try {
    return await work(session);
  } finally {
    session.release();
  }
}

const codeOf = (error: unknown): string | null => (error instanceof LlamaError ? error.code : null);

test("a prompt's chunk shrinks as what its tokens see grows; only what not one token fits is refused", () => {
  const config = {
    ...model.config,
    heads: 32,
    keyValueHeads: 8,
    headDim: 128,
    hiddenSize: 4096,
    intermediateSize: 14336,
  };
  const gpu = { ...targets["a GPU with subgroups of 32"], maxBinding: 2 ** 31 - 4 };
  const chunk = (seen: number, target = gpu): number => chunkOf(target, config, "f16", { seen, most: 256 });
  assert.equal(
    [1024, 32768, 65536, 131072].map((seen) => chunk(seen)),
    [256, 256, 128, 64],
  );
  assert.is(chunk(131072, { ...gpu, maxBinding: 2 ** 28 }), 16);
  const refusal = (maxBinding: number, dtype: "f32" | "f16"): string => {
    try {
      chunkOf({ ...gpu, maxBinding }, config, dtype, { seen: 131072, most: 256 });
    } catch (error) {
      assert.is(codeOf(error), "context-too-large");
      return (error as Error).message;
    }
    throw new Error("it was not refused");
  };
  assert.is(
    refusal(2 ** 27, "f16"),
    "With 131072 tokens in sight, the keys of a block take 256 MiB, and subgroups binds at most 128 MiB at once. Ask for fewer tokens, or use a device that binds more.",
  );
  assert.match(
    refusal(2 ** 23, "f32"),
    /^With 131072 tokens in sight, the scores of a token in 32 heads take 16 MiB, /,
  );
});

// 8 heads over 320 tokens: 10240 bytes a token, and 64 of them at once instead of 256
test("a prompt in smaller chunks is continued alike", async () => {
  const prompt = Array.from({ length: 300 }, (_, at) => (at === 0 ? 0 : 5 + ((at * 37) % 900)));
  const continued = (on: Caller): Promise<readonly number[]> =>
    withSession(
      on,
      async (session) => (await generate(session, prompt, { temperature: 0, maxNewTokens: 4, eosTokens: [] })).ids,
    );
  const small = narrow(900_000);
  assert.is(chunkOf(small.target, model.config, "f32", { seen: 320, most: 256 }), 87);
  assert.equal(await continued(small), await continued(caller));
});

test("a window larger than there is room for is scored alike", async () => {
  const text = Array.from({ length: 320 }, (_, at) => 5 + ((at * 37) % 900));
  const scored = (on: Caller): Promise<number> =>
    withSession(on, async (session) => (await perplexity(session, text, { window: 320, bos: 0 })).perplexity);
  const [small, usual] = [await scored(narrow(900_000)), await scored(caller)];
  assert.ok(Math.abs(small / usual - 1) < 1e-5, `${small} instead of ${usual}`);
});

test("a context of which not one token fits is refused in words, before anything is computed", async () => {
  const error = await withSession(caller, (session) =>
    generate({ ...session, caller: narrow(200_000) }, [0, 5, 6], { temperature: 0, maxNewTokens: 500, eosTokens: [] }),
  ).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.is(codeOf(error), "context-too-large");
});

test.run();
