/**
 * Small random models of each architecture and of each rotary scaling, against what `transformers` computes of them
 * (test/data/architectures/make.py): logits, the greedy continuation, perplexity.
 */
import { mkdtemp, readFile, rm, writeFile, copyFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { packageRoot } from "../../../runtime/library.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { openScheduler } from "../../../runtime/llama/serving/scheduler.js";
import { openModel } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import { close } from "../../support/tolerance.js";
import { openMachine } from "../machine.js";

const test = suite("llama/architectures");
const machine = await openMachine();
const { caller } = machine;
const data = join(packageRoot(), "test", "data", "architectures");
const folder = await mkdtemp(join(tmpdir(), "espalier-architectures-"));

test.after(async () => {
  await rm(folder, { recursive: true });
  machine.close();
});

interface Expected {
  readonly ids: readonly number[];
  /** Of the token after the last. */
  readonly logits: readonly number[];
  readonly greedy: readonly number[];
  readonly perplexity: number;
}

const json = async <T>(...path: readonly string[]): Promise<T> =>
  JSON.parse(await readFile(join(data, ...path), "utf8")) as T;

/** Logits after the tokens from `first` on, in one pass. */
function logitsFrom(session: Session, ids: readonly number[], first: number): Promise<readonly Float64Array[]> {
  const { executor } = caller;
  return withArena(executor, async (arena) => {
    const cache = await session.allocateCache(1, ids.length);
    arena.defer(() => session.releaseCache(cache));
    const given = arena.own(await executor.fill("i32", [1, ids.length], Int32Array.from(ids), "ids"));
    const positions = arena.own(await executor.fill("i32", [1], new Int32Array(1), "positions"));
    const x = arena.own(await session.forward(given, positions, cache));
    const found: Float64Array[] = [];
    for (let at = first; at < ids.length; at++) {
      const pick = arena.own(await executor.fill("i32", [1], Int32Array.of(at), "pick"));
      found.push(Float64Array.from(await executor.values(arena.own(await session.logits(x, pick)))));
    }
    return found;
  });
}

/** Minus the log-likelihood of a token. */
function lossOf(logits: Float64Array, token: number): number {
  const most = Math.max(...logits);
  return Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0)) + most - logits[token]!;
}

/** The mean of it over the tokens behind the first, by the logits before each. */
function lossOver(found: readonly Float64Array[], ids: readonly number[]): number {
  return ids.slice(1).reduce((sum, id, at) => sum + lossOf(found[at]!, id), 0) / (ids.length - 1);
}

const names = ["llama-biased", "llama-attention-bias", "mistral", "qwen2", "qwen2-window", "qwen3", "phi3", "gemma3"];

for (const name of names)
  test(name, async () => {
    const { ids, greedy, logits, perplexity } = await json<Expected>(name, "expected.json");
    const model = await openModel(join(data, name));
    const session = await openSession(caller, model, { dtype: "f32" });
    try {
      assert.equal(model.warnings, []);
      const found = await logitsFrom(session, [...ids, ...greedy.slice(0, -1)], 0);
      const after = found.slice(ids.length - 1);
      close(after[0]!, logits, "model", "logits");
      assert.equal(
        after.map((values) => values.indexOf(Math.max(...values))),
        greedy,
      );
      const loss = lossOver(found, ids);
      assert.ok(Math.abs(Math.exp(loss) / perplexity - 1) < 5e-4, `${Math.exp(loss)} and ${perplexity}`);
    } finally {
      session.release();
      await model.close();
    }
  });

for (const name of ["mistral", "qwen3", "gemma3"])
  test(`${name} in pages`, async () => {
    const expected = await json<Expected>(name, "expected.json");
    const model = await openModel(join(data, name));
    const session = await openSession(caller, model, { dtype: "f32" });
    const scheduler = await openScheduler(session, {});
    try {
      const { tokens } = scheduler.submit({
        prompt: expected.ids,
        maxNewTokens: expected.greedy.length,
        stopTokens: [],
        sampling: { temperature: 0 },
      });
      const ids: number[] = [];
      for await (const { id } of tokens) ids.push(id);
      assert.equal(ids, expected.greedy);
    } finally {
      await scheduler.close();
      session.release();
      await model.close();
    }
  });

interface Scaling {
  readonly config: object;
  /** `greedy` and `perplexity` are those in a text of `ids` and as many tokens more as are in `greedy`. */
  readonly lengths: readonly Expected[];
}

const scalings = await json<{ readonly [name: string]: Scaling }>("rope.json");
for (const [name, { config, lengths }] of Object.entries(scalings))
  test(`rotary scaling ${name}, within the original context and beyond it`, async () => {
    const directory = join(folder, name);
    await mkdir(directory);
    const given = await json<object>("llama", "config.json");
    await writeFile(join(directory, "config.json"), JSON.stringify({ ...given, ...config }));
    await copyFile(join(data, "llama", "model.safetensors"), join(directory, "model.safetensors"));
    const model = await openModel(directory);
    const session = await openSession(caller, model, { dtype: "f32" });
    try {
      // sines of the driver are good to 2^-11 of 1, which attention of random weights makes more of
      for (const { ids, logits, greedy, perplexity } of lengths) {
        close((await logitsFrom(session, ids, ids.length - 1))[0]!, logits, "half", `${ids.length} tokens`);
        const found = await logitsFrom(session, [...ids, ...greedy], 0);
        assert.equal(
          found.slice(ids.length - 1, -1).map((values) => values.indexOf(Math.max(...values))),
          greedy,
        );
        const loss = lossOver(found, ids);
        assert.ok(Math.abs(Math.exp(loss) / perplexity - 1) < 2e-3, `${Math.exp(loss)} and ${perplexity}`);
      }
    } finally {
      session.release();
      await model.close();
    }
  });

test.run();
