/** Sessions: tables in parts, what is compiled ahead, and models that a device cannot hold. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createCaller, type Caller } from "../../../runtime/llama/call.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import type { Executor } from "../../../runtime/run/run.js";
import { openMachine } from "../machine.js";
import { tinyConfig, tinyModel } from "../tiny.js";

const test = suite("session");
const machine = await openMachine();
const { executor } = machine.caller;
const folder = await mkdtemp(join(tmpdir(), "espalier-session-"));
const model = await tinyModel(join(folder, "model"));

test.after.each(() => assert.is(executor.memory.live, 0, "all memory is given back"));
test.after(async () => {
  await model.close();
  await rm(folder, { recursive: true });
  machine.close();
});

/** A caller that counts what it has compiled, for a device that binds at most so many bytes. */
function counting(maxBinding: number): { readonly caller: Caller; readonly compiled: string[] } {
  const compiled: string[] = [];
  const prepare: Executor["prepare"] = (program) => {
    compiled.push(program.name);
    return executor.prepare(program);
  };
  const counted = Object.create(executor, { prepare: { value: prepare } }) as Executor;
  return {
    caller: createCaller(counted, { ...machine.caller.target, maxBinding }, machine.caller.functions),
    compiled,
  };
}

/** Logits of the last of some tokens. */
async function logitsOf(session: Session, ids: readonly number[]): Promise<readonly number[]> {
  const cache = await session.allocateCache(1, 8);
  const tensors = [
    await executor.fill("i32", [1, ids.length], ids),
    await executor.fill("i32", [1], [0]),
    await executor.fill("i32", [1], [ids.length - 1]),
  ] as const;
  const x = await session.forward(tensors[0], tensors[1], cache);
  const logits = await session.logits(x, tensors[2]);
  const values = [...(await executor.values(logits))];
  for (const tensor of [...tensors, x, logits]) executor.release(tensor);
  session.releaseCache(cache);
  return values;
}

const tableBytes = 4 * tinyConfig.vocab_size * tinyConfig.hidden_size;

test("tables in parts give the same logits, and once prepared a pass compiles nothing", async () => {
  const ids = [3, 60, 7, 31];
  let expected: readonly number[] | null = null;
  for (const [maxBinding, parts] of [
    [tableBytes, 1],
    [tableBytes / 2, 2],
    [tableBytes / 3, 4], // rows of a part are a multiple of 8
  ] as const) {
    const { caller, compiled } = counting(maxBinding);
    const session = await openSession(caller, model, { dtype: "f32", weights: "f32" });
    assert.equal([session.frame.embedding.parts.length, session.frame.head.parts.length], [parts, parts]);
    await session.prepare(1, ids.length, 8);
    const before = compiled.length;
    const logits = await logitsOf(session, ids);
    assert.equal(compiled.slice(before), [], `in ${parts} parts`);
    expected ??= logits;
    assert.ok(logits.every((value, at) => Math.abs(value - expected![at]!) < 1e-6));
    session.release();
  }
});

test("a weight that a device cannot bind is named, and what was loaded before is given back", async () => {
  const { caller } = counting(200);
  const error = await openSession(caller, model, { dtype: "f32", weights: "stored" }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "unsupported-model", String(error));
  assert.is(
    (error as LlamaError).message,
    `The weight model.layers.0.self_attn.q_proj.weight has 256 B, but ${caller.target.name} binds at most 200 B at once.`,
  );
});

test("what a listener throws ends the loading, and nothing is left", async () => {
  const thrown = new Error("enough");
  const error = await openSession(machine.caller, model, {
    onProgress() {
      throw thrown;
    },
  }).then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.is(error, thrown);
});

test("a session that is released twice says so or does nothing", async () => {
  const session = await openSession(machine.caller, model, { dtype: "f32" });
  session.release();
  session.release();
});

test.run();
