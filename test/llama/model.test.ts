import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { CompileError } from "../../compiler/diagnostic.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { createHost, packageRoot, standardLibrary } from "../../runtime/library.js";
import { createCaller } from "../../runtime/llama/call.js";
import { compress } from "../../runtime/llama/compression/compress.js";
import type { Compression } from "../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../runtime/llama/error.js";
import { perplexity } from "../../runtime/llama/inference/evaluate.js";
import { generate } from "../../runtime/llama/inference/generate.js";
import { openSession, unpackSession, type Session } from "../../runtime/llama/inference/session.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { writeToyModel } from "../support/toy-model.js";
import { classics, openMachine } from "./machine.js";

const test = suite("llama on the device");

interface Reference {
  readonly prompt_ids: readonly number[];
  readonly greedy_ids: readonly number[];
  readonly last_logits_top8: readonly (readonly [number, number])[];
}

const { caller, close } = await openMachine();
const model = await openModel(classics);
const reference = JSON.parse(await readFile(join(classics, "reference.json"), "utf8")) as Reference;
const session = await openSession(caller, model, { dtype: "f32" });
const folder = await mkdtemp(join(tmpdir(), "espalier-test-"));
const toy = await openModel(await writeToyModel(join(folder, "toy")));

async function textOf(name: string): Promise<number[]> {
  return [...(await (await model.tokenizer()).encode(await readFile(join(classics, name), "utf8"), { prefix: false }))];
}

/**
 * Logits after a prompt, `step` tokens at a time: the last step is padded. A driver compiles kernels for one token
 * soonest.
 */
async function logitsOf(run: Session, prompt: readonly number[], step: number): Promise<readonly number[]> {
  const { executor } = caller;
  const cache = await run.allocateCache(1, 64);
  let values: readonly number[] = [];
  for (let at = 0; at < prompt.length; at += step) {
    const ids = await executor.fill(
      "i32",
      [1, step],
      Array.from({ length: step }, (_, t) => prompt[at + t] ?? 0),
    );
    const positions = await executor.fill("i32", [1], [at]);
    const pick = await executor.fill("i32", [1], [Math.min(step, prompt.length - at) - 1]);
    const x = await run.forward(ids, positions, cache);
    const logits = await run.logits(x, pick);
    values = [...(await executor.values(logits))];
    for (const tensor of [ids, positions, pick, x, logits]) executor.release(tensor);
  }
  run.releaseCache(cache);
  return values;
}

function recipeOf(
  file: string,
  set: Record<string, number> = {},
): { readonly recipe: Recipe; readonly source: string } {
  const host = createHost();
  const path = join(packageRoot(), "examples", file);
  const { value, diagnostics } = check(path, host, { set });
  const recipe = value === null ? undefined : [...value.recipes.values()][0];
  if (recipe === undefined) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
  return { recipe, source: host.sources.get(path) ?? "" };
}

async function compressed(
  file: string,
  set: Record<string, number>,
  windows = 2,
): Promise<{ readonly report: Compression; readonly packed: Model }> {
  const { recipe, source } = recipeOf(file, set);
  const output = join(folder, file.replace(".esp", ""));
  const ids = recipe.needsText ? await textOf("calibration.txt") : [];
  const report = await compress(caller, toy, recipe, {
    output,
    source,
    text: { ids, bos: (await toy.tokenizer()).bos, windows, window: 8 },
  });
  return { report, packed: await openModel(output) };
}

test("logits are those of the reference", async () => {
  const logits = await logitsOf(session, reference.prompt_ids, 16);
  for (const [id, value] of reference.last_logits_top8)
    assert.ok(Math.abs((logits[id] ?? NaN) - value) < 1e-3, `logit ${id}`);
});

test("greedy text is that of the reference, and stops where asked", async () => {
  const options = { maxNewTokens: 48, temperature: 0, eosTokens: model.generation.eosTokens };
  const whole = await generate(session, reference.prompt_ids, options);
  assert.equal([...reference.prompt_ids, ...whole.ids], reference.greedy_ids);
  assert.is(whole.ended, "length");
  const stop = whole.ids[3] ?? 0;
  const short = await generate(session, reference.prompt_ids, { ...options, eosTokens: [stop] });
  assert.equal(short.ids, whole.ids.slice(0, whole.ids.indexOf(stop)));
  assert.is(short.ended, "eos");
  const sampled = { ...options, maxNewTokens: 6, temperature: 1, topK: 40, topP: 0.95, seed: 7 };
  assert.equal(
    (await generate(session, reference.prompt_ids, sampled)).ids,
    (await generate(session, reference.prompt_ids, sampled)).ids,
  );
});

