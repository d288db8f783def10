/** What goes through a model at once follows the device's limits, and gives the same. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCaller } from "../../../runtime/llama/call.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { chunkOf } from "../../../runtime/llama/room.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { openModel } from "../../../runtime/model/model.js";
import { targets } from "../../support/targets.js";
import { classics, openMachine } from "../machine.js";

const test = suite("room for a context");

const { caller, close } = await openMachine();
const model = await openModel(classics);
const session = await openSession(caller, model, { dtype: "f32" });
test.after(async () => {
  session.release();
  await model.close();
  close();
});

/** A model of which four tokens fill the device's room, or so it says. */
const wide: Session = { ...session, config: { ...session.config, intermediateSize: 2 ** 23 } };

const codeOf = (error: unknown): string | null => (error instanceof LlamaError ? error.code : null);

test("a prompt's chunk is as long however much its tokens see; only where no block's keys fit is it refused", () => {
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
    [256, 256, 256, 256],
  );
  assert.is(chunk(65536, { ...gpu, maxBinding: 2 ** 27 }), 256);
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
});

test("a prompt in smaller chunks is continued alike", async () => {
  assert.is(chunkOf(caller.target, wide.config, "f32", { seen: 64, most: 256 }), 4);
  const prompt = [0, 5, 42, 79, 116, 153, 190, 227];
  const continued = async (by: Session): Promise<readonly number[]> =>
    (await generate(by, prompt, { temperature: 0, maxNewTokens: 1, eosTokens: [] })).ids;
  assert.equal(await continued(wide), await continued(session));
});

test("a window larger than there is room for is scored alike", async () => {
  const text = Array.from({ length: 8 }, (_, at) => 5 + ((at * 37) % 900));
  const scored = async (by: Session): Promise<number> => (await perplexity(by, text, { window: 8, bos: 0 })).perplexity;
  const [small, usual] = [await scored(wide), await scored(session)];
  assert.ok(Math.abs(small / usual - 1) < 1e-5, `${small} instead of ${usual}`);
});

test("a context of which not one token fits is refused in words, before anything is computed", async () => {
  const narrow = createCaller(caller.executor, { ...caller.target, maxBinding: 200_000 }, caller.functions);
  const asked = { temperature: 0, maxNewTokens: 500, eosTokens: [] };
  const error = await generate({ ...session, caller: narrow }, [0, 5, 6], asked).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.is(codeOf(error), "context-too-large");
});

test.run();
