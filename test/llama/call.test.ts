import { suite } from "uvu";
import * as assert from "uvu/assert";
import { baselineTarget } from "../../compiler/target.js";
import { standardLibrary } from "../../runtime/library.js";
import { createCaller } from "../../runtime/llama/call.js";
import type { Executor, Prepared } from "../../runtime/run/run.js";

const test = suite("call");

test("a program that could not be prepared is prepared by the next call; one that could is kept", async () => {
  let tries = 0;
  // only what a caller asks of an executor to prepare
  const executor: Pick<Executor, "prepare"> = {
    async prepare(program) {
      tries++;
      if (tries === 1) throw new Error("no memory");
      return { program } as Prepared;
    },
  };
  const caller = createCaller(executor as Executor, baselineTarget, standardLibrary());
  const prepare = (): Promise<void> => caller.prepare("zeros", {}, { sizes: { length: 8 } });
  const error = await prepare().then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.is(error instanceof Error ? error.message : error, "no memory");
  await prepare();
  await prepare();
  assert.is(tries, 2);
});

test.run();