test("a prompt beyond the context, or none, is refused", async () => {
  const options = { maxNewTokens: 4, temperature: 0, eosTokens: [] };
  const refused = async (prompt: readonly number[], code: string): Promise<void> => {
    const error = await generate(session, prompt, options).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof LlamaError && error.code === code);
  };
  await refused(new Array<number>(512).fill(5), "prompt-too-long");
  await refused([], "prompt-empty");
});

test("perplexity does not depend on how windows are batched", async () => {
  const text = await textOf("eval.txt");
  const scores = [];
  for (const batch of [1, 3]) scores.push(await perplexity(session, text, { window: 16, bos: 0, limit: 3, batch }));
  assert.is(scores[0]?.tokens, 48);
  assert.ok(Math.abs((scores[0]?.perplexity ?? 0) / (scores[1]?.perplexity ?? 1) - 1) < 1e-5);
});

test("an embedding that is too large for one binding is split, and nothing else changes", async () => {
  const small = createCaller(caller.executor, { ...caller.target, maxBinding: 400_000 }, standardLibrary());
  const split = await openSession(small, model, { dtype: "f32" });
  assert.is(split.frame.embedding.parts.length, 3);
  const prompt = reference.prompt_ids.slice(0, 3);
  const [a, b] = [await logitsOf(split, prompt, 1), await logitsOf(session, prompt, 1)];
  assert.ok(a.every((value, at) => Math.abs(value - (b[at] ?? NaN)) < 1e-4));
  const text = await textOf("eval.txt");
  const scores = [];
  for (const run of [split, session])
    scores.push((await perplexity(run, text, { window: 16, bos: 0, limit: 1 })).perplexity);
  assert.ok(Math.abs((scores[0] ?? 0) / (scores[1] ?? 1) - 1) < 1e-5);
  split.release();
});

for (const [file, set] of [
  ["wanda-2of4-int4.esp", { group: 64 }], // two groups in a row
  ["unstructured.esp", {}],
] as const) {
  test(`${file}: what is packed computes as the same weights unpacked`, async () => {
    const { report, packed } = await compressed(file, set);
    assert.is(report.tensors.length, 28);
    assert.ok(report.bytesAfter < report.bytesBefore);
    assert.ok(report.tensors.every(({ relativeError }) => relativeError > 0.01 && relativeError < 0.6));
    const stored = await openSession(caller, packed, { dtype: "f32", activations: "f16" });
    const dense = await unpackSession(stored);
    const prompt = reference.prompt_ids.slice(0, 4);
    const [a, b] = [await logitsOf(stored, prompt, 1), await logitsOf(dense, prompt, 1)];
    assert.ok(
      a.every((value, at) => Math.abs(value - (b[at] ?? NaN)) < 1e-3),
      "logits differ",
    );
    dense.release();
    stored.release();
    await packed.close();
  });
}

test("a pattern that matches nothing and a group that does not divide are refused before anything is written", async () => {
  const { recipe, source } = recipeOf("int4.esp", { group: 96 });
  const output = join(folder, "refused");
  const failure = await compress(caller, model, recipe, { output, source }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(failure instanceof Error);
  const named: Recipe = {
    ...recipe,
    steps: recipe.steps.map((step) =>
      step.kind === "linears" ? { ...step, matching: [{ glob: "*.experts.*", span: step.span }] } : step,
    ),
  };
  const unmatched = await compress(caller, model, named, { output, source }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(unmatched instanceof CompileError);
  assert.equal(
    unmatched.diagnostics.map(({ code }) => code),
    ["E605"],
  );
  assert.is(
    await openModel(output).then(
      () => true,
      () => false,
    ),
    false,
  );
});

test.after(async () => {
  session.release();
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await toy.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

test.run();
